"""An experiment: one TOML file, checked in full before anything runs."""

import contextlib
import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optax
import tomli_w
from pydantic import ValidationError

from eqprop_spice.arrays import check_platform
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.ideal_diodes import has_ideal_diodes
from eqprop_spice.constraints.base import AbstractConstraint, sparing
from eqprop_spice.datasets.base import Data
from eqprop_spice.datasets.stored import stored
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.kinds import (
    arguments_model,
    build,
    check_trusted,
    frozen_lists,
    resolve,
)
from eqprop_spice.experiment.lines import Origin
from eqprop_spice.experiment.overrides import assign, override
from eqprop_spice.experiment.points import with_points
from eqprop_spice.experiment.reach import check_reach
from eqprop_spice.experiment.shipped import path_of, shipped
from eqprop_spice.experiment.source import check_values, parse_toml, read_text
from eqprop_spice.experiment.tables import ExperimentTable
from eqprop_spice.files import write_named
from eqprop_spice.gradients.beta_scan import TARGET_ERROR, scan_rule
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.nonidealities.base import AbstractNonideality
from eqprop_spice.rules.power_computation import PowerComputation
from eqprop_spice.spice.session import library_path
from eqprop_spice.substrates.base import AbstractSubstrate
from eqprop_spice.substrates.resistive import ResistiveNetwork
from eqprop_spice.training.optimizers import make_optimizer
from eqprop_spice.training.trainer import Trainer
from eqprop_spice.training.update import Update, share
from eqprop_spice.updates.base import AbstractPulsed, with_devices

AUTO = "auto"
"""A beta that is chosen when the experiment is read: that of the smallest error."""

MOST_VISITS = 30_000
"""Visits of a sample, times the free nodes of the circuit, that take ngspice about as long as the
native engine compiles: 1.5 to 2 s of CPU."""

QUICK_VISITS = 2_000_000
"""The same up to which the native engine's programs are compiled without optimization, which saves
7 s of CPU or more; visiting so many takes 2 to 3 s longer then."""

MOST_LISTED = 10
"""Files that a message names of a folder."""

SEED, RATE, DATASET = "seed", "optimizer.learning_rate", "dataset"
"""Keys of what trainings may differ in that share their compiled programs."""

MAX_PARAMETERS = 300_000_000
"""Parameters of a system: 2.4 GB, and with gradient and optimizer five times as much."""

OF_CIRCUITS = {"engine", "ngspice", "native", "nonidealities"}
"""Tables and keys that only a [circuit] has a use for."""

STAND_IN_BETA = 1e-6
"""Stands for the beta that is to be chosen while the rest is checked [S]."""


def _has_ngspice() -> bool:
    try:
        return bool(library_path())
    except NetlistError:
        return False


def _hint(path: Path) -> str:
    """Return what may have been meant by a file that is missing."""
    files = {p.stem: p for p in path.parent.glob("*.toml")}
    if near := difflib.get_close_matches(path.stem, files, n=1):
        return f"Did you mean '{files[near[0]]}'?"
    if not path.suffix:
        near = difflib.get_close_matches(str(path), [one.name for one in shipped()], n=1)
        meant = f" Did you mean '{near[0]}'?" if near else " `eqprop-spice list` names them."
        return f"No experiment of that name comes with the package.{meant}"
    listed = ", ".join(sorted(p.name for p in files.values())[:MOST_LISTED])
    return f"Its folder has {listed}." if files else "Its folder has no TOML file."


