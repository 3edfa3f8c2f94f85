"""Damaged, hostile, exchanged and old files of runs: each one message, none believed."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from eqprop_spice import __version__
from eqprop_spice.errors import ConfigError, Remark
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.datasets import netcdf
from eqprop_spice.results.run import Run, train
from eqprop_spice.results.stored import DIGEST, digest_of

pytestmark = pytest.mark.ngspice

XOR = Path(__file__).parents[2] / "experiments" / "xor.toml"

LONGEST_MESSAGE = 1000
"""Characters; with long names of folders."""


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eqprop_spice.results.plots.save_figures", lambda *arguments, **more: [])
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    experiment = Experiment.load(
        XOR, ["training.epochs=3", "optimizer={kind='adam',learning_rate=1e-4}"]
    )
    return train(experiment, tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def run(whole, tmp_path) -> Run:
    """A copy to damage."""
    shutil.copytree(whole.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def refused(read: Callable[[], object], *words: str) -> None:
    with pytest.raises(ConfigError) as error:
        read()
    message = str(error.value)
    assert len(message) < LONGEST_MESSAGE
    assert "\n" not in message
    for word in words:
        assert word in message


def saved(arrays: dict) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def changed(content: bytes, **changes) -> bytes:
    """Return a checkpoint with other arrays; those that are None are left out."""
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file) | {name.replace("__", "."): a for name, a in changes.items()}
    return saved({name: array for name, array in arrays.items() if array is not None})


def compressed(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with np.load(io.BytesIO(content)) as file:
        np.savez_compressed(buffer, **file)
    return buffer.getvalue()


def one_array(content: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def huge_header(content: bytes) -> bytes:
    """Return a checkpoint whose conductances claim to take 8 TB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (3, 10**12)}
        )
        archive.writestr("history.conductances.npy", header.getvalue())
    return buffer.getvalue()


def encrypted(content: bytes) -> bytes:
    """Return a checkpoint whose entries say that they are encrypted."""
    first = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = first.find(signature)
        while at >= 0:
            first[at + offset] |= 1
            at = first.find(signature, at + 1)
    return bytes(first)


def bomb(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("epoch.npy", bytes(10**8))
    return buffer.getvalue()


def with_object(content: bytes) -> bytes:
    return changed(content, param__dense_0=np.array([[{}] * 3] * 5))


def param_bytes(content: bytes) -> bytes:
    """Return how the first conductance is written."""
    with np.load(io.BytesIO(content)) as file:
        return file["param.dense_0"].ravel()[:1].tobytes()


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "short": lambda content: content[:100],
    "empty": lambda content: b"",
    "text": lambda content: b"epoch = 3",
    "one array": one_array,
    "huge header": huge_header,
    "encrypted": encrypted,
    "bomb": bomb,
    "compressed": compressed,
    "objects": with_object,
    "flipped": lambda content: content.replace(param_bytes(content), b"\x3f" * 8),
    "no epoch": lambda content: changed(content, epoch=None),
    "epoch 1e12": lambda content: changed(content, epoch=np.int64(10**12)),
    "epoch -1": lambda content: changed(content, epoch=np.int64(-1)),
    "epoch 1.5": lambda content: changed(content, epoch=np.float64(1.5)),
    "epochs": lambda content: changed(content, epoch=np.arange(2)),
    "epoch before the history": lambda content: changed(content, epoch=np.int64(1)),
    "no layer": lambda content: changed(content, param__dense_0=None),
    "one layer too many": lambda content: changed(content, param__dense_9=np.ones((6, 6))),
    "other shape": lambda content: changed(content, param__dense_3=np.ones((2, 2))),
    "no state": lambda content: changed(content, optimizer__0=None),
    "other history": lambda content: changed(content, history__conductances=np.ones((3, 2))),
    "long column": lambda content: changed(content, history__column__loss=np.ones(9)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named(damage, run):
    path = run.path / "checkpoint.npz"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    refused(lambda: run.params, f"{path} is damaged", "Delete it")
    refused(lambda: train(resume=run.path), f"{path} is damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.astype(int),
        lambda g: g.astype(np.float32),
        lambda g: g.astype(complex),
        lambda g: g * np.nan,
        lambda g: g.astype(">f8"),
        lambda g: g.T[:1],
    ],
)
def test_conductances_of_another_type_or_shape_are_refused(change, run):
    path = run.path / "checkpoint.npz"
    good = run.params["dense_0"]
    path.write_bytes(changed(path.read_bytes(), param__dense_0=change(good)))
    refused(lambda: run.params, "'param.dense_0' holds")


def test_a_checkpoint_of_columns_first_is_the_same(run):
    path = run.path / "checkpoint.npz"
    before = run.params
    columns = np.asfortranarray(before["dense_0"])
    path.write_bytes(changed(path.read_bytes(), param__dense_0=columns))
    np.testing.assert_array_equal(run.params["dense_0"], before["dense_0"])


@pytest.mark.parametrize("name", ["history", "final"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:50],
        lambda content: b"CDF\x01" + b"\xff" * 500,
        lambda content: content[:8] + b"\x7f" + content[9:],
    ],
)
def test_damaged_datasets_are_named(name, damage, run):
    path = run.path / f"{name}.nc"
    path.write_bytes(damage(path.read_bytes()))
    refused(lambda: getattr(run, name), f"{path} is damaged", f"train --resume {run.path}")
    train(resume=run.path)
    assert getattr(run, name) is not None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("history", lambda d: d.drop_vars("conductance")),
        ("history", lambda d: d.isel(conductance_label=[0])),
        ("history", lambda d: d.assign(loss=("conductance_label", np.ones(48)))),
        ("final", lambda d: d.isel(sample=[])),
        ("final", lambda d: d.isel(node=[0])),
        ("final", lambda d: d.assign_attrs(task="none")),
        ("final", lambda d: d.drop_attrs()),
        ("final", lambda d: xr.Dataset()),
    ],
)
def test_strange_datasets_are_named(name, change, run):
    path = run.path / f"{name}.nc"
    path.write_bytes(netcdf(change(getattr(run, name))))
    refused(lambda: getattr(run, name), f"{path} is damaged")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "null", "1", "[" * 10_000, '{"epochs": ' + "9" * 5000 + "}", "\x00\xff"],
)
def test_damaged_results_are_named(content, run):
    path = run.path / "results.json"
    path.write_text(content, encoding="latin-1")
    refused(lambda: run.results, f"{path} is damaged", f"train --resume {run.path}")


