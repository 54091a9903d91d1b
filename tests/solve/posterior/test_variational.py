"""Variational Gaussians: exact where the family holds the posterior, too narrow where not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.variational import Variational
from tests.solve.departures import Misfit
from tests.solve.posterior.closed_posteriors import (
    affine,
    given,
    linear,
    nowhere,
    posterior_at,
    separable,
    walled,
    with_wall,
)

pytestmark = pytest.mark.slow

KEY = jax.random.key(2)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    """Toys: compiling is what takes time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def case():
    return linear(n=3, m=5)


@pytest.fixture(scope="module")
def around(case):
    """Off by half a standard deviation, with variances that are not the posterior's."""
    variance = np.diag(case.covariance)
    return given(case.mean + 0.5 * np.sqrt(variance), 0.5 * variance)


def moments(found):
    return np.asarray(found.members).mean(axis=0), np.cov(np.asarray(found.members).T)


@pytest.mark.parametrize("coordinates", ["whitened", "plain"])
def test_full_rank_is_exact_for_a_linear_problem(case, around, coordinates):
    """The bound is the evidence itself, and every weight is the same."""
    lines = []
    settings = Variational(coordinates=coordinates, steps=1000)
    found = settings.sample(case.problem, around, KEY, lines.append)
    assert found.trust is Trust.CERTIFIED and len(lines) == 10
    assert abs(found.certificates["bound"] - case.log_evidence) < 1e-3
    assert found.certificates["effective_draws"] > 0.998 * 10_000
    stdev = np.sqrt(np.diag(case.covariance))
    mean, covariance = moments(found)
    assert np.max(np.abs(mean - case.mean) / stdev) < 4 / np.sqrt(10_000)
    error = (covariance - case.covariance) / np.outer(stdev, stdev)
    assert np.max(np.abs(error)) < 4 * np.sqrt(2 / 10_000) + 0.01
    assert found.gradients == 20_400 and found.evaluations == 10_000


def test_mean_field_variances_are_those_of_the_precision(case, around):
    """1/diag(precision), below the marginal variances; the bound is as much lower."""
    precision = np.linalg.inv(case.covariance)
    settings = Variational("mean_field", "plain", steps=2000)
    found = settings.sample(case.problem, around, KEY)
    narrow = 1 / np.diag(precision)
    mean, covariance = moments(found)
    stdev = np.sqrt(np.diag(case.covariance))
    assert np.max(np.abs(mean - case.mean) / stdev) < 0.06
    np.testing.assert_allclose(np.diag(covariance), narrow, rtol=0.08)
    assert np.min(narrow / np.diag(case.covariance)) < 0.8
    gap = (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1]) / 2
    assert gap > 0.1
    assert abs(found.certificates["bound"] - (case.log_evidence - gap)) < 0.05
    assert found.trust is not Trust.CERTIFIED


def test_whitened_mean_field_knows_correlations(case):
    """In coordinates of the right Laplace posterior the family holds it."""
    around = posterior_at(case.problem, case.mean, 0)
    found = Variational("mean_field", steps=100).sample(case.problem, around, KEY)
    assert found.trust is Trust.CERTIFIED
    assert abs(found.certificates["bound"] - case.log_evidence) < 1e-6


def test_skewed_posterior_is_fitted_too_narrow():
    """The bound lies below the evidence, and the fit does not pass for the posterior."""
    case = separable()
    around = given(case.mode, case.stdev**2)
    found = Variational().sample(case.problem, around, KEY)
    bound, error = found.certificates["bound"], found.certificates["bound_stdev"]
    assert bound < case.log_evidence - 5 * error
    ratio = np.asarray(found.stdev()) / case.stdev
    assert np.all(ratio < 0.97)
    assert 0.7 < found.certificates["stdev_ratio"] < 0.95  # as far as the weights can tell
    assert found.trust is Trust.DOUBTFUL and "too narrow" in found.advice
    assert np.isnan(found.log_evidence)


def test_flat_coordinates():
    problem = Misfit(affine, 2, 0.0, jnp.asarray([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
    found = Variational(steps=1000).sample(problem, given([0.1, 0.9], [0.2, 0.8]), KEY)
    np.testing.assert_allclose(found.mean(), [0.0, 1.0], atol=0.05)
    np.testing.assert_allclose(found.stdev(), [0.5, 1.0], rtol=0.05)
    assert found.trust is Trust.CERTIFIED


def test_uninformed_coordinate_is_named():
    problem = Misfit(affine, 2, 0.0, jnp.asarray([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    around = posterior_at(problem, [0.0, 0.0], 0)
    found = Variational(steps=20).sample(problem, around, KEY)
    assert found.trust is Trust.DOUBTFUL and "not informed" in found.advice


def test_no_bound_where_q_passes_an_edge():
    """E_q[log p] is -∞, however finite the draws inside."""
    data = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    problem = Misfit(walled, 2, 1.0, with_wall(data, -0.5))
    found = Variational(steps=20).sample(problem, given([0.0, 0.0], [0.5, 0.5]), KEY)
    assert found.certificates["outside"] > 0.1
    assert found.certificates["bound"] == -np.inf
    assert np.isnan(found.certificates["bound_stdev"])
    assert found.trust is Trust.DOUBTFUL


def test_an_edge_far_out_is_told():
    """A fit that weights hardly change, of which one draw in fifty lies where p vanishes."""
    data = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    problem = Misfit(walled, 2, 1.0, with_wall(data, -1.55))
    found = Variational(steps=300).sample(problem, given([0.0, 0.0], [0.71, 0.71]), KEY)
    assert found.certificates["outside"] > 0.01 and found.certificates["k_hat"] < 0.5
    assert found.trust is Trust.DOUBTFUL and "edge" in found.advice


def test_draws_fit_in_memory(monkeypatch):
    monkeypatch.setattr("assim.solve.together.HELD", 60 * 40)
    problem = Misfit(affine, 60, 1.0, jnp.zeros((1, 61)))
    around = given(np.zeros(60), np.ones(60))
    found = Variational("mean_field", steps=10, draws_per_step=2).sample(problem, around, KEY)
    assert found.members.shape == (40, 60) and found.evaluations == 40
    assert found.gradients == 20 + 40


def test_no_density():
    problem = Misfit(nowhere, 2, 1.0, jnp.zeros(2))
    found = Variational(steps=20).sample(problem, given([0.0, 0.0], [1.0, 1.0]), KEY)
    assert found.trust is Trust.FAILED and np.all(np.isfinite(found.members))


def test_too_few_steps(case):
    around = given(case.mean + 3, np.full(3, 0.01))
    found = Variational(steps=20, step_size=0.2).sample(case.problem, around, KEY)
    assert found.trust is Trust.DOUBTFUL and "`steps`" in found.advice


def test_too_many_controls_for_a_whole_covariance():
    problem = Misfit(affine, 501, 1.0, jnp.zeros((1, 502)))
    found = Variational().sample(problem, given(np.zeros(501), np.ones(501)), KEY)
    assert found.trust is Trust.FAILED and "mean_field" in found.advice


@pytest.mark.parametrize(
    "arguments",
    [
        {"family": "flow"},
        {"coordinates": "polar"},
        {"steps": 1},
        {"draws_per_step": 1},
        {"step_size": 0.0},
        {"number": 1},
    ],
)
def test_refused_settings(arguments):
    with pytest.raises(ValueError, match=f"Variational: {next(iter(arguments))}"):
        Variational(**arguments)
