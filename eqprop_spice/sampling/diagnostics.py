r"""What chains are worth: autocorrelation, effective number of samples, and whether they mix.

All series of a kind (the outputs of one sample in one chain, say) are taken together: variances and
covariances are summed over them before they are divided, so that short chains of many samples tell
what one short chain cannot.
"""

import numpy as np
from jaxtyping import Float

FEWEST = 4
"""Draws of a chain below which it says nothing of itself."""


def autocorrelation(
    series: Float[np.ndarray, "sample chain draw"],
) -> Float[np.ndarray, " lag"]:
    """Return the autocorrelation by lag, pooled over samples.

    The mean of a sample is that of all its chains: one that has not left its start shows as
    correlation.
    """
    count = series.shape[-1]
    centered = series - series.mean((1, 2), keepdims=True)
    spectrum = np.abs(np.fft.rfft(centered, 2 * count)) ** 2
    sums = np.fft.irfft(spectrum)[..., :count].sum((0, 1))
    covariances = sums / np.arange(count, 0, -1)
    return covariances / covariances[0] if covariances[0] > 0.0 else 1.0 * (np.arange(count) == 0)


def autocorrelation_time(series: Float[np.ndarray, "sample chain draw"]) -> float:
    r"""Return $\tau = 1 + 2\sum_k \rho_k$: of so many draws, one is independent.

    The sum ends with the last positive pair of lags, each pair at most the one before it: pairs of
    a reversible chain fall and stay positive, the rest is noise.

    References:
        Geyer (1992), doi:10.1214/ss/1177011137, initial monotone sequence.
    """
    found = autocorrelation(series)
    pairs = found[: found.size // 2 * 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs <= 0.0)
    kept = np.minimum.accumulate(pairs[: negative[0] if negative.size else None])
    return max(float(2.0 * kept.sum() - 1.0), 1.0)


def potential_reduction(series: Float[np.ndarray, "sample chain draw"]) -> float:
    r"""Return split $\hat R$: how much wider chains lie together than each for itself, at 1 alike.

    Every chain is cut into halves, so that a single one that drifts shows as well.

    References:
        Gelman et al. (2013), Bayesian Data Analysis, 3rd edition, section 11.4.
    """
    half = series.shape[-1] // 2
    parts = np.concatenate([series[..., :half], series[..., -half:]], axis=1)
    within = parts.var(-1, ddof=1).mean()
    between = half * parts.mean(-1).var(1, ddof=1).mean()
    if within == 0.0:
        return 1.0 if between == 0.0 else float("inf")
    return float(np.sqrt((half - 1) / half + between / within / half))


def describe(series: Float[np.ndarray, "sample chain draw quantity"]) -> dict[str, float]:
    """Return the worst quantity's figures under their names in a history.

    Returns:
        `autocorrelation_time` [draws], `effective_draws` per sample and `r_hat`; empty if chains
        are too short to say anything.
    """
    count = series.shape[2]
    if count < FEWEST:
        return {}
    quantities = np.moveaxis(np.asarray(series, float), -1, 0)
    time = max(autocorrelation_time(one) for one in quantities)
    return {
        "autocorrelation_time": time,
        "effective_draws": series.shape[1] * count / time,
        "r_hat": max(potential_reduction(one) for one in quantities),
    }
