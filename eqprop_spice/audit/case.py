"""What is audited: a network with its conductances, its rule and a batch of samples."""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.ideal_diodes import has_ideal_diodes
from eqprop_spice.circuits.reciprocity import branch_weights
from eqprop_spice.constraints.base import AbstractConstraint
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import Run
from eqprop_spice.rules.base import AbstractRule, Estimate
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork

OPEN = 1e-7
"""A conductance this small relative to the largest of its group counts as an open switch."""

NEGLIGIBLE = 1e-5
"""Nudge relative to the conductance at an output that stands for the limit of a vanishing nudge:
its bias is of this order, and tight solvers' noise far below."""

CURRENT_SCALE = 0.1
"""Voltage at an output whose current is large enough to step current sources by [V]."""

Selection = Mapping[str, Int[np.ndarray, " chosen"]]
"""By group name, the positions of chosen conductances in the raveled array."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A network with conductances, a learning rule and samples.

    Attributes:
        name: What to call it in figures.
        substrate: The network on the user's engine.
        rule: The user's rule.
        cost: The cost of one output vector.
        params: Conductances [S] by group name.
        inputs: Source voltages [V].
        targets: Targets [V].
        selection: Conductances that are varied one by one.
        constraint: What updates are mapped to, if anything.
    """

    name: str
    substrate: ResistiveNetwork
    rule: AbstractRule
    cost: AbstractCost
    params: dict[str, np.ndarray]
    inputs: Float[np.ndarray, "batch input"]
    targets: Float[np.ndarray, "batch output"]
    selection: Selection
    constraint: AbstractConstraint | None = None

    @classmethod
    def from_experiment(
        cls,
        experiment: Experiment,
        *,
        params: Mapping[str, Array] | None = None,
        num_samples: int = 16,
        num_conductances: int = 100,
        seed: int = 0,
        rule: AbstractRule | None = None,
    ) -> "Case":
        """Take an experiment's network and a seeded choice of its samples and conductances.

        A circuit with non-idealities is audited as it was built, with the conductances that its
        devices have; readings are taken without noise.

        Args:
            experiment: The experiment.
            params: Conductances [S]; the starting ones of the experiment's seed if None.
            num_samples: Training samples to use; all where there are fewer.
            num_conductances: Conductances to vary one by one; all where there are fewer.
            seed: Seed of both choices.
            rule: A rule in place of the experiment's.

        Raises:
            ConfigError: If a number is below one, or a diode of the circuit is ideal.
        """
        for option, value in (("samples", num_samples), ("conductances", num_conductances)):
            if value < 1:
                raise ConfigError(f"--{option} is {value}; it must be at least 1.")
        if has_ideal_diodes(experiment.circuit):
            raise ConfigError(
                f"{experiment.source}: the audit's solvers know no ideal diode. Audit it with "
                'diode = "almost_ideal", or see how it learns with `eqprop-spice compare`.'
            )
        if params is None:
            start = experiment.trainer.init(experiment.initial_params())
            params = start.params
        network = experiment.network
        devices = network.devices(dict(params))
        arrays = {name: np.asarray(value, float) for name, value in devices.items()}
        rng = np.random.default_rng(seed)
        data = experiment.data
        count = len(data.train_inputs)
        rows = np.sort(rng.choice(count, min(count, num_samples), replace=False))
        return cls(
            experiment.table.name,
            dataclasses.replace(network, nonidealities=()),
            experiment.rule if rule is None else rule,
            experiment.cost,
            arrays,
            data.train_inputs[rows],
            data.train_targets[rows],
            choose(arrays, num_conductances, rng, currents=network.starting_at_zero),
            experiment.constraint,
        )

    @property
    def circuit(self) -> Circuit:
        """The circuit."""
        return self.substrate.circuit

    @functools.cached_property
    def conducting(self) -> dict[str, Bool[np.ndarray, "..."]]:
        """Which conductances are no open switches; all current sources count."""
        return conducting(self.params, self.circuit.supplied_parameters)

    @functools.cached_property
    def weights(self) -> dict[str, Float[np.ndarray, "..."]] | None:
        """The reciprocity weight of every branch with an energy; None if there are none."""
        closed = {k: v for k, v in self.conducting.items() if not v.all()}
        try:
            groups = self.circuit.groups_with_energy
            return branch_weights(self.circuit, groups, conducting=closed)
        except NetlistError:
            return None

    @property
    def has_energy(self) -> bool:
        """Whether weights make the rule a gradient: they exist, and every device is reciprocal."""
        return self.weights is not None and not self.circuit.groups_without_energy

    @property
    def all_conduct(self) -> bool:
        """Whether no conductance is an open switch."""
        return all(mask.all() for mask in self.conducting.values())

    @functools.cached_property
    def currents(self) -> dict[str, float]:
        """By the name of parameters that are currents, one that counts in this circuit [A]."""
        scale = CURRENT_SCALE * self.substrate.nudge_scale(self.params)
        return dict.fromkeys(self.circuit.supplied_parameters, scale)

    @property
    def smallest_nudge(self) -> float:
        """A nudge [S] whose bias is negligible: 1e-5 of the conductance at an output."""
        return NEGLIGIBLE * self.substrate.nudge_scale(self.params)

    @property
    def tight_engine(self) -> AbstractEngine:
        """The user's kind of engine with its tightest tolerances."""
        return NgSpice() if isinstance(self.substrate.engine, NgSpice) else Native()

    @functools.cached_property
    def configured(self) -> Estimate:
        """The estimate of the user's rule on the user's engine."""
        return self.estimate()

    @functools.cached_property
    def limit(self) -> Estimate:
        """The small-signal rule on the tight engine: what a vanishing nudge gives exactly."""
        return self.estimate(SmallSignal(), engine=self.tight_engine)

    def estimate(
        self,
        rule: AbstractRule | None = None,
        *,
        engine: AbstractEngine | None = None,
        rows: slice = slice(None),
    ) -> Estimate:
        """Return the estimate of a rule; the user's rule on the user's engine by default.

        Args:
            rule: The rule.
            engine: The engine.
            rows: Samples to use.
        """
        substrate = self.substrate
        if engine is not None:
            substrate = dataclasses.replace(substrate, engine=engine)
        rule = self.rule if rule is None else rule
        return rule(substrate, self.params, self.inputs[rows], self.targets[rows], self.cost)

    def visible(self, gradient: Mapping[str, Array]) -> dict[str, np.ndarray]:
        """Return the entries of a gradient at conductances that are no open switches."""
        return {k: np.asarray(gradient[k])[mask] for k, mask in self.conducting.items()}

    def chosen(self, gradient: Mapping[str, Array]) -> dict[str, np.ndarray]:
        """Return the entries of a gradient at the chosen conductances."""
        return {k: np.ravel(np.asarray(gradient[k]))[i] for k, i in self.selection.items()}


