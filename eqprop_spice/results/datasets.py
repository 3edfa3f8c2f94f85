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


def history_layout(experiment: Experiment) -> Layout:
    """Return what history.nc holds; see `History.to_xarray`."""
    labels = len(History(experiment.circuit.parameter_shapes()).labels)
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
    """Return outputs, targets and hidden voltages of training samples."""
    data, circuit = experiment.data, experiment.circuit
    inputs = data.train_inputs[:SHOWN_SAMPLES]
    point = experiment.trainer.settle_all(state.params, inputs)
    outputs = np.asarray(circuit.outputs(point.voltages))
    free = circuit.free_nodes
    return xr.Dataset(
        {
            "output": (("sample", "output_index"), outputs, {"units": "V"}),
            "target": (
                ("sample", "output_index"),
                data.train_targets[:SHOWN_SAMPLES],
                {"units": "V"},
            ),
            "voltage": (("sample", "node"), np.asarray(point.voltages)[:, free], {"units": "V"}),
        },
        coords={"node": [circuit.node_names[n] for n in free]},
        attrs={"task": data.task},
    )


def final_layout(experiment: Experiment) -> Layout:
    """Return what final.nc holds; see `final_state`."""
    data = experiment.data
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
            "node": _exactly(len(experiment.circuit.free_nodes)),
        },
        {"task": (data.task,)},
    )


def _exactly(size: int) -> range:
    return range(size, size + 1)
