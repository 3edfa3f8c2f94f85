import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.hopfield.conjugate_gradients import solve

ERROR = 1e-10
"""A relative residual of 1e-13 times condition numbers of at most 100."""


def test_solutions_are_those_of_elimination():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(4, 6, 6))
    matrices = np.eye(6) + factors @ factors.transpose(0, 2, 1) / 6
    right = rng.normal(size=(4, 6))
    right[2] = 0.0
    found, solved = jax.jit(
        lambda right: solve(
            lambda rows: jnp.einsum("bij,bj->bi", matrices, rows), right, tolerance=1e-13, most=20
        )
    )(right)
    assert solved.all()
    expected = np.linalg.solve(matrices, right[..., None])[..., 0]
    np.testing.assert_allclose(found, expected, atol=ERROR)


def test_systems_without_a_solution_are_told_apart():
    diagonals = np.array([[1.0, 2.0], [1.0, 0.0]])
    right = np.ones((2, 2))
    found, solved = solve(lambda rows: diagonals * rows, right, tolerance=1e-13, most=20)
    assert solved.tolist() == [True, False]
    np.testing.assert_allclose(found[0], [1.0, 0.5], atol=ERROR)
