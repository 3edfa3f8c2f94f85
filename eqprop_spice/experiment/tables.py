"""The tables of an experiment file: what may stand in them, and within which bounds."""

import functools
import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from eqprop_spice.training.optimizers import Scale, Schedule


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CircuitTable(_Table):
    """[circuit]: how the layers are fed and read."""

    layers: tuple[dict[str, Any], ...]
    doubled_inputs: bool = False
    differential: bool = True


class SolverTable(_Table):
    """[ngspice]: tolerances; see `engines.ngspice.engine.NgSpice`."""

    reltol: float = Field(default=1e-10, gt=0, lt=1)
    vntol: float = Field(default=1e-13, gt=0)
    abstol: float = Field(default=1e-15, gt=0)
    residual_tolerance: float = Field(default=1e-9, gt=0)
    warm: bool = True
    readout_digits: int | None = Field(default=None, ge=2, le=16)


class NativeTable(_Table):
    """[native]: see `engines.native.Native`."""

    sweeps: int | None = Field(default=None, ge=1)
    warm_start: bool = False


def _number_of_truth(value: Any) -> Any:
    """Return 1 or 0 for true or false, which optimizers take as well: `nesterov = true`."""
    return float(value) if isinstance(value, bool) else value


class OptimizerTable(_Table):
    """[optimizer]: an optax optimizer; see `training.optimizers.make_optimizer`."""

    kind: str = "sgd"
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    scale: Scale = "absolute"
    schedule: Schedule = "constant"
    options: dict[str, Annotated[float, BeforeValidator(_number_of_truth)]] = {}
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Times the conductance, added to the gradient before the optimizer [V^2/S^2]."""
    largest_gradient: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Norm to which a larger gradient is scaled down, before that."""
    decay: float = Field(default=0.99, gt=0, le=1)
    """Factor of the rate at the end of every epoch, with `schedule = "exponential"`."""
    layer_factors: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """Factors of the rate of each trainable group, first to last."""


class TrainingTable(_Table):
    """[training]: how long, in which portions."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=0, ge=0)
    shuffle: bool = True
    fill: bool = False
    """Whether samples of an epoch's beginning fill its last minibatch up."""
    weights: Literal["reciprocity", "none"] = "reciprocity"
    evaluate_every: int = Field(default=1, ge=1)
    max_unconverged: float = Field(default=0.1, ge=0, le=1)


class LoggingTable(_Table):
    """[logging]: who is told of the epochs, besides the run folder; see `logs`."""

    tensorboard: bool = False
    mlflow: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The logs that are asked for."""
        return tuple(name for name, wanted in self.model_dump().items() if wanted)


class GoalTable(_Table):
    """[goal]: when a run has learned: every bound given here holds at the end."""

    max_error: float | None = Field(default=None, gt=0)
    train_accuracy: float | None = Field(default=None, gt=0, le=1)
    test_accuracy: float | None = Field(default=None, gt=0, le=1)
    stop: bool = False

    def reached(self, figures: Mapping[str, Any]) -> Any:
        """Return whether every bound holds; None if there is none.

        Args:
            figures: The network's figures by name: numbers, or arrays of several networks.
        """

        def figure(name: str) -> Any:
            # While training, what was met of the training samples bears no prefix.
            return figures[name] if name in figures else figures[name.removeprefix("train_")]

        bounds = []
        if self.max_error is not None:
            bounds.append(figure("train_max_error") < self.max_error)
        if self.train_accuracy is not None:
            bounds.append(figure("train_accuracy") >= self.train_accuracy)
        if self.test_accuracy is not None:
            bounds.append(figure("test_accuracy") >= self.test_accuracy)
        return functools.reduce(operator.and_, bounds) if bounds else None

    @property
    def has_bounds(self) -> bool:
        """Whether there is anything to reach."""
        bounds = (self.max_error, self.train_accuracy, self.test_accuracy)
        return any(bound is not None for bound in bounds)


def _listed(value: Any) -> Any:
    """Accept a single text for a list of one."""
    return (value,) if isinstance(value, str) else value


class CompareTable(_Table):
    """[compare]: what `eqprop-spice compare` trains; see `compare.plan`. Training ignores it."""

    rules: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("all",)
    seeds: int = Field(default=5, ge=1)
    settings: dict[str, dict[str, Any]] = {}
    """By rule, what it needs to be treated fairly: values by dotted key."""
    time_limit: float = Field(default=3600.0, gt=0)
    """How long the runs of a rule may take that are computed at a time [s]."""


class ExperimentTable(_Table):
    """The whole file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str = ""
    seed: int = Field(default=0, ge=0)
    engine: Literal["ngspice", "native", "auto"] = "ngspice"
    """"auto" becomes one of the two when the experiment is read; see `experiment.engine`."""
    dataset: dict[str, Any]
    circuit: CircuitTable | None = None
    substrate: dict[str, Any] | None = None
    """[substrate]: a system that is no circuit of layers; see `substrates.base`."""
    initializer: dict[str, Any]
    rule: dict[str, Any]
    cost: dict[str, Any] = {"kind": "squared_error.SquaredError"}
    optimizer: OptimizerTable
    update: dict[str, Any] | None = None
    """[update]: devices that pulses move, instead of numbers; see `updates.base`."""
    constraint: dict[str, Any] | None = None
    training: TrainingTable
    logging: LoggingTable | None = None
    """[logging]: what else is told of every epoch. It is no part of what is computed."""
    nonidealities: tuple[dict[str, Any], ...] = ()
    goal: GoalTable = GoalTable()
    ngspice: SolverTable = SolverTable()
    native: NativeTable = NativeTable()
    sweep: dict[str, Any] | None = None
    """[sweep]: what `eqprop-spice sweep` varies; see `sweeps.axes`. Training ignores it."""
    compare: CompareTable | None = None
    expected: dict[str, Any] = {}
