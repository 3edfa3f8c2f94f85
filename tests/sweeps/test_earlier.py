"""Stores of earlier versions, which were compressed: nothing is lost, nothing expands too far."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from numcodecs.zstd import Zstd

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import Sweep, sweep_of
from eqprop_spice.sweeps.cell import MAX_ERROR_LENGTH, CellResult
from eqprop_spice.sweeps.earlier import expanded_size
from eqprop_spice.sweeps.store import EARLIER, Store

CASE_1 = Path(__file__).parents[2] / "experiments" / "case_1.toml"

pytestmark = pytest.mark.ngspice  # its version is noted in the store

ERROR = "it left: ö"


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    text = CASE_1.read_text() + "\n[sweep]\nstart = [5, 7, 9]\n"
    return sweep_of(Experiment.parse(text, overrides=["training.epochs=4"]))


@pytest.fixture(scope="module")
def written(tmp_path_factory, sweep) -> Path:
    """A store with two cells, its arrays made anew with the codecs that zarr itself chooses."""
    path = Store.create(sweep, tmp_path_factory.mktemp("sweeps") / "store").path
    columns = {name: np.arange(5.0) for name in ("loss", "max_error", "num_unconverged")}
    results = [
        CellResult(columns, "learned", "", 2.0),
        CellResult(columns, "diverged", ERROR, 3.0),
    ]
    Store.open(path).write([0, 2], results)
    group = zarr.open_group(path / "cells.zarr", mode="r+")
    for name, array in list(group.arrays()):
        values = np.asarray(array[...])
        metadata = json.loads((path / "cells.zarr" / name / "zarr.json").read_text())
        earlier = group.create_array(
            name,
            shape=array.shape,
            chunks=array.chunks,
            dtype=str if values.dtype.kind in "TO" else values.dtype,
            fill_value=array.fill_value,
            dimension_names=metadata["dimension_names"],
            overwrite=True,
        )
        if name == "error":
            values = values.astype(object)
            values[2] = ERROR + 2 * MAX_ERROR_LENGTH * "."
        earlier[...] = values
        earlier.attrs.update(array.attrs)
    assert "zstd" in (path / "cells.zarr" / "loss" / "zarr.json").read_text()
    return path


@pytest.fixture
def path(tmp_path, written) -> Path:
    return Path(shutil.copytree(written, tmp_path / "store"))


def chunk(path: Path, name: str) -> Path:
    files = sorted((path / "cells.zarr" / name / "c").rglob("*"))
    return next(file for file in files if file.is_file())


def test_results_of_an_earlier_version_are_read_and_kept(path):
    with xr.open_zarr(path / "cells.zarr", consolidated=False) as before:
        before.load()
    store = Store.open(path)
    dataset = store.dataset()
    assert store.missing().tolist() == [1]
    for name in ("loss", "max_error", "num_unconverged", "seconds", "start", "epoch"):
        np.testing.assert_array_equal(dataset[name], before[name])
    assert dataset["status"].values.tolist() == ["learned", "", "diverged"]
    assert dataset["error"].values[2] == (ERROR + 2 * MAX_ERROR_LENGTH * ".")[:MAX_ERROR_LENGTH]
    assert dataset.attrs["commit"] == before.attrs["commit"]
    # What was there is there still, and opening again changes nothing.
    assert "zstd" in (path / EARLIER / "loss" / "zarr.json").read_text()
    store.write([1], [CellResult({}, "stalled", "", 1.0)])
    assert Store.open(path).counts()["stalled"] == 1


def test_a_conversion_that_was_killed_is_made_again(path):
    (path / "cells.zarr").rename(path / EARLIER)
    (path / ".cells.zarr.1.partial").mkdir()
    assert Store.open(path).missing().tolist() == [1]


def test_arrays_that_an_earlier_version_did_not_have_are_unknown(path):
    shutil.rmtree(path / "cells.zarr" / "num_unconverged")
    dataset = Store.open(path).dataset()
    assert np.isnan(dataset["num_unconverged"]).all()
    np.testing.assert_array_equal(dataset["loss"][0], np.arange(5.0))


@pytest.mark.parametrize("name", ["loss", "status"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zstd",
        # A terabyte, as the frame's header says; nothing of it is there.
        b"\x28\xb5\x2f\xfd\xc0\x00" + (10**12).to_bytes(8, "little") + bytes(9),
        Zstd().encode(bytes(10**8)),
        Zstd().encode(bytes(48))[:-3],
    ],
    ids=["empty", "other", "header", "bomb", "short"],
)
def test_what_must_not_expand_does_not(path, name, content):
    chunk(path, name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{EARLIER}/{name}/c/"):
        Store.open(path)


def test_other_codecs_are_refused_beside_the_known_ones(path):
    file = path / "cells.zarr" / "loss" / "zarr.json"
    codecs = {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]}
    file.write_text(json.dumps(json.loads(file.read_text()) | codecs))
    with pytest.raises(ConfigError, match=r"loss/zarr\.json was not written"):
        Store.open(path)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_791, 65_792, 10**6])
def test_the_size_in_a_frame_is_the_size_that_it_expands_to(size):
    assert expanded_size(Zstd().encode(bytes(size))) == size