def conducting(
    params: Mapping[str, np.ndarray], currents: Collection[str] = ()
) -> dict[str, Bool[np.ndarray, "..."]]:
    """Return which conductances are above `OPEN` times the largest of their group.

    Args:
        params: Parameters by group name.
        currents: Those that are currents of sources, which all count.
    """
    return {
        name: np.full(values.shape, True) if name in currents else values > OPEN * values.max()
        for name, values in params.items()
    }


def choose(
    params: Mapping[str, np.ndarray],
    count: int,
    rng: np.random.Generator,
    *,
    currents: Collection[str] = (),
) -> dict[str, Int[np.ndarray, " chosen"]]:
    """Choose up to `count` parameters that are `conducting`, spread evenly over the groups."""
    masks = conducting(params, currents)
    positions = {k: np.flatnonzero(mask) for k, mask in masks.items()}
    chosen: dict[str, np.ndarray] = {}
    left = count
    by_size = sorted(positions, key=lambda name: len(positions[name]))
    for rank, name in enumerate(by_size):
        share = max(1, left // (len(by_size) - rank))
        picked = min(share, len(positions[name]))
        chosen[name] = np.sort(rng.choice(positions[name], picked, replace=False))
        left -= picked
    return {name: chosen[name] for name in params}


def open_audited(path: Path, overrides: list[str]) -> Run | Experiment:
    """Return the run of a folder, or the experiment of a file.

    A circuit without reciprocity weights, which training refuses, is opened with none.

    Raises:
        ConfigError: If there is no such file, or a run folder is to be changed.
    """
    if path.is_dir():
        if overrides:
            raise ConfigError("--set changes an experiment's file; a run folder stays as it ran.")
        return Run.open(path)
    try:
        return Experiment.load(path, overrides)
    except NetlistError:
        return Experiment.load(path, [*overrides, "training.weights=none"])
