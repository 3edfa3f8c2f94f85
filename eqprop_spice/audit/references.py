"""Gradients without a learning rule: the adjoint, finite differences, ngspice's .sens."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.audit.case import Case, Selection
from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.ngspice.engine import HELD_POINTS
from eqprop_spice.errors import ConvergenceError
from eqprop_spice.phases import AbstractPhase, Free
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import ACCURATE_OPTIONS, circuit_cards

RELATIVE_STEP = 2e-3
"""Step of finite differences, relative to the conductance or, if that is larger, to the mean of its
group: the change of a tiny one would drown in rounding. The stencils are of fourth order: they
cut off about 1e-11 of the fifth derivative, and an engine's 1e-14 V are 1e-11 of a change."""

LARGEST_SHARE = 10.0
"""A step is at most this part of its conductance, which has to stay positive."""

CENTRAL = ((-2.0, 1.0 / 12.0), (-1.0, -2.0 / 3.0), (1.0, 2.0 / 3.0), (2.0, -1.0 / 12.0))
"""Offsets and factors of the first derivative, fourth order."""

MAX_SENSITIVITY_DEVICES = 2000
"""ngspice's .sens solves the circuit once for every parameter of every device."""

SENSITIVITY_STEP = 1e-6
"""By which fraction ngspice's .sens raises every parameter. It differences the resistance one way,
and 1/R between R and R (1 + 1e-6) is known exactly."""


def settle_exactly(
    case: Case, engine: AbstractEngine, params: Mapping[str, np.ndarray], phase: AbstractPhase
) -> OperatingPoint:
    """Return operating points as exact as the engine can make them."""
    points = engine.settle(case.circuit, params, case.inputs, [phase] * HELD_POINTS)
    return points[-1]


def operating_point(case: Case, engine: AbstractEngine) -> OperatingPoint:
    """Return the free operating points of a case.

    Raises:
        ConvergenceError: If a sample has none.
    """
    point = settle_exactly(case, engine, case.params, Free())
    if not np.asarray(point.converged).all():
        sample = int(np.argmin(np.asarray(point.converged)))
        node = case.circuit.node_names[int(np.asarray(point.worst_node)[sample])]
        raise ConvergenceError(
            f"Sample {sample} of the audit has no operating point, worst at node '{node}'. "
            "Without operating points there is nothing to audit: narrow the conductances' range, "
            "lower the inputs, or look at series diodes."
        )
    return point


def exact_gradient(case: Case, point: OperatingPoint) -> dict[str, np.ndarray]:
    """Return the gradient of the mean cost by the transposed linear solution, every conductance.

    This goes by the general plan, which knows nothing of layers or weights.
    """
    voltages = np.asarray(point.voltages)
    slopes = np.asarray(case.cost.gradient(case.circuit.outputs(voltages), case.targets))
    multipliers = GeneralPlan(case.circuit).adjoint(case.params, point.voltages, slopes)
    slopes = case.circuit.parameter_slopes(voltages, -np.asarray(multipliers), weights={})
    return {name: np.asarray(values) for name, values in slopes.items()}


def derivatives(
    function: Callable[[dict[str, np.ndarray]], Float[np.ndarray, " quantity"]],
    params: Mapping[str, np.ndarray],
    selection: Selection,
    currents: Mapping[str, float] | None = None,
) -> dict[str, Float[np.ndarray, "chosen quantity"]]:
    """Differentiate a function of the parameters by each chosen one, to fourth order.

    Args:
        function: Returns the quantities at given parameters.
        params: Parameters by group name.
        selection: Which to vary.
        currents: By the name of those that may have either sign, what their step is relative to.
    """
    result, currents = {}, currents or {}
    for name, positions in selection.items():
        rows, mean = [], currents.get(name, float(params[name].mean()))
        for position in positions.tolist():
            index = np.unravel_index(position, params[name].shape)
            value = float(params[name][index])
            step = RELATIVE_STEP * max(abs(value), mean)
            if name not in currents:
                step = min(step, value / LARGEST_SHARE)
            total: np.ndarray | float = 0.0
            for offset, factor in CENTRAL:
                moved = {**params, name: params[name].copy()}
                moved[name][index] += offset * step
                total = total + factor * function(moved)
            rows.append(np.asarray(total) / step)
        result[name] = np.stack(rows) if rows else np.zeros((0, 1))
    return result


