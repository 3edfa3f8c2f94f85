r"""Linear circuits in harmonic steady state, with losses, that learn in `.ac`."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Complex, Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.lagrangian import ac_netlist
from eqprop_spice.lagrangian.from_netlist import self_contained
from eqprop_spice.lagrangian.network import GROUND, Network
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Force, Free
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate, Params

TOLERANCE = 1e-9
"""Largest residual of Kirchhoff's law, relative to the currents that meet."""

RESONANCE = 1e-12
"""Smallest current into a circuit relative to what flows in it: below, rounding decides."""


@dataclasses.dataclass(frozen=True)
class AcCircuit(AbstractSubstrate):
    r"""Capacitors, inductors and resistors under currents of one frequency; a sample is one.

    With the admittance matrix $Y = G + j\omega C + \Gamma/(j\omega)$, the phasors v of the nodes
    obey $Yv = i$. Y is symmetric and complex, so they are where the *complex* action
    $S = v^T Y v/2 - i^T v$, with transposes and no conjugates, is stationary, losses or not. Its
    real part is a real energy of the real and the imaginary parts of v, and a real force f on
    these parts of an output is the current $f_1 - j f_2$: the phase conjugate. So the
    rules, which know nothing of phasors, nudge with the conjugate of the error and contrast
    $v^2$, not $|v|^2$. The energy is quadratic: with the constant nudge the centered contrast is
    the exact gradient whatever beta is.

    Attributes:
        elements: Cards; see `lagrangian.network.USAGE`. Parameters are capacitances, inverse
            inductances and conductances, relative to the scales below.
        drives: Nodes that the currents of the inputs flow into.
        output_nodes: Nodes, or pairs of nodes whose difference counts. An output is two numbers,
            the real and the imaginary part.
        resistance: What 1 ohm of the cards is in netlists [ohm].
        frequency: What 1 rad/s of the inputs is in netlists [rad/s].
        engine: What solves it: "native", or ngspice's `.ac`.

    An input is an angular frequency, then the real and the imaginary part of every drive.
    """

    elements: tuple[str, ...]
    drives: tuple[str, ...]
    output_nodes: tuple[str | tuple[str, str], ...]
    resistance: float = 1.0
    frequency: float = 1.0
    engine: Literal["native", "ngspice"] = "native"

    def __post_init__(self) -> None:
        """Refuse scales that are none, and names that are not there."""
        for name in ("resistance", "frequency"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive.")
        if not self.output_nodes or not self.drives:
            raise ConfigError("drives and output_nodes each need a node.")
        if self.network.of_kind("j"):
            name = self.network.of_kind("j")[0].name
            raise ConfigError(
                f"elements holds the junction '{name}', which is not linear and mixes frequencies. "
                "Its periodic orbits are those of the substrate trajectory.Trajectory."
            )
        _ = self.output_weights, self._drive_numbers

    @classmethod
    def self_contained(cls, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return arguments with the cards of the netlist at their `path`, if they have one."""
        return self_contained(arguments, folder, keep=frozenset({"resistance", "frequency"}))

    @functools.cached_property
    def network(self) -> Network:
        """The elements on their nodes."""
        return Network.of(self.elements)

    @functools.cached_property
    def _drive_numbers(self) -> np.ndarray:
        return np.array([self.network.index(node, "drives") for node in self.drives])

    @functools.cached_property
    def output_weights(self) -> Float[np.ndarray, "output node"]:
        """What every node counts in every output."""
        pairs = [(n, GROUND) if isinstance(n, str) else n for n in self.output_nodes]
        weights = np.zeros((len(pairs), self.network.size))
        for row, nodes in zip(weights, pairs, strict=True):
            for node, sign in zip(nodes, (1.0, -1.0), strict=True):
                if node != GROUND:
                    row[self.network.index(node, "output_nodes")] += sign
            if not row.any():
                raise ConfigError(f"output_nodes: the output {nodes} is always zero.")
        return weights

    @property
    def abilities(self) -> frozenset[str]:
        """All that a system with an energy can do, a netlist, and a second solver.

        No circuit is a spring to phasors: its current would be the conjugate of the voltage's.
        """
        native = {"force", "spring", "response", "adjoint", "netlist", "reference"}
        return frozenset(native if self.engine == "native" else native - {"spring", "reference"})

    @property
    def traceable(self) -> bool:
        """Whether it settles without ngspice."""
        return self.engine == "native"

    def reference(self) -> "AcCircuit":
        """Return the circuit on ngspice."""
        return dataclasses.replace(self, engine="ngspice")

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return how many values each group has."""
        return self.network.parameter_shapes()

    def sized(self, num_inputs: int, num_outputs: int) -> "AcCircuit":
        """Return the circuit, if the data are made for its drives and outputs.

        Raises:
            ConfigError: If not.
        """
        expected = {"inputs": 1 + 2 * len(self.drives), "outputs": 2 * len(self.output_nodes)}
        given = {"inputs": num_inputs, "outputs": num_outputs}
        for name, count in expected.items():
            if given[name] != count:
                raise ConfigError(
                    f"The data set has {given[name]} {name}, but these drives and output_nodes "
                    f"take {count}: a frequency and two numbers a drive, two numbers an output."
                )
        return self

    def check(self) -> None:
        """Refuse a circuit that learns nothing, or a node that reaches no output.

        Raises:
            ConfigError: If so, by name.
        """
        if not self.parameter_shapes():
            raise ConfigError("No element learns: leave the value of one out.")
        pairs = [(n,) if isinstance(n, str) else n for n in self.output_nodes]
        self.network.check_paths([n for pair in pairs for n in pair if n != GROUND])

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which values are finite and positive."""
        return self.all_positive(params)

    def nudge_scale(self, params: Params) -> float:
        """Return 1: voltages and currents are of order one in the units of the cards."""
        return 1.0

    def _parts(self, params: Params) -> dict[str, Float[Array, "node node"]]:
        """Return the matrices G, C and of inverse inductances, by the elements' kind."""
        network = self.network
        parts = {
            kind: network.incidence(kind).T
            @ (jnp.asarray(network.values(kind, params))[:, None] * network.incidence(kind))
            for kind in "cr"
        }
        roots = jnp.sqrt(jnp.asarray(network.values("l", params)))[:, None]
        fluxes = roots * network.incidence("l")
        return parts | {"l": fluxes.T @ network.inverse_coupling @ fluxes}

    def admittances(
        self, params: Params, omega: Float[Array, " batch"]
    ) -> Complex[Array, "batch node node"]:
        """Return the admittance matrix at every frequency."""
        parts, rate = self._parts(params), 1j * jnp.asarray(omega)[:, None, None]
        return parts["r"] + rate * parts["c"] + parts["l"] / rate

    def _currents_inside(
        self, params: Params, omega: Float[Array, " batch"], state: Float[Array, "batch 2 node"]
    ) -> Float[Array, " batch"]:
        """Return about the largest current through elements, before they cancel in nodes."""
        rate = omega[:, None, None]
        parts = {kind: abs(part) for kind, part in self._parts(params).items()}
        sizes = parts["r"] + rate * parts["c"] + parts["l"] / rate
        return (sizes @ abs(state).sum(1)[..., None])[..., 0].max(1)

    def currents(self, inputs: Float[Array, "batch input"]) -> Complex[Array, "batch node"]:
        """Return the phasors of the currents into the nodes."""
        drives = inputs[:, 1::2] + 1j * inputs[:, 2::2]
        return (
            jnp.zeros((len(inputs), self.network.size), complex)
            .at[:, self._drive_numbers]
            .add(drives)
        )

    def energy(self, params, inputs, state) -> Float[Array, " batch"]:
        """Return the real part of the complex action; see the class."""
        v = state[:, 0] + 1j * state[:, 1]
        y = self.admittances(params, inputs[:, 0])
        return jnp.real(
            0.5 * jnp.einsum("bi,bij,bj->b", v, y, v) - (self.currents(inputs) * v).sum(1)
        )

    def outputs(self, state) -> Float[Array, "batch output"]:
        """Return the real and the imaginary part of every output."""
        parts = jnp.einsum("bpn,on->bop", jnp.asarray(state), self.output_weights)
        return parts.reshape(len(parts), -1)

    def _into_nodes(self, values: Float[Array, "batch output"]) -> Float[Array, "batch 2 node"]:
        """Return forces on the parts of outputs as forces on the parts of nodes."""
        parts = jnp.asarray(values).reshape(len(values), -1, 2)
        return jnp.einsum("bop,on->bpn", parts, self.output_weights)

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[Settled]:
        """Return the phasors of every sample in every phase; the problem is linear."""
        params = {name: jnp.asarray(value) for name, value in params.items()}
        inputs, found = jnp.asarray(inputs), []
        for phase in phases:
            phase = self.attached(phase, found)
            solve = self._settle if self.engine == "native" else self._settle_in_ngspice
            found.append(solve(params, inputs, phase))
        return found

    def _system(
        self, params: Params, inputs: Float[Array, "batch input"], phase: AbstractPhase
    ) -> tuple[Float[Array, "batch two_n two_n"], Float[Array, "batch two_n"]]:
        """Return the Hessian of the energy and the forces on the real and imaginary parts."""
        y, i = self.admittances(params, inputs[:, 0]), self.currents(inputs)
        hessian = jnp.concatenate(
            [
                jnp.concatenate([jnp.real(y), -jnp.imag(y)], 2),
                jnp.concatenate([-jnp.imag(y), -jnp.real(y)], 2),
            ],
            1,
        )
        spring = self.output_weights.T @ self.output_weights
        hessian += phase.conductance * np.kron(np.eye(2), spring)
        forces = phase.source_currents(len(inputs), 2 * len(self.output_nodes))
        pushes = jnp.stack([jnp.real(i), -jnp.imag(i)], 1) + self._into_nodes(jnp.asarray(forces))
        return hessian, pushes.reshape(len(inputs), -1)

    def _settle(
        self, params: Params, inputs: Float[Array, "batch input"], phase: AbstractPhase
    ) -> Settled:
        """Solve natively."""
        hessian, pushes = self._system(params, inputs, phase)
        found = jnp.linalg.solve(hessian, pushes[..., None])[..., 0]
        state = found.reshape(len(inputs), 2, -1)
        inside = self._currents_inside(params, inputs[:, 0], state)
        return _judged(hessian, pushes, state, inside, self._stable(params, inputs, phase))

    def _stable(
        self, params: Params, inputs: Float[Array, "batch input"], phase: AbstractPhase
    ) -> Bool[Array, " batch"]:
        r"""Return where a spring is weaker than what the outputs see: $|G|\,\|Z\| < 1$.

        It is a phase-conjugate load, which amplifies what it is fed back: a parametric oscillator.
        """
        if isinstance(phase, Free | Force):
            return jnp.ones(len(inputs), bool)
        columns = jnp.broadcast_to(
            jnp.asarray(self.output_weights.T, complex),
            (len(inputs), *self.output_weights.T.shape),
        )
        seen = self.output_weights @ jnp.linalg.solve(
            self.admittances(params, inputs[:, 0]), columns
        )
        return abs(phase.conductance) * jnp.linalg.norm(seen, 2, (1, 2)) < 1.0

    def _settle_in_ngspice(
        self, params: Params, inputs: Float[Array, "batch input"], phase: AbstractPhase
    ) -> Settled:
        """Solve in ngspice, one `.ac` a sample."""
        if not isinstance(phase, Free | Force):
            raise ConfigError('ngspice has no spring for phasors. Use nudge = "constant".')
        pushed = self._nodal_currents(inputs, phase)
        cards = ac_netlist.passive_cards(self.network, params, self.resistance, self.frequency)
        found = ac_netlist.phasors(
            cards,
            self.network.nodes,
            np.asarray(inputs[:, 0]) * self.frequency,
            pushed / self.resistance,
        )
        state = jnp.stack([jnp.real(found), jnp.imag(found)], 1)
        hessian, pushes = self._system(params, inputs, phase)
        inside = self._currents_inside(params, inputs[:, 0], state)
        return _judged(hessian, pushes, state, inside, jnp.ones(len(inputs), bool))

    def _nodal_currents(
        self, inputs: Float[Array, "batch input"], phase: AbstractPhase
    ) -> Complex[np.ndarray, "batch node"]:
        """Return all currents into nodes, those of a force as its conjugates."""
        forces = phase.source_currents(len(inputs), 2 * len(self.output_nodes))
        parts = np.asarray(self._into_nodes(jnp.asarray(forces)))
        return np.asarray(self.currents(jnp.asarray(inputs))) + parts[:, 0] - 1j * parts[:, 1]

    def netlist(self, params, inputs, phase, title) -> str:
        """Return the circuit at one frequency for `ngspice -b`, which prints its phasors.

        A spring is written as the current that it draws.
        """
        params = {name: jnp.asarray(value) for name, value in params.items()}
        if not isinstance(phase, Free | Force):
            *_, settled = self.settle(params, inputs, [Free(), phase])
            outputs = self.outputs(settled.state)
            drawn = phase.source_currents(*outputs.shape) - phase.conductance * outputs
            phase = Force(drawn)
        cards = ac_netlist.passive_cards(self.network, params, self.resistance, self.frequency)
        currents = self._nodal_currents(inputs, phase)[0] / self.resistance
        omega = float(np.asarray(inputs)[0, 0]) * self.frequency
        return ac_netlist.framed(cards, self.network.nodes, omega, currents, title)

    def explain(self, settled: Settled, sample: int) -> str:
        """Tell a resonance from a residual."""
        residual = float(np.asarray(settled.residual)[sample])
        if math.isfinite(residual):
            return f"Kirchhoff's law is missed by {residual:.1e}"
        return (
            "it is at a resonance without losses, or the nudge is a spring stronger than what the "
            "output sees: move the frequency, add a resistor, or lower beta"
        )

    def named_state(self, state) -> tuple[list[str], Float[np.ndarray, "batch part"]]:
        """Return names and values of the parts of the phasors [V]."""
        names = [f"{node}_{part}" for part in ("re", "im") for node in self.network.nodes]
        return names, np.asarray(state).reshape(len(state), -1)


def _judged(
    hessian: Float[Array, "batch two_n two_n"],
    pushes: Float[Array, "batch two_n"],
    state: Float[Array, "batch 2 n"],
    inside: Float[Array, " batch"],
    stable: Bool[Array, " batch"],
) -> Settled:
    """Return a state with its residual: infinite at a resonance, or where it is unstable.

    Args:
        hessian: The Hessian of the energy.
        pushes: The forces on the parts of the phasors.
        state: The parts.
        inside: The largest current through elements.
        stable: Where the phase is.
    """
    found, outside = state.reshape(len(state), -1), abs(pushes).max(1)
    missing = abs((hessian @ found[..., None])[..., 0] - pushes).max(1)
    relative = missing / jnp.maximum(jnp.maximum(inside, outside), jnp.finfo(float).tiny)
    alive = stable & jnp.isfinite(relative) & (outside >= RESONANCE * inside)
    residual = jnp.where(alive, relative, jnp.inf)
    converged = residual <= TOLERANCE
    state = jnp.where(converged[:, None, None], state, jnp.nan)
    return Settled(state, converged, residual, jnp.zeros(len(state), int))
