r"""Solves the scalar Kirchhoff equation of every node of a layer, given its neighbors.

With a linear conductance c and a current I from the neighbors, the equation of one node is
$c u + D(u) = I$, where D sums the currents of the node's diodes. D increases and has the sign of
u outside the interval of the diodes' other ends, so the root is unique and easily bracketed.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.constants import JUNCTION_CONDUCTANCE
from eqprop_spice.devices.diode import SMALLEST_DROP, Shockley
from eqprop_spice.devices.ideal import Diode

LARGEST_EXPONENT = 500.0
"""Where exp is cut off during the iteration; no diode of this world reaches Is exp(500)."""

ROUNDING = 1e-15
r"""Error [V] at which an iteration ends. A Newton step s on an exponential leaves at most
$s^2 / 2 n$, a Halley step $s^3 / 12 n^2$, with $n = N v_T$."""

MAX_FAST_STEPS = 7
"""Steps from a guess before the bracketed iteration takes over; 1 to 4 are usual."""

MAX_SAFE_STEPS = 90
"""Bisection alone narrows 1 kV to rounding in 60 steps; Halley usually needs 3."""


@dataclasses.dataclass(frozen=True, eq=False)
class DiodeSlot:
    """At most one diode at every node of a layer, all of one kind and in one direction.

    Attributes:
        device: The diode law, with the values that they share.
        sign: 1 if the anode is at the node, -1 if the cathode is.
        shifts: Voltage of the diode's other end [V].
        present: Which nodes have it.
        values: By field of the device, what differs from node to node.
    """

    device: Diode
    sign: float
    shifts: Float[np.ndarray, " node"]
    present: Bool[np.ndarray, " node"]
    values: Mapping[str, Float[np.ndarray, " node"]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def junction(self) -> Shockley:
        """The device law where it is a junction's; fields that vary hold a row of all nodes."""
        assert isinstance(self.device, Shockley), "ideal diodes are solved by descent"
        rows = {
            name: float(values[0]) if (values == values[0]).all() else values[None, :]
            for name, values in self.values.items()
        }
        return dataclasses.replace(self.device, **rows)

    @property
    def varies(self) -> bool:
        """Whether its diodes are not all alike."""
        return any((values != values[0]).any() for values in self.values.values())


def merge_slots(layers: Sequence[tuple[DiodeSlot, ...]], sizes: Sequence[int]):
    """Return the slots of several layers side by side, so that one solution serves them all."""
    starts = np.cumsum([0, *sizes])
    merged: dict[tuple[Diode, float, int], tuple[np.ndarray, np.ndarray, dict]] = {}
    for slots, start, size in zip(layers, starts, sizes, strict=False):
        seen: collections.Counter[tuple[Diode, float]] = collections.Counter()
        for slot in slots:
            kind = (slot.device, slot.sign)
            key = (*kind, seen[kind])
            seen[kind] += 1
            nothing = (np.zeros(starts[-1]), np.zeros(starts[-1], bool), {})
            shifts, present, values = merged.setdefault(key, nothing)
            shifts[start : start + size] = slot.shifts
            present[start : start + size] = slot.present
            for name, own in slot.values.items():
                shared = np.full(starts[-1], float(getattr(slot.device, name)))
                values.setdefault(name, shared)[start : start + size] = own
    return tuple(DiodeSlot(device, sign, *parts) for (device, sign, _), parts in merged.items())


def _by_law(slots: tuple[DiodeSlot, ...]) -> list[list[DiodeSlot]]:
    """Return the slots whose diodes are all alike together, each of the others alone."""
    laws: dict[Shockley | int, list[DiodeSlot]] = {}
    for number, slot in enumerate(slots):
        laws.setdefault(number if slot.varies else slot.junction, []).append(slot)
    return list(laws.values())


def _row(values):
    """Return a row that broadcasts over the batch; a scalar if all values agree."""
    return float(values[0]) if (values == values[0]).all() else jnp.asarray(values)[None, :]


def _log_lambert(q):
    r"""Return $W(e^q)$ to about 1e-8: Iacono and Boyd's guess, then one Fritsch step.

    References:
        Iacono and Boyd (2017), doi:10.1007/s10444-017-9530-3; Fritsch et al. (1973),
        doi:10.1145/361952.361970.
    """
    small = jnp.log1p(jnp.exp(jnp.minimum(q, 30.0)))
    softplus = jnp.where(q > 30.0, q, small)
    w = softplus * (1.0 - jnp.log1p(softplus) / (2.0 + softplus))
    w = jnp.maximum(w, 1e-300)
    z = q - jnp.log(w) - w
    p = 2.0 * (1.0 + w) * (1.0 + w + 2.0 / 3.0 * z)
    return w * (1.0 + z / (1.0 + w) * (p - z) / (p - 2.0 * z))


