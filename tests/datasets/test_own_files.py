"""A user's own tables and images in files."""

import numpy as np
import pytest
from PIL import Image

from eqprop_spice.datasets.picture_files import PictureFiles
from eqprop_spice.datasets.table import Table
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment

rng = np.random.default_rng(1)
ROWS = rng.normal(size=(20, 2))
KINDS = np.where(ROWS[:, 0] > 0, "cat", "dog")


@pytest.fixture
def csv_file(tmp_path):
    rows = [(*row, kind) for row, kind in zip(ROWS.tolist(), KINDS, strict=True)]
    lines = ["length,weight,kind", *(f"{a!r},{b!r},{kind}" for a, b, kind in rows)]
    (tmp_path / "my.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "my.csv"


def test_a_csv_is_standardized_on_its_training_samples(csv_file):
    data = Table(str(csv_file), "kind", test_size=0.2).load()
    assert data.train_inputs.shape == (16, 2) and data.test_inputs.shape == (4, 2)
    np.testing.assert_allclose(data.train_inputs.mean(0), 0.0, atol=1e-14)
    np.testing.assert_allclose(data.train_inputs.std(0), 10.0, rtol=1e-12)
    assert data.voltages(ROWS).shape == (20, 2)
    assert set(data.predictions(data.train_targets)) == {"cat", "dog"}


def test_npz_and_parquet_hold_the_same_columns(csv_file, tmp_path):
    wanted = Table(str(csv_file), "kind").load()
    np.savez(tmp_path / "my.npz", rows=ROWS, kind=KINDS)
    paths = [tmp_path / "my.npz"]
    pandas = pytest.importorskip("pandas")
    try:
        frame = pandas.DataFrame({"a": ROWS[:, 0], "b": ROWS[:, 1], "kind": KINDS})
        frame.to_parquet(tmp_path / "my.parquet")
        paths.append(tmp_path / "my.parquet")
    except ImportError:
        with pytest.raises(ConfigError, match=r"pip install 'eqprop_spice\[parquet\]'"):
            (tmp_path / "my.parquet").write_bytes(b"")
            Table(str(tmp_path / "my.parquet"), "kind").load()
    for path in paths:
        found = Table(str(path), "kind").load()
        np.testing.assert_allclose(found.train_inputs, wanted.train_inputs, rtol=1e-12)


def test_numbers_are_predicted_from_named_columns(csv_file):
    data = Table(str(csv_file), "weight", features="length", test_size=0.0).load()
    assert data.task == "regression" and data.num_inputs == 1
    np.testing.assert_allclose(data.predictions(data.train_targets), ROWS[:, 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n", {"target": "c"}, "target names the column 'c'.*has a, b"),
        ("a,b\n1,2\n", {"target": "b", "features": "d"}, "features names the column 'd'"),
        ("a,b\n1\n", {"target": "b"}, "line 2 has 1 values"),
        ("a,a\n1,2\n", {"target": "a"}, "two of its columns"),
        ("a,b\n", {"target": "b"}, "a line per sample"),
        ("b\n1\n2\n", {"target": "b"}, "no column beside"),
        ("a,b\nx,1.5\ny,2.5\n", {"target": "b"}, "feature 'a' of .* holds texts"),
        ("a,b\n1,1.5\nnan,2.5\n", {"target": "b"}, "not finite in sample 1"),
        ("a,b\n1,x\n2,x\n", {"target": "b", "test_size": 0.0}, "1 class"),
        ("\xff", {"target": "b"}, "no CSV in UTF-8"),
    ],
)
def test_wrong_tables_are_refused_in_words(tmp_path, text, options, words):
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=words):
        Table(str(tmp_path / "t.csv"), **options).load()


def test_missing_and_strange_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Table(str(tmp_path / "none.csv"), "a").load()
    with pytest.raises(ConfigError, match="must end with"):
        Table(str(tmp_path / "none.xlsx"), "a").load()
    np.savez(tmp_path / "o.npz", a=np.array([{}], object), allow_pickle=True)
    with pytest.raises(ConfigError, match="without pickles"):
        Table(str(tmp_path / "o.npz"), "a").load()


TOML = """
name = "mine"
engine = "native"
dataset = { kind = "table.Table", path = "my.csv", target = "kind" }
rule = { kind = "small_signal.SmallSignal" }
initializer = { kind = "uniform.Uniform" }
optimizer = { learning_rate = 1e-6 }
training = { epochs = 1 }
[circuit]
layers = [{ kind = "dense.Dense" }]
"""


def test_a_relative_path_counts_from_the_toml_and_survives_a_run_folder(csv_file, monkeypatch):
    toml = csv_file.with_name("mine.toml")
    toml.write_text(TOML)
    (csv_file.parent / "elsewhere").mkdir()
    monkeypatch.chdir(csv_file.parent / "elsewhere")
    experiment = Experiment.load(toml)
    assert experiment.circuit.num_outputs == 2
    again = Experiment.parse(experiment.to_toml())
    np.testing.assert_array_equal(again.data.train_inputs, experiment.data.train_inputs)


def test_a_path_that_is_set_counts_from_the_working_folder(csv_file, monkeypatch):
    monkeypatch.chdir(csv_file.parent)
    table = f'dataset={{kind="table.Table", path="{csv_file.name}", target="kind"}}'
    assert Experiment.load("iris", [table]).data.num_outputs == 2


def test_images_of_a_folder_per_class(tmp_path):
    for name, gray in (("dark", 0), ("bright", 255)):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("L", (9, 7), gray).save(tmp_path / name / f"{number}.png")
    data = PictureFiles(str(tmp_path), size=(3, 4), amplitude=5.0, test_size=0.25).load()
    assert data.train_inputs.shape == (6, 12)
    assert set(np.unique(data.train_inputs)) == {0.0, 5.0}
    says = data.predictions(data.train_targets)
    pairs = zip(says.tolist(), data.train_inputs[:, 0].tolist(), strict=True)
    assert set(pairs) == {("bright", 5.0), ("dark", 0.0)}
    (tmp_path / "dark" / "0.png").write_text("no image")
    with pytest.raises(ConfigError, match="cannot be read as an image"):
        PictureFiles(str(tmp_path)).load()
    with pytest.raises(ConfigError, match="no folders of images"):
        PictureFiles(str(tmp_path / "dark")).load()


def test_images_of_an_npz(tmp_path):
    images = rng.integers(0, 256, (10, 3, 3), dtype=np.uint8)
    np.savez(tmp_path / "i.npz", images=images, labels=np.arange(10) % 2)
    data = PictureFiles(str(tmp_path / "i.npz"), amplitude=255.0, test_size=0.0).load()
    np.testing.assert_allclose(data.train_inputs, images.reshape(10, 9), rtol=1e-15)
    np.savez(tmp_path / "i.npz", images=images[0], labels=np.arange(3))
    with pytest.raises(ConfigError, match="are expected"):
        PictureFiles(str(tmp_path / "i.npz")).load()
