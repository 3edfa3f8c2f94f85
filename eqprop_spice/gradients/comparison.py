"""Gradients compared per layer: a whole-vector cosine hides a reversed hidden layer."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from eqprop_spice.arrays import Array


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How an estimate compares with a reference in one layer.

    Attributes:
        cosine: Of the angle between them; NaN if one of them is zero.
        norm_ratio: Norm of the estimate over that of the reference.
        relative_error: Norm of the difference over the norm of the reference.
        largest_error: Largest difference over the reference's largest entry.
    """

    cosine: float
    norm_ratio: float
    relative_error: float
    largest_error: float


def compare(estimate: Array, reference: Array) -> Comparison:
    """Compare two arrays of the same shape."""
    a, b = np.ravel(np.asarray(estimate, float)), np.ravel(np.asarray(reference, float))
    size_a, size_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Comparison(
            cosine=float(np.divide(a @ b, size_a * size_b)),
            norm_ratio=float(np.divide(size_a, size_b)),
            relative_error=float(np.divide(np.linalg.norm(a - b), size_b)),
            largest_error=float(
                np.divide(np.abs(a - b).max(initial=0.0), np.abs(b).max(initial=0.0))
            ),
        )


def compare_layers(
    estimate: Mapping[str, Array], reference: Mapping[str, Array]
) -> dict[str, Comparison]:
    """Compare two gradients layer by layer; layers that the estimate lacks are left out."""
    return {
        name: compare(estimate[name], reference[name]) for name in reference if name in estimate
    }


def worst_error(estimate: Mapping[str, Array], reference: Mapping[str, Array]) -> float:
    """Return the relative error of the worst layer whose reference is not zero."""
    layers = compare_layers(estimate, reference).values()
    errors = [c.relative_error for c in layers if not np.isnan(c.relative_error)]
    return max(errors, default=float("nan"))
