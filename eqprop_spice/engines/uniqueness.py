r"""How many operating points a circuit has: a criterion, and a search.

With $\kappa > 0$ the co-content is strictly convex and there is one. With $\kappa < 0$ there is one
if every amplifier's input has a positive linear conductance
$c_j = \sum g_{in} + \kappa A \sum g_{out}$; otherwise, and with devices whose current has no
co-content such as transistors, there can be several, and each engine returns the one that it meets.
"""

import dataclasses
import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.ideal_diodes import has_ideal_diodes
from eqprop_spice.circuits.layouts import add_at
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.errors import Remark

NUM_STARTS = 20
"""Random starts of Newton's method per sample."""

MAX_SEARCHED_SAMPLES = 8

SEVERAL = (
    "This circuit may have several operating points, of which an engine returns one; "
    "eqprop_spice.engines.uniqueness.find_operating_points searches for the others."
)

SAME = 1e-6
"""Operating points closer than this [V] are one."""

MAX_SEARCHED_NODES = 3000
"""Above, the search is left out: a circuit this large would take minutes."""

MAX_STABILITY_NODES = 300
"""Above, the eigenvalues are left out, whose cost grows with the cube."""


@dataclasses.dataclass(frozen=True)
class Uniqueness:
    """What is known of the number of operating points.

    Attributes:
        smallest_conductance: Smallest $c_j$ over the amplifiers' inputs [S]; None without
            amplifiers.
        guaranteed: Whether the criterion excludes several operating points.
        num_samples: Samples searched; 0 if the search was left out.
        num_starts: Starts per sample of the search; 0 if it was left out.
        most_points: Most operating points found for one sample.
        num_samples_with_several: Samples with more than one.
        num_samples_with_unstable: Samples with a point that no circuit stays in: with a capacitor
            at each node, an eigenvalue of the Jacobian lets it drift away. None if not examined.
        largest_distance: Largest difference of two operating points of one sample [V].
        example: Outputs [V] at each operating point of the sample with the most.
    """

    smallest_conductance: float | None
    guaranteed: bool
    num_samples: int = 0
    num_starts: int = 0
    most_points: int = 1
    num_samples_with_several: int = 0
    num_samples_with_unstable: int | None = None
    largest_distance: float = 0.0
    example: list[list[float]] = dataclasses.field(default_factory=list)

    @property
    def caution(self) -> str | None:
        """What a user should know before trusting results; None where one point is guaranteed."""
        if self.guaranteed:
            return None
        smallest = self.smallest_conductance
        why = (
            "it has devices without a co-content"
            if smallest is None or smallest > 0
            else f"an amplifier draws back more than its input gets: c_j is {smallest:.3g} S, and "
            'reflection = "kendall" avoids it'
        )
        text = (
            f"A single operating point is not guaranteed ({why}): engines, restarts and a built "
            "circuit may settle differently."
        )
        if not self.num_starts:
            return f"{text} The circuit is too large to search for others."
        return (
            f"{text} From {self.num_starts} starts, {self.num_samples_with_several} of "
            f"{self.num_samples} samples have several, up to {self.largest_distance:.2g} V apart; "
            f"{self.num_samples_with_unstable or 0} have an unstable one."
        )


def linear_conductances(circuit: Circuit, params: Mapping[str, Array]) -> np.ndarray:
    """Return $c_j$ of the input node of every amplifier [S]."""
    total = circuit.node_conductances(params)
    inputs = np.concatenate([np.zeros(0, int), *(a.inputs for a in circuit.amplifiers)])
    reflected = np.array(total)
    for a in circuit.amplifiers:
        reflected = add_at(reflected, a.inputs, a.gains * a.reflections * total[a.outputs])
    return np.asarray(reflected)[np.unique(inputs)]


def criterion(circuit: Circuit, params: Mapping[str, Array]) -> Uniqueness:
    """Return what the criterion says, without a search."""
    conductances = linear_conductances(circuit, params)
    smallest = float(conductances.min()) if len(conductances) else None
    convex = all((a.gains * a.reflections > 0).all() for a in circuit.amplifiers)
    excluded = convex or (smallest is not None and smallest > 0)
    return Uniqueness(smallest, excluded and not circuit.groups_without_energy)