@pytest.mark.parametrize(
    "change", [{"epochs": "3"}, {"finished": False}, {"loss": []}, {"accuracy_of": {"a": 1}}]
)
def test_strange_results_are_named(change, run):
    path = run.path / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(lambda: run.results, f"{path} is damaged")


@pytest.mark.parametrize("name", ["checkpoint.npz", "history.nc", "final.nc", "results.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_pipes_and_folders_are_no_files(name, make, run):
    path = run.path / name
    path.unlink()
    make(path)
    refused(lambda: (run.params, run.history, run.final, run.results), str(path), "is no file")


def test_an_edited_experiment_is_refused_by_every_file(run):
    path = run.path / "experiment.toml"
    path.write_text(path.read_text().replace("seed = 0", "seed = 1"))
    edited = Run.open(run.path)
    for read in (
        lambda: edited.params,
        lambda: edited.history,
        lambda: edited.final,
        lambda: edited.results,
        lambda: train(resume=run.path),
    ):
        refused(read, "belongs to another experiment", "new folder")


def test_the_layout_of_the_experiment_does_not_matter(run):
    path = run.path / "experiment.toml"
    path.write_text("# a note\n\n" + path.read_text())
    assert Run.open(run.path).results == run.results
    assert digest_of("a = 1\nb = 2") == digest_of("b=2 # two\r\na=1")


def test_a_run_that_ended_without_its_checkpoint_has_no_conductances(run):
    (run.path / "checkpoint.npz").unlink()
    refused(lambda: run.params, "is missing", "results.json, history.nc, final.nc")
    refused(lambda: train(resume=run.path), "is missing")
    assert run.results["finished"] is True


def without_digest(run: Run) -> None:
    """Write a run's files as versions before the digest did."""
    checkpoint, results = run.path / "checkpoint.npz", run.path / "results.json"
    datasets = {name: getattr(run, name) for name in ("history", "final")}
    checkpoint.write_bytes(changed(checkpoint.read_bytes(), **{DIGEST: None}))
    content = json.loads(results.read_text())
    del content[DIGEST]
    results.write_text(json.dumps(content))
    for name, dataset in datasets.items():
        del dataset.attrs[DIGEST]
        # Put in when the file is read, for the figures.
        dataset = dataset.drop_vars("input", errors="ignore")
        (run.path / f"{name}.nc").write_bytes(netcdf(dataset))


def test_a_run_of_an_earlier_version_is_read_and_the_user_told(whole, run):
    without_digest(run)
    for name in ("results", "history", "final", "params"):
        with pytest.warns(Remark, match="do not say which experiment"):
            mine = getattr(run, name)
        if name == "params":
            for group, values in whole.params.items():
                np.testing.assert_array_equal(mine[group], values)
        elif name == "results":
            assert mine == whole.results
        else:
            xr.testing.assert_equal(mine, getattr(whole, name))


def test_every_file_says_which_experiment_it_belongs_to(whole):
    for name in ("free.cir", "nudged.cir", "results.json"):
        assert whole.digest in (whole.path / name).read_text()
    for name in ("history.nc", "final.nc"):
        with xr.open_dataset(whole.path / name) as dataset:
            assert dataset.attrs[DIGEST] == whole.digest
    with np.load(whole.path / "checkpoint.npz") as file:
        assert bytes(file[DIGEST]).hex() == whole.digest


def test_a_run_of_another_version_says_which_wrote_it(run):
    """Such as one whose experiment has a kind that is no more."""
    path = run.path / "experiment.toml"
    path.write_text(path.read_text().replace("logic.Xor", "logic.Xorr"))
    refused(lambda: run.experiment, "logic.Xorr", f"written by eqprop_spice {__version__}")
    (run.path / "history.nc").write_bytes(b"no NetCDF")
    refused(lambda: run.experiment, "logic.Xorr", "an unknown version")
    (run.path / "history.nc").unlink()
    refused(lambda: run.experiment, "logic.Xorr", "an unknown version")
