"""Experiments from Python objects: layers, rules and arrays instead of a TOML's tables."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from eqprop_spice.constraints.base import AbstractConstraint
from eqprop_spice.constraints.box import Box
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.datasets.base import AbstractDataset, Data
from eqprop_spice.datasets.stored import checksum
from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.devices.measured import Measured
from eqprop_spice.devices.piecewise_linear import PiecewiseLinear
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.kinds import IDEAL, frozen_lists
from eqprop_spice.experiment.lines import Origin
from eqprop_spice.experiment.reach import check_reach
from eqprop_spice.experiment.tables import ExperimentTable
from eqprop_spice.initializers.base import AbstractInitializer
from eqprop_spice.initializers.rectified_normal import RectifiedNormal
from eqprop_spice.layers.base import AbstractLayer
from eqprop_spice.layers.dense import Dense
from eqprop_spice.nonidealities.base import AbstractNonideality
from eqprop_spice.rules.base import AbstractRule
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.base import AbstractSubstrate

PACKAGE = "eqprop_spice."

SOURCE = "python"
"""What messages call an experiment that no file describes."""

SAMPLES = "data.npz"
"""The file of the samples beside an experiment that was given arrays."""


def kind_of(cls: type) -> str:
    """Return the kind that names a class in a TOML.

    Raises:
        ConfigError: If it has no name that an import could find.
    """
    module = cls.__module__
    if module.startswith(PACKAGE):
        return f"{module.split('.', 2)[2]}.{cls.__name__}"
    if getattr(sys.modules.get(module), cls.__name__, None) is not cls:
        raise ConfigError(
            f"The class {cls.__qualname__} is defined inside of a function or a text, where no run "
            "folder could find it again. Define it at the top of a module or of a notebook's cell."
        )
    return f"{module}:{cls.__name__}"


def table_of(component: Any) -> dict[str, Any]:
    """Return the table of a TOML that describes a component.

    Raises:
        ConfigError: If a field is of a type that TOML has no word for.
    """
    if not dataclasses.is_dataclass(component) or isinstance(component, type):
        raise ConfigError(
            f"{component!r} is no component; one is an object of a frozen dataclass, such as "
            "SmallSignal() or SquaredError()."
        )
    fields = {f.name: getattr(component, f.name) for f in dataclasses.fields(component) if f.init}
    said = {name: _said(value, name, component) for name, value in fields.items()}
    return {"kind": kind_of(type(component)), **{k: v for k, v in said.items() if v is not None}}


def _said(value: Any, name: str, owner: Any) -> Any:
    """Return a field's value as TOML has it; None stands for a key that is left out."""
    if isinstance(value, Ideal):
        return IDEAL
    if isinstance(value, Shockley):
        known = next((preset for preset, diode in PRESETS.items() if diode == value), None)
        return known or dataclasses.asdict(value)
    if isinstance(value, PiecewiseLinear):
        return dataclasses.asdict(value)
    if isinstance(value, Measured):
        return dataclasses.asdict(value.curve)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(k): _said(v, name, owner) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_said(item, name, owner) for item in value)
    if hasattr(value, "tolist"):
        return frozen_lists(value.tolist())
    raise ConfigError(
        f"{name} of {type(owner).__name__} is {value!r}, and TOML has no word for such a value."
    )


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an experiment is made of; what is None is chosen to suit standardized features.

    Attributes:
        name: Its name, of which run folders are named.
        description: A sentence about it.
        seed: Of the starting conductances and of the order of samples.
        engine: "native" (JAX) or "ngspice".
        doubled_inputs: Whether every input has a second source of the opposite sign.
        differential: Whether an output is the difference of two nodes.
        initializer: What draws the starting conductances.
        rule: The learning rule.
        cost: The cost of one output vector.
        constraint: What every update is mapped to.
        optimizer: The keys of [optimizer]: kind, learning_rate, schedule, ...
        epochs: How often every training sample is visited.
        batch_size: Samples per update; 0 for all of them.
        training: Further keys of [training].
        goal: The keys of [goal].
        nonidealities: How the real circuit differs from the drawn one.
        logging: The keys of [logging]: tensorboard, mlflow.
    """

    name: str = "experiment"
    description: str = ""
    seed: int = 0
    engine: str = "native"
    doubled_inputs: bool = True
    differential: bool = True
    initializer: AbstractInitializer | None = None
    rule: AbstractRule | None = None
    cost: AbstractCost | None = None
    constraint: AbstractConstraint | None = None
    optimizer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int = 100
    batch_size: int = 32
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    goal: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    nonidealities: Sequence[AbstractNonideality] = ()
    logging: Mapping[str, Any] = dataclasses.field(default_factory=dict)


SMALLEST, LARGEST = 1e-7, 1e-4
"""Bounds of conductances [S] of an experiment that names none."""

OPTIMIZER = {"kind": "adam", "learning_rate": 6e-7, "schedule": "cosine"}
"""The optimizer of an experiment that names none; the rate is in S."""

OUTPUT_SCALE = 0.2
"""Voltage of the cross-entropy [V]: outputs of tenths of a volt decide."""


def build(
    system: Sequence[AbstractLayer] | AbstractSubstrate,
    data: Data | AbstractDataset,
    **parts: Any,
) -> Experiment:
    """Make an experiment from objects, checked in full as one from a TOML is.

    Args:
        system: The layers of a circuit, from the inputs on: a dense layer to the outputs is added
            unless they end with a dense layer. Or any other system.
        data: Samples, such as `samples` makes of arrays, or a dataset.
        **parts: The other parts by name; see `Parts`.

    Raises:
        ConfigError: If anything is wrong, in words.
    """
    known = [field.name for field in dataclasses.fields(Parts)]
    for name in parts:
        if name not in known:
            raise ConfigError(f"build has no part '{name}'. It has {', '.join(known)}.")
    chosen = Parts(**parts)
    content = _content(system, data, chosen)
    origin = Origin(SOURCE, "")
    try:
        table = ExperimentTable.model_validate(frozen_lists(content))
    except ValidationError as error:
        raise origin.complaint(error, (), ExperimentTable) from error
    given = data if isinstance(data, Data) else None
    experiment = Experiment(table, origin, given).with_chosen_engine()
    experiment.check()
    if experiment.table.circuit is not None:
        differential = experiment.table.circuit.differential
        check_reach(experiment.circuit, experiment.data, experiment.cost, differential=differential)
    return experiment


def _content(system: Any, data: Data | AbstractDataset, parts: Parts) -> dict[str, Any]:
    """Return what the TOML of an experiment holds."""
    content: dict[str, Any] = {
        "name": parts.name,
        "description": parts.description,
        "seed": parts.seed,
        "dataset": _dataset(data),
        "rule": table_of(parts.rule or SmallSignal()),
        "cost": table_of(parts.cost or _usual_cost(data)),
        "optimizer": {**(OPTIMIZER if not parts.optimizer else {}), **parts.optimizer},
        "training": {
            "epochs": parts.epochs,
            "batch_size": parts.batch_size,
            "evaluate_every": max(parts.epochs // 10, 1),
            **parts.training,
        },
        "goal": dict(parts.goal),
    }
    if parts.logging:
        content["logging"] = dict(parts.logging)
    if isinstance(system, AbstractSubstrate):
        if parts.initializer is None:
            raise ConfigError("A system that is no circuit needs an initializer.")
        content |= {"substrate": table_of(system), "initializer": table_of(parts.initializer)}
        constraint = parts.constraint
    else:
        content |= {"engine": parts.engine, "circuit": _circuit(system, parts)}
        content["nonidealities"] = [table_of(n) for n in parts.nonidealities]
        usual = RectifiedNormal(deviation=1e-5, lower=SMALLEST, upper=LARGEST)
        content["initializer"] = table_of(parts.initializer or usual)
        constraint = parts.constraint or Box(SMALLEST, LARGEST)
    return content | ({} if constraint is None else {"constraint": table_of(constraint)})


def _dataset(data: Data | AbstractDataset) -> dict[str, Any]:
    if isinstance(data, AbstractDataset):
        return table_of(data)
    return {"kind": "stored.Stored", "path": SAMPLES, "checksum": checksum(data)}


def _usual_cost(data: Data | AbstractDataset) -> AbstractCost:
    task = data.task if isinstance(data, Data) else data.load().task
    return CrossEntropy(OUTPUT_SCALE) if task == "classes" else SquaredError()


def _circuit(layers: Sequence[AbstractLayer], parts: Parts) -> dict[str, Any]:
    for layer in layers:
        if not isinstance(layer, AbstractLayer):
            raise ConfigError(f"{layer!r} is no layer; layers are objects such as Dense(10).")
    tables = [table_of(layer) for layer in layers]
    if not layers or not isinstance(layers[-1], Dense):
        # Its size follows from the data.
        tables.append({"kind": kind_of(Dense)})
    return {
        "layers": tables,
        "doubled_inputs": parts.doubled_inputs,
        "differential": parts.differential,
    }
