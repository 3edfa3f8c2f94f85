r"""How many operating points a circuit has: a criterion, and a search.

With $\kappa > 0$ the co-content is strictly convex and there is one. With $\kappa < 0$ there is one
if every amplifier's input has a positive linear conductance
$c_j = \sum g_{in} + \kappa A \sum g_{out}$; otherwise there can be several.
"""

import dataclasses

import numpy as np

from eqprop_spice.audit.case import Case
from eqprop_spice.circuits.layouts import add_at
from eqprop_spice.engines.general.plan import GeneralPlan

NUM_STARTS = 20
"""Random starts of Newton's method per sample."""

MAX_SEARCHED_SAMPLES = 8

SAME = 1e-6
"""Operating points closer than this [V] are one."""

MAX_SEARCHED_NODES = 3000
"""Above, the search is left out: a circuit this large would take minutes."""


@dataclasses.dataclass(frozen=True)
class Uniqueness:
    """What is known of the number of operating points.

    Attributes:
        smallest_conductance: Smallest $c_j$ over the amplifiers' inputs [S]; None without
            amplifiers.
        guaranteed: Whether the criterion excludes several operating points.
        num_starts: Starts per sample of the search; 0 if it was left out.
        most_points: Most operating points found for one sample.
        num_samples_with_several: Samples with more than one.
        largest_distance: Largest difference of two operating points of one sample [V].
        example: Outputs [V] at each operating point of the sample with the most.
    """

    smallest_conductance: float | None
    guaranteed: bool
    num_starts: int
    most_points: int
    num_samples_with_several: int
    largest_distance: float
    example: list[list[float]]


def linear_conductances(case: Case) -> np.ndarray:
    """Return $c_j$ of the input node of every amplifier that has a negative reflection [S]."""
    circuit = case.circuit
    total = circuit.node_conductances(case.params)
    inputs = np.concatenate([np.zeros(0, int), *(a.inputs for a in circuit.amplifiers)])
    reflected = total.copy()
    for a in circuit.amplifiers:
        reflected = add_at(reflected, a.inputs, a.gains * a.reflections * total[a.outputs])
    return reflected[np.unique(inputs)]


def find_operating_points(case: Case, *, seed: int = 0) -> Uniqueness:
    """Apply the criterion, and search from random starts where it does not decide."""
    conductances = linear_conductances(case)
    smallest = float(conductances.min()) if len(conductances) else None
    products = [a.gains * a.reflections for a in case.circuit.amplifiers]
    convex = all((p > 0).all() for p in products)
    guaranteed = convex or (smallest is not None and smallest > 0)
    if len(case.circuit.free_nodes) > MAX_SEARCHED_NODES:
        return Uniqueness(smallest, guaranteed, 0, 1, 0, 0.0, [])
    several, distance = 0, 0.0
    most: list[np.ndarray] = []
    for inputs in case.inputs[:MAX_SEARCHED_SAMPLES]:
        points = _distinct(case, inputs, np.random.default_rng(seed))
        most = max(most, points, key=len)
        several += len(points) > 1
        distance = max([distance, *(np.abs(a - b).max() for a in points for b in points)])
    example = [case.circuit.outputs(v[None])[0].tolist() for v in most]
    return Uniqueness(
        smallest, guaranteed, NUM_STARTS, max(1, len(most)), several, float(distance), example
    )


def _distinct(case: Case, inputs: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the different operating points that starts all over the sources' range lead to."""
    circuit = case.circuit
    repeated = np.repeat(inputs[None], NUM_STARTS, axis=0)
    reach = max(1.0, float(np.abs(circuit.fixed_voltages(repeated)).max()))
    starts = rng.uniform(-reach, reach, (NUM_STARTS, circuit.num_nodes))
    starts[0] = 0.0
    found = GeneralPlan(circuit).settle_from(case.params, repeated, starts)
    points: list[np.ndarray] = []
    for voltages in np.asarray(found.voltages)[np.asarray(found.converged)]:
        if all(np.abs(voltages - other).max() > SAME for other in points):
            points.append(voltages)
    return points
