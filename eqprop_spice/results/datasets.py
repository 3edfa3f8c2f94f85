"""The labelled datasets of a run that has ended, and what they have to look like when read."""

import numpy as np
import xarray as xr

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.netlists import SHOWN_SAMPLES
from eqprop_spice.results.stored import ANY, Layout
from eqprop_spice.training.history import History
from eqprop_spice.training.trainer import TrainingState


def netcdf(dataset: xr.Dataset) -> bytes:
    """Return a dataset as a NetCDF file."""
    return bytes(dataset.to_netcdf(engine="scipy"))


MAX_PARTS = 10_000_000
"""Parts of a state that a file of results may hold."""


def history_layout(experiment: Experiment) -> Layout:
    """Return what history.nc holds; see `History.to_xarray`."""
    labels = len(History(experiment.substrate.parameter_shapes()).labels)
    return Layout(
        {
            "epoch": ("epoch",),
            "conductance_label": ("conductance_label",),
            "conductance": ("epoch", "conductance_label"),
            ANY: ("epoch",),
        },
        {
            "epoch": range(experiment.table.training.epochs + 1),
            "conductance_label": _exactly(labels),
        },
    )


def final_state(experiment: Experiment, state: TrainingState) -> xr.Dataset:
    """Return outputs, targets and states of training samples."""
    data, substrate = experiment.data, experiment.substrate
    inputs = data.train_inputs[:SHOWN_SAMPLES]
    settled = experiment.trainer.settle_all(state.params, inputs)
    outputs = np.asarray(substrate.outputs(settled.state))
    names, values = substrate.named_state(settled.state)
    return xr.Dataset(
        {
            "output": (("sample", "output_index"), outputs, {"units": "V"}),
            "target": (
                ("sample", "output_index"),
                data.train_targets[:SHOWN_SAMPLES],
                {"units": "V"},
            ),
            "voltage": (("sample", "node"), values, {"units": "V"}),
        },
        coords={"node": names},
        attrs={"task": data.task},
    )


def final_layout(experiment: Experiment) -> Layout:
    """Return what final.nc holds; see `final_state`."""
    data, parts = experiment.data, experiment.substrate.num_parts
    return Layout(
        {
            "output": ("sample", "output_index"),
            "target": ("sample", "output_index"),
            "voltage": ("sample", "node"),
            "node": ("node",),
        },
        {
            "sample": _exactly(min(SHOWN_SAMPLES, len(data.train_inputs))),
            "output_index": _exactly(data.num_outputs),
            "node": range(1, MAX_PARTS) if parts is None else _exactly(parts),
        },
        {"task": (data.task,)},
    )


def _exactly(size: int) -> range:
    return range(size, size + 1)
