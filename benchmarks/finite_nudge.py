"""What a finite nudge costs and brings, on a Boltzmann machine small enough to sum over.

    python -m benchmarks.finite_nudge [--figure FILE]

Prints, by beta: the objective between the losses, how far its gradient is from that of the loss,
the error of P-EP and C-EP on the deterministic mean field at the same beta, and the error of
estimates from 1,000 draws: independent numbers, common numbers, and the path integral.
"""

import argparse
import dataclasses

import jax
import numpy as np

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.gradients.objective import objective
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.path_integral import PathIntegral
from eqprop_spice.substrates.boltzmann import BoltzmannMachine

BETAS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
DRAWS, REPEATS = 1000, 100
COST = SquaredError()


def flat(gradient) -> np.ndarray:
    return np.concatenate([np.asarray(gradient[k], float).ravel() for k in sorted(gradient)])


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--figure")
    options = parser.parse_args()
    exact = BoltzmannMachine(hidden=(6,), num_inputs=3, num_outputs=2, method="exact")
    rng = np.random.default_rng(0)
    params = {k: rng.standard_normal(s) for k, s in exact.parameter_shapes().items()}
    inputs, targets = rng.standard_normal((4, 3)), np.eye(2)[[0, 1, 1, 0]]
    args = (params, inputs, targets, COST)
    loss_slope = flat(PathIntegral(0.0)(exact, *args).gradient)
    mean = dataclasses.replace(exact, method="mean_field", precision="float64")
    tiny = flat(EquilibriumPropagation("centered", 1e-3)(mean, *args).gradient)
    chains = dataclasses.replace(
        exact, method="gibbs", draws=DRAWS, burn_in=50, thinning=2, smoothed=False
    )
    apart = dataclasses.replace(chains, common_numbers=False)
    smooth = dataclasses.replace(chains, smoothed=True)
    rows = []
    print("beta | J, E_beta, E_0 loss | cos J | P-EP, C-EP | independent common smoothed path")
    for beta in BETAS:
        found = objective(exact, params, inputs, targets, cost=COST, beta=beta, nodes=24)
        rule = EquilibriumPropagation("positive", beta, "live")
        truth = flat(rule(exact, *args).gradient)
        cosine = truth @ loss_slope / np.linalg.norm(truth) / np.linalg.norm(loss_slope)
        biases = [
            relative(flat(EquilibriumPropagation(v, beta)(mean, *args).gradient), tiny)
            for v in ("positive", "centered")
        ]
        errors = []
        path = dataclasses.replace(apart, draws=DRAWS // 2)
        cases = ((apart, rule), (chains, rule), (smooth, rule), (path, PathIntegral(beta, 3)))
        for substrate, learning in cases:
            many = jax.jit(
                jax.vmap(lambda key, s=substrate, r=learning: r(s, *args, key=key).gradient)
            )(jax.random.split(jax.random.key(1), REPEATS))
            square = sum(((np.asarray(many[k]) - g) ** 2).sum() for k, g in _named(truth, many))
            errors.append(float(np.sqrt(square / REPEATS) / np.linalg.norm(truth)))
        rows.append((beta, found.value, found.nudged_loss, found.free_loss, cosine, *errors))
        print(
            f"{beta:5} | {found.value:.4f} {found.nudged_loss:.4f} {found.free_loss:.4f} | "
            f"{cosine:.4f} | {biases[0]:.3f} {biases[1]:.3f} | "
            + " ".join(f"{e:.3f}" for e in errors),
            flush=True,
        )
    if options.figure:
        draw(np.array(rows), options.figure)


def _named(truth: np.ndarray, many):
    """Yield the parts of a flat gradient by name."""
    start = 0
    for name in sorted(many):
        shape = many[name].shape[1:]
        size = int(np.prod(shape))
        yield name, truth[start : start + size].reshape(shape)
        start += size


def draw(rows: np.ndarray, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    beta = rows[:, 0]
    for column, label in ((3, "free loss"), (1, "objective J"), (2, "nudged loss")):
        left.semilogx(beta, rows[:, column], "o-", label=label)
    left.set(xlabel="nudge beta", ylabel="mean over samples", title="J lies between the losses")
    left.legend()
    labels = ("independent", "common numbers", "common, smoothed", "path integral")
    for number, label in enumerate(labels):
        right.loglog(beta, rows[:, 5 + number], "o-", label=label)
    right.set(xlabel="nudge beta", ylabel="relative error", title="Gradient from 1,000 draws")
    right.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
