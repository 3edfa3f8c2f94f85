import pytest

from eqprop_spice.experiment.lines import line_of

TEXT = """\
name = "demo" # line 1
"quoted" = 1

[circuit]
doubled_inputs = true

[[circuit.layers]] # line 7
kind = "a"
bias = [
    1.0,
    2.0,
]

[[circuit.layers]]
kind = "b" # line 15

[optimizer]
options = { momentum = 0.9 }
schedule.kind = "cosine"

[ training ]
  epochs = 3
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("name",), 1),
        (("quoted",), 2),
        (("circuit",), 4),
        (("circuit", "doubled_inputs"), 5),
        (("circuit", "layers", 0), 7),
        (("circuit", "layers", 0, "kind"), 8),
        (("circuit", "layers", 0, "bias", 1), 9),
        (("circuit", "layers", 1), 14),
        (("circuit", "layers", 1, "kind"), 15),
        (("optimizer", "options", "momentum"), 18),
        (("optimizer", "schedule", "kind"), 19),
        (("training", "epochs"), 22),
    ],
)
def test_finds_the_line_of_a_key(location, line):
    assert line_of(TEXT, location) == line


def test_finds_the_table_of_a_key_that_is_not_there():
    assert line_of(TEXT, ("training", "batch_size")) == 21
    assert line_of(TEXT, ("circuit", "layers", 1, "bias")) == 14


def test_knows_no_line_for_what_is_nowhere():
    assert line_of(TEXT, ("seed",)) is None
    assert line_of(TEXT, ("constraint", "lower")) is None
    assert line_of("", ("seed",)) is None


def test_a_key_of_another_table_is_not_taken_for_it():
    assert line_of("[a]\nx = 1\n[b]\nx = 2\n", ("b", "x")) == 4
    assert line_of("[a]\nx = 1\n[b]\n", ("x",)) is None
