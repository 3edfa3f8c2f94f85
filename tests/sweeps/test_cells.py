"""What is read of the folder of a sweep that a stranger, a crash or a bad disk has changed."""

import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import Sweep, sweep_of
from eqprop_spice.sweeps.cell import CellResult
from eqprop_spice.sweeps.store import Store

CASE_1 = Path(__file__).parents[2] / "experiments" / "case_1.toml"

pytestmark = pytest.mark.ngspice  # its version is noted in the store


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    text = CASE_1.read_text() + "\n[sweep]\nstart = [5, 7, 9]\nremedy = { cases = { none = {} } }\n"
    return sweep_of(Experiment.parse(text, overrides=["training.epochs=4"]))


@pytest.fixture(scope="module")
def written(tmp_path_factory, sweep) -> Path:
    """A store with two cells."""
    store = Store.create(sweep, tmp_path_factory.mktemp("sweeps") / "store")
    columns = {name: np.arange(5.0) for name in ("loss", "max_error", "num_unconverged")}
    results = [
        CellResult(columns, "learned", "", 2.0),
        CellResult(columns, "diverged", "it left: ö", 3.0),
    ]
    store.write([0, 2], results)
    return store.path


@pytest.fixture
def path(tmp_path, written) -> Path:
    return Path(shutil.copytree(written, tmp_path / "store"))


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def metadata(path: Path, name: str) -> dict:
    return json.loads((path / "cells.zarr" / name / "zarr.json").read_text())


def test_what_was_written_is_read(path):
    dataset = Store.open(path).dataset()
    assert dataset["status"].values.ravel().tolist() == ["learned", "", "diverged"]
    assert dataset["error"].values.ravel().tolist() == ["", "", "it left: ö"]
    np.testing.assert_array_equal(dataset["loss"].sel(start=9).values[0], np.arange(5.0))
    assert np.isnan(dataset["loss"].sel(start=7)).all()
    assert dataset["loss"].attrs["units"] == "V^2"
    assert dataset["remedy"].values.tolist() == ["none"]
    # It is a plain zarr store for everybody else.
    with xr.open_zarr(path / "cells.zarr", consolidated=False) as plain:
        assert set(plain.variables) == set(dataset.variables)
        for name, variable in dataset.variables.items():
            np.testing.assert_array_equal(plain[name].values.astype(variable.dtype), variable)
            assert plain[name].dims == variable.dims


def test_a_pickle_in_a_zarr_of_version_2_is_not_executed(path, tmp_path):
    mark = tmp_path / "executed"
    array = path / "cells.zarr" / "loss"
    shutil.rmtree(array)
    array.mkdir()
    (array / ".zarray").write_text(
        json.dumps(
            {
                "zarr_format": 2,
                "shape": [3, 1, 5],
                "chunks": [3, 1, 5],
                "dtype": "<f8",
                "compressor": {"id": "pickle"},
                "fill_value": None,
                "filters": None,
                "order": "C",
            }
        )
    )
    (array / "0.0.0").write_bytes(pickle.dumps(Payload(mark)))
    (path / "cells.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(ConfigError, match="it is missing"):
        Store.open(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 0}}]},
        {"shape": [3, 1, 10**15]},
        {"data_type": "float32"},
        {"fill_value": 1.0},
        {"storage_transformers": [{"name": "anything"}]},
        {"zarr_format": 2},
    ],
)
def test_other_metadata_are_refused_before_zarr_reads_them(path, change, monkeypatch):
    file = path / "cells.zarr" / "loss" / "zarr.json"
    file.write_text(json.dumps(metadata(path, "loss") | change))
    monkeypatch.setattr("zarr.open_array", None)
    with pytest.raises(ConfigError, match=r"loss/zarr\.json was not written by this version"):
        Store.open(path)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"[1]", b"\xff", b"9" * 10_000])
def test_metadata_that_are_none_are_refused(path, content):
    (path / "cells.zarr" / "status" / "zarr.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"status/zarr\.json was not written"):
        Store.open(path)


def chunk(path: Path, name: str) -> Path:
    """Return the file of the first cell."""
    return next(
        file for file in sorted((path / "cells.zarr" / name / "c").rglob("*")) if file.is_file()
    )


DAMAGES = {
    "short": lambda file: file.write_bytes(file.read_bytes()[:-5]),
    "long": lambda file: file.write_bytes(file.read_bytes() + bytes(10**5)),
    "flipped": lambda file: file.write_bytes(
        bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]
    ),
    "flipped inside": lambda file: file.write_bytes(
        file.read_bytes()[:9] + bytes([file.read_bytes()[9] ^ 1]) + file.read_bytes()[10:]
    ),
    "pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("name", ["loss", "status"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named_and_never_read_as_results(path, name, damage):
    file = chunk(path, name)
    DAMAGES[damage](file)
    with pytest.raises(ConfigError, match=f"cells.zarr/{name}"):
        Store.open(path).dataset()


@pytest.mark.parametrize("name", ["loss", "max_error", "status"])
def test_figures_that_every_version_recorded_are_not_left_out(path, name):
    (path / "cells.zarr" / name / "zarr.json").unlink()
    with pytest.raises(ConfigError, match="it is missing"):
        Store.open(path)


def test_what_the_sweep_says_is_not_taken_from_the_metadata(path):
    file = path / "cells.zarr" / "zarr.json"
    content = json.loads(file.read_text())
    for name in ("name", "experiment", "dimensions"):
        content["attributes"].pop(name)
    file.write_text(json.dumps(content))
    store = Store.open(path)
    found = store.dataset().attrs
    assert (found["name"], found["experiment"]) == ("case_1", store.sweep.text)
    assert found["dimensions"] == [axis.name for axis in store.sweep.axes]


def test_nothing_is_written_through_a_link(path, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    array = path / "cells.zarr" / "loss" / "c"
    shutil.rmtree(array)
    array.symlink_to(outside)
    store = Store.open(path)
    with pytest.raises(ConfigError, match="a link or a file where a folder should be"):
        store.write([1], [CellResult({"loss": np.zeros(5)}, "stalled", "", 1.0)])
    assert not any(outside.iterdir())


def test_a_disk_that_is_full_from_the_start_leaves_a_folder_to_resume(sweep, tmp_path, monkeypatch):
    """Of 8 kB, the experiment takes two and the first array what is left."""

    def full(folder: Path, *_: object) -> None:
        (folder / "loss").mkdir(parents=True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "small"
    with monkeypatch.context() as small:
        small.setattr("eqprop_spice.sweeps.store.create_arrays", full)
        for attempt in (lambda: Store.create(sweep, path), lambda: Store.open(path)):
            with pytest.raises(ConfigError, match="No space left on device"):
                attempt()
            assert os.listdir(path) == ["experiment.toml"]
    assert len(Store.open(path).missing()) == sweep.num_cells
