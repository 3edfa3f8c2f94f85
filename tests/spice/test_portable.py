"""Decks regenerated as text: read back, solved by ngspice, and free of what was not understood."""

import dataclasses
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.deck import Deck, Element, Model, frozen
from eqprop_spice.spice.portable import portable_netlist
from eqprop_spice.spice.reader import read, read_text

NETLISTS = sorted((Path(__file__).parent / "netlists").glob("*.cir"))

PRINTED = 1e-5
"""Relative error and volts: `ngspice -b` prints seven digits, and stops by its own tolerance of
the original, for which 1e-6 is asked here."""

names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
numbers = st.floats(1e-18, 1e12).map(lambda x: x)


@st.composite
def decks(draw) -> Deck:
    """Any deck of resistors, sources, controlled sources and diodes, solvable or not."""
    nodes = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    some_node = st.sampled_from(["0", *nodes])
    model = Model(draw(names), "d", frozen({"is": draw(numbers), "n": draw(st.floats(0.5, 3))}))
    elements = []
    for i in range(draw(st.integers(1, 8))):
        letter = draw(st.sampled_from("rvicledb"))
        places = [draw(some_node) for _ in range(4 if letter == "e" else 2)]
        if letter == "b":
            # A sine of nothing is none that is read.
            places += draw(st.lists(some_node, min_size=2, max_size=2, unique=True))
        given_parameters = {"d": {"area": draw(st.floats(0.1, 9))}, "b": {"rate": draw(numbers)}}
        elements.append(
            Element(
                f"{letter}{i}",
                tuple(places),
                1.0 if letter == "d" else draw(numbers),
                model=model.name if letter == "d" else None,
                parameters=frozen(given_parameters.get(letter, {})),
            )
        )
    used = {node for element in elements for node in element.nodes} - {"0"}
    has_diode = any(element.model for element in elements)
    return Deck(
        title="operating point",
        elements=tuple(elements),
        models=frozen({model.name: model} if has_diode else {}),
        nodes=frozen({node: node for node in used}),
        parameters=frozen({}),
        temperature=draw(st.floats(-40, 125)),
        nominal_temperature=draw(st.floats(0, 50)),
    )


# The checks of annotations look at items of a list at random.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@given(decks())
def test_a_deck_is_read_back_as_it_was(deck):
    assert dataclasses.replace(read_text(portable_netlist(deck)), notes=()) == deck


@pytest.mark.parametrize("path", NETLISTS, ids=lambda path: path.stem)
def test_own_text_is_read_back_to_the_same_text(path):
    text = portable_netlist(read(path))
    assert portable_netlist(read_text(text)) == text


def operating_point(text: str) -> dict[str, float]:
    """Return the node voltages that `ngspice -b` prints."""
    done = subprocess.run(
        ["ngspice", "-n", "-b"], input=text, capture_output=True, text=True, check=True
    )
    found = {}
    for line in done.stdout.split("Source\tCurrent")[0].splitlines():
        row = line.split()
        if len(row) == 2 and row[0] not in ("Node", "----"):
            found[row[0].lower().removeprefix("v(").rstrip(")")] = float(row[1])
    return found


@pytest.mark.ngspice
@pytest.mark.parametrize("path", NETLISTS, ids=lambda path: path.stem)
def test_ngspice_finds_the_operating_point_of_the_original(path):
    deck = read(path)
    lines = path.read_text().splitlines()
    # Other analyses would be printed before it.
    kept = [line for line in lines if line.split()[0] not in (".op", ".tran", ".ac", ".print")]
    kept[kept.index(".end") :] = [".options reltol=1e-6 vntol=1e-9", ".op", ".end", ""]
    theirs, ours = operating_point("\n".join(kept)), operating_point(portable_netlist(deck))
    assert len(theirs) >= len(deck.nodes) > 0
    for original, name in deck.nodes.items():
        expected = theirs[original]
        assert ours[name] == pytest.approx(expected, rel=PRINTED, abs=PRINTED), original


def test_a_current_that_controls_is_sensed_by_a_voltage_source():
    text = portable_netlist(read_text("t\nE1 a 0 b 0 2\nR1 a 0 1\nF1 b 0 E1 3\nR2 b 0 1\n.end\n"))
    assert "Vsense_e1 a vsense_e1 0.0\nE1 vsense_e1 0 b 0 2.0\n" in text
    assert "F1 b 0 Vsense_e1 3.0\n" in text


def test_portable_text_has_no_commands_and_upper_case_letters():
    for path in NETLISTS:
        for line in portable_netlist(read(path)).splitlines()[1:]:
            assert line[0].isupper() or line[0] == "."
            assert not line.lower().startswith((".control", ".include", ".lib"))


@pytest.mark.parametrize("name", ["r1\n.control", "r 1", "R1", "", "r1;", "../r1", "\u00b5"])
def test_names_and_numbers_that_do_not_belong_are_refused(name):
    good = read_text("t\nR1 a 0 1\nD1 a 0 m\n.model m d\n.end\n")
    resistor, diode = good.elements
    bad_elements = [
        dataclasses.replace(resistor, name=name),
        dataclasses.replace(resistor, nodes=(name, "0")),
        dataclasses.replace(resistor, value=float("nan")),
        dataclasses.replace(diode, model=name),
        dataclasses.replace(diode, parameters=frozen({name: 1.0})),
        dataclasses.replace(resistor, control=f"v{name}" if name else "x y"),
    ]
    for element in bad_elements:
        with pytest.raises(NetlistError, match=r"not allowed|finite"):
            portable_netlist(dataclasses.replace(good, elements=(element,)))
    model = Model(name, "d", frozen({}))
    with pytest.raises(NetlistError, match="not allowed"):
        portable_netlist(dataclasses.replace(good, models=frozen({"m": model})))
