"""Planted faults: the audit names each of them, and nothing else."""

import dataclasses
from typing import Literal

import numpy as np
import pytest

from eqprop_spice.audit.case import Case
from eqprop_spice.audit.report import OK, Audit, audit
from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.constraints.box import Box
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.phases import ConstantNudge, Force, Free
from eqprop_spice.rules.base import AbstractRule, Estimate
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import KIRAZ, Layered

pytestmark = [pytest.mark.ngspice]

LOOSE = NgSpice(reltol=1e-3, vntol=1e-6, abstol=1e-12, residual_tolerance=1e-2)
"""ngspice's default tolerances."""


@dataclasses.dataclass(frozen=True)
class Permuted(AbstractRule):
    """Adds the updates of the first layer in the order of its transpose."""

    beta: float = 1e-4

    def __call__(self, substrate, params, inputs, targets, cost, *, start=None, key=None):
        """Return the estimate; see `AbstractRule`."""
        rule = EquilibriumPropagation("centered", self.beta)
        estimate = rule(substrate, params, inputs, targets, cost)
        gradient = dict(estimate.gradient)
        first = gradient["dense_0"]
        gradient["dense_0"] = first.T.reshape(first.shape)
        return dataclasses.replace(estimate, gradient=gradient)


@dataclasses.dataclass(frozen=True)
class Away(AbstractRule):
    """Nudges away from the target, and takes it for a nudge towards it."""

    beta: float = 1e-4

    def __call__(self, substrate, params, inputs, targets, cost, *, start=None, key=None):
        """Return the estimate; see `AbstractRule`."""
        free, nudged = substrate.settle(
            params,
            inputs,
            [Free(), ConstantNudge(cost, targets, -self.beta)],
        )
        converged = free.converged & nudged.converged
        contrast = substrate.contrast(params, inputs, free.state, nudged.state, converged)
        gradient = {name: value / self.beta for name, value in contrast.items()}
        return Estimate(gradient, substrate.outputs(free.state), converged)


@dataclasses.dataclass(frozen=True)
class AveragedDrops(AbstractRule):
    """Averages the voltages over the batch before it squares their drops."""

    beta: float = 1e-4

    def __call__(self, substrate, params, inputs, targets, cost, *, start=None, key=None):
        """Return the estimate; see `AbstractRule`."""
        (free,) = substrate.settle(params, inputs, [Free()])
        outputs = substrate.outputs(free.state)
        currents = -self.beta * cost.gradient(outputs, targets)
        (nudged,) = substrate.settle(params, inputs, [Force(currents)])
        means = [np.asarray(settled.state).mean(0, keepdims=True) for settled in (free, nudged)]
        contrast = substrate.contrast(params, inputs, means[0], means[1], np.ones(1, bool))
        gradient = {name: value / self.beta for name, value in contrast.items()}
        return Estimate(gradient, outputs, nudged.converged)


def planted(
    net: Layered | None = None,
    *,
    rule: AbstractRule | None = None,
    engine: NgSpice | None = None,
    weights: Literal["reciprocity", "none"] = "reciprocity",
    constraint: Box | None = None,
    params: dict[str, np.ndarray] | None = None,
    fall: float = 1.0,
) -> Audit:
    """Audit a small circuit that is sound but for what is planted."""
    net = net or Layered(hidden=(3,), num_outputs=1, shift=0.1)
    drawn = net.draw(0, 1e-3, 1e-2)
    drawn = {name: values * fall**i for i, (name, values) in enumerate(drawn.items())}
    case = Case(
        "planted",
        ResistiveNetwork(net.circuit(), engine or NgSpice(), weights),
        rule or EquilibriumPropagation("centered", 1e-4),
        SquaredError(),
        drawn if params is None else params,
        net.inputs(1, 4),
        np.array([[1.0], [-1.0], [-1.0], [1.0]]),
        {name: np.arange(2) for name in drawn},
        constraint,
    )
    return audit(case)


def test_a_sound_circuit_is_ok():
    found = planted()
    assert found.verdict == OK
    assert found.causes == []


def test_amplifier_sign():
    net = Layered(hidden=(3,), reflection="published", shift=0.1)
    found = planted(net, weights="none", fall=0.1)
    assert [c.code for c in found.causes] == ["amplifier sign", "missing weights"]
    assert "dense_0 climbs" in found.causes[0].finding
    assert planted(net, fall=0.1).verdict == OK