def _locate(content: dict[str, Any], folder: Path | None) -> None:
    """Make a relative path of the dataset's file absolute, so that run folders can hold it."""
    dataset = content.get("dataset")
    path = dataset.get("path") if isinstance(dataset, dict) else None
    if isinstance(path, str) and path and folder is not None:
        content["dataset"] = {**content["dataset"], "path": str(folder.absolute() / path)}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A checked experiment; everything it describes is built from here.

    Attributes:
        table: The content of the file, with overrides and defaults resolved.
        origin: Where its keys come from, for messages.
        given: The samples, where they were given as arrays; [dataset] names their file then.
    """

    table: ExperimentTable
    origin: Origin
    given: Data | None = dataclasses.field(default=None, compare=False)

    @property
    def source(self) -> str:
        """Name of the file it came from."""
        return self.origin.source

    @classmethod
    def load(
        cls,
        path: str | Path,
        overrides: list[str] | None = None,
        *,
        values: Mapping[str, Any] | None = None,
        trusted: bool = True,
    ) -> "Experiment":
        """Read an experiment from a TOML file.

        Args:
            path: The file; or the name of an experiment of the package, such as "xor".
            overrides: Assignments `key=value` with dotted keys, as `--set` takes them.
            values: Values by dotted key, which come after the assignments.
            trusted: Whether the user named this file, so that it may name classes of other
                packages; those of run folders have to be allowed by `EQPROP_TRUST`.

        Raises:
            ConfigError: If the file is missing or anything in it is wrong: the line, what was
                expected, and the nearest valid name.
        """
        path = Path(path)
        if not path.exists():
            path = path_of(str(path)) or path
        try:
            text = read_text(path)
        except FileNotFoundError:
            raise ConfigError(f"There is no file {path}. {_hint(path)}") from None
        return cls.parse(
            text,
            source=str(path),
            overrides=overrides,
            values=values,
            trusted=trusted,
            folder=path.parent,
        )

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        source: str = "experiment",
        overrides: list[str] | None = None,
        values: Mapping[str, Any] | None = None,
        trusted: bool = True,
        folder: Path | None = None,
    ) -> "Experiment":
        """Read an experiment from TOML text; see `load`.

        A relative path of a dataset's file counts from the folder; one that was assigned, and all
        where there is no folder, from the working folder.
        """
        content = parse_toml(text, source)
        assigned = {override(content, assignment): "--set" for assignment in overrides or []}
        for key, value in (values or {}).items():
            assign(content, key.split("."), value, key)
            assigned[key] = source
        origin = Origin(source, text, assigned)
        check_values(content, origin)
        if not trusted:
            check_trusted(content, source)
        with_points(content, folder or Path.cwd(), origin)
        _locate(content, Path.cwd() if assigned.keys() & {DATASET, f"{DATASET}.path"} else folder)
        try:
            table = ExperimentTable.model_validate(frozen_lists(content))
        except ValidationError as error:
            raise origin.complaint(error, (), ExperimentTable) from error
        experiment = cls(cls._self_contained(table, origin), origin).with_chosen_engine()
        experiment.check()
        return experiment._with_chosen_beta() if table.rule.get("beta") == AUTO else experiment

    @staticmethod
    def _self_contained(table: ExperimentTable, origin: Origin) -> ExperimentTable:
        """Return the tables with what other files say in them."""
        if table.substrate is None:
            return table
        key = "kind"
        try:
            kind = resolve("substrates", table.substrate.get(key))
            key = "path"
            whole = kind.self_contained(table.substrate, Path(origin.source).parent)
        except (ConfigError, NetlistError) as error:
            raise ConfigError(f"{origin.place(('substrate', key))}: {error}") from error
        return table.model_copy(update={"substrate": whole})

    def _with_chosen_beta(self) -> "Experiment":
        """Return the experiment with the beta of the smallest error at the start, as a number."""
        params = self.trainer.init(self.initial_params()).params
        inputs, targets = self.data.train_inputs, self.data.train_targets
        found = scan_rule(self.rule, self.substrate, params, inputs, targets, cost=self.cost)
        if found.window is None:
            raise ConfigError(
                f"{self._at('rule', 'beta')}: no beta keeps the estimate within "
                f"{100 * TARGET_ERROR:g} % of its limit with these tolerances. Tighten [ngspice], "
                "or give a number."
            )
        rule = {**self.table.rule, "beta": float(f"{found.best:.3g}")}
        table = self.table.model_copy(update={"rule": rule})
        return Experiment(table, self.origin, self.given)

    def with_chosen_engine(self) -> "Experiment":
        """Return the experiment with the engine that is expected to be done first, if it is "auto".

        The native engine compiles first and is many times as fast after that, so that ngspice is
        done first where few samples are visited; see `MOST_VISITS`.
        """
        if self.table.engine != AUTO or self.table.circuit is None:
            return self
        few = self._visits <= MOST_VISITS
        ideal = has_ideal_diodes(self.nominal_circuit)
        engine = "ngspice" if few and not ideal and _has_ngspice() else "native"
        table = self.table.model_copy(update={"engine": engine})
        return Experiment(table, self.origin, self.given)

    @property
    def _visits(self) -> int:
        """How often training visits a sample, times the free nodes of the circuit."""
        visits = self.table.training.epochs * len(self.data.train_inputs)
        return visits * max(len(self.nominal_circuit.free_nodes), 1)

    def check(self) -> None:
        """Build everything once, so that what is wrong shows before anything runs."""
        check_platform()
        self._check_tables()
        system = "engine" if self.table.substrate is None else "substrate"
        substrate = self.substrate
        with self._placing(system):
            self._check_size()
            substrate.check()
        _ = self.rule, self.cost, self.constraint, self.pulsed, self.initializer
        if self.table.circuit is not None and self.table.training.weights == "reciprocity":
            _ = self.network.group_weights
        self._check_shapes()
        _ = self.trainer
        with self._placing("cost"):
            self.rule.check_cost(self.cost)
        self._check_targets()
        if substrate.starting_at_zero:
            self._check_currents()
        with self._placing("rule", "kind"):
            self.rule.check_substrate(substrate)
        with self._placing("rule"):
            for phase in self.rule.phases(self.data.train_targets[:1], self.cost):
                substrate.check_phase(phase)
        if self.table.goal.test_accuracy is not None and not len(self.data.test_inputs):
            raise ConfigError(
                f"{self._at('goal', 'test_accuracy')}: this goal needs test samples, but the "
                "dataset has none."
            )

    def _check_size(self) -> None:
        """Refuse a system whose parameters no memory would hold."""
        count = sum(math.prod(shape) for shape in self.substrate.parameter_shapes().values())
        if count > MAX_PARAMETERS:
            raise ConfigError(
                f"{self.source}: this system has {count:,} parameters, which take "
                f"{8e-9 * count:,.0f} GB and several times that in training; at most "
                f"{MAX_PARAMETERS:,} are allowed. Make its layers smaller."
            )

    def _check_shapes(self) -> None:
        """Refuse components that name parts of parameters which the system does not have."""
        shapes = self.substrate.parameter_shapes()
        for name in ("initializer", "rule", "constraint"):
            component = getattr(self, name)
            if component is not None:
                with self._placing(name):
                    component.check_shapes(shapes)

    def _check_targets(self) -> None:
        """Refuse voltages out of reach where they are what a user's own samples ask for.

        The labels of other datasets are right or wrong, which needs no exact voltage.
        """
        circuit, data = self.table.circuit, self.data
        if circuit is not None and (data.encoding is not None or data.task == "regression"):
            with self._placing("dataset"):
                check_reach(self.circuit, data, self.cost, differential=circuit.differential)

    def _check_currents(self) -> None:
        """Refuse what takes every parameter for a conductance, where some are currents."""
        if isinstance(self.rule, PowerComputation):
            raise ConfigError(
                f"{self._at('rule', 'kind')}: power computation varies conductances by fractions, "
                "and bias currents may be zero. Choose another rule."
            )
        if self.table.update is not None:
            raise ConfigError(
                f"{self._at('update')}: these devices have conductances, but the circuit learns "
                "bias currents as well. Leave [update] or the bias currents out."
            )
        if self.table.optimizer.scale == "mean_conductance":
            raise ConfigError(
                f"{self._at('optimizer', 'scale')}: bias currents have no mean conductance. "
                'Use scale = "absolute" and layer_factors.'
            )

    def _check_tables(self) -> None:
        """Refuse an experiment without a system, with two, or with what its system ignores."""
        table = self.table
        if (table.circuit is None) == (table.substrate is None):
            raise ConfigError(
                f"{self.source}: an experiment needs either [circuit], for layers of resistors and "
                "diodes, or [substrate] with a kind, for any other system."
            )
        if table.substrate is not None:
            for key in sorted(OF_CIRCUITS & table.model_fields_set):
                raise ConfigError(f"{self._at(key)}: this belongs to a [circuit], not [substrate].")

    @contextlib.contextmanager
    def _placing(self, *location: str | int) -> Iterator[None]:
        """Add to errors where in the file their cause stands."""
        try:
            yield
        except (ConfigError, NetlistError) as error:
            raise ConfigError(f"{self._at(*location)}: {error}") from error

    def content_but(self, *keys: str) -> str:
        """Return in words all that a training depends on, aside from values by dotted key."""
        left_out = {"name", "description", "sweep", "compare", "goal", "expected", "logging"}
        content = self.table.model_dump(exclude=left_out)
        for key in keys:
            *tables, name = key.split(".")
            functools.reduce(lambda part, table: part[table], tables, content).pop(name, None)
        return repr(content)

    def to_toml(self) -> str:
        """Return the experiment as TOML with every default written out."""
        left_out = OF_CIRCUITS if self.table.circuit is None else None
        return tomli_w.dumps(self.table.model_dump(exclude_none=True, exclude=left_out))

    def _component(self, folder: str, table: dict[str, Any], *location: str | int) -> Any:
        try:
            return build(folder, table)
        except ConfigError as error:
            # A component names the field it refuses; point at that line where there is one.
            words = str(error).split()
            key = min((k for k in table if k in words), key=words.index, default="kind")
            raise ConfigError(f"{self._at(*location, key)}: {error}") from error
        except ValidationError as error:
            model = arguments_model(resolve(folder, table["kind"]))
            raise self.origin.complaint(error, location, model) from error

    def _at(self, *location: str | int) -> str:
        return self.origin.place(location)

    @functools.cached_property
    def data(self) -> Data:
        """The samples as voltages."""
        if self.given is not None:
            return self.given
        dataset = self._component("datasets", self.table.dataset, "dataset")
        with self._placing("dataset"):
            return dataset.load()

    def files(self) -> dict[str, bytes]:
        """Return what belongs beside the TOML, by name: the samples that were given as arrays."""
        if self.given is None:
            return {}
        return {self.table.dataset["path"]: stored(self.given)}

    def save(self, path: str | Path) -> Path:
        """Write the experiment as TOML, and arrays that were given to it into a file beside it.

        Args:
            path: The TOML file; one of that name is replaced.

        Returns:
            The file.
        """
        path = Path(path)
        for name, content in {**self.files(), path.name: self.to_toml().encode()}.items():
            write_named(path.parent / name, content)
        return path

    @functools.cached_property
    def nonidealities(self) -> tuple[AbstractNonideality, ...]:
        """How the real circuit differs from the drawn one."""
        tables = enumerate(self.table.nonidealities)
        return tuple(self._component("nonidealities", t, "nonidealities", i) for i, t in tables)

    @functools.cached_property
    def circuit(self) -> Circuit:
        """The circuit as it was built; that of the file where nothing is ideal about it."""
        return functools.reduce(
            lambda circuit, n: n.on_circuit(circuit), self.nonidealities, self.nominal_circuit
        )

    @functools.cached_property
    def nominal_circuit(self) -> Circuit:
        """The circuit of the file, for the dataset's numbers of inputs and outputs."""
        table, data = self.table.circuit, self.data
        if table is None:
            raise ConfigError(
                f"{self.source}: this needs the layers of a [circuit], but the system of this "
                "experiment is a [substrate]."
            )
        tables = [dict(layer) for layer in table.layers]
        if tables and tables[-1].get("kind") == "dense.Dense":
            size = data.num_outputs * (2 if table.differential else 1)
            tables[-1].setdefault("num_outputs", size)
        layers = [
            self._component("layers", layer, "circuit", "layers", i)
            for i, layer in enumerate(tables)
        ]
        try:
            return layered_circuit(
                layers,
                num_inputs=data.num_inputs,
                num_outputs=data.num_outputs,
                doubled_inputs=table.doubled_inputs,
                differential=table.differential,
            )
        except NetlistError as error:
            raise ConfigError(f"{self._at('circuit')}: {error}") from error

    @functools.cached_property
    def engine(self) -> AbstractEngine:
        """The engine with its tolerances."""
        if self.table.engine == "native":
            return Native(**self.table.native.model_dump())
        with self._placing("ngspice"):
            return NgSpice(**self.table.ngspice.model_dump())

    @functools.cached_property
    def substrate(self) -> AbstractSubstrate:
        """The system that learns: that of [substrate], or the network of [circuit]."""
        table = self.table.substrate
        if table is None:
            return self.network
        substrate, data = self._component("substrates", table, "substrate"), self.data
        with self._placing("substrate"):
            return substrate.sized(data.num_inputs, data.num_outputs)

    @functools.cached_property
    def network(self) -> ResistiveNetwork:
        """The circuit on its engine."""
        return ResistiveNetwork(
            self.circuit,
            self.engine,
            self.table.training.weights,
            nominal=self.nominal_circuit,
            nonidealities=self.nonidealities,
        )

    @functools.cached_property
    def rule(self):
        """The learning rule."""
        table = self.table.rule
        if table.get("beta") == AUTO:
            # A stand-in, until the beta is chosen.
            table = {**table, "beta": STAND_IN_BETA}
        return self._component("rules", table, "rule")

    @functools.cached_property
    def cost(self):
        """The cost of one output vector."""
        return self._component("costs", self.table.cost, "cost")

    @functools.cached_property
    def constraint(self) -> AbstractConstraint | None:
        """What every update is mapped to."""
        table = self.table.constraint
        if table is None:
            return None
        return sparing(
            self._component("constraints", table, "constraint"), self.substrate.starting_at_zero
        )

    @functools.cached_property
    def initializer(self):
        """What draws the starting conductances."""
        return self._component("initializers", self.table.initializer, "initializer")

    def initial_params(self) -> dict[str, np.ndarray]:
        """Return the starting parameters of this experiment's seed."""
        return self.drawn_params(np.random.default_rng(self.table.seed))

    def drawn_params(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return starting parameters that some random numbers give."""
        shapes, zero = self.substrate.parameter_shapes(), self.substrate.starting_at_zero
        drawn = self.initializer({k: s for k, s in shapes.items() if k not in zero}, rng)
        return {k: np.zeros(s) if k in zero else drawn[k] for k, s in shapes.items()}

    @functools.cached_property
    def pulsed(self) -> AbstractPulsed | None:
        """The devices that take the optimizer's changes; None for numbers."""
        table = self.table.update
        return None if table is None else self._component("updates", table, "update")

    @functools.cached_property
    def optimizer(self) -> Callable[[Any], optax.GradientTransformation]:
        """The optimizer of [optimizer] for a learning rate, which may be traced."""
        training, table = self.table.training, self.table.optimizer
        count = len(self.data.train_inputs)
        num_batches = -(-count // (min(training.batch_size, count) or count))
        pulsed = self.pulsed
        make = functools.partial(
            make_optimizer,
            table.kind,
            num_steps=training.epochs * num_batches,
            num_epochs=training.epochs,
            scale=table.scale,
            schedule=table.schedule,
            options=table.options,
            weight_decay=table.weight_decay,
            largest_gradient=table.largest_gradient,
            decay=table.decay,
            group_factors=self._group_factors(),
        )
        return make if pulsed is None else lambda rate: with_devices(make(rate), pulsed)

    def _group_factors(self) -> dict[str, float]:
        """Return the factors of the learning rate by group name."""
        factors, names = self.table.optimizer.layer_factors, list(self.substrate.parameter_shapes())
        if factors and len(factors) != len(names):
            raise ConfigError(
                f"layer_factors has {len(factors)} values, but the system has {len(names)} "
                f"trainable groups: {', '.join(names)}."
            )
        return dict(zip(names, factors, strict=False))

    @property
    def _can_be_spread(self) -> bool:
        """Whether cores may share a minibatch: its samples settle apart, in one program."""
        substrate = self.substrate
        alone = not (substrate.random or substrate.warm)
        holding = "hold" in self.rule.needs
        return self.table.circuit is not None and alone and substrate.vectorizable(holding=holding)

    @functools.cached_property
    def trainer(self) -> Trainer:
        """Everything that turns a state of training into the next.

        Experiments that differ only in seed, learning rate or goal share what they compile.
        """
        table, training, data = self.table, self.table.training, self.data
        try:
            self.optimizer(table.optimizer.learning_rate)
        except ConfigError as error:
            key = next((k for k in ("layer_factors", "options") if k in str(error)), "kind")
            raise ConfigError(f"{self._at('optimizer', key)}: {error}") from error
        # Nothing that is compiled depends on the samples but for their number and sizes.
        shapes = data.train_inputs.shape, data.train_targets.shape
        quick = table.circuit is not None and self._visits <= QUICK_VISITS
        parts = self.substrate, self.rule, self.cost, self.optimizer, self.constraint
        update = Update(*parts, quick=quick, spread=not quick and self._can_be_spread)
        return Trainer(
            share(f"{shapes} {self.content_but(SEED, RATE, DATASET)}", update),
            table.optimizer.learning_rate,
            data,
            training.batch_size,
            table.seed,
            max_unconverged=training.max_unconverged,
            shuffle=training.shuffle,
            fill=training.fill,
        )
