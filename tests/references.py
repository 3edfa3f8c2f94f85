"""Layered circuits for tests, and their solution by a Newton method of its own.

The equations are written out here once more, from Kirchhoff's law of the layered family, and share
no code with the package: u are the voltages at the amplifiers' inputs, A the gain, kappa the
reflection, $p_l$ the sources and amplifier outputs in front of layer l.
"""

import dataclasses
import math
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.devices.ideal import Diode
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import AbstractLayer, layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes

KIRAZ = PRESETS["kiraz"]

BOLTZMANN, CHARGE, KELVIN, GMIN = 1.38064852e-23, 1.6021766208e-19, 300.15, 1e-12


Kind = Literal["transformer", "kendall", "published"]


def reflection_of(kind: str, gain: float) -> float:
    """Return kappa as the table of published netlists gives it."""
    return {"transformer": gain, "kendall": 1 / gain, "published": -1 / gain}[kind]


def junction(diode: Shockley, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return current and conductance of a junction, as ngspice's manual gives them."""
    nvt = diode.emission_coefficient * BOLTZMANN * KELVIN / CHARGE
    i_s = diode.saturation_current
    forward = u >= -3 * nvt
    exponential = np.exp(np.minimum(np.where(forward, u / nvt, 0.0), 600.0))
    reverse = np.where(forward, -3 * nvt, u)
    ratio = (3 * nvt / (reverse * math.e)) ** 3
    current = np.where(forward, i_s * (exponential - 1), -i_s * (1 + ratio)) + GMIN * u
    slope = np.where(forward, i_s / nvt * exponential, 3 * i_s * ratio / reverse) + GMIN
    return current, slope


def diode_law(diode: Shockley, v: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return current and conductance of a diode; bisection finds the junction behind Rs."""
    v = np.asarray(v, float)
    r_s = diode.series_resistance
    u = v
    if r_s > 0:
        low, high = np.minimum(v, 0.0), np.maximum(v, 0.0)
        # A junction that carried more than v / Rs would need a larger voltage than v.
        nvt = diode.emission_coefficient * BOLTZMANN * KELVIN / CHARGE
        high = np.minimum(high, nvt * np.log1p(high / (r_s * diode.saturation_current)))
        for _ in range(60):
            u = 0.5 * (low + high)
            above = u + r_s * junction(diode, u)[0] > v
            low, high = np.where(above, low, u), np.where(above, u, high)
    current, slope = junction(diode, u)
    return current, slope / (1 + r_s * slope)


@dataclasses.dataclass(frozen=True)
class Layered:
    """A layered circuit with antiparallel diodes and an amplifier at every hidden node."""

    hidden: tuple[int, ...] = (2,)
    num_inputs: int = 2
    num_outputs: int = 1
    reflection: Kind = "kendall"
    gain: float = 4.0
    diode: Diode = KIRAZ
    shift: float = 0.3
    bias: tuple[float, ...] = (1.0,)
    inverted: bool = False
    doubled_inputs: bool = False
    differential: bool = True

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of nodes of every layer, outputs included."""
        return (*self.hidden, self.num_outputs * (2 if self.differential else 1))

    def circuit(self) -> Circuit:
        """Return the circuit as the package builds it."""
        layers: list[AbstractLayer] = []
        for size in self.hidden:
            layers += [
                Dense(size, self.bias),
                AntiparallelDiodes(self.diode, self.shift),
                BidirectionalAmplifier(self.gain, self.reflection, self.inverted),
            ]
        return layered_circuit(
            [*layers, Dense(self.sizes[-1], self.bias)],
            num_inputs=self.num_inputs,
            num_outputs=self.num_outputs,
            doubled_inputs=self.doubled_inputs,
            differential=self.differential,
        )

    def draw(self, seed: int, lower: float = 1e-3, upper: float = 1e-1) -> dict[str, np.ndarray]:
        """Return seeded conductances [S]."""
        rng = np.random.default_rng(seed)
        shapes = self.circuit().parameter_shapes()
        return {name: rng.uniform(lower, upper, shape) for name, shape in shapes.items()}

    def inputs(self, seed: int, count: int, amplitude: float = 2.0) -> np.ndarray:
        """Return seeded inputs [V]."""
        return np.random.default_rng(seed).uniform(-amplitude, amplitude, (count, self.num_inputs))

    def node_names(self) -> list[str]:
        """Return the names of the unknown nodes, layer by layer."""
        last = 3 * len(self.hidden)
        positions = [*range(0, last, 3), last]
        return [
            f"n{p}_{j}" for p, size in zip(positions, self.sizes, strict=True) for j in range(size)
        ]

    def kirchhoff(
        self,
        conductances: list[np.ndarray],
        x: np.ndarray,
        u: np.ndarray,
        injected: np.ndarray,
        *,
        diodes: bool = True,
    ) -> np.ndarray:
        """Return the current leaving every node, one sample; the equations of the family."""
        gain, kappa = self.gain, reflection_of(self.reflection, self.gain)
        layers = np.split(u, np.cumsum(self.sizes)[:-1])
        total = [np.zeros(size) for size in self.sizes]
        before = np.concatenate([x, -x]) if self.doubled_inputs else x
        for layer, g in enumerate(conductances):
            front = np.concatenate([before, self.bias])
            delivered = g * (front[:, None] - layers[layer][None, :])
            total[layer] -= delivered.sum(0)
            out = delivered.sum(1)
            if layer > 0:
                n = self.sizes[layer - 1]
                total[layer - 1] += kappa * out[:n]
                if self.inverted:
                    # The published circuit inverts the gain alone.
                    inverse = kappa if self.reflection == "published" else -kappa
                    total[layer - 1] += inverse * out[n : 2 * n]
            before = gain * layers[layer]
            if self.inverted:
                before = np.concatenate([before, -before])
            if diodes and layer < len(self.hidden):
                assert isinstance(self.diode, Shockley), "ideal diodes have no law"
                upper = diode_law(self.diode, layers[layer] - self.shift)[0]
                lower = diode_law(self.diode, -self.shift - layers[layer])[0]
                total[layer] += upper - lower
        total[-1] -= injected
        return np.concatenate(total)

    def jacobian(self, conductances, u: np.ndarray, stiffness: float) -> np.ndarray:
        """Return the derivative of `kirchhoff` by u, a spring at the outputs included."""
        zero_x = np.zeros(self.num_inputs)

        def linear(v):
            return self.kirchhoff(conductances, zero_x, v, self._spring(v, stiffness), diodes=False)

        offset = linear(np.zeros(len(u)))
        matrix = np.stack([linear(e) - offset for e in np.eye(len(u))], axis=1)
        num_hidden = sum(self.hidden)
        if num_hidden:
            assert isinstance(self.diode, Shockley), "ideal diodes have no slope"
            h = u[:num_hidden]
            slopes = diode_law(self.diode, h - self.shift)[1]
            slopes = slopes + diode_law(self.diode, -self.shift - h)[1]
            matrix[np.arange(num_hidden), np.arange(num_hidden)] += slopes
        return matrix

    def read(self, u: np.ndarray) -> np.ndarray:
        """Return the outputs from the unknowns, last axis."""
        y = u[..., -self.sizes[-1] :]
        if not self.differential:
            return y
        return y[..., : self.num_outputs] - y[..., self.num_outputs :]

    def _inject(self, currents: np.ndarray) -> np.ndarray:
        return np.concatenate([currents, -currents]) if self.differential else currents

    def _spring(self, u: np.ndarray, stiffness: float) -> np.ndarray:
        return self._inject(-stiffness * self.read(u))

    def solve(
        self,
        params: dict[str, np.ndarray],
        inputs: np.ndarray,
        currents: Array | None = None,
        stiffness: float = 0.0,
    ) -> np.ndarray:
        """Return the unknown voltages of every sample, by Newton steps with backtracking.

        Args:
            params: Conductances [S] by group name.
            inputs: Inputs [V].
            currents: Injected into the outputs [A].
            stiffness: Conductance [S] across the outputs.
        """
        conductances = list(params.values())
        if currents is None:
            currents = np.zeros((len(inputs), self.num_outputs))
        solutions = []
        for x, current in zip(inputs, currents, strict=True):
            injected = self._inject(current)

            def residual(u, x=x, injected=injected):
                return self.kirchhoff(conductances, x, u, injected + self._spring(u, stiffness))

            u = np.zeros(sum(self.sizes))
            f = residual(u)
            for _ in range(400):
                step = np.linalg.solve(self.jacobian(conductances, u, stiffness), -f)
                fraction = 1.0
                for _ in range(40):
                    candidate = residual(u + fraction * step)
                    if np.abs(candidate).max() <= np.abs(f).max():
                        break
                    fraction *= 0.5
                else:
                    break  # the residual is at rounding
                u, f = u + fraction * step, candidate
                if np.abs(step).max() < 1e-14 * (1 + np.abs(u).max()):
                    break
            assert np.abs(f).max() < 1e-10, "the reference solver did not converge"
            solutions.append(u)
        return np.array(solutions)


def bisect(function: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Return the root of an increasing function to the last digit; of an array, elementwise."""
    assert np.all(function(low) <= 0.0) and np.all(function(high) >= 0.0)
    for _ in range(200):
        middle = 0.5 * (low + high)
        above = function(middle) > 0.0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (0.5 * (low + high))[()]


def central_difference(function, point: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the gradient of a scalar function by central differences."""
    gradient = np.empty_like(point)
    for k in np.ndindex(point.shape):
        high, low = point.copy(), point.copy()
        high[k] += steps[k]
        low[k] -= steps[k]
        gradient[k] = (function(high) - function(low)) / (high[k] - low[k])
    return gradient


def run_ngspice(netlist: str, folder: Path) -> dict[str, float]:
    """Run plain `ngspice -b` in an empty folder and return what it printed by name."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    path = folder / "circuit.cir"
    path.write_text(netlist)
    done = subprocess.run(
        ["ngspice", "-b", str(path)],
        cwd=empty,
        env={**os.environ, "HOME": str(empty)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert list(empty.iterdir()) == []
    printed = {}
    for name, value in re.findall(r"(?m)^(\S+) = (\S+)\s*$", done.stdout):
        printed[name] = float(value)
    return printed


def branch_currents(circuit: Circuit, params: dict[str, np.ndarray], v: np.ndarray):
    """Yield `(group, node, node, current)` of every two-terminal device, one sample, by loops."""
    for group in circuit.groups:
        values = np.ravel(params[group.name]) if group.name in params else None
        for i, (a, b) in enumerate(zip(*group.layout.pairs(), strict=True)):
            drop = v[a] - v[b]
            if values is not None:
                yield group.name, int(a), int(b), float(values[i] * drop)
            else:
                assert isinstance(group.device, Shockley)
                yield group.name, int(a), int(b), float(diode_law(group.device, drop)[0])


def absorbed_powers(
    circuit: Circuit, params: dict[str, np.ndarray], v: np.ndarray, injected: np.ndarray
) -> dict[str, float]:
    """Return the power [W] that each class of devices absorbs in one sample.

    The currents of sources and amplifiers follow from Kirchhoff's law at their own nodes, so that
    the sum is zero only if it holds at the free ones.
    """
    leaving = np.zeros(circuit.num_nodes)
    powers: dict[str, float] = {}
    for kind in ("resistors", "diodes", "sources", "amplifiers", "nudge"):
        powers[kind] = 0.0
    for name, a, b, current in branch_currents(circuit, params, v):
        leaving[a] += current
        leaving[b] -= current
        powers["resistors" if name in params else "diodes"] += (v[a] - v[b]) * current
    for source in circuit.sources:
        powers["sources"] -= float((v[source.nodes] * leaving[source.nodes]).sum())
    for amplifier in circuit.amplifiers:
        for h, o, kappa in zip(
            amplifier.inputs, amplifier.outputs, amplifier.reflections, strict=True
        ):
            powers["amplifiers"] += float(v[h] * kappa * leaving[o] - v[o] * leaving[o])
    for (plus, minus), current in zip(circuit.output_nodes, injected, strict=True):
        powers["nudge"] -= float(current * (v[plus] - v[minus]))
    return powers


def run_transient(netlist: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Run plain `ngspice -b` on a transient: return the times [s] and what it wrote, by column."""
    (folder / "transient.cir").write_text(netlist)
    done = subprocess.run(
        ["ngspice", "-b", "transient.cir"],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (folder / "transient.txt").exists(), done.stdout + done.stderr
    table = np.loadtxt(folder / "transient.txt")
    return table[:, 0], table[:, 1:]
