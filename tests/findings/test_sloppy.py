"""Stiff and sloppy directions against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.findings.sloppy import directions, profile
from assim.solve.minimise.gauss_newton import NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, laplace
from tests.solve.departures import Misfit

NAMES = ["a", "b", "c", "x[0]", "x[1]"]


def random_spd(n, seed):
    g = np.random.default_rng(seed).normal(size=(n, n))
    return g @ g.T + 0.1 * np.eye(n)


def gaussian_of(precision, rank=None):
    values, vectors = np.linalg.eigh(precision - np.eye(len(precision)))
    keep = slice(None, None, -1) if rank is None else slice(-1, -rank - 1, -1)
    chi = jnp.zeros(len(precision))
    return Gaussian(chi, jnp.asarray(values[keep]), jnp.asarray(vectors[:, keep]))


def test_all_of_chi_are_the_eigenpairs_of_the_misfit():
    misfit = random_spd(5, 0)
    found = directions(gaussian_of(np.eye(5) + misfit), jnp.ones(5), NAMES, NAMES)
    values, vectors = np.linalg.eigh(misfit)
    np.testing.assert_allclose(found.eigenvalues, values[::-1], rtol=1e-10)
    np.testing.assert_allclose(np.abs(found.eigenvectors), np.abs(vectors[:, ::-1]), atol=1e-9)
    np.testing.assert_allclose(found.participation.sum(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(found.stdev, (1 + values[::-1]) ** -0.5, rtol=1e-10)
    np.testing.assert_allclose(found.condition, values[-1] / values[0], rtol=1e-9)
    assert list(found.informed) == list(values[::-1] > 1)


def test_others_are_integrated_out():
    """C_pp⁻¹ is the Schur complement A_pp - A_po A_oo⁻¹ A_op."""
    precision = np.eye(5) + random_spd(5, 1)
    wanted = ["c", "a"]
    found = directions(gaussian_of(precision), jnp.ones(5), NAMES, wanted)
    p, o = [2, 0], [1, 3, 4]
    block = lambda rows, columns: precision[np.ix_(rows, columns)]  # noqa: E731
    schur = block(p, p) - block(p, o) @ np.linalg.solve(block(o, o), block(o, p))
    rebuilt = found.eigenvectors @ np.diag(found.eigenvalues) @ found.eigenvectors.T
    np.testing.assert_allclose(rebuilt, schur - np.eye(2), atol=1e-10)
    assert found.names == ("c", "a")


def test_low_rank_posterior_leaves_the_rest_to_the_prior():
    g = np.array([[3.0, 1.0, 0.0, 0.0, 0.0]])
    found = directions(gaussian_of(np.eye(5) + g.T @ g, rank=1), jnp.ones(5), NAMES, ["a", "b"])
    np.testing.assert_allclose(found.eigenvalues, [10.0, 0.0], atol=1e-9)
    assert list(found.informed) == [True, False]
    assert found.condition > 1e9
    assert found.condition_informed == 1.0
    assert found.words(0) == "0.95 a + 0.32 b"
    assert found.words(1) in ("0.95 b - 0.32 a", "- 0.95 b + 0.32 a")


def test_flat_coordinates_have_no_prior_to_beat():
    """W = 0: λ is the data's precision, and any of it is more than the prior says."""
    misfit = np.diag([0.5, 0.2, 4.0])
    weight = np.array([0.0, 1.0, 1.0])
    found = directions(
        gaussian_of(misfit + np.diag(weight)), jnp.asarray(weight), NAMES[:3], NAMES[:3]
    )
    np.testing.assert_allclose(found.eigenvalues, [4.0, 0.5, 0.2], rtol=1e-9)
    assert list(found.informed) == [True, True, False]


def test_a_direction_that_is_known_far_better_than_its_prior():
    """Of a sum read to 1e-9 prior deviations, beside which the difference is left to the prior."""
    axes = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    gaussian = Gaussian(jnp.zeros(2), jnp.array([1e18, 0.5]), jnp.asarray(axes))
    found = directions(gaussian, jnp.ones(2), ["a", "b"], ["a", "b"])
    np.testing.assert_allclose(found.eigenvalues, [1e18, 0.5], rtol=1e-6)
    np.testing.assert_allclose(found.stdev, [1e-9, 1.5**-0.5], rtol=1e-6)
    assert list(found.informed) == [True, False]


def test_unknown_names():
    with pytest.raises(ValueError, match=r"no entry of χ is called 'd'.*a, b, c"):
        directions(gaussian_of(np.eye(3)), jnp.ones(3), NAMES[:3], ["a", "d"])
    with pytest.raises(ValueError, match="at least one"):
        directions(gaussian_of(np.eye(3)), jnp.ones(3), NAMES[:3], [])