def test_weights_off():
    found = planted(weights="none")
    assert [c.code for c in found.causes] == ["missing weights"]
    assert "dense_0 16" in found.causes[0].finding
    assert found.causes[0].size == pytest.approx(15 / 16, abs=1e-3)


def test_permuted_updates():
    found = planted(rule=Permuted())
    assert [c.code for c in found.causes] == ["permuted updates"]
    # [input, output] of shape (3, 3): entry k of the transpose is entry 3 (k % 3) + k // 3.
    assert "get the updates of 0, 3, 6, 1, 4, 7, 2, 5, 8" in found.causes[0].finding


def test_nudge_away_from_the_target():
    found = planted(rule=Away())
    assert [c.code for c in found.causes] == ["nudge sign"]


def test_averaged_before_squaring():
    found = planted(rule=AveragedDrops())
    assert [c.code for c in found.causes] == ["batch average"]


def test_solver_tolerance():
    rule = EquilibriumPropagation("positive", 1e-7)
    found = planted(rule=rule, engine=LOOSE)
    assert found.verdict == "solver tolerance"
    assert "beta = 1e-07 S" in found.causes[0].finding
    assert "reltol" in found.causes[0].remedy
    assert found.solver_error > 1e-9
    assert planted(rule=rule).verdict == OK


def test_finite_nudge():
    found = planted(rule=EquilibriumPropagation("positive", 0.1))
    assert [c.code for c in found.causes] == ["finite nudge"]


def test_conductance_at_its_bound():
    net = Layered(hidden=(1,), num_inputs=1, bias=(), shift=0.1, differential=False)
    params = {"dense_0": np.array([[5e-3]]), "dense_3": np.array([[4e-3]])}
    free = planted_single(net, params, Box(1e-5, 1e-1))
    assert free.verdict == OK
    uphill = float(free.exact["dense_0"][0, 0]) > 0
    box = Box(5e-3, 1e-1) if uphill else Box(1e-5, 5e-3)
    found = planted_single(net, params, box)
    assert [c.code for c in found.causes] == ["conductances at their bounds"]
    assert "dense_0[0, 0] at 0.005 S" in found.causes[0].finding


def planted_single(net: Layered, params: dict[str, np.ndarray], box: Box) -> Audit:
    """Audit a chain of one resistor in front of a hidden node, and one behind to the output.

    A resistor to ground loads the output, else the last conductance had no effect.
    """
    builder = CircuitBuilder()
    nodes = builder.add_nodes("x", 1)
    builder.add_inputs("x", nodes, np.arange(1))
    hidden, out = builder.add_nodes("h", 1), builder.add_nodes("y", 1)
    amplified = builder.add_nodes("a", 1)
    builder.add_dense("dense_0", Resistor(), nodes, hidden)
    builder.add_pairs("diode", KIRAZ, hidden, [GROUND])
    builder.add_amplifiers("amp", hidden, amplified, net.gain, 1 / net.gain)
    builder.add_dense("dense_3", Resistor(), amplified, out)
    builder.add_pairs("load", Resistor(), out, [GROUND])
    circuit = builder.build([(int(out[0]), GROUND)], num_inputs=1)
    everything = {**params, "load": np.array([5e-2])}
    return audit(
        Case(
            "chain",
            ResistiveNetwork(circuit, NgSpice()),
            EquilibriumPropagation("centered", 1e-5),
            SquaredError(),
            everything,
            np.array([[1.0]]),
            np.array([[0.5]]),
            {name: np.arange(1) for name in everything},
            box,
        )
    )


