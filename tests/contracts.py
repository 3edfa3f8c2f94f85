"""What every substrate, engine and device must pass; its own tests come on top.

A new one calls its function here with a small example. Nothing in it knows the example: finite
differences, and what theory says of any system with an energy, are the reference.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.base import AbstractDevice, AbstractTwoTerminal
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.layers.base import AbstractLayer, layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.phases import Force, Free, Hold, Spring
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.path_integral import PathIntegral
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.base import ABILITIES, AbstractSubstrate
from tests.references import central_difference

DIFFERENCES = 1e-6
"""Relative error of central differences with steps of 1e-4: their second order, and the tolerance
of solvers over the step."""

SETTLED = 1e-6
"""Relative distance that a state moves when it is settled again: the tolerance of solvers."""

NUDGE = 1e-3
"""Nudge relative to how stiff the outputs are: C-EP's error is of its square."""

SECOND_ORDER = 1e-4
"""Relative error of C-EP at `NUDGE`: its square, times how nonlinear a small system may be."""

HELD = 1e-9
"""Distance of held outputs from what they are held at."""


def relative(found: Array, expected: Array) -> float:
    """Return the largest difference over the largest entry."""
    size = np.abs(np.asarray(expected)).max()
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max() / size)


def check_substrate(
    substrate: AbstractSubstrate,
    params: Mapping[str, np.ndarray],
    inputs: np.ndarray,
    targets: np.ndarray,
) -> None:
    """Check that what a substrate says of its states, energy and gradients fits together."""
    cost, samples = SquaredError(), np.ones(len(inputs), bool)
    assert substrate.abilities <= set(ABILITIES)
    substrate.check()
    substrate.check_parameters(params)
    assert {k: v.shape for k, v in params.items()} == substrate.parameter_shapes()
    stiffness = substrate.nudge_scale(params)
    (free,) = substrate.settle(params, inputs, [Free()])
    assert np.asarray(free.converged).all()
    outputs = np.asarray(substrate.outputs(free.state))
    assert outputs.shape == targets.shape
    names, values = substrate.named_state(free.state)
    assert values.shape == (len(inputs), len(names))
    again = substrate.settle(params, inputs, [Free()], start=free.state)[0]
    assert relative(substrate.outputs(again.state), outputs) < SETTLED

    def figures(moved: Mapping[str, Array]):
        state = substrate.settle(moved, inputs, [Free()])[0].state
        return substrate.outputs(state), substrate.energy(moved, inputs, state)

    # Asked twice per parameter: compiled once.
    figures = jax.jit(figures) if substrate.traceable else figures

    def loss(moved: Mapping[str, Array]) -> float:
        return float(cost.value(np.asarray(figures(moved)[0]), targets).mean())

    def energy(moved: Mapping[str, Array]) -> float:
        return float(np.asarray(figures(moved)[1]).mean())

    exact = Adjoint()(substrate, params, inputs, targets, cost).gradient
    partial = substrate.energy_gradient(params, inputs, free.state, samples)
    for name, values in params.items():
        at = {"loss": loss, "energy": energy}
        for what, gradient in (("loss", exact), ("energy", partial)):
            # The energy is stationary in the state, so its derivative is the partial one.
            found = central_difference(
                lambda v, f=at[what], name=name: f({**params, name: v}),
                values,
                1e-4 * np.maximum(np.abs(values), np.abs(values).mean() + np.finfo(float).tiny),
            )
            assert relative(gradient[name], found) < DIFFERENCES, (what, name)
    if "response" in substrate.abilities:
        limit = SmallSignal()(substrate, params, inputs, targets, cost).gradient
        for name in params:
            assert relative(limit[name], exact[name]) < DIFFERENCES, name
    nudges: tuple[tuple[Literal["constant", "live"], str], ...]
    nudges = (("constant", "force"), ("live", "spring"))
    for nudge, ability in nudges:
        if ability in substrate.abilities:
            rule = EquilibriumPropagation("centered", NUDGE * stiffness, nudge)
            estimate = rule(substrate, params, inputs, targets, cost)
            assert np.asarray(estimate.converged).all()
            expected = exact
            if nudge == "live" and "sampling" in substrate.abilities:
                # A spring pulls at every draw: it descends the mean cost, not that of the mean.
                expected = PathIntegral(0.0)(substrate, params, inputs, targets, cost).gradient
            for name in params:
                found = estimate.gradient[name]
                assert relative(found, expected[name]) < SECOND_ORDER, (nudge, name)
    if {"force", "spring"} <= substrate.abilities and "sampling" not in substrate.abilities:
        # A spring is a force that gives way: at the outputs it settles with, both are the same.
        spring = Spring(0.1 * stiffness, targets)
        sprung = substrate.settle(params, inputs, [Free(), spring])[1]
        pulled = np.asarray(substrate.outputs(sprung.state))
        force = Force(0.1 * stiffness * (targets - pulled))
        forced = substrate.settle(params, inputs, [Free(), force])[1]
        assert relative(substrate.outputs(forced.state), pulled) < DIFFERENCES
    if "hold" in substrate.abilities:
        wanted = outputs + 0.01 * (targets - outputs)
        held = substrate.settle(params, inputs, [Free(), Hold(wanted)])[1]
        assert np.abs(np.asarray(substrate.outputs(held.state)) - wanted).max() < HELD


