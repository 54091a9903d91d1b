"""Members without weights are certified only where weights would move nothing that is published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.randomise import Randomise
from assim.solve.posterior.unweighted import misses, moved, moved_of_laplace
from assim.solve.posterior.variational import Variational
from assim.statistics.accuracy import apart
from tests.solve.departures import Misfit
from tests.solve.posterior.closed_posteriors import given, linear

KEY = jax.random.key(1)
STRENGTH, READ = 0.3, 0.5


def gently_skewed(chi, data):
    """0.3 (exp χ - 1) read as 0.5: k̂ of Laplace is nearly 0."""
    return STRENGTH * jnp.expm1(chi) - READ + 0 * jnp.sum(data)


def on_a_circle(chi, data):
    """|d| = 1 everywhere: the posterior is the prior, whatever noise moves the analyses."""
    return jnp.concatenate([jnp.cos(chi), jnp.sin(chi)]) + 0 * jnp.sum(data)


def exact():
    x = np.linspace(-9, 6, 200_001)
    p = np.exp(-(x**2) / 2 - (STRENGTH * np.expm1(x) - READ) ** 2 / 2)
    p /= p.sum()
    mean = p @ x
    return mean, np.sqrt(p @ (x - mean) ** 2)


@pytest.fixture(scope="module")
def skewed():
    problem = Misfit(gently_skewed, 1, 1.0)
    chi = minimise(problem, NewtonCG(tolerance=1e-10), jnp.zeros((1, 1))).chi
    return problem, laplace(problem, chi, Laplace(), jax.random.key(0))


def test_what_weights_move_is_what_laplace_is_off(skewed):
    problem, around = skewed
    mean, stdev = exact()
    assert around.k_hat < 0.1 and around.importance.trusted()
    away = moved_of_laplace(problem, around)
    np.testing.assert_allclose(away.mean, (float(around.chi[0]) - mean) / stdev, atol=0.01)
    np.testing.assert_allclose(away.stdev, float(around.gaussian.stdev()[0]) / stdev - 1, atol=0.01)


def test_perturbed_analyses_of_a_light_tail_are_off_and_doubtful(skewed):
    """By 0.13 standard deviations and 12 per cent, though k̂ says that weights may be trusted."""
    problem, around = skewed
    found = Randomise(2000, GaussNewton(tolerance=1e-10), together=1000).sample(
        problem, around, KEY
    )
    mean, stdev = exact()
    assert (float(found.mean()[0]) - mean) / stdev > 0.08
    assert float(found.stdev()[0]) / stdev > 1.08
    assert found.trust is Trust.DOUBTFUL and "weights move moments" in found.advice
    assert found.certificates["laplace_k_hat"] < 0.1


def test_members_that_miss_what_laplace_has_right_are_doubtful():
    """A posterior that is N(0, 1), of which perturbed analyses have 1.2 standard deviations."""
    problem = Misfit(on_a_circle, 1, 1.0)
    around = laplace(problem, jnp.zeros(1), Laplace(), jax.random.key(0))
    assert around.k_hat == 0 and moved_of_laplace(problem, around).excess() < 1e-9
    assert not misses(around, around.gaussian.draws(KEY, 400))
    settings = Randomise(400, GaussNewton(tolerance=1e-8, n_outer=50), together=400)
    found = settings.sample(problem, around, KEY)
    assert float(found.stdev()[0]) > 1.15 and misses(around, found.members)
    assert found.trust is Trust.DOUBTFUL and "they miss its moments" in found.advice


class Squared(Misfit):
    """With χ² as a scalar, which is not finite for one draw in six."""

    def scalars(self, chi):
        return {"square": jnp.where(chi[0] < 1.0, chi[0] ** 2, jnp.nan)}


def test_scalars_are_looked_at_by_their_finite_values():
    """Those of χ² below 1, among all else: the largest change is no smaller than theirs."""
    problem = Squared(gently_skewed, 1, 1.0)
    around = laplace(problem, jnp.zeros(1), Laplace(certificate=0), jax.random.key(0))
    chi = jax.random.normal(KEY, (20_000, 1))
    weights = np.where(np.asarray(chi)[:, 0] < 0.0, 1.2, 0.8)
    away = moved(problem, around.gaussian, chi, weights / weights.sum())
    f = np.asarray(chi)[:, 0]
    f, w = f[f < 1.0] ** 2, weights[f < 1.0] / weights[f < 1.0].sum()
    mean = w @ f
    stdev = np.sqrt(w @ (f - mean) ** 2)
    of_square = abs(np.mean(f) - mean) / stdev, abs(np.std(f) / stdev - 1)
    assert away.mean >= of_square[0] and away.stdev > 0.99 * of_square[1] > 0 < away.quantile


def test_apart_is_in_the_standard_deviations_of_the_others():
    values = np.array([[0.0, 5.0, np.nan, 1.0], [2.0, 5.0, 3.0, 1.0]])
    others = np.array([[1.0, 5.0, 3.0, 1.0], [5.0, 5.0, np.nan, 1.0]])
    half = np.full(2, 0.5)
    away = apart(values[:, :2], half, others[:, :2], half)
    assert away[:2] == (1.0, 0.5)  # 1 against 3 ± 2, and 1 against 2
    assert apart(values[:, 1:], half, others[:, 1:], half)[:2] == (0.0, 0.0)
    assert apart(values[:, :1], half, others[:, 1:2], half).excess() == np.inf


@pytest.mark.parametrize(("shift", "trust"), [(0.0, Trust.CERTIFIED), (0.15, Trust.DOUBTFUL)])
def test_a_fit_whose_mean_is_off_is_doubtful(shift, trust):
    """A Gaussian posterior and a start beside its mean, from which steps so short do not move."""
    case = linear(n=1, m=3)
    around = given(case.mean + shift * np.sqrt(case.covariance[0]), case.covariance[0])
    found = Variational(steps=10, step_size=1e-9).sample(case.problem, around, KEY)
    assert found.certificates["slope"] < 0.2 and abs(found.certificates["stdev_ratio"] - 1) < 0.015
    np.testing.assert_allclose(found.certificates["mean_moved"], shift, atol=0.01)
    assert found.trust is trust
    assert shift == 0 or "weights move standard deviations" in found.advice