def remark_on_several(circuit: Circuit, params: Mapping[str, Array]) -> None:
    """Warn whoever settles a circuit in which the criterion allows several operating points."""
    convex = all((a.gains * a.reflections > 0).all() for a in circuit.amplifiers)
    if (convex and not circuit.groups_without_energy) or criterion(circuit, params).guaranteed:
        return
    warnings.warn(SEVERAL, Remark, stacklevel=3)


def find_operating_points(
    circuit: Circuit,
    params: Mapping[str, Array],
    inputs: Float[np.ndarray, "batch input"],
    *,
    seed: int = 0,
) -> Uniqueness:
    """Apply the criterion, and search from random starts.

    Args:
        circuit: The circuit, without ideal diodes.
        params: Conductances of its devices [S] by group name.
        inputs: Source voltages [V]; the first `MAX_SEARCHED_SAMPLES` are searched.
        seed: Seed of the starts.
    """
    found = criterion(circuit, params)
    if len(circuit.free_nodes) > MAX_SEARCHED_NODES:
        return found
    points = [
        _distinct(circuit, params, row, np.random.default_rng(seed))
        for row in np.asarray(inputs)[:MAX_SEARCHED_SAMPLES]
    ]
    most = max(points, key=len)
    unstable = None
    if len(circuit.free_nodes) <= MAX_STABILITY_NODES:
        unstable = sum(any(not stable(circuit, params, v) for v in found) for found in points)
    distances = (float(np.abs(a - b).max()) for found in points for a in found for b in found)
    return dataclasses.replace(
        found,
        num_samples=len(points),
        num_starts=NUM_STARTS,
        most_points=max(1, len(most)),
        num_samples_with_several=sum(len(found) > 1 for found in points),
        num_samples_with_unstable=unstable,
        largest_distance=max(distances, default=0.0),
        example=[circuit.outputs(v[None])[0].tolist() for v in most],
    )


def stable(
    circuit: Circuit, params: Mapping[str, Array], voltages: Float[np.ndarray, " node"]
) -> bool:
    r"""Whether a circuit with equal capacitors from its free nodes to ground stays at a point.

    $C\,\dot u = -f(u)$ returns from small disturbances if every eigenvalue of the Jacobian of f
    has a positive real part.
    """
    jacobian = GeneralPlan(circuit).jacobian(params, voltages)
    return bool((np.linalg.eigvals(jacobian).real > 0.0).all())


def confirmed(
    circuit: Circuit,
    params: Mapping[str, Array],
    inputs: Float[np.ndarray, "batch input"],
    voltages: Float[np.ndarray, "batch node"],
) -> Bool[np.ndarray, " batch"]:
    """Return which voltages are operating points: Newton's method, started there, stays there.

    No state of a circuit with ideal diodes is confirmed: it has one, and Newton cannot start there.
    """
    voltages = np.asarray(voltages)
    if has_ideal_diodes(circuit):
        return np.zeros(len(voltages), bool)
    found = GeneralPlan(circuit).settle_from(params, np.asarray(inputs), voltages)
    near = np.abs(np.asarray(found.voltages) - voltages).max(axis=1) < SAME
    return np.asarray(found.converged) & near


def _distinct(
    circuit: Circuit, params: Mapping[str, Array], inputs: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the different operating points that starts all over the sources' range lead to."""
    repeated = np.repeat(inputs[None], NUM_STARTS, axis=0)
    reach = max(1.0, float(np.abs(circuit.fixed_voltages(repeated)).max()))
    starts = rng.uniform(-reach, reach, (NUM_STARTS, circuit.num_nodes))
    starts[0] = 0.0
    found = GeneralPlan(circuit).settle_from(params, repeated, starts)
    points: list[np.ndarray] = []
    for voltages in np.asarray(found.voltages)[np.asarray(found.converged)]:
        if all(np.abs(voltages - other).max() > SAME for other in points):
            points.append(voltages)
    return points
