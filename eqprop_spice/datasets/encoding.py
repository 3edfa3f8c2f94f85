"""How a user's features and labels become voltages, and how outputs become labels again."""

import dataclasses
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from eqprop_spice.errors import ConfigError

Standardize = Literal["feature", "table", "none"]
"""Whether every feature gets mean 0 and deviation 1, or the table as a whole, or none does."""


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    r"""From features to source voltages, $V = s (x - m) / d$, and from outputs to predictions.

    Attributes:
        mean: What is subtracted from every feature.
        deviation: What it is divided by; positive.
        scale: Voltage of a deviation [V].
        classes: The labels, in the order of the outputs; empty for a regression. Two classes may
            have one output: the first below the threshold, the second above.
        target_mean: What is added to every output of a regression.
        target_deviation: What outputs of a regression are multiplied by, in units per volt.
        flat: Whether predictions of one output are a flat array.
        threshold: The voltage between two classes of one output [V].
    """

    mean: Float[np.ndarray, " feature"]
    deviation: Float[np.ndarray, " feature"]
    scale: float
    classes: np.ndarray
    target_mean: Float[np.ndarray, " output"]
    target_deviation: Float[np.ndarray, " output"]
    flat: bool = True
    threshold: float = 0.0

    def inputs(self, features: np.ndarray) -> Float[np.ndarray, "sample feature"]:
        """Return features as source voltages [V].

        Raises:
            ConfigError: If they are no finite numbers, or not as many as there were.
        """
        table = numbers(features, "the features")
        if table.ndim != 2 or table.shape[1] != len(self.mean):
            raise ConfigError(
                f"The features have the shape {table.shape}; (samples, {len(self.mean)}) is "
                "expected, as the circuit has an input for each feature it was trained with."
            )
        return self.scale * (table - self.mean) / self.deviation

    def predictions(self, outputs: Float[np.ndarray, "sample output"]) -> np.ndarray:
        """Return labels, or the numbers of a regression, for output voltages [V]."""
        if len(self.classes) == 0:
            values = self.target_mean + self.target_deviation * outputs
            return values[:, 0] if self.flat else values
        if outputs.shape[1] == 1:
            return self.classes[(outputs[:, 0] > self.threshold).astype(int)]
        return self.classes[np.where(np.isfinite(outputs), outputs, -np.inf).argmax(1)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the content as arrays, for a file."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray]) -> "Encoding":
        """Return what `arrays` was made of."""
        plain: dict[str, Any] = {name: arrays[name] for name in (f.name for f in _FIELDS)}
        for name in ("scale", "threshold"):
            plain[name] = float(plain[name])
        plain["flat"] = bool(plain["flat"])
        return cls(**plain)


_FIELDS = dataclasses.fields(Encoding)


def numbers(values: Any, what: str) -> np.ndarray:
    """Return values as an array of finite floats.

    Raises:
        ConfigError: If they are texts, ragged, not finite or complex, in words.
    """
    try:
        given = np.asarray(values)
        table = given.astype(float) if given.dtype.kind != "c" else None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} must be numbers: {error}.") from error
    if table is None:
        raise ConfigError(f"{what} are complex; a voltage is a real number.")
    if not np.isfinite(table).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(table))[0])
        raise ConfigError(
            f"{what} are not finite at {where}: {table[where]}. Fill gaps in before, for instance "
            "with scikit-learn's SimpleImputer."
        )
    return table


def fitted(
    features: Float[np.ndarray, "sample feature"], standardize: Standardize
) -> tuple[Float[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """Return mean and deviation of each feature; a constant feature is left at 0 V."""
    count = features.shape[1]
    if standardize == "none":
        return np.zeros(count), np.ones(count)
    if standardize == "table":
        deviation = float(features.std())
        return np.full(count, features.mean()), np.full(count, deviation or 1.0)
    deviations = features.std(axis=0)
    # The deviation of equal numbers is a rounding error of their mean.
    negligible = 1e-12 * np.abs(features).max(axis=0, initial=0.0)
    varies = deviations > negligible
    means = np.where(varies, features.mean(axis=0), features[0])
    return means, np.where(varies, deviations, 1.0)