def _junction(device: Shockley, u):
    """Return current [A], conductance [S] and its derivative [S/V] of a junction.

    The law is that of `Shockley` with exp cut off, and the curvature that Halley's steps need. It
    is written out once more since it is what the solution of a minibatch spends its time on.
    """
    nvt, i_s = device.emission_voltage, device.saturation_current
    exponential = jnp.exp(jnp.clip(u * (1.0 / nvt), -3.0, LARGEST_EXPONENT))
    inverse = 1.0 / jnp.minimum(u, -3.0 * nvt)
    ratio = (3.0 * nvt / math.e) * inverse
    cubed = ratio * ratio * ratio
    forward = u >= -3.0 * nvt
    current = i_s * jnp.where(forward, exponential - 1.0, -1.0 - cubed)
    slope = jnp.where(forward, (i_s / nvt) * exponential, (3.0 * i_s) * cubed * inverse)
    curvature = slope * jnp.where(forward, 1.0 / nvt, -4.0 * inverse)
    return current + JUNCTION_CONDUCTANCE * u, slope + JUNCTION_CONDUCTANCE, curvature


def _diode(device: Shockley, v):
    r"""Return current [A], conductance [S] and its derivative [S/V] of a diode.

    The junction voltage solves $u + R_s I_s (e^{u/N v_T} - 1) = v$ by Lambert's function; two
    Newton steps on the whole law add the reverse region and the junction conductance.
    """
    r_s, nvt = device.series_resistance, device.emission_voltage
    if np.all(r_s == 0.0):
        return _junction(device, v)
    drop = r_s * device.saturation_current
    # A diode without series resistance among others that have one steps to its voltage below.
    log = math.log(drop / nvt) if np.ndim(drop / nvt) == 0 else np.log((drop + SMALLEST_DROP) / nvt)
    u = v + drop - nvt * _log_lambert(log + (v + drop) / nvt)
    current, slope, _ = _junction(device, u)
    u = u - (u + r_s * current - v) / (1.0 + r_s * slope)
    current, slope, curvature = _junction(device, u)
    part = 1.0 / (1.0 + r_s * slope)
    current = current + slope * (v - u - r_s * current) * part
    return current, slope * part, curvature * part**3


@functools.partial(jax.jit, static_argnums=0)
def _node_law(slots: tuple[DiodeSlot, ...], u):
    """Return current [A], conductance [S], curvature [S/V], magnitude [A] of each node's diodes."""
    zero = jnp.zeros_like(u)
    total, slope, curvature, magnitude = zero, zero, zero, zero
    for slot in slots:
        parts = _diode(slot.junction, slot.sign * (u - _row(slot.shifts)))
        if not slot.present.all():
            mask = jnp.asarray(slot.present)[None, :]
            parts = tuple(jnp.where(mask, part, 0.0) for part in parts)
        total = total + slot.sign * parts[0]
        slope = slope + parts[1]
        curvature = curvature + slot.sign * parts[2]
        magnitude = magnitude + jnp.abs(parts[0])
    return total, slope, curvature, magnitude


def diode_currents(slots: tuple[DiodeSlot, ...], u):
    """Return the diode current that leaves each node [A], its slope [S], and its magnitude [A].

    The magnitude sums the absolute currents of the node's diodes.
    """
    total, slope, _, magnitude = _node_law(slots, u)
    return total, slope, magnitude


def rough_solution(slots: tuple[DiodeSlot, ...], c, current):
    """Return voltages to start from [V]: at the upper bound of the conducting diode's drop.

    A diode carries at most the short-circuit current of what drives it, so it drops at most the
    voltage at which it carries that.
    """
    inverse = 1.0 / c
    linear = start = current * inverse
    for members in _by_law(slots):
        device, room, sign = members[0].junction, None, 1.0
        for slot in members:
            own = slot.sign * (linear - _row(slot.shifts))
            if not slot.present.all():
                own = jnp.where(jnp.asarray(slot.present)[None, :], own, -1.0)
            sign = slot.sign if room is None else jnp.where(own > room, slot.sign, sign)
            room = own if room is None else jnp.maximum(own, room)
        assert room is not None, "every law comes from a slot"
        resistance = inverse + device.series_resistance
        most = jnp.maximum(room, 0.0) * (1.0 / (resistance * device.saturation_current))
        drop = device.emission_voltage * jnp.log(1.0 + most)
        pull = jnp.maximum(room - drop, 0.0) * (inverse / resistance)
        start = jnp.where(pull > jnp.abs(start - linear), linear - sign * pull, start)
    return start