def check_engine(
    engine: AbstractEngine, circuit: Circuit, params: Mapping[str, np.ndarray], inputs: np.ndarray
) -> None:
    """Check that an engine's points obey Kirchhoff's law and move as it says that they do."""
    engine.check_circuit(circuit)
    size = (len(inputs), circuit.num_outputs)
    rng = np.random.default_rng(0)
    push = rng.standard_normal(size)
    (free,) = engine.settle(circuit, params, inputs, [Free()])
    assert np.asarray(free.converged).all()
    voltages = np.asarray(free.voltages)
    residual, scale = circuit.balance(params, voltages, np.zeros(size), voltage_floor=1e-4)
    np.testing.assert_array_equal(residual, circuit.residual(params, voltages, np.zeros(size)))
    assert (np.abs(residual) <= 1e-9 * scale).all()
    small = 1e-6
    moved = [
        np.asarray(engine.settle(circuit, params, inputs, [Force(s * small * push)])[0].voltages)
        for s in (1.0, -1.0)
    ]
    changes = engine.respond(circuit, params, inputs, voltages, push)
    assert relative(changes, (moved[0] - moved[1]) / (2.0 * small)) < DIFFERENCES
    # Two ways to the change of a weighted output along a push: forwards, and by the multipliers.
    weight = rng.standard_normal(size)
    multipliers = np.asarray(engine.adjoint(circuit, params, inputs, voltages, weight))
    forwards = (weight * np.asarray(circuit.outputs(np.asarray(changes)))).sum(1)
    backwards = (np.asarray(circuit.injected_currents(push)) * multipliers).sum(1)
    assert relative(backwards, forwards) < 1e-7


