"""SVGD against posteriors in closed form, and on targets that it must not be trusted on."""

import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.svgd.svgd import SVGD
from tests.solve.departures import Departures, Misfit

KEY = jax.random.key(1)
SITES, OBSERVED = 1000, 20


def around(problem, chi=None, draws=500):
    chi = jnp.zeros(problem.size()) if chi is None else chi
    return laplace(problem, chi, Laplace(certificate=draws), jax.random.key(0))


def variance(ensemble):
    return float(np.mean(np.var(np.asarray(ensemble.members), axis=0)))


# ---- closed forms --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def white():
    """N(0, I₁₀₀), all of it by departures, and its Laplace posterior."""
    problem = Misfit(lambda chi, data: chi, 100)
    return problem, around(problem)


@pytest.mark.slow
def test_hundred_particles_in_a_hundred_dimensions(white):
    """One particle fewer than spans them: the spread is nearly right, and the status says why."""
    ensemble = SVGD(steps=200).sample(*white, KEY)
    assert abs(variance(ensemble) - 1) < 0.03
    assert ensemble.trust is Trust.DOUBTFUL
    assert "cannot span 100" in ensemble.advice
    polish = int(ensemble.certificates["polish_steps"])
    assert ensemble.gradients == (1 + 200 + polish + 2) * 100 + 10 * 100


@pytest.mark.slow
def test_plain_collapses_and_says_so(white):
    plain = SVGD(plain=True, steps=200)
    ensemble = plain.sample(*white, KEY)
    assert plain.name() == "svgd_plain"
    assert variance(ensemble) < 0.1
    assert ensemble.certificates["stein_covariance"] > 0.8
    assert ensemble.trust is Trust.DOUBTFUL