def finite_differences(case: Case, engine: AbstractEngine) -> dict[str, np.ndarray]:
    """Return finite differences of the loss by the chosen conductances."""

    def loss(params: dict[str, np.ndarray]) -> np.ndarray:
        point = settle_exactly(case, engine, params, Free())
        outputs = np.asarray(case.circuit.outputs(point.voltages))
        return np.atleast_1d(np.asarray(case.cost.value(outputs, case.targets)).mean())

    return {
        k: v[:, 0] for k, v in derivatives(loss, case.params, case.selection, case.currents).items()
    }


def sensitivities(case: Case, point: OperatingPoint) -> dict[str, np.ndarray] | None:
    """Return the gradient from ngspice's .sens, at the chosen conductances.

    The nonlinear devices are written as behavioral sources, whose derivatives ngspice takes by
    itself: beside a diode of its own, .sens of ngspice 39 returns garbage.

    Returns:
        None if the circuit is too large for it, or has a device without such a source.
    """
    circuit = case.circuit
    num_devices = sum(g.num_instances for g in circuit.groups)
    devices = [group.device for group in circuit.nonlinear_groups]
    written = all(d.behavioral_cards("any", d.terminals) is not None for d in devices)
    if num_devices > MAX_SENSITIVITY_DEVICES or not written:
        return None
    return Session.do(lambda session: _sensitivities(case, point, session))


def _sensitivities(case: Case, point: OperatingPoint, session: Session) -> dict[str, np.ndarray]:
    """Return what `sensitivities` does, for a circuit that is small enough."""
    circuit = case.circuit
    outputs = np.asarray(circuit.outputs(np.asarray(point.voltages)))
    slopes = np.asarray(case.cost.gradient(outputs, case.targets))
    total = {name: np.zeros(len(chosen)) for name, chosen in case.selection.items()}
    groups: dict[str, list[Group]] = {}
    for group in circuit.trainable_groups:
        groups.setdefault(group.key, []).append(group)
    names = {key: _device_names(members) for key, members in groups.items()}
    for sample, inputs in enumerate(case.inputs):
        cards = circuit_cards(circuit, case.params, inputs, Free(), behavioral=True)
        session.load(["* sensitivities", ACCURATE_OPTIONS, *cards, ".end"])
        for k, (plus, minus) in enumerate(circuit.output_nodes.tolist()):
            second = "" if minus == GROUND else f",{circuit.node_names[minus]}"
            session.command(f"sens v({circuit.node_names[plus]}{second})")
            for name, chosen in case.selection.items():
                for i, position in enumerate(chosen.tolist()):
                    vectors = [session.vector(device) for device in names[name][position]]
                    values = [np.nan if v is None else float(v[0]) for v in vectors]
                    total[name][i] += slopes[sample, k] * sum(values)
            session.command("destroy all")
    session.unload()
    return {
        name: values * _by_parameter(case, name) / len(case.inputs)
        for name, values in total.items()
    }


def _by_parameter(case: Case, name: str) -> np.ndarray | float:
    """Return what turns the derivative by a device's value in SPICE into that by its parameter."""
    if name in case.circuit.supplied_parameters:
        return 1.0
    # dV/dg = -R^2 dV/dR, and .sens took 1/R at R and R (1 + step).
    return -(1.0 + SENSITIVITY_STEP) / np.ravel(case.params[name])[case.selection[name]] ** 2


def _device_names(groups: Sequence[Group]) -> list[list[str]]:
    """Return ngspice's names of the devices that have each parameter of some groups together."""
    names: list[list[str]] = [[] for _ in range(int(np.prod(groups[0].layout.shape)))]
    for group in groups:
        letter = "i" if group.device.supplies else "r"
        suffixes = group.layout.instance_names()
        for position, members in enumerate(names):
            places = group.layout.instances_of(position)
            members += [f"{letter}{group.name}_{suffixes[i]}" for i in places]
    return names