def check_device(device: AbstractDevice, drops: tuple[np.ndarray, ...], step: float = 1e-6) -> None:
    """Check that slopes and capacitances are derivatives, and currents those of the co-content.

    States have to move as their slopes say. A device in a `.tran` has the cards of one at rest, or
    others for its states.

    Args:
        device: The device.
        drops: Voltage of every terminal but the last above the last [V], away from kinks.
        step: Step of the differences [V].
    """
    terminals = device.terminals
    assert len(drops) == len(terminals) - 1
    conduction: Any = device.slopes(*drops)
    storage: Any = device.capacitances(*drops)
    check_derivatives(lambda *d: device.currents(*d), conduction, drops, step)
    both: Any = device.currents_and_slopes(*drops)
    np.testing.assert_array_equal(both[0], device.currents(*drops))
    np.testing.assert_array_equal(both[1], conduction)
    check_derivatives(lambda *d: device.charges(*d), storage, drops, step)
    if not device.paths:
        assert not np.any(device.currents(*drops))
    if device.reciprocal:
        for slopes in (conduction, storage):
            for row in range(len(drops)):
                for column in range(row):
                    np.testing.assert_allclose(slopes[row][column], slopes[column][row], rtol=1e-12)
    check_states(device, drops, step)
    if isinstance(device, AbstractTwoTerminal):
        (drop,) = drops
        change = device.co_content(drop + step) - device.co_content(drop - step)
        current = np.asarray(device.current(drop))
        bound = DIFFERENCES * (np.abs(current).max() + 1e-12)
        assert np.abs(np.asarray(change) / (2.0 * step) - current).max() <= bound
    names = [f"node_{k}" for k in range(len(terminals))]
    card = device.card("one", names).split()
    assert [word for word in card if word in names] == names
    moving = device.moving_cards("one", names)
    assert all(any(name in card for card in moving) for name in names)
    assert bool(device.states) == (moving != [device.card("one", names)])


def check_derivatives(law, slopes, points: tuple[np.ndarray, ...], step: float) -> None:
    """Check slopes, first index the values of a law, second its arguments, by differences."""
    largest = max(float(np.abs(np.asarray(slope)).max()) for row in slopes for slope in row)
    for column in range(len(points)):
        high, low = (
            law(*[p + s * step * (i == column) for i, p in enumerate(points)]) for s in (1.0, -1.0)
        )
        assert len(high) == len(slopes)
        for row in range(len(slopes)):
            found = (np.asarray(high[row]) - np.asarray(low[row])) / (2.0 * step)
            expected = np.asarray(slopes[row][column]) + 0.0 * found
            assert np.abs(found - expected).max() <= DIFFERENCES * largest


def check_states(device: AbstractDevice, drops: tuple[np.ndarray, ...], step: float) -> None:
    """Check how the rates of a device's states and its currents change with drops and states."""
    if not device.states:
        return
    states = tuple(
        np.broadcast_to(getattr(device, name), drops[0].shape)[None] for name in device.states
    )
    drops = tuple(drop[None] for drop in drops)

    def at(values) -> AbstractDevice:
        return dataclasses.replace(device, **dict(zip(device.states, values, strict=True)))

    def rates(*point) -> tuple[Array, ...]:
        return at(point[len(drops) :]).rates(*point[: len(drops)])

    here = at(states)
    check_derivatives(rates, here.rate_slopes(*drops), (*drops, *states), step)
    check_derivatives(
        lambda *point: at(point).currents(*drops), here.state_slopes(*drops), states, step
    )


ENGINES_AGREE = 1e-9
"""Volts between engines that both solve to rounding."""


def check_between_layers(
    hidden: Sequence[AbstractLayer], *, num_samples: int, amplitude: float
) -> None:
    """Check that the native engine and ngspice solve a circuit with these layers twice in it.

    Args:
        hidden: What stands behind each of two dense layers.
        num_samples: Samples, each in the free and in a nudged phase.
        amplitude: Largest voltage of the inputs [V].
    """
    circuit = layered_circuit(
        [Dense(5, (1.0,)), *hidden, Dense(4), *hidden, Dense(4)], num_inputs=2, num_outputs=2
    )
    rng = np.random.default_rng(1)
    shapes = circuit.parameter_shapes()
    params = {name: rng.uniform(1e-4, 1e-2, shape) for name, shape in shapes.items()}
    inputs = rng.uniform(-amplitude, amplitude, (num_samples, 2))
    phases = [Free(), Spring(1e-3, rng.normal(size=(num_samples, 2)))]
    ours = Native().settle(circuit, params, inputs, phases)
    theirs = NgSpice().settle(circuit, params, inputs, phases)
    for one, other in zip(ours, theirs, strict=True):
        assert one.converged.all() and other.converged.all()
        np.testing.assert_allclose(one.voltages, other.voltages, rtol=0.0, atol=ENGINES_AGREE)