@dataclasses.dataclass(frozen=True)
class _NodeEquation:
    """The scalar equations of a layer.

    Attributes:
        slots: The diodes.
        c: Linear conductance of each node [S], `1 node`.
        current: Current from the neighbors [A], `batch node`.
    """

    slots: tuple[DiodeSlot, ...]
    c: Array
    current: Array

    def step(self, u):
        """Return Halley's step [V], the excess current [A], and diode conductance [S] after it."""
        diode_current, slope, curvature, _ = _node_law(self.slots, u)
        inverse = 1.0 / (self.c + slope)
        excess = self.c * u + diode_current - self.current
        newton = excess * inverse
        step = newton / jnp.clip(1.0 - 0.5 * newton * curvature * inverse, 0.5, 2.0)
        return step, excess, slope - step * curvature

    def bracket(self):
        """Return voltages left and right of the root [V].

        Outside the interval of their other ends, all diodes pull the node back towards it.
        """
        linear = self.current / self.c
        most = np.max([np.where(s.present, s.shifts, -np.inf) for s in self.slots], axis=0)
        least = np.min([np.where(s.present, s.shifts, np.inf) for s in self.slots], axis=0)
        return jnp.minimum(linear, _row(least)), jnp.maximum(linear, _row(most))


def _solve_safely(equation: _NodeEquation, u, settled, slope, tolerance: float):
    """Go on, where nodes have not settled, with steps kept inside a shrinking bracket."""

    def unfinished(state):
        steps, _, settled, *_ = state
        return (steps < MAX_SAFE_STEPS) & ~settled

    def improve(state):
        steps, u, _, slope, low, high, last_step = state
        bounds = equation.bracket()
        low, high = jnp.maximum(low, bounds[0]), jnp.minimum(high, bounds[1])
        u = jnp.clip(jnp.where(jnp.isnan(u), 0.0, u), low, high)
        step, excess, new_slope = equation.step(u)
        high = jnp.where(excess > 0.0, u, high)
        low = jnp.where(excess < 0.0, u, low)
        target = u - step
        # On the far side of an exponential, steps creep by an emission voltage or two.
        creeps = jnp.abs(step) > 0.5 * jnp.abs(last_step)
        trusted = (target >= low) & (target <= high) & ~creeps
        small = jnp.abs(step) <= tolerance
        step = jnp.where(trusted | small, step, u - 0.5 * (low + high))
        going = ~(jnp.abs(last_step) <= tolerance)
        u = jnp.where(going, u - step, u)
        last_step = jnp.where(going, step, last_step)
        slope = jnp.where(going, new_slope, slope)
        settled = ~(jnp.abs(last_step) > tolerance).any()
        return steps + 1, u, settled, slope, low, high, last_step

    infinite = jnp.full_like(u, jnp.inf)
    first = (0, u, settled, slope, -infinite, infinite, infinite)
    _, u, _, slope, *_ = jax.lax.while_loop(unfinished, improve, first)
    return u, slope


@functools.partial(jax.jit, static_argnums=0)
def solve_nodes(slots: tuple[DiodeSlot, ...], c, current, guess):
    r"""Solve $c u + D(u) = I$ at every node of a batch.

    Args:
        slots: The diodes.
        c: Linear conductance of each node [S], `1 node`.
        current: Current from the neighbors [A], `batch node`.
        guess: Where the iteration starts [V].

    Returns:
        The voltages [V], and the diodes' conductances [S] there, good to about 1e-8.

    References:
        The iteration is Halley's; Traub (1964), Iterative Methods, section 5.2.
    """
    if not slots:
        return current / c, jnp.zeros_like(current)
    nvt = min(float(np.min(slot.junction.emission_voltage)) for slot in slots)
    tolerance = (12.0 * ROUNDING * nvt**2) ** (1.0 / 3.0)
    equation = _NodeEquation(slots, c, current)

    def unfinished(state):
        steps, _, settled, _ = state
        return (steps < MAX_FAST_STEPS) & ~settled

    def improve(state):
        steps, u, _, _ = state
        step, _, slope = equation.step(u)
        return steps + 1, u - step, (jnp.abs(step) <= tolerance).all(), slope

    first = (0, guess, jnp.zeros((), bool), jnp.zeros_like(guess))
    _, u, settled, slope = jax.lax.while_loop(unfinished, improve, first)
    return _solve_safely(equation, u, settled, slope, tolerance)
