"""What a substrate is: a system that settles, and all that the rest of the package knows of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.reciprocity import Edge
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.engines.uniqueness import Uniqueness
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import AnySettled, Relaxation
from eqprop_spice.substrates import implicit

Params = Mapping[str, Array]
"""Parameters by group name."""

ABILITIES = {
    "force": "take a constant force at its outputs",
    "spring": "take a spring at its outputs",
    "hold": "hold its outputs",
    "response": "compute its response to a small force",
    "adjoint": "compute the exact gradient",
    "relaxation": "be backpropagated through while it relaxes",
    "dissipation": "tell the power that it dissipates",
    "sampling": "return averages over samples",
    "netlist": "write itself as a netlist",
    "reference": "be solved by a second solver",
}
"""What a substrate may be able to do, and a rule or a command may need, in words."""


def require(substrate: "AbstractSubstrate", ability: str, where: str) -> None:
    """Refuse a substrate that lacks an ability which a command needs.

    Raises:
        ConfigError: If so.
    """
    if ability not in substrate.abilities:
        raise ConfigError(
            f"{where}: this needs a system that can {ABILITIES[ability]}, and "
            f"{type(substrate).__name__} cannot."
        )


@dataclasses.dataclass(frozen=True)
class AbstractSubstrate:
    r"""A system with an energy $E(\theta, s)$ whose stationary states it finds.

    A substrate writes `parameter_shapes`, `settle`, `outputs` and `energy`, as functions of JAX
    arrays. A state whose energy is constrained, such as rates in [0, 1], writes `residual` too:
    zero where the state is stationary. All else follows by automatic differentiation, at the cost
    of a dense Jacobian per sample, and may be overridden for speed.

    A state is an array or a tree of arrays, `batch ...`. Fields named `num_inputs` and
    `num_outputs` are filled from the data set where an experiment leaves them 0.
    """

    # What has to be written.

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every group of parameters by its name."""
        raise NotImplementedError

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch ..."],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[AnySettled]:
        """Return where every sample settles in every phase.

        Args:
            params: Parameters by group name.
            inputs: Inputs.
            phases: What is attached to the outputs; the first is the free phase, whose outputs
                nudges are asked with.
            start: A state to start the free phase from; the system's own start if None.
            key: Random key, where the system is random; two phases of one call share it.
        """
        raise NotImplementedError

    def outputs(self, state: Any) -> Float[Array, "batch output"]:
        """Return the outputs of a state."""
        raise NotImplementedError

    def energy(
        self, params: Params, inputs: Float[Array, "batch ..."], state: Any
    ) -> Float[Array, " batch"]:
        """Return the energy of a state without what is attached to the outputs."""
        raise NotImplementedError

    @classmethod
    def self_contained(cls, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return the arguments of an experiment's file so that no other file is needed.

        Run folders and workers elsewhere get an experiment as it is returned here.

        Args:
            arguments: By the name of the field, not checked yet.
            folder: That of the experiment's file.
        """
        return arguments

    # What it is like.

    @property
    def traceable(self) -> bool:
        """Whether `settle` runs under `jax.jit`."""
        return True

    def vectorizable(self, *, holding: bool) -> bool:
        """Whether `settle` runs under `jax.vmap` over parameters, outputs held or not."""
        return self.traceable

    @property
    def random(self) -> bool:
        """Whether states are random, so that `settle` needs a key."""
        return False

    @property
    def random_tests(self) -> bool:
        """Whether tests of what was learned need a key as well; else they are without noise."""
        return False

    @property
    def warm(self) -> bool:
        """Whether training starts a minibatch from the state that the last one ended in."""
        return False

    @property
    def starting_at_zero(self) -> frozenset[str]:
        """Parameters that start at zero, not drawn by an initializer, and that no bound holds.

        A constraint leaves them as they are unless it names them.
        """
        return frozenset()

    @property
    def abilities(self) -> frozenset[str]:
        """What it can do, as names of `ABILITIES`."""
        return frozenset({"force", "spring", "response", "adjoint"})

    def nudge_scale(self, params: Params) -> float:
        """Return how stiff the outputs are, which a nudge compares with."""
        return 1.0

    def sized(self, num_inputs: int, num_outputs: int) -> "AbstractSubstrate":
        """Return this system for data of these sizes.

        Raises:
            ConfigError: If it is made for other sizes.
        """
        sizes = {"num_inputs": num_inputs, "num_outputs": num_outputs}
        given = {k: getattr(self, k) for k in sizes if hasattr(self, k)}
        for name, value in given.items():
            if value not in (0, sizes[name]):
                raise ConfigError(
                    f"{name} is {value}, but the data set has {sizes[name]}. Leave it out: it is "
                    "taken from the data set."
                )
        changes: dict[str, Any] = {k: sizes[k] for k, value in given.items() if value == 0}
        return dataclasses.replace(self, **changes)

    def initial_state(self, batch_size: int) -> Any:
        """Return the state that a `warm` system starts its first minibatch from."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse a system that cannot settle; most can.

        Raises:
            ConfigError: If so, with what to change.
        """

    def check_phase(self, phase: AbstractPhase | AbstractNudge) -> None:
        """Refuse a phase that the system cannot settle in, such as too strong a negative spring.

        Raises:
            ConfigError: If so, with what to change.
        """

    def check_parameters(self, params: Params) -> None:
        """Refuse parameters that the system cannot have.

        Raises:
            ConfigError: If a group is missing or unknown, has another shape, or holds a value that
                is not finite.
        """
        shapes = self.parameter_shapes()
        if set(params) != set(shapes):
            raise ConfigError(
                f"The parameters are {sorted(params)}; this system has {sorted(shapes)}."
            )
        for name, shape in shapes.items():
            values = np.asarray(params[name])
            if values.shape != shape:
                raise ConfigError(
                    f"Parameter group '{name}' has shape {values.shape}; expected {shape}."
                )
            bad = np.argwhere(~np.asarray(self.admissible({name: values})[name]))
            if len(bad):
                index = ", ".join(str(i) for i in bad[0])
                raise ConfigError(
                    f"Parameter '{name}[{index}]' is {values[tuple(bad[0])]}, which this system "
                    "cannot have. Add a constraint or lower the learning rate."
                )

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which parameters the system can have; by default all finite numbers."""
        return {k: values.__array_namespace__().isfinite(values) for k, values in params.items()}

    def explain(self, settled: AnySettled, sample: int) -> str:
        """Return in words where a sample has not settled, for an error message."""
        return f"residual {float(np.asarray(settled.residual)[sample]):.1e}"

    @property
    def num_parts(self) -> int | None:
        """How many parts `named_state` has; None where only a state tells."""
        return None

    def named_state(self, state: Any) -> tuple[list[str], Float[np.ndarray, "batch unknown"]]:
        """Return names and values of the parts of a state, for results."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
        flat = [leaf.reshape(len(leaf), -1) for leaf in leaves]
        names = [f"state_{i}_{j}" for i, part in enumerate(flat) for j in range(part.shape[1])]
        return names, np.concatenate(flat, axis=1)

    def attached(
        self, phase: AbstractPhase | AbstractNudge, found: Sequence[AnySettled]
    ) -> AbstractPhase:
        """Return a phase; of a nudge, what it attaches at the outputs of the first found state."""
        if isinstance(phase, AbstractNudge):
            return phase(self.outputs(found[0].state), slice(None))
        return phase

    def all_positive(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which parameters are finite and positive, for `admissible`."""
        finite = AbstractSubstrate.admissible(self, params)
        return {name: finite[name] & (values > 0.0) for name, values in params.items()}

    # What rules use, derived from the energy unless it is overridden.

    def residual(
        self, params: Params, inputs: Float[Array, "batch ..."], state: Any, phase: AbstractPhase
    ) -> Any:
        r"""Return $\partial_s (E + U(o(s)))$, a tree like the state: zero where stationary."""

        def total(state):
            return self.energy(params, inputs, state).sum() + phase.energy(self.outputs(state))

        return jax.grad(total)(state)

    def energy_gradient(
        self,
        params: Params,
        inputs: Float[Array, "batch ..."],
        state: Any,
        samples: Bool[Array, " batch"],
    ) -> dict[str, Array]:
        r"""Return the mean over some samples of $\partial_\theta E$ at a state.

        Args:
            params: Parameters by group name.
            inputs: Inputs.
            state: A state.
            samples: Which samples count; the others may hold anything.
        """
        count = jnp.maximum(samples.sum(), 1)
        state = implicit.masked(state, samples)

        def mean(params):
            return jnp.where(samples, self.energy(params, inputs, state), 0.0).sum() / count

        return jax.grad(mean)({name: jnp.asarray(value) for name, value in params.items()})

    def contrast(
        self,
        params: Params,
        inputs: Float[Array, "batch ..."],
        first: Any,
        second: Any,
        samples: Bool[Array, " batch"],
    ) -> dict[str, Array]:
        r"""Return the mean over samples of $\partial_\theta E(second) - \partial_\theta E(first)$.

        Args:
            params: Parameters by group name.
            inputs: Inputs.
            first: A state.
            second: Another state.
            samples: Which samples count.
        """
        low, high = (self.energy_gradient(params, inputs, s, samples) for s in (first, second))
        return {name: high[name] - low[name] for name in high}

    def respond(
        self,
        params: Params,
        inputs: Float[Array, "batch ..."],
        state: Any,
        forces: Float[Array, "batch output"],
    ) -> tuple[Any, Bool[Array, " batch"]]:
        """Return the change of a free state under a small force, and where it is valid."""
        return implicit.respond(self, params, inputs, state, forces)

    def contrast_rate(
        self,
        params: Params,
        inputs: Float[Array, "batch ..."],
        state: Any,
        change: Any,
        samples: Bool[Array, " batch"],
    ) -> dict[str, Array]:
        r"""Return the mean over samples of $d(\partial_\theta E)$ along a change of the state."""
        state, change = (implicit.masked(part, samples) for part in (state, change))
        return jax.jvp(
            lambda s: self.energy_gradient(params, inputs, s, samples), (state,), (change,)
        )[1]

    def cost_gradient(
        self,
        params: Params,
        inputs: Float[Array, "batch ..."],
        state: Any,
        output_gradient: Float[Array, "batch output"],
        samples: Bool[Array, " batch"],
        relaxation: Relaxation | None = None,
    ) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
        r"""Return the exact mean of $dC/d\theta$, and which samples it is the mean of.

        This is backpropagation through the settled state, for reference: no physical system does
        it.

        Args:
            params: Parameters by group name.
            inputs: Inputs.
            state: A free state.
            output_gradient: $\partial C/\partial o$.
            samples: Which samples count.
            relaxation: What to backpropagate through instead of the settled state, where the
                system is able to.
        """
        assert relaxation is None, "only a substrate with the ability 'relaxation' is asked this"
        return implicit.cost_gradient(self, params, inputs, state, output_gradient, samples)

    # What only some systems can do.

    def expected_cost(
        self, state: Any, cost: AbstractCost, targets: Float[Array, "batch output"]
    ) -> Float[Array, " batch"]:
        r"""Return $\langle C(o)\rangle$, not the cost of the mean outputs; ability "sampling"."""
        raise NotImplementedError

    def mean_cost_slope(
        self,
        params: Params,
        inputs: Float[Array, "batch ..."],
        state: Any,
        cost: AbstractCost,
        targets: Float[Array, "batch output"],
        samples: Bool[Array, " batch"],
    ) -> dict[str, Array]:
        r"""Return the mean over samples of $d\langle C(o)\rangle/d\theta$ from fluctuations alone.

        The phase is held as it is; ability "sampling".
        """
        raise NotImplementedError

    def diagnostics(self, state: Any) -> dict[str, float]:
        """Return figures of a settled state for the history, such as how well chains mix."""
        return {}

    def complaint(self, figures: dict[str, float]) -> str | None:
        """Return what is wrong with a state by its `diagnostics`; None if nothing is."""
        return None

    def inside(self, state: Any) -> Bool[Array, " batch"]:
        """Return which states are within the bounds of the system; it has none by default."""
        leaf = jax.tree.leaves(state)[0]
        return jnp.ones(len(leaf), bool)

    def moving(self, state: Any) -> Any:
        """Return which parts of a state may move, a tree like it; all by default."""
        return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), state)

    def asymmetric_edges(
        self, params: Params, inputs: Float[Array, "batch ..."], state: Any
    ) -> list[Edge]:
        """Return how asymmetric each device without a co-content is; none by default."""
        return []

    def uniqueness(self, params: Params, inputs: Float[Array, "batch ..."]) -> Uniqueness | None:
        """Return whether samples can settle in several states, searched where they can.

        None where the question means nothing, since what the system learns from is the state that
        it settles in from its own start, such as one of many by design.
        """
        return None

    def confirmed(
        self, params: Params, inputs: Float[Array, "batch ..."], state: Any
    ) -> Bool[np.ndarray, " batch"]:
        """Return which states are stationary by an independent check, whoever found them."""
        return np.zeros(len(inputs), bool)

    def dissipated_power(self, params: Params, state: Any) -> Float[Array, " batch"]:
        """Return the power that the system dissipates in a state [W]; ability "dissipation"."""
        raise NotImplementedError

    def netlist(
        self, params: Params, inputs: Float[Array, "one input"], phase: AbstractPhase, title: str
    ) -> str:
        """Return a SPICE netlist of one sample in a phase; ability "netlist"."""
        raise NotImplementedError

    def reference(self) -> "AbstractSubstrate":
        """Return the same system on a second, independent solver; ability "reference"."""
        raise NotImplementedError