def walk(chi, data):
    """Departures of a random walk of 1000 steps at 20 sites, errors of stdev 0.5."""
    states = jnp.cumsum(chi) / jnp.sqrt(1.0 * SITES / 4)
    return (data - states[SITES // OBSERVED // 2 :: SITES // OBSERVED]) / 0.5


@pytest.fixture(scope="module")
def smoother():
    """The problem, mean and standard deviation of all states, and the ensemble of 200."""
    root = np.tril(np.ones((SITES, SITES))) / np.sqrt(SITES / 4)
    observed = root[SITES // OBSERVED // 2 :: SITES // OBSERVED]
    data = np.random.default_rng(0).normal(size=OBSERVED)
    covariance = root @ root.T
    gain = np.linalg.solve(observed @ observed.T + 0.25 * np.eye(OBSERVED), observed @ root.T).T
    mean = gain @ data
    stdev = np.sqrt(np.diag(covariance - gain @ observed @ root.T))
    chi = root.T @ np.linalg.solve(root @ root.T, mean)
    problem = Misfit(walk, SITES, 1.0, jnp.asarray(data))
    found = around(problem, jnp.asarray(chi))
    ensemble = SVGD(particles=200, steps=100).sample(problem, found, KEY)
    return found, root, mean, stdev, ensemble


@pytest.mark.slow
def test_smoother(smoother):
    """All thousand pointwise standard deviations, of states and of χ."""
    found, root, mean, stdev, ensemble = smoother
    states = np.asarray(ensemble.members) @ root.T
    assert ensemble.trust is Trust.CERTIFIED, ensemble.advice
    assert ensemble.certificates["rank"] <= OBSERVED
    np.testing.assert_allclose(states.std(axis=0), stdev, rtol=0.03)
    assert np.max(np.abs(states.mean(axis=0) - mean) / stdev) < 0.05
    np.testing.assert_allclose(ensemble.stdev(), found.gaussian.stdev(), rtol=0.03)


@pytest.mark.slow
def test_prior_alone():
    """Nothing is informed: balanced pairs have the prior's covariance itself.

    500 draws would not tell the largest of 30 tails of squares.
    """
    problem = Misfit(lambda chi, data: jnp.zeros(1), 30, 1.0)
    ensemble = SVGD().sample(problem, around(problem, draws=10_000), KEY)
    members = np.asarray(ensemble.members)
    np.testing.assert_allclose(members.T @ members / len(members), np.eye(30), atol=1e-10)
    assert ensemble.trust is Trust.CERTIFIED


# ---- targets that are not to be trusted ----------------------------------------------------------


def edged(chi, data):
    """A normal density that ends half a standard deviation below its mode."""
    return jnp.where(chi[0] > -0.5, 2 * chi, jnp.nan)


@pytest.mark.slow
def test_edge():
    problem = Misfit(edged, 2, 1.0)
    ensemble = SVGD(steps=100).sample(problem, around(problem), KEY)
    assert ensemble.trust is Trust.DOUBTFUL
    assert "-∞" in ensemble.advice
    assert np.all(np.asarray(ensemble.members)[:, 0] > -0.5)


def half(chi, data):
    """χ₀ observed; no model above half a standard deviation of χ₁, which is not."""
    return jnp.where(chi[1] > 0.5, jnp.nan, 3 * (chi[:1] - 1))


@pytest.mark.parametrize("most", [pytest.param(2000, marks=pytest.mark.slow), 20])
def test_edge_of_what_is_not_informed(most):
    """Members are evaluated, those outside left out; particles alone where no more are allowed."""
    problem = Misfit(half, 2, 1.0)
    found = around(problem, jnp.array([0.9, 0.0]))
    ensemble = SVGD(particles=40, steps=50, members=most).sample(problem, found, KEY)
    assert ensemble.trust is Trust.DOUBTFUL
    assert "-∞" in ensemble.advice
    assert np.all(np.asarray(ensemble.members)[:, 1] <= 0.5)
    assert ensemble.evaluations == (80 if most == 2000 else 40)
    assert ensemble.weights.shape == (ensemble.members.shape[0],)
    assert ensemble.certificates["beyond"] > 0.2


def coupled(chi, data):
    """How well χ₀ is observed depends on χ₁, about which nothing is known."""
    return 30 * chi[:1] * (1 + data[0] * chi[1])


@pytest.mark.parametrize("particles", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_what_is_left_open_changes_what_is_informed(particles):
    problem = Misfit(coupled, 2, 1.0, jnp.array([0.2]))
    ensemble = SVGD(particles=particles, steps=50).sample(problem, around(problem), KEY)
    assert ensemble.trust is Trust.DOUBTFUL
    assert "lower the cutoff" in ensemble.advice


class Scale(eqx.Module):
    """No departures, and c = ½ strength (χ₀ - 3/10)² + fourth χ₀⁴."""

    strength: jax.Array
    fourth: jax.Array

    def __call__(self, chi):
        c = self.strength * (chi[0] - 0.3) ** 2 / 2 + self.fourth * chi[0] ** 4
        return Departures(jnp.zeros(1) * chi[0], c, jnp.zeros(()))

    def size(self):
        return 3

    def weight(self):
        return jnp.ones(3)

    def has_normaliser(self):
        return True

    def proper(self):
        return True

    def workspace(self):
        return 6


@pytest.mark.slow
@pytest.mark.parametrize("strength", [100.0, -0.5])
def test_what_the_normaliser_informs(strength):
    """Its curvature is in Laplace's Hessian and not in the average of GᵀG."""
    problem = Scale(jnp.asarray(strength), jnp.zeros(()))
    mean = 0.3 * strength / (1 + strength)
    found = around(problem, jnp.array([mean, 0.0, 0.0]))
    ensemble = SVGD(steps=100).sample(problem, found, KEY)
    assert ensemble.trust is Trust.CERTIFIED, ensemble.advice
    np.testing.assert_allclose(ensemble.stdev(), [(1 + strength) ** -0.5, 1, 1], rtol=0.02)
    np.testing.assert_allclose(ensemble.mean(), [mean, 0, 0], atol=0.02)


@pytest.mark.slow
def test_spreads_count_where_nothing_is_informed():
    """Without the average's directions and without Laplace's: neither is right."""
    problem = Scale(jnp.asarray(100.0), jnp.zeros(()))
    found = around(problem, jnp.array([30 / 101, 0.0, 0.0]))
    ensemble = SVGD(cutoff=1000.0).sample(problem, found, KEY)
    assert ensemble.certificates["rank"] == 0
    assert ensemble.trust is Trust.DOUBTFUL


def test_nowhere_finite():
    problem = Misfit(lambda chi, data: 2 * chi + data[0], 2, 1.0, jnp.zeros(1))
    broken = Misfit(problem.function, 2, 1.0, jnp.full(1, jnp.nan))
    ensemble = SVGD(steps=100).sample(broken, around(problem), KEY)
    assert ensemble.trust is Trust.FAILED
    assert "not finite" in ensemble.advice
    assert ensemble.gradients == 100 * 31 + 2 * 100  # every retreat, and the metric


@pytest.mark.slow
def test_more_directions_than_eigenpairs():
    """300 squares, blind at the minimum, of 2100 controls: 200 eigenpairs of the average."""
    n = 2100
    problem = Misfit(lambda chi, data: chi[:300] ** 2 / 0.25, n, 1.0)
    gaussian = Gaussian(jnp.zeros(n), jnp.zeros(1), jnp.eye(n)[:, :1])
    found = LaplacePosterior(gaussian, 0.0, 0.0, "given")
    ensemble = SVGD(particles=4, steps=1, polish=0, members=4).sample(problem, found, KEY)
    assert ensemble.trust is Trust.DOUBTFUL
    assert "than the eigenpairs" in ensemble.advice
    assert ensemble.certificates["information_left_out"] > 100  # nats; about 100 λ of 64


@pytest.mark.slow
def test_fewer_particles_than_directions():
    problem = Misfit(lambda chi, data: 3 * chi, 6, 1.0)
    ensemble = SVGD(particles=4, steps=20).sample(problem, around(problem), KEY)
    assert ensemble.trust is Trust.DOUBTFUL
    assert "4 particles cannot span 6" in ensemble.advice


@pytest.mark.slow
def test_duplicated_observations():
    """Twice the same reading counts twice, in one direction."""
    problem = Misfit(lambda chi, data: jnp.stack([2 * chi[0], 2 * chi[0]]), 2, 1.0)
    ensemble = SVGD(steps=100).sample(problem, around(problem), KEY)
    assert ensemble.trust is Trust.CERTIFIED
    np.testing.assert_allclose(ensemble.stdev(), [1 / 3, 1.0], rtol=0.02)


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stochastic():
    """Particles with noise keep the spread without any polish."""
    problem = Misfit(lambda chi, data: 2 * chi, 2, 1.0)
    method = SVGD(particles=200, stochastic=True, steps=400, step=0.3)
    ensemble = method.sample(problem, around(problem), KEY)
    np.testing.assert_allclose(ensemble.stdev(), np.full(2, 1 / np.sqrt(5)), rtol=0.15)
    assert ensemble.certificates["polish_steps"] == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kernel": "laplace"}, "kernel must be one of"),
        ({"particles": 1}, "particles must be at least 2"),
        ({"step": 0.0}, "step must be positive"),
        ({"plain": True, "stochastic": True}, "not both"),
        ({"particles": 5000, "stochastic": True}, "at most 2000"),
    ],
)
def test_settings(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        SVGD(**arguments)


@pytest.mark.slow
def test_same_shapes_compile_once():
    compiled = []
    listen = lambda event, seconds, **more: compiled.append(event)  # noqa: E731
    function = lambda chi, data: chi - data  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    counts = []
    try:
        for number in range(3):
            problem = Misfit(function, 3, 1.0, jnp.full(3, 1.0 + number))
            posterior = around(problem, jnp.full(3, (1.0 + number) / 2))
            before = compiled.count("/jax/core/compile/backend_compile_duration")
            SVGD(particles=40, steps=20).sample(problem, posterior, jax.random.key(number))
            counts.append(compiled.count("/jax/core/compile/backend_compile_duration") - before)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert counts[0] > 0
    assert counts[1:] == [0, 0]


SHARDED = """
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.svgd.stein_flow import sharding
from assim.solve.posterior.svgd.svgd import SVGD
from tests.solve.departures import Misfit
assert len(sharding(20).mesh.devices) == jax.device_count() == 2
problem = Misfit(lambda chi, data: chi + chi**2 / 4, 3, 1.0)
posterior = laplace(problem, jnp.zeros(3), Laplace(certificate=100), jax.random.key(0))
settings = SVGD(particles=20, steps=30, polish=5, averaged=False)
found = settings.sample(problem, posterior, jax.random.key(1))
np.save("members.npy", np.asarray(found.members))
"""


@pytest.mark.slow
def test_two_devices_agree_with_one(tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SHARDED], cwd=tmp_path, env=environment, check=True)
    problem = Misfit(lambda chi, data: chi + chi**2 / 4, 3, 1.0)
    posterior = laplace(problem, jnp.zeros(3), Laplace(certificate=100), jax.random.key(0))
    found = SVGD(particles=20, steps=30, polish=5, averaged=False).sample(problem, posterior, KEY)
    np.testing.assert_allclose(np.load(tmp_path / "members.npy"), found.members, atol=1e-8)
