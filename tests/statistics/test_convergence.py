"""Convergence of chains against autoregressions, whose effective sample sizes are known."""

import blackjax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from assim.statistics.convergence import (
    carried_on,
    convergence,
    effective_draws,
    energy_fraction,
    rank_normalised,
    split_r_hat,
)


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


def test_many_short_chains_are_compared_in_groups():
    """Of 256 with 20 draws means scatter, and R̂ is 1; it is not where one half lies elsewhere."""
    draws = autoregression(0.6, chains=256, number=20, n=1)
    assert convergence(draws).r_hat[0] < 1.01
    draws[128:] += 0.5
    assert convergence(draws).r_hat[0] > 1.02


def test_a_trend_is_seen():
    draws = autoregression(0.3, n=1) + np.linspace(-1, 1, 2000)[None, :, None]
    assert convergence(draws).r_hat[0] > 1.03


def test_what_does_not_move_is_not_known():
    draws = autoregression(0.3, n=2)
    draws[:, :, 1] = 0.7
    found = convergence(draws)
    assert found.bulk[1] == 0 and found.tail[1] == 0
    assert found.r_hat[1] == np.inf and found.accuracy() == np.inf
    assert np.isfinite(found.r_hat[0]) and found.mean[0] < 0.02


def test_ranks_are_normal_scores():
    """Of ranks among all draws, whatever their distribution, ties in the middle of theirs."""
    draws = np.random.default_rng(0).normal(size=(3, 50, 1))
    scores = rank_normalised(np.exp(3 * draws))
    order = np.argsort(draws.ravel())
    expected = scipy.stats.norm.ppf((np.arange(1, 151) - 0.375) / 150.25)
    np.testing.assert_allclose(scores.ravel()[order], expected, rtol=1e-12)
    tied = rank_normalised(np.array([1.0, 2.0, 2.0, 5.0]).reshape(2, 2, 1)).ravel()
    assert tied[1] == tied[2] == pytest.approx(0.0, abs=1e-12) and tied[0] == -tied[3]


def test_chains_of_infinite_variance_that_differ_are_seen():
    """One of eight Cauchy chains three times as wide: Vehtari et al. (2021, section 5.1)."""
    draws = np.random.default_rng(0).standard_cauchy((8, 1000, 1))
    assert convergence(draws).r_hat[0] < 1.01
    draws[0] *= 3
    assert split_r_hat(draws)[0] < 1.01 < 1.02 < convergence(draws).r_hat[0]


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_errors_of_quantiles_are_those_of_many_repetitions(rho):
    """The largest is that of the 5 and the 95 % quantile, which are known equally well."""
    draws = autoregression(rho, chains=4, number=600, n=400)
    found = convergence(draws)
    low, high = np.quantile(draws, (0.05, 0.95), axis=(0, 1))
    scatter = (np.std(low) + np.std(high)) / 2 / np.mean(high - low)
    assert 0.95 < np.mean(found.quantile) / scatter < 1.3
    of_tail = draws.size / 400 * (1 if rho == 0 else (1 - rho) / (1 + rho))
    assert 0.6 * of_tail < np.mean(found.tail) < 2.2 * of_tail


def test_a_tail_that_few_draws_rule_is_told_and_left_out():
    """Of Cauchy draws quantiles are known, of Gaussian ones moments too."""
    rng = np.random.default_rng(0)
    draws = np.stack([rng.standard_cauchy((8, 1000)), rng.normal(size=(8, 1000))], axis=2)
    found = convergence(draws)
    np.testing.assert_array_equal(found.heavy(), [True, False])
    assert abs(found.tail_shape[0] - 1) < 0.3 and found.stdev[0] > 0.1
    assert found.quantile[0] < 0.03 and found.reached()[0] < 0.03
    assert found.reached()[1] == pytest.approx(1 / np.sqrt(2 * 8000), rel=0.3)


def test_half_chains_that_scatter_raise_errors():
    """Offsets of a tenth of a standard deviation, which autocorrelations do not show."""
    draws = np.random.default_rng(0).normal(size=(8, 2000, 1))
    plain = convergence(draws)
    draws += np.repeat(0.1 * (-1.0) ** np.arange(16), 1000).reshape(8, 2000, 1)
    assert plain.mean[0] < 0.012
    assert 0.016 < convergence(draws).mean[0] < 0.026  # 0.1/√16, less what chance allows


def test_energy_fraction_of_white_and_of_slow_energies():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(4, 4000))
    assert abs(energy_fraction(white) - 2) < 0.15
    slow = autoregression(0.95, chains=4, number=4000, n=1)[:, :, 0]
    assert abs(energy_fraction(slow) - 0.1) < 0.03
    assert np.isnan(energy_fraction(np.full((4, 10), np.nan)))


def test_blocks_of_coordinates_change_nothing(monkeypatch):
    draws = autoregression(0.5, n=7)
    whole = convergence(draws)
    monkeypatch.setattr("assim.statistics.convergence.NUMBERS", 2 * draws[:, :, 0].size)
    for one, other in zip(convergence(draws), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_what_is_not_finite_is_carried_on():
    nan, inf = np.nan, np.inf
    column = np.array([[nan, 1.0, nan], [2.0, inf, nan], [nan, 4.0, -inf], [5.0, nan, nan]])
    values = np.stack([column, np.full((4, 3), nan), np.ones((4, 3))], axis=2)
    filled = carried_on(values)
    expected = [[2.0, 1.0, 5.0], [2.0, 1.0, 5.0], [2.0, 4.0, 5.0], [5.0, 4.0, 5.0]]
    np.testing.assert_array_equal(filled[..., 0], expected)  # the last chain has none
    np.testing.assert_array_equal(filled[..., 1], 1.0)
    assert filled.shape == (4, 3, 2)
    whole = np.ones((4, 3, 2))
    assert carried_on(whole) is whole


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_errors_of_what_is_finite_are_those_of_many_repetitions(share):
    """Of the mean and the standard deviation of the finite values, others being left out."""
    draws = autoregression(0.8, chains=4, number=600, n=400)
    absent = np.random.default_rng(1).uniform(size=draws.shape) < share
    kept = np.where(absent, np.nan, draws)
    found = convergence(np.swapaxes(carried_on(np.swapaxes(kept, 0, 1)), 0, 1))
    means, stdevs = np.nanmean(kept, (0, 1)), np.nanstd(kept, (0, 1))
    assert abs(np.mean(found.mean) / np.std(means) - 1) < 0.25
    assert abs(np.mean(found.stdev) / np.std(stdevs / np.mean(stdevs)) - 1) < 0.25