def test_non_uniform_gains_in_a_deep_layer():
    builder = CircuitBuilder()
    nodes = builder.add_nodes("x", 2)
    builder.add_inputs("x", nodes, np.arange(2))
    for depth, gains in enumerate([(4.0, 4.0), (4.0, 2.0)]):
        hidden = builder.add_nodes(f"h{depth}", 2)
        builder.add_dense(f"dense_{depth}", Resistor(), nodes, hidden)
        builder.add_pairs(f"diode_{depth}", KIRAZ, hidden, [GROUND, GROUND])
        outputs = builder.add_nodes(f"a{depth}", 2)
        for j, gain in enumerate(gains):
            one = slice(j, j + 1)
            name = f"amp{depth}x{j}"
            builder.add_amplifiers(name, hidden[one], outputs[one], gain, 1 / gain)
        nodes = outputs
    outputs = builder.add_nodes("y", 2)
    builder.add_dense("dense_2", Resistor(), nodes, outputs)
    circuit = builder.build([(int(outputs[0]), int(outputs[1]))], num_inputs=2)
    rng = np.random.default_rng(0)
    params = {n: rng.uniform(1e-3, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
    found = audit(
        Case(
            "uneven",
            ResistiveNetwork(circuit, NgSpice(), "none"),
            EquilibriumPropagation("centered", 1e-5),
            SquaredError(),
            params,
            np.array([[1.0, -2.0], [2.0, 1.0]]),
            np.array([[1.0], [-1.0]]),
            {name: np.arange(2) for name in params},
        )
    )
    assert found.verdict == "not reciprocal"
    assert [c.code for c in found.causes] == ["not reciprocal"]
    assert found.asymmetry is not None and found.asymmetry > 1e-3
    assert found.case.weights is None


def test_transistors_have_no_energy():
    """Edges whose gates are referred to ground: the rule is biased, and the audit measures it."""
    builder = CircuitBuilder()
    nodes = builder.add_nodes("x", 2)
    builder.add_inputs("x", nodes, np.arange(2))
    hidden, outputs = builder.add_nodes("h", 2), builder.add_nodes("y", 1)
    gates = builder.add_nodes("g", 3)
    builder.add_constants("gate", gates, [1.4, 1.8, 2.2])
    builder.add_dense("dense_0", Resistor(), nodes, hidden)
    edge, ground = Mosfet("edge", threshold=0.5, transconductance=2e-3), np.zeros(3, int)
    # A triangle with three gates: the Jacobian of a tree, or of equal gates, can be made symmetric,
    # by other weights for every sample.
    first, second = [*hidden, hidden[0]], [*outputs, *outputs, hidden[1]]
    ends = [first, gates, second, ground]
    builder.add_devices("edge", edge, ends)
    builder.add_dense("load", Resistor(), outputs, np.array([GROUND]))
    circuit = builder.build([(int(outputs[0]), GROUND)], num_inputs=2)
    rng = np.random.default_rng(0)
    params = {n: rng.uniform(1e-3, 3e-3, s) for n, s in circuit.parameter_shapes().items()}
    found = audit(
        Case(
            "transistors",
            ResistiveNetwork(circuit, NgSpice()),
            EquilibriumPropagation("centered", 1e-5),
            SquaredError(),
            params,
            np.array([[0.8, 0.2], [0.3, 0.9]]),
            np.array([[0.6], [0.1]]),
            {name: np.arange(1) for name in params},
        )
    )
    assert found.verdict == "not reciprocal"
    (cause,) = found.causes
    assert "devices of edge are not reciprocal" in cause.finding
    assert found.asymmetry is not None and found.asymmetry > 1e-3
    # The exact gradient needs no energy: all that checks it agrees.
    for label, layers in found.agreement.items():
        assert max(c.relative_error for c in layers.values()) < 1e-4, label
    bias = found.budget.shares["not reciprocal"]
    assert max(bias.values()) > 1e-2
    # It is said, with its size, however small.
    (remark,) = (r for r in found.remarks if "no energy" in r)
    assert "because of edge (Mosfet)" in remark
    assert all(f"{name} {100 * share:.2g} %" in remark for name, share in bias.items())
    assert found.to_dict()["without_energy"] == {"edge": "Mosfet"}


def test_several_operating_points():
    net = Layered(hidden=(2,), num_inputs=1, reflection="published", gain=4.0, shift=0.1)
    params = {"dense_0": np.full((2, 2), 1e-4), "dense_3": np.full((3, 2), 5e-2)}
    found = planted_bistable(net, params)
    assert found.uniqueness.most_points > 1
    assert not found.uniqueness.guaranteed
    causes = {c.code: c for c in found.causes}
    assert "with outputs (" in causes["several operating points"].finding
    assert len(found.uniqueness.example) == found.uniqueness.most_points


def planted_bistable(net: Layered, params: dict[str, np.ndarray]) -> Audit:
    """Audit a circuit whose amplifiers feed more current back than the inputs give."""
    return audit(
        Case(
            "bistable",
            ResistiveNetwork(net.circuit(), NgSpice()),
            EquilibriumPropagation("centered", 1e-6),
            SquaredError(),
            params,
            np.array([[0.1], [-0.1]]),
            np.array([[1.0], [-1.0]]),
            {name: np.arange(1) for name in params},
        )
    )