# ---- profiles ------------------------------------------------------------------------------------


def linear(chi, data):
    """d = Gχ - y, with G of shape (4, 3) and y behind it."""
    return data[:12].reshape(4, 3) @ chi - data[12:]


def test_profile_of_a_linear_problem_is_its_parabola():
    rng = np.random.default_rng(3)
    problem = Misfit(linear, 3, 1.0, jnp.asarray(rng.normal(size=16)))
    g, y = np.asarray(problem.data[:12]).reshape(4, 3), np.asarray(problem.data[12:])
    precision = np.eye(3) + g.T @ g
    gaussian = eqx.tree_at(
        lambda one: one.chi,
        gaussian_of(precision),
        jnp.asarray(np.linalg.solve(precision, g.T @ y)),
    )
    found = directions(gaussian, problem.weight(), NAMES[:3], ["c", "a"])
    along = profile(problem, gaussian, found, 1, NAMES[:3])
    np.testing.assert_allclose(along.rise, along.quadratic, atol=1e-9)
    assert along.converged.all()
    v = np.zeros(3)
    v[[2, 0]] = found.eigenvectors[:, 1]
    moved = (along.chi - np.asarray(gaussian.chi)) @ v
    np.testing.assert_allclose(moved, along.t * found.stdev[1], atol=1e-9)


NOISE = 0.02


def product(chi, data):
    """Log of y = a·b with prior sd 1 of ln a and ln b: readings of the product alone."""
    return (jnp.exp(chi[0] + chi[1]) - data) / NOISE


@pytest.fixture(scope="module")
def factors():
    problem = Misfit(product, 2, 1.0, jnp.full(3, 1.5))
    solution = minimise(problem, NewtonCG(tolerance=1e-10), jnp.zeros(2))
    fitted = laplace(problem, solution.chi, Laplace(certificate=0), jax.random.key(0))
    return problem, fitted.gaussian


def test_of_a_product_the_data_fix_the_product_alone(factors):
    problem, gaussian = factors
    names = ["a", "b"]
    found = directions(gaussian, problem.weight(), names, names)
    np.testing.assert_allclose(found.participation, 0.5, atol=1e-6)
    stiff, sloppy = found.eigenvectors.T
    assert stiff[0] * stiff[1] > 0 > sloppy[0] * sloppy[1]
    assert list(found.informed) == [True, False]
    # ∂d/∂(ln a) = ab/noise of three readings; both columns alike
    product_there = np.exp(np.sum(np.asarray(gaussian.chi)))
    np.testing.assert_allclose(found.eigenvalues[0], 6 * (product_there / NOISE) ** 2, rtol=1e-2)
    assert abs(found.eigenvalues[1]) < 1e-6 * found.eigenvalues[0]


def test_profile_of_the_ratio_is_its_prior(factors):
    """Along a/b at the best ab for each, J rises as the prior of the ratio does: t²/2."""
    problem, gaussian = factors
    found = directions(gaussian, problem.weight(), ["a", "b"], ["a", "b"])
    along = profile(problem, gaussian, found, -1, ["a", "b"])
    np.testing.assert_allclose(along.rise, along.quadratic, atol=1e-6)


def test_profile_of_the_product_is_that_of_its_exponential(factors):
    """Across, only the ratio is left, which is 0: J is a function of s = ln ab alone."""
    problem, gaussian = factors
    found = directions(gaussian, problem.weight(), ["a", "b"], ["a", "b"])
    along = profile(problem, gaussian, found, 0, ["a", "b"], t=(-40.0, 0.0, 40.0))
    assert along.converged.all()

    def j(s):
        return s**2 / 4 + 1.5 * ((np.exp(s) - 1.5) / NOISE) ** 2

    here = np.sum(np.asarray(gaussian.chi))
    moved = here + np.sqrt(2) * along.t * found.stdev[0]
    np.testing.assert_allclose(along.rise, j(moved) - j(here), rtol=1e-8, atol=1e-8)
    assert along.rise[2] > 1.2 * along.quadratic[2]  # an exponential is no parabola


def test_a_profile_that_leaves_the_model_says_so():
    problem = Misfit(lambda chi, data: jnp.log(1 - chi) - data, 2, 1.0, jnp.zeros(2))
    gaussian = gaussian_of(2 * np.eye(2))
    found = directions(gaussian, problem.weight(), ["a", "b"], ["a"])
    along = profile(problem, gaussian, found, 0, ["a", "b"], t=(0.0, 3.0))
    assert np.isinf(along.rise[1])
    assert list(along.converged) == [True, False]
