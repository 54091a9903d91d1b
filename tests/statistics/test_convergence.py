"""Convergence of chains against autoregressions, whose effective sample sizes are known."""

import blackjax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from assim.statistics.convergence import convergence, effective_draws, split_r_hat


def autoregression(rho, chains=8, number=2000, n=5, seed=0):
    """x(t + 1) = ρ x(t) + √(1 - ρ²) ξ, stationary with variance 1, shape (chains, number, n)."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(chains, number, n)) * np.sqrt(1 - rho**2)
    white[:, 0] = rng.normal(size=(chains, n))
    return scipy.signal.lfilter([1.0], [1.0, -rho], white, axis=1)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
def test_effective_draws_of_an_autoregression(rho):
    """N (1 - ρ)/(1 + ρ) for x, and the same with ρ² for x²."""
    draws = autoregression(rho, n=40)
    total = draws.shape[0] * draws.shape[1]
    for values, r in ((draws, rho), (draws**2, rho**2)):
        known = min(total * (1 - r) / (1 + r), total * np.log10(total))
        found = np.mean(1 / effective_draws(values))
        assert abs(found * known - 1) < 0.1


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_effective_draws_are_those_of_blackjax(rho):
    """On half chains; it ends Geyer's sum with one more term."""
    draws = autoregression(rho, number=1000)
    halves = np.concatenate([draws[:, :500], draws[:, 500:]])
    expected = blackjax.diagnostics.effective_sample_size(jnp.asarray(halves))
    np.testing.assert_allclose(effective_draws(draws), expected, rtol=0.03)


def test_r_hat_is_that_of_blackjax():
    draws = autoregression(0.9, number=300)
    halves = np.concatenate([draws[:, :150], draws[:, 150:]])
    expected = blackjax.diagnostics.potential_scale_reduction(jnp.asarray(halves))
    np.testing.assert_allclose(split_r_hat(draws), expected, rtol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_standard_errors_are_those_of_many_repetitions(rho):
    """Of the mean and the standard deviation of 400 sets of chains."""
    draws = autoregression(rho, chains=4, number=600, n=400)
    found = convergence(draws)
    means, stdevs = draws.mean((0, 1)), draws.std((0, 1))
    assert abs(np.mean(found.mean) / np.std(means) - 1) < 0.1
    assert abs(np.mean(found.stdev) / np.std(stdevs) - 1) < 0.1


def test_kurtosis_counts():
    """Half the square root of (κ - 1)/N: three times as much for Laplace's density as 2/3."""
    rng = np.random.default_rng(0)
    shape = (8, 4000, 1)
    flat, heavy = convergence(rng.uniform(size=shape)), convergence(rng.laplace(size=shape))
    ratio = heavy.stdev / flat.stdev
    np.testing.assert_allclose(ratio, np.sqrt((6 - 1) / (1.8 - 1)), rtol=0.1)


def test_chains_that_differ_are_seen():
    """In their means, and in their spread although their means agree."""
    draws = autoregression(0.3, n=1)
    moved, widened = draws.copy(), draws.copy()
    moved[0] += 1.0
    widened[0] *= 2.0
    assert convergence(draws).r_hat[0] < 1.01
    assert convergence(moved).r_hat[0] > 1.03
    assert convergence(widened).r_hat[0] > 1.03
    assert split_r_hat(widened)[0] < 1.01


def test_a_trend_is_seen():
    draws = autoregression(0.3, n=1) + np.linspace(-1, 1, 2000)[None, :, None]
    assert convergence(draws).r_hat[0] > 1.03


def test_what_does_not_move_is_not_known():
    draws = autoregression(0.3, n=2)
    draws[:, :, 1] = 0.7
    found = convergence(draws)
    assert found.effective[1] == 0 and found.effective_squared[1] == 0
    assert found.r_hat[1] == np.inf and found.accuracy() == np.inf
    assert np.isfinite(found.r_hat[0]) and found.mean[0] < 0.02


def test_blocks_of_coordinates_change_nothing(monkeypatch):
    draws = autoregression(0.5, n=7)
    whole = convergence(draws)
    monkeypatch.setattr("assim.statistics.convergence.NUMBERS", 2 * draws[:, :, 0].size)
    for one, other in zip(convergence(draws), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
