"""Lagrangian systems, whose state is a trajectory: fluxes of circuits, pendula, masses."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError, ConvergenceError
from eqprop_spice.lagrangian.action import Action, Extremum, extremum
from eqprop_spice.lagrangian.echo import echo, echo_response, motion
from eqprop_spice.lagrangian.from_netlist import self_contained
from eqprop_spice.lagrangian.network import Network
from eqprop_spice.lagrangian.orbit import CROSSED, FOLDED, NONE, RESONANCE, Orbit
from eqprop_spice.lagrangian.transient_netlist import transient_netlist
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate, Params

FEWEST_STEPS = 4


@dataclasses.dataclass(frozen=True)
class Trajectory(AbstractSubstrate):
    r"""A flux network over a period, without losses: a trajectory along which its action is flat.

    Node fluxes are coordinates: a capacitor to ground is a mass C, an inductor a spring 1/L, a
    Josephson junction a pendulum with $E (1 - \cos\phi)$. The trajectory is no minimum of the
    action, and does not have to be: equilibrium propagation asks for stationarity alone. Fluxes are
    in units of $\Phi_0/2\pi$, so that those across junctions are phases.

    The boundary term of the variation vanishes if the trajectory is periodic, or if both its ends
    are given. If fluxes and charges are given at the beginning, it does not, and the nudged
    trajectories are *echoes*: the free motion is followed, all charges are reversed at its end, and
    it is run back with the nudge. Free and nudged motions then agree in their last state, motions
    of two parameters in their first, so that both terms vanish from what is contrasted: the
    Hamiltonian echo. Its action is not stationary by itself.

    Attributes:
        elements: Cards; see `lagrangian.network.USAGE`. Parameters are capacitances, inverse
            inductances and Josephson energies.
        drives: Nodes that the waveforms of the inputs flow into, as currents.
        output_nodes: Nodes whose fluxes at the midpoints of the time steps are the outputs.
        period: Length of the trajectory [s].
        steps: Number of its time steps.
        boundary: "periodic", "fixed" fluxes at both ends, or "initial" fluxes and charges.
        tolerance: Largest residual of the equations of motion, relative to their terms.

    A state is the fluxes of all nodes at all moments: `batch moment node`, unless periodic the
    first and the last among them.

    Inputs are the waveforms, step by step and in each by drive, then with fixed ends the fluxes of
    all nodes at the beginning and at the end, or with initial values fluxes and charges at the
    beginning. Outputs are step by step, in each by node.

    References:
        Massar (2025), Phys. Rev. E 112, 035304, arXiv:2505.07363; Pourcel et al. (2025),
        arXiv:2506.06248 (the echo); Marsden and West (2001), Acta Numerica 10 (discrete mechanics).
    """

    elements: tuple[str, ...]
    output_nodes: tuple[str, ...]
    drives: tuple[str, ...] = ()
    period: float = 10.0
    steps: int = 200
    boundary: str = "periodic"
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        """Refuse boundaries without a gradient, losses, and names that are not there."""
        if self.boundary not in ("periodic", "fixed", "initial"):
            raise ConfigError(
                f"boundary is '{self.boundary}'; it must be 'periodic', 'fixed' or 'initial'. For "
                "others the boundary term of the action does not vanish, and the contrast of two "
                "trajectories is no gradient."
            )
        for name in ("period", "tolerance"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive.")
        if self.steps < FEWEST_STEPS:
            raise ConfigError(f"steps is {self.steps}; it must be at least {FEWEST_STEPS}.")
        if self.network.of_kind("r"):
            raise ConfigError(
                f"elements holds the resistor '{self.network.of_kind('r')[0].name}', and a system "
                "with losses has no action. Linear circuits with losses learn in harmonic steady "
                "state: ac_circuit.AcCircuit."
            )
        if not self.output_nodes:
            raise ConfigError("output_nodes names none; some flux has to be looked at.")
        _ = self._drive_numbers, self._output_numbers

    @classmethod
    def self_contained(cls, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return arguments with the cards of the netlist at their `path`, if they have one."""
        return self_contained(arguments, folder)

    @functools.cached_property
    def network(self) -> Network:
        """The elements on their nodes."""
        return Network.of(self.elements)

    @functools.cached_property
    def _drive_numbers(self) -> Int[np.ndarray, " drive"]:
        return np.array([self.network.index(node, "drives") for node in self.drives], int)

    @functools.cached_property
    def _output_numbers(self) -> Int[np.ndarray, " output"]:
        return np.array([self.network.index(n, "output_nodes") for n in self.output_nodes], int)

    @property
    def _ring(self) -> bool:
        return self.boundary == "periodic"

    @property
    def _echoes(self) -> bool:
        return self.boundary == "initial"

    @property
    def time_step(self) -> float:
        """The time step [s]."""
        return self.period / self.steps

    @property
    def midpoints(self) -> Float[np.ndarray, " step"]:
        """When the outputs are looked at [s]."""
        return (np.arange(self.steps) + 0.5) * self.time_step

    @property
    def traceable(self) -> bool:
        """The solver is LAPACK's."""
        return False

    @property
    def abilities(self) -> frozenset[str]:
        """What every system can do, and a netlist."""
        return super().abilities | {"netlist"}

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return how many values each group has."""
        return self.network.parameter_shapes()

    def sized(self, num_inputs: int, num_outputs: int) -> "Trajectory":
        """Return the system, if the data have its waveforms.

        Raises:
            ConfigError: If not.
        """
        ends = 0 if self._ring else 2 * self.network.size
        expected = {
            "inputs": self.steps * len(self.drives) + ends,
            "outputs": self.steps * len(self.output_nodes),
        }
        given = {"inputs": num_inputs, "outputs": num_outputs}
        for name, count in expected.items():
            if given[name] != count:
                raise ConfigError(
                    f"The data set has {given[name]} {name}, but {self.steps} steps with this "
                    f"boundary, these drives and output_nodes take {count}."
                )
        return self

    def check(self) -> None:
        """Refuse a system that learns nothing, or whose trajectory is not determined.

        Raises:
            ConfigError: If so, naming the node.
        """
        network = self.network
        if not self.parameter_shapes():
            raise ConfigError("No element learns: leave the value of one out.")
        network.check_paths(self.output_nodes)
        network.check_grounded(
            "c", "has no mass: no capacitors lead from it to the ground (0). Add a small one."
        )
        if self._ring:
            network.check_grounded(
                "lj",
                "floats: no inductors or junctions lead from it to the ground (0), so that any "
                "constant may be added to its flux. Add one, or take boundary = 'fixed'.",
            )

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which values are finite and positive."""
        return self.all_positive(params)

    def nudge_scale(self, params: Params) -> float:
        """Return what a flux of 1 at an output stores in a time step, about."""
        values = self._values(params)
        stiffness = sum(
            (values[kind][:, None] * self.network.incidence(kind) ** 2).sum(0) for kind in "lj"
        )
        return self.time_step * float(np.asarray(stiffness)[self._output_numbers].mean())

    def _values(self, params: Params) -> dict[str, np.ndarray]:
        arrays = {name: np.asarray(value) for name, value in params.items()}
        return {kind: np.asarray(self.network.values(kind, arrays)) for kind in "clj"}

    def action(
        self,
        params: Params,
        inputs: Float[Array, " input"],
        forces: Float[Array, " output"] | None = None,
        stiffness: float = 0.0,
    ) -> Action:
        """Return the action of one sample, with what is attached to its outputs."""
        inputs, size = np.asarray(inputs), self.network.size
        count = self.steps * len(self.drives)
        waves = inputs[:count].reshape(self.steps, len(self.drives))
        currents = waves @ np.eye(size)[self._drive_numbers]
        springs = np.zeros((size, size))
        if forces is not None:
            currents += self._at_nodes(forces) / self.time_step
        for node in self._output_numbers:
            springs[node, node] += stiffness / self.time_step
        ends = inputs[count:].reshape(2, size) if self.boundary == "fixed" else None
        return Action(
            self.network,
            self._values(params),
            self.time_step,
            self._ring,
            currents,
            springs,
            ends,
        )

    def _at_nodes(self, forces: Float[Array, " output"]) -> Float[np.ndarray, "step node"]:
        shaped = np.asarray(forces).reshape(self.steps, len(self.output_nodes))
        return shaped @ np.eye(self.network.size)[self._output_numbers]

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[Orbit]:
        """Return the trajectories in every phase; the nudged ones start from the free ones.

        The residual is that of the equations of motion, relative to their terms. A start is for
        Newton's method on whole trajectories; motions from initial values need none.
        """
        found: list[Orbit] = []
        free: list[Extremum] = []
        for phase in phases:
            phase = self.attached(phase, found)
            forces = np.asarray(phase.source_currents(len(inputs), self._num_outputs))
            rows = []
            for i, row in enumerate(np.asarray(inputs)):
                action = self.action(params, row, forces[i], float(phase.conductance))
                if self._echoes:
                    rest = self.action(params, row)
                    at = echo(action, rest, free[i].fluxes) if free else self._motion(action, row)
                else:
                    begin = free[i].fluxes if free else self._begin(action, start, i)
                    at = extremum(action, begin)
                rows.append((action, at))
            checked = free if phase.conductance and not self._echoes else []
            found.append(self._orbit(rows, checked))
            free = free or [at for _, at in rows]
        return found

    @property
    def _num_outputs(self) -> int:
        return self.steps * len(self.output_nodes)

    def _motion(self, action: Action, inputs: Float[np.ndarray, " input"]) -> Extremum:
        """Return the motion from the initial values among the inputs."""
        fluxes, charges = inputs[self.steps * len(self.drives) :].reshape(2, -1)
        return motion(action, fluxes, charges)

    def _free(
        self, state: Float[Array, "*batch moment node"]
    ) -> Float[np.ndarray, "*batch rest node"]:
        """Return the moments that may move."""
        return np.asarray(state)[..., 1:-1, :] if self.boundary == "fixed" else np.asarray(state)

    def _whole(self, change: Float[np.ndarray, "rest node"]) -> Float[np.ndarray, "moment node"]:
        """Return a change of the moments that may move as one of all."""
        return np.pad(change, ((1, 1), (0, 0))) if self.boundary == "fixed" else change

    def _begin(self, action: Action, start: Any, sample: int) -> Float[np.ndarray, "moment node"]:
        """Return where Newton's method begins."""
        if start is not None:
            return np.nan_to_num(self._free(np.asarray(start))[sample])
        if action.ends is None:
            return np.zeros((self.steps, self.network.size))
        share = np.linspace(0.0, 1.0, self.steps + 1)[1:-1, None]
        return (1.0 - share) * action.ends[0] + share * action.ends[1]

    def _orbit(self, rows: list[tuple[Action, Extremum]], free: list[Extremum]) -> Orbit:
        """Return what was found, judged."""
        troubles, places = [], []
        for i, (action, at) in enumerate(rows):
            trouble = NONE if at.resonance is None else RESONANCE if at.share == 1.0 else FOLDED
            if free and not trouble:
                # The eigenvalues move one way with a spring: one that has changed its sign was 0.
                now = action.hessian(at.fluxes).num_negative()
                trouble = NONE if now == free[i].hessian.num_negative() else CROSSED
            troubles.append(trouble)
            places.append(at.resonance or (-1, -1))
        residual = np.array([at.residual for _, at in rows])
        trouble = np.array(troubles, int)
        converged = (residual <= self.tolerance) & (trouble == NONE)
        paths = [at.fluxes if self._ring else action.path(at.fluxes) for action, at in rows]
        states = np.stack(paths)
        state = np.where(converged[:, None, None], states, np.nan)
        steps = np.array([at.num_steps for _, at in rows], int)
        node, harmonic = np.array(places, int).reshape(-1, 2).T
        share = np.array([at.share for _, at in rows])
        return Orbit(state, converged, residual, steps, trouble, node, harmonic, share)

    def outputs(self, state) -> Float[np.ndarray, "batch output"]:
        """Return the fluxes of the output nodes at the midpoints."""
        state = np.asarray(state)[:, :, self._output_numbers]
        if self._ring:
            middle = 0.5 * (state + np.roll(state, -1, 1))
        else:
            middle = 0.5 * (state[:, 1:] + state[:, :-1])
        return middle.reshape(len(state), -1)

    def energy(self, params, inputs, state) -> Float[np.ndarray, " batch"]:
        """Return the negative action."""
        pairs = zip(np.asarray(inputs), self._free(state), strict=True)
        return np.array([self.action(params, x, None).energy(fluxes) for x, fluxes in pairs])

    def residual(self, params, inputs, state, phase) -> Float[np.ndarray, "batch moment node"]:
        """Return the derivative of the energy by all fluxes."""
        forces = np.asarray(phase.source_currents(len(inputs), self._num_outputs))
        rows = zip(np.asarray(inputs), forces, self._free(state), strict=True)
        stiffness = float(phase.conductance)
        found = [self.action(params, x, f, stiffness).residual(at)[0] for x, f, at in rows]
        return np.stack([left if self._ring else np.pad(left, ((1, 1), (0, 0))) for left in found])

    def _mean(self, params, inputs, samples, slopes) -> dict[str, Array]:
        """Return the mean over samples of slopes by the values of elements, by parameters."""
        chosen = np.flatnonzero(np.asarray(samples))
        total = {kind: np.zeros(len(self.network.of_kind(kind))) for kind in "cljr"}
        for i in chosen.tolist():
            found = slopes(self.action(params, np.asarray(inputs)[i]), i)
            total |= {kind: total[kind] + found[kind] / len(chosen) for kind in found}
        return dict(self.network.gradient(total))

    def energy_gradient(self, params, inputs, state, samples) -> dict[str, Array]:
        """Return the mean of what is conjugate to the parameters; see `Action.slopes`."""
        fluxes = self._free(state)
        return self._mean(params, inputs, samples, lambda action, i: action.slopes(fluxes[i]))

    def contrast_rate(self, params, inputs, state, change, samples) -> dict[str, Array]:
        """Return the mean of how that changes along a change of the trajectory."""
        fluxes, moved = self._free(state), self._free(change)
        return self._mean(
            params,
            inputs,
            samples,
            lambda action, i: action.slope_rates(fluxes[i], moved[i]),
        )

    def respond(
        self, params, inputs, state, forces
    ) -> tuple[Float[np.ndarray, "batch moment node"], Bool[np.ndarray, " batch"]]:
        """Return the change of trajectories under small forces, and where it is finite."""
        changes = []
        for x, fluxes, force in zip(
            np.asarray(inputs), self._free(state), np.asarray(forces), strict=True
        ):
            action, pushed = self.action(params, x), 0.5 * self._at_nodes(force)
            if not np.isfinite(fluxes).all():
                found = np.full_like(fluxes, np.nan)
            elif self._echoes:
                found = echo_response(action, fluxes, 2.0 * pushed / self.time_step)
            elif self._ring:
                found = action.hessian(fluxes).solve(pushed + np.roll(pushed, 1, 0))
            else:
                found = action.hessian(fluxes).solve(pushed[1:] + pushed[:-1])
            changes.append(self._whole(found))
        change = np.stack(changes)
        return change, np.asarray(np.isfinite(change).all(axis=(1, 2)))

    def cost_gradient(
        self, params, inputs, state, output_gradient, samples, relaxation=None
    ) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
        """Return the exact gradient: the multipliers are the response to the cost's slope."""
        assert relaxation is None, "trajectories do not relax node by node"
        change, valid = self.respond(params, inputs, state, -np.asarray(output_gradient))
        valid = np.asarray(samples) & valid
        return self.contrast_rate(params, inputs, state, change, valid), valid

    def netlist(self, params, inputs, phase, title) -> str:
        """Return a period of one sample in `.tran`; see `transient_netlist`."""
        *_, orbit = self.settle(params, inputs, [Free(), phase])
        if not np.asarray(orbit.converged)[0]:
            raise ConvergenceError(f"The sample did not settle: {self.explain(orbit, 0)}.")
        outputs = self.outputs(orbit.state)
        loads = np.asarray(phase.source_currents(*outputs.shape)) - phase.conductance * outputs
        action = self.action(params, np.asarray(inputs)[0], loads[0])
        return transient_netlist(action, self._free(orbit.state)[0], title)

    def explain(self, settled: Settled, sample: int) -> str:
        """Name a resonance, or tell what is left of the equations."""
        assert isinstance(settled, Orbit)
        return settled.explanation(sample, self.network.nodes, self.boundary)

    def named_state(self, state) -> tuple[list[str], Float[np.ndarray, "batch part"]]:
        """Return names and fluxes of all nodes at all free moments."""
        state = np.asarray(state)
        moments = range(state.shape[1])
        names = [f"{node}_{k}" for k in moments for node in self.network.nodes]
        return names, state.reshape(len(state), -1)
