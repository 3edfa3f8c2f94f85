"""Convolutions of conductances: closed forms, both engines, gradients of shared conductances."""

import dataclasses
import functools

import numpy as np
import pytest
from scipy.signal import correlate

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.power import absorbed_powers, co_contents
from eqprop_spice.circuits.reciprocity import branch_weights, reciprocity_weights
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.general.equations import structure_of
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import AbstractLayer, layered_circuit
from eqprop_spice.layers.convolution import Convolution, LocallyConnected
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.layers.pooling import AveragePool
from eqprop_spice.phases import Force, Free, Spring
from eqprop_spice.rules.base import AbstractRule
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import KIRAZ, central_difference

NGSPICE = 1e-9
"""Largest voltage difference [V] to ngspice at reltol 1e-10; the error is ngspice's, 1e-10 V."""

ROUNDING = 1e-12
"""Error [V] of sums and quotients of a few dozen numbers of order 1."""

GRADIENT = 1e-6
"""Relative error of a layer's gradient: central differences with relative steps of 1e-5 err by
1e-10 in truncation, and by 1e-13 V / 1e-5 in rounding."""

BIAS = 1e-5
"""The same with the bias of C-EP at a beta of 1e-5 S, (beta / g)^2 = 1e-6 and less."""

NUM_DIFFERENCES = 12
"""Conductances of a layer that are varied."""

SINGLE = {"num_outputs": 1, "differential": False}


def draw(circuit: Circuit, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: rng.uniform(1e-3, 1e-2, s) for n, s in circuit.parameter_shapes().items()}


def relative_error(found, expected) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def weighted_average(g: np.ndarray, planes: np.ndarray, layer: Convolution) -> np.ndarray:
    r"""Return $\sum g v / \sum g$ by scipy, `channel row column`."""
    frame = ((0, 0), (layer.padding,) * 2, (layer.padding,) * 2)
    framed = np.pad(planes, frame)
    count = len(g) - len(layer.bias)
    result = []
    for values in g.T:
        kernel = values[:count].reshape(len(planes), *layer.kernel)
        (sums,) = correlate(framed, kernel, mode="valid", method="direct")
        sums = sums + values[count:] @ np.array(layer.bias)
        result.append(sums[:: layer.stride, :: layer.stride] / values.sum())
    return np.array(result)


@pytest.mark.ngspice
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("engine", [NgSpice(), Native()], ids=["ngspice", "native"])
def test_linear_nodes_are_at_the_weighted_average_of_their_window(engine, stride, padding):
    layer = Convolution((4, 5), 3, (3, 3), stride, padding, (1.0, -2.0))
    rows, columns = ((n + 2 * padding - 3) // stride + 1 for n in layer.image)
    circuit = layered_circuit(
        [layer],
        num_inputs=20,
        num_outputs=3 * rows * columns,
        differential=False,
        doubled_inputs=True,
    )
    params = draw(circuit)
    assert params["conv_0"].shape == (2 * 9 + 2, 3)
    inputs = np.random.default_rng(1).normal(size=(2, 20))
    (point,) = engine.settle(circuit, params, inputs, [Free()])
    for x, outputs in zip(inputs, circuit.outputs(np.asarray(point.voltages)), strict=True):
        image = x.reshape(1, *layer.image)
        expected = weighted_average(params["conv_0"], np.concatenate([image, -image]), layer)
        tolerance = NGSPICE if isinstance(engine, NgSpice) else ROUNDING
        np.testing.assert_allclose(outputs, expected.ravel(), rtol=0.0, atol=tolerance)


@functools.cache
def network(*, shared: bool = True, inverted: bool = True) -> Circuit:
    """Return convolution, diodes, amplifiers, pooling, a second convolution, and a dense layer."""
    kind = Convolution if shared else LocallyConnected
    layers: list[AbstractLayer] = [
        kind((3, 4), 2, (2, 2), padding=1, bias=(1.0,)),
        AntiparallelDiodes(KIRAZ, 0.1),
        BidirectionalAmplifier(4.0, "kendall", inverted),
        AveragePool((4, 5), (2, 5), 1e-2),
        kind((2, 1), 2, (1, 1)),
        AntiparallelDiodes(KIRAZ, 0.1),
        BidirectionalAmplifier(4.0),
        Dense(2),
    ]
    return layered_circuit(layers, num_inputs=12, num_outputs=1)


def inputs(count: int = 3) -> np.ndarray:
    return np.random.default_rng(2).uniform(-4.0, 4.0, (count, 12))


@pytest.mark.ngspice
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "local"])
def test_engines_agree(shared: bool):
    circuit = network(shared=shared)
    assert isinstance(plan_for(circuit), LayeredPlan)
    params, targets = draw(circuit), np.full((3, 1), 0.5)
    phases = [Free(), Force(1e-3 * targets), Spring(1e-3, targets)]
    theirs = NgSpice().settle(circuit, params, inputs(), phases)
    for plan in (Native().settle, lambda c, *rest: GeneralPlan(c).settle(*rest)):
        for one, other in zip(plan(circuit, params, inputs(), phases), theirs, strict=True):
            assert np.asarray(one.converged).all() and other.converged.all()
            np.testing.assert_allclose(one.voltages, other.voltages, rtol=0.0, atol=NGSPICE)
    # The circuit computes something: outputs differ by more than any tolerance here.
    assert np.ptp(circuit.outputs(theirs[0].voltages)) > 0.01


