"""What all chains share: where they start, how they are regrouped, when they stop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.chains import sampling
from assim.solve.posterior.chains.chains import cost_of_starts
from assim.solve.posterior.chains.samplers import MCLMC, NUTS
from assim.solve.posterior.chains.verdict import _of_bias
from assim.solve.posterior.ensemble import HEAVY_TAIL, Trust
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.metric import averaged, averaged_cost
from assim.statistics.convergence import convergence
from tests.solve.departures import Misfit
from tests.solve.targets import gaussian, laplace_at, truncated


def uneven_wells(chi, data):
    """Minima at x₀ ≈ ±2, the one on the left 60 nats higher and narrow."""
    del data
    left = jnp.sqrt(2 * 60 / (1 + jnp.exp(20 * chi[0])))
    return jnp.stack([(chi[0] ** 2 - 4) / 0.5, left, chi[1] - chi[0]])


@pytest.fixture(scope="module")
def lopsided():
    around = laplace_at(np.array([2.0, 2.0]), np.linalg.inv([[65.0, -1.0], [-1.0, 2.0]]))
    return Misfit(uneven_wells, 2, 1.0), around


@pytest.mark.slow
def test_chains_leave_a_mode_without_mass(lopsided):
    """It is said how many did, and how much less probable it is; the rest is certified."""
    problem, around = lopsided
    said = []
    found = NUTS(accuracy=0.05).sample(problem, around, jax.random.key(0), said.append)
    assert found.trust is Trust.CERTIFIED, found.advice
    assert np.min(np.asarray(found.members)[:, 0]) > 0
    assert 0 < found.certificates["moved"] <= 0.5
    assert 50 < found.certificates["moved_behind"] < 70
    assert "less probable and were moved" in found.advice
    assert sum("warm-up" in line for line in said) == 3


@pytest.fixture(scope="module")
def walk():
    """Chains on `truncated` as they set out."""
    target = truncated()
    return sampling.set_out(NUTS(), target.problem, target.around.gaussian, jax.random.key(0))[0]


def regrouped(walk, draws, log_density):
    key = jax.random.key(1)
    return sampling.regroup(NUTS(), walk, jnp.asarray(draws), jnp.asarray(log_density), key)


def test_starts_are_finite_and_low(walk):
    """With the density and its gradient there, and those from the prior no higher than others."""
    problem = truncated().problem
    both = jax.jit(jax.vmap(jax.value_and_grad(lambda z: walk.at.log_density(problem, z))))
    density, score = both(walk.state.position)
    assert walk.state.position.shape == (8, 2)
    np.testing.assert_allclose(walk.state.logdensity, density, rtol=1e-10)
    np.testing.assert_allclose(walk.state.logdensity_grad, score, rtol=1e-10, atol=1e-12)
    assert np.all(np.isfinite(density)) and np.min(density[4:]) > -1.0


def test_modes_of_equal_mass_are_kept(walk):
    """And the coordinates fitted to the draws of all."""
    draws = np.random.default_rng(0).normal(size=(60, 8, 2)) * np.array([1 / 12, 1])
    draws[:, :, 0] += np.where(np.arange(8) < 4, 3.0, -3.0)
    group = regrouped(walk, draws, np.zeros((60, 8)))
    np.testing.assert_array_equal(group.source, np.arange(8))
    z = jax.vmap(group.walk.at.z)(jnp.asarray(draws[30:].reshape(-1, 2)))
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.1)


def test_regrouping_keeps_density_and_score(walk):
    """In new coordinates, without another evaluation."""
    problem = truncated().problem
    draws = np.random.default_rng(0).normal(size=(60, 8, 2)) * np.array([0.3, 2.0])
    group = regrouped(walk, draws, np.zeros((60, 8))).walk
    both = jax.vmap(jax.value_and_grad(lambda z: group.at.log_density(problem, z)))
    density, score = jax.jit(both)(group.state.position)
    np.testing.assert_allclose(group.state.logdensity, density, rtol=1e-10)
    np.testing.assert_allclose(group.state.logdensity_grad, score, rtol=1e-8, atol=1e-10)


def test_stuck_chains_are_moved(walk):
    draws = np.random.default_rng(0).normal(size=(60, 8, 2))
    draws[:, 3] = draws[0, 3]
    log_density = np.zeros((60, 8))
    log_density[:, 5] = -np.inf
    source = np.asarray(regrouped(walk, draws, log_density).source)
    good = [0, 1, 2, 4, 6, 7]
    np.testing.assert_array_equal(source[good], good)
    assert set(source) == set(good)


@pytest.mark.slow
def test_no_draw_of_the_prior_is_finite():
    """Then all chains start near the minimum, and the certificate counts none from the prior."""
    narrow = Misfit(
        lambda chi, _: jnp.where(jnp.max(jnp.abs(chi - 9)) > 1, jnp.nan, 10 * chi - 90), 3, 1
    )
    around = laplace_at(np.full(3, 900 / 101), np.eye(3) / 101)
    found = NUTS(accuracy=0.1, warm_up=60).sample(narrow, around, jax.random.key(0))
    assert found.trust is Trust.CERTIFIED, found.advice
    assert found.certificates["chains_from_prior"] == 0
    assert np.isnan(found.certificates["chains_from_prior_agree"])


def test_nowhere_to_start():
    problem = Misfit(lambda chi, _: jnp.nan * chi, 2, 1.0)
    found = NUTS().sample(problem, laplace_at(np.zeros(2), np.eye(2)), jax.random.key(0))
    assert found.trust is Trust.FAILED and "not finite" in found.advice


traced = []


def counted(chi, data):
    traced.append(1)
    return jnp.concatenate([data * chi, chi - 1])


@pytest.mark.slow
def test_gradients_and_memory_run_out(monkeypatch):
    """Draws are dropped again and again, and a second problem does not compile again."""
    first, second = (Misfit(counted, 3, 1.0, jnp.full(3, scale)) for scale in (2.0, 5.0))
    method = NUTS(max_gradients=20_000, accuracy=0.001, members=100)
    method.sample(first, laplace_at(np.ones(3) / 6, np.eye(3) / 6), jax.random.key(0))
    before, shapes = len(traced), []
    monkeypatch.setattr(sampling, "HELD", 8 * 3 * 60)
    monkeypatch.setattr(sampling, "convergence", lambda d: shapes.append(d.shape) or convergence(d))
    around = laplace_at(np.ones(3) / 27, np.eye(3) / 27)
    found = method.sample(second, around, jax.random.key(1))
    assert len(traced) <= before + 1  # shapes alone are looked at, to count the metric's gradients
    assert max(shape[1] for shape in shapes) <= 60 < found.certificates["draws"] / 8 / 2
    assert found.trust is Trust.DOUBTFUL and "raise max_gradients" in found.advice
    assert 10_000 < found.gradients <= 20_000
    assert found.certificates["accuracy"] > 0.001
    assert found.members.shape[0] <= 100 and found.members.shape[0] % found.chains == 0
    np.testing.assert_allclose(found.mean(), np.full(3, 1 / 27), atol=0.4 / 27**0.5)
    np.testing.assert_allclose(found.stdev(), np.full(3, 27**-0.5), rtol=0.3)


@pytest.mark.slow
def test_gradients_run_out_in_the_warm_up():
    """It stops there and says so; and does not begin where the starts alone cost more."""
    target = gaussian(5)
    least = cost_of_starts(8)[0] + averaged_cost(target.problem)
    method = NUTS(max_gradients=least + 3000)
    found = method.sample(target.problem, target.around, jax.random.key(0))
    assert found.trust is Trust.DOUBTFUL and "of the warm-up" in found.advice
    assert least < found.gradients <= least + 3000
    assert 0 < found.certificates["warm_up"] < 1
    assert found.members.shape == (8 * 20, 5) and np.all(np.isfinite(found.members))
    none = NUTS(max_gradients=100).sample(target.problem, target.around, jax.random.key(0))
    assert none.trust is Trust.FAILED and f"take {least} gradients" in none.advice
    assert none.gradients == 0


@pytest.mark.slow
def test_uninformed_coordinate_is_named():
    """Chains along it disagree, but not because there were several modes."""
    problem = Misfit(half_seen, 2, 0.0)
    around = laplace(problem, jnp.zeros(2), Laplace(certificate=0), jax.random.key(0))
    method = NUTS(max_gradients=20_000, warm_up=60, doublings=4)
    found = method.sample(problem, around, jax.random.key(0))
    assert found.trust is Trust.DOUBTFUL
    assert "not informed" in found.advice and "modes" not in found.advice


def half_seen(chi, data):
    del data
    return jnp.stack([2 * chi[0], 0 * chi[1]])


def test_metric_by_rows_is_the_metric_by_columns(monkeypatch):
    """Where departures are fewer than controls; and it is counted so."""
    target = gaussian(70)
    assert averaged_cost(target.problem, draws=2) == 2 * 60
    rows = averaged(target.problem, target.around.gaussian, jax.random.key(0), draws=2)
    monkeypatch.setattr("assim.solve.posterior.metric.FORWARD_LIMIT", 100)
    columns = averaged(target.problem, target.around.gaussian, jax.random.key(0), draws=2)
    for v in np.eye(70)[:5]:
        np.testing.assert_allclose(rows.covariance(v), columns.covariance(v), atol=1e-10)


class Tailed(Misfit):
    """Of χ₀ ~ N(0, 1) the scalar exp(-4 χ₀) where χ₀ < 2.3, and one that is finite nowhere."""

    def scalars(self, chi):
        return {
            "absent": jnp.full((), jnp.nan),
            "tailed": jnp.where(chi[0] < 2.3, jnp.exp(-4 * chi[0]), jnp.nan),
        }


def test_a_scalar_that_is_not_finite_in_one_draw_of_a_hundred_is_judged():
    """Few draws rule it: it was looked at where all draws are finite alone."""
    problem = Tailed(lambda chi, data: 3 * chi[1:], 2, 1.0)
    around = laplace_at(np.zeros(2), np.diag([1.0, 0.1]))
    found = NUTS(accuracy=0.1, warm_up=50).sample(problem, around, jax.random.key(0))
    values = np.asarray(jax.vmap(problem.scalars)(found.members)["tailed"])
    assert 0 < np.mean(np.isnan(values)) < 0.03
    heavy = [name for name in found.certificates if name.startswith(HEAVY_TAIL)]
    assert heavy == [f"{HEAVY_TAIL}tailed"]
    assert found.trust is Trust.CERTIFIED and found.certificates["accuracy"] <= 0.1


@pytest.mark.parametrize(
    ("outside", "bias", "doubted"),
    [(0.0, 0.03, True), (1e-4, 0.03, True), (0.009, -0.03, False), (0.009, -0.05, True)],
)
def test_the_virial_is_looked_at_whatever_few_draws_met_an_edge(outside, bias, doubted):
    """Less what the edge itself makes: -0.011 where 0.7 per cent met one 2.5 deviations out."""
    certificates = {"outside": outside, "bias": bias, "bias_noise": 0.002}
    doubts = list(_of_bias(MCLMC(), certificates))
    assert bool(doubts) == doubted and all("too long" in doubt for doubt in doubts)
    assert not list(_of_bias(MCLMC(adjusted=True), certificates))
