"""Equilibrium propagation: against finite differences of a loss that ngspice itself solves."""

import dataclasses
import functools

import numpy as np
import pytest

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.power import co_contents
from eqprop_spice.circuits.reciprocity import branch_weights
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.phases import Force, Free, Spring
from eqprop_spice.rules.base import Estimate
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Kind, Layered, central_difference, reflection_of

pytestmark = pytest.mark.ngspice

RATIO = 1e-3
"""Deviation of EP's gradient from finite differences, layer by layer, that the project promises;
the bias of C-EP at the betas used here is (beta / g)^2 = 1e-4 and less."""

COSINE = 1e-6
"""Distance from 1 of the cosine between the two, layer by layer."""

SLOPE = 0.1
"""Deviation of an order of convergence: what the next order contributes over a decade."""

EXACT = 1e-12
"""Relative error of two sums of the same products in another order."""

FIRST_ORDER = 2.0
"""Ratio of two differences of first order whose betas have the ratio 2."""

STEP = 1e-3
"""Relative step of the finite differences: truncation 1e-6, rounding 1e-13 V / 1e-3 = 1e-10."""

KINDS = ["transformer", "kendall", "published"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A circuit with conductances, samples and a cost."""

    network: ResistiveNetwork
    params: dict[str, np.ndarray]
    inputs: np.ndarray
    targets: np.ndarray
    cost: AbstractCost = dataclasses.field(default_factory=SquaredError)

    def gradient(self, rule) -> Estimate:
        return rule(self.network, self.params, self.inputs, self.targets, self.cost)

    def loss(self, params: dict[str, np.ndarray]) -> float:
        (free,) = self.network.settle(params, self.inputs, [Free()])
        assert free.converged.all()
        return float(self.cost.value(self.network.outputs(free.state), self.targets).mean())

    @functools.cached_property
    def finite_differences(self) -> dict[str, np.ndarray]:
        """The gradient of the loss by central differences of every conductance."""
        return {
            name: central_difference(
                lambda g, name=name: self.loss(self.params | {name: g}), value, STEP * value
            )
            for name, value in self.params.items()
        }


@functools.cache
def problem(kind: Kind = "kendall", num_hidden: int = 1, inverted: bool = False) -> Problem:
    """Return a circuit whose operating point is unique, for any kind of amplifier.

    `published` amplifiers need sum g_in - sum g_out > 0 at hidden nodes: conductances grow towards
    the inputs.
    """
    layered = Layered(
        (3, 2)[:num_hidden], num_outputs=2, reflection=kind, gain=2.0, inverted=inverted
    )
    params = layered.draw(11, 5e-3, 2e-2)
    if kind == "published":
        for depth, name in enumerate(reversed(params)):
            params[name] = params[name] * 12.0**depth
            if depth:
                following = params[list(params)[-depth]]
                assert params[name].sum(0).min() > following.sum(1).max()
    rng = np.random.default_rng(12)
    network = ResistiveNetwork(layered.circuit(), NgSpice())
    return Problem(network, params, layered.inputs(13, 4), rng.uniform(-0.5, 0.5, (4, 2)))


def assert_layers_agree(actual, expected, *, ratio: float = RATIO, cosine: float = COSINE) -> None:
    """Compare layer by layer: the cosine of the whole gradient hides a reversed hidden layer."""
    assert set(actual) == set(expected)
    for name in expected:
        a, b = np.ravel(actual[name]), np.ravel(expected[name])
        assert a @ b / (b @ b) == pytest.approx(1.0, abs=ratio), name
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 1.0 - cosine, name


@pytest.mark.parametrize("num_hidden", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_centered_ep_is_the_gradient_of_every_layer(kind, num_hidden):
    case = problem(kind, num_hidden)
    estimate = case.gradient(EquilibriumPropagation("centered", 1e-4))
    assert estimate.converged.all()
    assert_layers_agree(estimate.gradient, case.finite_differences)


@pytest.mark.parametrize("kind", ["transformer", "kendall"])
def test_inverted_outputs_keep_the_gradient_exact(kind):
    case = problem(kind, 1, True)
    estimate = case.gradient(EquilibriumPropagation("centered", 1e-4))
    assert_layers_agree(estimate.gradient, case.finite_differences)


@pytest.mark.parametrize("variant", ["positive", "negative"])
def test_one_sided_ep_approaches_the_gradient(variant):
    case = problem()
    estimate = case.gradient(EquilibriumPropagation(variant, 1e-6))
    assert_layers_agree(estimate.gradient, case.finite_differences)


def test_cross_entropy_gradient_through_a_constant_nudge():
    base = problem()
    targets = np.eye(2)[[0, 1, 1, 0]]
    case = dataclasses.replace(base, targets=targets, cost=CrossEntropy(0.5))
    estimate = case.gradient(EquilibriumPropagation("centered", 1e-4))
    assert_layers_agree(estimate.gradient, case.finite_differences)


def test_live_nudge_is_the_gradient_too():
    case = problem()
    estimate = case.gradient(EquilibriumPropagation("centered", 1e-5, nudge="live"))
    assert_layers_agree(estimate.gradient, case.finite_differences)


def distance(one: dict[str, Array], two: dict[str, Array], name: str) -> float:
    return float(np.linalg.norm(one[name] - two[name]) / np.linalg.norm(two[name]))


@pytest.mark.parametrize("nudge", ["constant", "live"])
@pytest.mark.parametrize(
    ("variant", "order"), [("positive", 1.0), ("negative", 1.0), ("centered", 2.0)]
)
def test_bias_is_of_the_order_of_the_variant(variant, order, nudge):
    """Against the small-signal gradient, over a decade above the floor of the solver."""
    case = problem("kendall", 2)
    exact = case.gradient(SmallSignal()).gradient
    # Larger nudges for C-EP: its bias must stay above 1e-8, the floor of the solver.
    betas = np.geomspace(1e-5, 1e-4, 4) if order == 1.0 else np.geomspace(3e-4, 3e-3, 4)
    estimates = [
        case.gradient(EquilibriumPropagation(variant, float(beta), nudge)).gradient
        for beta in betas
    ]
    for name in exact:
        bias = [distance(estimate, exact, name) for estimate in estimates]
        slope = np.polyfit(np.log(betas), np.log(bias), 1)[0]
        assert slope == pytest.approx(order, abs=SLOPE), (name, bias)


def test_constant_and_live_nudge_agree_to_first_order():
    case = problem()
    differences = []
    for beta in (1e-5, 2e-5):
        constant, live = (
            case.gradient(EquilibriumPropagation("positive", beta, nudge)).gradient
            for nudge in ("constant", "live")
        )
        differences.append({name: distance(live, constant, name) for name in live})
    for name in differences[0]:
        growth = differences[1][name] / differences[0][name]
        assert growth == pytest.approx(FIRST_ORDER, rel=0.05)
        assert differences[0][name] < 0.01


@pytest.mark.parametrize("num_hidden", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_rule_without_weights_is_off_by_gain_over_reflection_per_stage(kind, num_hidden):
    case = problem(kind, num_hidden)
    rule = EquilibriumPropagation("centered", 1e-4)
    weighted = case.gradient(rule).gradient
    plain = dataclasses.replace(case, network=dataclasses.replace(case.network, weights="none"))
    bare = plain.gradient(rule).gradient
    per_stage = 2.0 / reflection_of(kind, 2.0)
    for depth, name in enumerate(reversed(list(weighted))):
        np.testing.assert_allclose(weighted[name], per_stage**depth * bare[name], rtol=EXACT)


def test_without_weights_published_amplifiers_make_the_hidden_layer_climb():
    case = problem("published")
    plain = dataclasses.replace(case, network=dataclasses.replace(case.network, weights="none"))
    bare = plain.gradient(EquilibriumPropagation("centered", 1e-4)).gradient
    hidden = next(iter(bare))
    assert (bare[hidden] * case.finite_differences[hidden]).sum() < 0


def test_published_inversion_has_no_weights_and_can_only_run_without():
    layered = Layered((2,), reflection="published", inverted=True, gain=2.0)
    circuit, params = layered.circuit(), layered.draw(0)
    params["dense_0"] *= 30.0
    inputs, targets, cost = layered.inputs(0, 2), np.ones((2, 1)), SquaredError()
    rule = EquilibriumPropagation()
    with pytest.raises(NetlistError, match="not reciprocal"):
        rule(ResistiveNetwork(circuit, NgSpice()), params, inputs, targets, cost)
    estimate = rule(
        ResistiveNetwork(circuit, NgSpice(), weights="none"), params, inputs, targets, cost
    )
    assert estimate.converged.all()


def test_gradient_is_the_mean_of_the_gradients_of_its_samples():
    case = problem()
    rule = EquilibriumPropagation("centered", 1e-4)
    together = case.gradient(rule).gradient
    parts = [
        dataclasses.replace(case, inputs=case.inputs[k : k + 1], targets=case.targets[k : k + 1])
        .gradient(rule)
        .gradient
        for k in range(4)
    ]
    for name, value in together.items():
        mean = np.mean([part[name] for part in parts], axis=0)
        # Voltages agree to 1e-11 V between sweeps; divided by beta / g = 1e-2 and more.
        np.testing.assert_allclose(value, mean, rtol=1e-6, atol=1e-6 * np.abs(mean).max())


@dataclasses.dataclass(frozen=True)
class Losing(NgSpice):
    """ngspice, but the sample with the largest first input fails in one phase."""

    phase: int = 0

    def settle(self, circuit, params, inputs, phases):
        points = super().settle(circuit, params, inputs, phases)
        lost = np.argmax(inputs[:, 0])
        if self.phase < len(points):
            point = points[self.phase]
            point.converged[lost] = False
            point.voltages[lost] = np.nan
        return points


@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize("nudge", ["constant", "live"])
def test_samples_that_fail_in_any_phase_are_left_out_of_the_mean(phase, nudge):
    case = problem()
    rule = EquilibriumPropagation("centered", 1e-4, nudge)
    lost = int(np.argmax(case.inputs[:, 0]))
    keep = np.arange(4) != lost
    losing = dataclasses.replace(
        case, network=ResistiveNetwork(case.network.circuit, Losing(phase=phase))
    ).gradient(rule)
    np.testing.assert_array_equal(losing.converged, keep)
    rest = dataclasses.replace(case, inputs=case.inputs[keep], targets=case.targets[keep])
    expected = rest.gradient(rule)
    for name, value in expected.gradient.items():
        np.testing.assert_allclose(
            losing.gradient[name], value, rtol=1e-6, atol=1e-6 * np.abs(value).max()
        )
    np.testing.assert_allclose(losing.outputs[keep], expected.outputs, atol=1e-9)


def test_a_batch_without_any_operating_point_has_a_gradient_of_zero():
    case = problem()
    network = ResistiveNetwork(case.network.circuit, Losing())
    single = dataclasses.replace(
        case, network=network, inputs=case.inputs[:1], targets=case.targets[:1]
    )
    estimate = single.gradient(EquilibriumPropagation())
    assert not estimate.converged.any()
    for value in estimate.gradient.values():
        np.testing.assert_array_equal(value, 0.0)


def test_live_nudge_needs_the_squared_error():
    case = dataclasses.replace(problem(), cost=CrossEntropy())
    with pytest.raises(ConfigError, match="squared error only"):
        case.gradient(EquilibriumPropagation(nudge="live"))


@pytest.mark.parametrize("beta", [0.0, -1e-4, np.nan, np.inf])
def test_a_nudge_without_strength_is_refused(beta):
    with pytest.raises(ConfigError, match="small_signal"):
        EquilibriumPropagation("centered", beta)


@pytest.mark.parametrize("variant", ["positive", "negative", "centered"])
def test_the_shown_phase_is_the_one_that_is_settled(variant):
    outputs, targets = np.array([[0.2, -0.1]]), np.array([[1.0, 0.0]])
    sign = -1.0 if variant == "negative" else 1.0
    force = EquilibriumPropagation(variant, 1e-3).shown_phase(outputs, targets, SquaredError())
    assert isinstance(force, Force)
    np.testing.assert_allclose(force.currents, sign * 1e-3 * (targets - outputs), rtol=1e-14)
    spring = EquilibriumPropagation(variant, 1e-3, "live").shown_phase(
        outputs, targets, SquaredError()
    )
    assert isinstance(spring, Spring)
    assert spring.conductance == sign * 1e-3


@pytest.mark.parametrize("variant", ["positive", "negative"])
def test_a_live_nudge_descends_a_bound_of_the_cost(variant):
    r"""P-EP is the gradient of $L_\beta \le C$, N-EP of $L_{-\beta} \ge C$, at any beta.

    $L_\beta = [\min(E + \beta C) - \min E]/\beta$; Scellier et al. (2023), Theorem 2.
    """
    net = Layered(hidden=(3,), shift=0.1)
    circuit, inputs, params = net.circuit(), net.inputs(1, 3), net.draw(0, 1e-3, 1e-2)
    network, cost = ResistiveNetwork(circuit, Native()), SquaredError()
    weights = branch_weights(circuit, circuit.groups)
    targets, beta = np.linspace(-1.0, 1.0, 3).reshape(3, 1), 5e-4
    signed = beta if variant == "positive" else -beta

    def bound(moved) -> tuple[float, float]:
        energies = []
        for phase, strength in ((Free(), 0.0), (Spring(signed, targets), signed)):
            (point,) = network.settle(moved, inputs, [phase])
            voltages = np.asarray(point.voltages)
            parts = co_contents(circuit, moved, voltages, np.zeros((3, 1)), weights=weights)
            costs = np.asarray(cost.value(circuit.outputs(voltages), targets))
            energies.append(sum(p.mean() for p in parts.values()) + strength * costs.mean())
            if strength == 0.0:
                free_cost = float(costs.mean())
        return (energies[1] - energies[0]) / signed, free_cost

    value, free_cost = bound(params)
    assert value < free_cost if variant == "positive" else value > free_cost
    rule = EquilibriumPropagation(variant, beta, nudge="live")
    estimate = rule(network, params, inputs, targets, cost).gradient
    for name, values in params.items():
        expected = central_difference(
            lambda v, name=name: bound({**params, name: v})[0], values, 1e-3 * values
        )
        error = np.abs(np.asarray(estimate[name]) - expected).max() / np.abs(expected).max()
        assert error < 1e-5