def test_linear_nodes_of_a_pool_are_eliminated():
    circuit = network()
    structure = structure_of(circuit)
    names = [circuit.node_names[circuit.free_nodes[i]] for i in structure.nonlinear]
    assert {name.split("_")[0] for name in names} == {"n0", "n4"}
    assert any(circuit.node_names[n].startswith("n3") for n in circuit.free_nodes)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A circuit on an engine, and the gradient of its loss by central differences."""

    circuit: Circuit
    engine: AbstractEngine

    def check(self, rule: AbstractRule, tolerance: float) -> None:
        params, targets, cost = draw(self.circuit), np.full((3, 1), 0.5), SquaredError()
        system = ResistiveNetwork(self.circuit, self.engine)
        estimate = rule(system, params, inputs(), targets, cost)
        assert np.asarray(estimate.converged).all()

        def loss(params: dict[str, np.ndarray]) -> float:
            (free,) = GeneralPlan(self.circuit).settle(params, inputs(), [Free()])
            return float(cost.value(self.circuit.outputs(free.voltages), targets).mean())

        rng = np.random.default_rng(3)
        for name, g in params.items():
            some = rng.choice(g.size, min(g.size, NUM_DIFFERENCES), replace=False)

            def moved(values: np.ndarray, name=name, g=g, some=some) -> float:
                changed = g.copy()
                changed.flat[some] = values
                return loss(params | {name: changed})

            expected = central_difference(moved, g.flat[some], 1e-5 * g.flat[some])
            found = np.asarray(estimate.gradient[name]).flat[some]
            assert relative_error(found, expected) < tolerance, name


@pytest.mark.ngspice
@pytest.mark.parametrize("engine", [NgSpice(), Native()], ids=["ngspice", "native"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "local"])
def test_the_gradient_of_every_layer_equals_finite_differences(engine, shared: bool):
    Problem(network(shared=shared), engine).check(SmallSignal(), GRADIENT)


def test_centered_ep_is_the_gradient_of_shared_conductances():
    rule = EquilibriumPropagation("centered", 1e-5)
    Problem(network(), Native()).check(rule, BIAS)


def uneven() -> Circuit:
    """Return a network whose first amplifiers differ from node to node in A / kappa."""
    circuit = network(inverted=False)
    first, *rest = circuit.amplifiers
    spread = first.reflections * np.linspace(0.5, 2.0, len(first.inputs))
    return dataclasses.replace(
        circuit, amplifiers=(dataclasses.replace(first, reflections=spread), *rest)
    )


@pytest.mark.ngspice
def test_instances_of_one_conductance_with_different_weights_are_weighted_one_by_one():
    circuit = uneven()
    weights = reciprocity_weights(circuit)["conv_0"]
    assert weights.shape == (5, 2, 20)
    assert np.ptp(weights[0, 0]) > 1.0
    Problem(circuit, NgSpice()).check(SmallSignal(), GRADIENT)


def test_powers_sum_to_zero_and_co_contents_have_the_gradient_they_claim():
    circuit = uneven()
    params, nothing = draw(circuit), np.zeros((3, 1))
    (point,) = GeneralPlan(circuit).settle(params, inputs(), [Free()])
    v = np.asarray(point.voltages)
    powers = absorbed_powers(circuit, params, v, nothing)
    assert np.abs(sum(powers.values())).max() < ROUNDING * powers["resistors"].max()
    weights = branch_weights(circuit, circuit.groups)
    contents = functools.partial(
        co_contents, circuit, voltages=v, injected=nothing, weights=weights
    )
    for group in circuit.trainable_groups:
        g = params[group.name]
        explicit = 0.5 * group.sides.voltage_drop_product(v, v, weights[group.name])
        moved = params | {group.name: 2.0 * g}
        change = contents(moved)["resistors"] - contents(params)["resistors"]
        # Co-content is linear in the conductances.
        assert change.mean() == pytest.approx((explicit * g).sum(), rel=1e-9)


def test_equal_local_conductances_are_a_convolution():
    shared, local = network(), network(shared=False)
    params = draw(shared)
    layouts = {g.name: g.layout for g in shared.trainable_groups}
    spread = {
        name.replace("conv", "local"): np.array(layouts[name].instance_values(g))
        for name, g in params.items()
    }
    found, gradients = [], []
    for circuit, values in ((shared, params), (local, spread)):
        (point,) = GeneralPlan(circuit).settle(values, inputs(), [Free()])
        found.append(np.asarray(point.voltages))
        rule, targets = SmallSignal(), np.full((3, 1), 0.5)
        system = ResistiveNetwork(circuit, Native())
        gradients.append(rule(system, values, inputs(), targets, SquaredError()).gradient)
    np.testing.assert_allclose(found[0], found[1], rtol=0.0, atol=ROUNDING)
    for name, expected in gradients[0].items():
        one = np.asarray(gradients[1][name.replace("conv", "local")])
        total = one.sum(-1) if name.startswith("conv") else one
        assert relative_error(total, np.asarray(expected)) < 1e-9, name


REFUSALS = {
    "no multiple of 9": Convolution((3, 3), 1, (2, 2)),
    "image_height 0": Convolution((0, 3), 1, (2, 2)),
    "channels 0": Convolution((3, 4), 0, (2, 2)),
    "kernel_width 0": Convolution((3, 4), 1, (2, 0)),
    "stride 0": Convolution((3, 4), 1, (2, 2), 0),
    "padding 2 with a kernel of 2 x 2": Convolution((3, 4), 1, (2, 2), 1, 2),
    "padding -1": Convolution((3, 4), 1, (2, 2), 1, -1),
    r"4 x 4 pixels, larger than its image of 3 x 4": LocallyConnected((3, 4), 1, (4, 4)),
    "bias_0' has a voltage that is not finite": Convolution((3, 4), 1, (2, 2), bias=(np.nan,)),
}


@pytest.mark.parametrize(("message", "layer"), REFUSALS.items(), ids=REFUSALS.keys())
def test_what_does_not_fit_is_refused(message: str, layer: AbstractLayer):
    where = "" if "bias" in message else f"{type(layer).__name__} layer 0 .*"
    with pytest.raises(NetlistError, match=where + message):
        layered_circuit([layer], num_inputs=12, **SINGLE)
