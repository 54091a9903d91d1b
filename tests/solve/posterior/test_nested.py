"""Nested Laplace against the Kalman filter with quadrature, and against quadrature alone."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    AbstractModel,
    ErrorScale,
    Label,
    Labels,
    ModelError,
    Observations,
    Params,
    Points,
    State,
    Window,
    analyse,
    weak_constraint,
)
from assim.findings.derivatives import gradient_test
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal
from assim.solve.cost import cost, negative_log_density
from assim.solve.minimise.gauss_newton import NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.nested.exploring import marginal_of
from assim.solve.posterior.nested.marginal import conditional
from assim.solve.posterior.nested.nested import Nested
from tests.solve.departures import Departures, Misfit

# A random walk of 30 steps from 0 seen through noise in its first and last third.
SEEN = (
    *(0.2159, 0.1188, -0.0795, 0.0377, -0.2789, -0.1484, -0.3251, -0.2296, -0.4411, -0.0983),
    *(-0.8786, -0.8374, -0.7385, -0.8939, -0.7775, -0.7024, -0.8777, -0.5185, -0.6948, -0.6203),
)
TIMES = (*range(1, 11), *range(21, 31))
KNOWN = {"innovation": (0.11553, 0.04031), "observation": (0.11266, 0.03754)}
PRIOR = 2.0  # log standard deviation of both scales, about 1


class Walk(AbstractModel):
    """x(t+1) = x(t)."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=dict)

    def labels(self) -> Labels:
        return Labels(state={"x": Label((), "1")}, parameters={}, time_unit="1")

    def step(self, x: State, theta: Params, t: jax.Array) -> State:
        return x


def walk(formulation="forcing"):
    model, scale = Walk(), LogNormal(1.0, PRIOR)
    observed = Observations(
        "x",
        np.array(SEEN),
        Points.at(np.array(TIMES, dtype=float)),
        PointSample("x"),
        1.0,
        scale=ErrorScale("observation", scale),
    )
    return weak_constraint(
        model,
        Window.regular(model, 30, 1),
        {"x": 0.0},
        observations=observed,
        model_error=ModelError(Diagonal(1.0), scale=ErrorScale("innovation", scale)),
        formulation=formulation,
    )


def kalman(psi):
    """log p(y | ψ) p(ψ) but for constants, the states integrated out by the Kalman filter."""
    innovation, observation = jnp.exp(PRIOR * psi[0]), jnp.exp(PRIOR * psi[1])
    steps = jnp.diff(jnp.array((0, *TIMES)))

    def step(carry, seen):
        (mean, variance, total), (steps, value) = carry, seen
        variance = variance + steps * innovation**2
        spread = variance + observation**2
        total = total - (value - mean) ** 2 / spread / 2 - jnp.log(spread) / 2
        gain = variance / spread
        return (mean + gain * (value - mean), variance * (1 - gain), total), None

    start = (0.0, 0.0, -jnp.sum(psi**2) / 2)
    return jax.lax.scan(step, start, (steps, jnp.array(SEEN)))[0][-1]


class Exact(NamedTuple):
    """Moments of the log scales, innovation first, and the evidence but for constants."""

    mean: np.ndarray
    stdev: np.ndarray
    log_evidence: float


@pytest.fixture(scope="module")
def exact():
    """By quadrature over both scales."""
    axis = np.linspace(-8.0, 2.0, 401)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.asarray(jax.jit(jax.vmap(kalman))(jnp.asarray(grid)))
    weights = np.exp(density - density.max())
    cell = (axis[1] - axis[0]) ** 2 / (2 * np.pi)
    log_evidence = float(density.max() + np.log(weights.sum() * cell))
    weights /= weights.sum()
    mean = weights @ grid
    return Exact(PRIOR * mean, PRIOR * np.sqrt(weights @ (grid - mean) ** 2), log_evidence)


def sampled(problem, settings, start):
    solution = minimise(problem, NewtonCG(), start)
    around = laplace(problem, solution.chi, Laplace(certificate=0), jax.random.key(0))
    return settings.sample(problem, around, jax.random.key(1))


@pytest.fixture(scope="module")
def ensemble():
    problem = walk()
    return sampled(problem, Nested(), jnp.zeros(problem.size()))


def weighted(values, weights):
    mean = weights @ values
    return mean, np.sqrt(weights @ (values - mean) ** 2)


def test_the_oracle_has_the_known_values(exact):
    """Stan's random walk of 30 steps: -2.215 ± .336 and -2.262 ± .467 (quadrature)."""
    np.testing.assert_allclose(exact.mean, [-2.215, -2.262], atol=2e-3)
    np.testing.assert_allclose(exact.stdev, [0.336, 0.467], atol=2e-3)


def test_scales_over_a_trajectory(exact, ensemble):
    """Means within .05 sd and sds within 3 % of what quadrature gives; the evidence too."""
    assert ensemble.trust is Trust.CERTIFIED
    logs = PRIOR * np.asarray(ensemble.members)[:, ~walk().of_trajectory()]
    mean, stdev = weighted(logs, np.asarray(ensemble.weights))
    assert np.all(np.abs(mean - exact.mean) < 0.03 * exact.stdev)
    assert np.all(np.abs(stdev / exact.stdev - 1) < 0.015)
    assert abs(ensemble.log_evidence - exact.log_evidence) < 0.01
    assert ensemble.gradients < 40_000 and ensemble.certificates["quantile_error"] > 0
    assert ensemble.judged and 2000 < ensemble.effective_size < 2 * ensemble.weight_size()


@pytest.fixture(scope="module")
def smoothed():
    """Mean and standard deviation of every state, by a smoother at nodes of both scales."""
    axis = np.linspace(-3.0, 0.5, 71)
    psi = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.asarray(jax.jit(jax.vmap(kalman))(jnp.asarray(psi)))
    weights = np.exp(density - density.max())
    weights /= weights.sum()
    walk_covariance = np.minimum.outer(np.arange(31.0), np.arange(31.0))
    at, means, variances = np.array(TIMES), [], []
    for innovation, observation in np.exp(PRIOR * psi):
        prior = innovation**2 * walk_covariance
        seen = prior[np.ix_(at, at)] + observation**2 * np.eye(at.size)
        gain = np.linalg.solve(seen, prior[at]).T
        means.append(gain @ np.array(SEEN))
        variances.append(np.diag(prior - gain @ prior[at]))
    mean = weights @ np.array(means)
    return mean, np.sqrt(weights @ (np.array(variances) + (np.array(means) - mean) ** 2))


def test_states_given_all_scales(ensemble, smoothed):
    """Mean and standard deviation of every state that is not fixed."""
    trajectory = jax.jit(jax.vmap(walk().trajectory))(ensemble.members)
    mean, stdev = weighted(np.asarray(trajectory.states["x"]), np.asarray(ensemble.weights))
    assert np.max(np.abs(mean - smoothed[0])[1:] / smoothed[1][1:]) < 0.03
    assert np.max(np.abs(stdev[1:] / smoothed[1][1:] - 1)) < 0.02


@pytest.mark.slow
def test_what_auto_publishes(exact, smoothed):
    """Log scales, scales and states of the posterior that is reported, gradients counted."""
    posterior = analyse(walk(), NewtonCG(), "auto").posterior
    assert posterior.kind == "nested" and posterior.trust is Trust.CERTIFIED
    assert posterior.gradients < 40_000
    for k, (name, known) in enumerate(KNOWN.items()):
        logs = np.log(np.asarray(posterior.draws.scales[name]))
        mean, stdev = weighted(logs, posterior.weights)
        assert abs(mean - exact.mean[k]) < 0.05 * exact.stdev[k]
        assert abs(stdev / exact.stdev[k] - 1) < 0.03
        published = posterior.quantities[name]
        assert abs(published.mean - known[0]) < 0.05 * known[1]
        assert abs(published.stddev / known[1] - 1) < 0.03
    mean, stdev = posterior.trajectory_mean["x"], posterior.trajectory_stdev["x"]
    assert np.max(np.abs(mean - smoothed[0])[1:] / smoothed[1][1:]) < 0.03
    assert np.max(np.abs(stdev[1:] / smoothed[1][1:] - 1)) < 0.03


@pytest.fixture(scope="module")
def marginal():
    form = walk().as_states()
    return marginal_of(form, jnp.zeros(form.size()))[0]


def test_a_chain_of_states_has_three_colours(marginal):
    coupled = np.asarray(marginal.pattern.coupled)
    i, j = np.indices(coupled.shape)
    np.testing.assert_array_equal(coupled, np.abs(i - j) <= 1)
    assert marginal.pattern.products() == 3 + 1


@pytest.mark.slow
def test_the_marginal_is_that_of_the_kalman_filter(marginal):
    """Value, gradient and Hessian, by dz* = -H⁻¹ φ_zψ dψ: two derivatives go through z*(ψ)."""
    psi = jnp.array([[-1.0, -1.2], [-0.3, -2.0], [-1.5, 0.1]])
    value = jax.jit(lambda psi: cost(marginal, psi))
    apart = np.array([value(p) + kalman(p) for p in psi])
    assert np.ptp(apart) < 1e-8
    assert gradient_test(value, psi[0]).passed
    for derivative, tolerance in ((jax.grad, 1e-8), (jax.hessian, 1e-6)):
        got, expected = jax.jit(derivative(value))(psi[0]), -derivative(kalman)(psi[0])
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_both_forms_are_one_problem():
    """χ moves there and back; densities differ by the determinant, which s has to the 30th."""
    forcing, states = walk("forcing"), walk("state")
    chi = 0.3 * jax.random.normal(jax.random.key(1), (forcing.size(),))
    there = forcing.moved(chi, states)
    np.testing.assert_allclose(states.moved(there, forcing), chi, atol=1e-12)
    before, after = forcing.simulate(chi), states.simulate(there)
    np.testing.assert_allclose(after.trajectory.states["x"], before.trajectory.states["x"])
    s = float(before.control.scales["innovation"])
    change = negative_log_density(states, there) - negative_log_density(forcing, chi)
    assert abs(change - 30 * np.log(s)) < 1e-9


# ---- without a model -----------------------------------------------------------------------------


class Bare(eqx.Module):
    """χ = (ψ₀, z, ψ₁, …) of departures and a normaliser that are given."""

    function: Callable = eqx.field(static=True)
    n: int = eqx.field(default=2, static=True)

    def __call__(self, chi: jax.Array) -> Departures:
        return Departures(*self.function(chi), jnp.zeros(()))

    def size(self) -> int:
        return self.n

    def scalars(self, chi: jax.Array) -> dict[str, jax.Array]:
        return {}

    def weight(self) -> jax.Array:
        return jnp.ones(self.n)

    def has_normaliser(self) -> bool:
        return True

    def proper(self) -> bool:
        return True

    def workspace(self) -> int:
        return 4

    def of_trajectory(self) -> np.ndarray:
        return np.arange(self.n) == 1

    def as_states(self) -> "Bare":
        return self

    def as_forcing(self) -> "Bare":
        return self

    def moved(self, chi: jax.Array, to: "Bare") -> jax.Array:
        del to
        return chi

    def log_constant(self) -> jax.Array:
        return jnp.zeros(())


def wells(chi, sharp=4.0, tilt=0.12):
    """z in two wells of unequal width and height, whose distance is that of ψ from -4.

    d = ((z² - a²)/2a, z + tilt)·sharp with a = 1 + ψ/4: φ(ψ, z) is quartic in z.
    """
    psi, z = chi[0], chi[1]
    a = 1 + psi / 4
    return jnp.stack([sharp * (z**2 - a**2) / (2 * a), tilt - z]), jnp.zeros(())


def mixture(chi):
    """z given ψ by two Gaussians about ψ/4 ± 1, the upper one wider and of twice the mass."""
    means, stdevs = chi[0] / 4 + jnp.array([1.0, -1.0]), jnp.array([0.25, 0.15])
    logs = (
        -(((chi[1] - means) / stdevs) ** 2) / 2 - jnp.log(stdevs) + jnp.log(jnp.array([2.0, 1.0]))
    )
    return jnp.zeros(1), -jax.nn.logsumexp(logs) - chi[1] ** 2 / 2


def test_both_minima_of_the_trajectory_count():
    """One start would have z > 0 always, and k̂ would not see it."""
    problem = Bare(wells)
    ensemble = sampled(problem, Nested(), jnp.array([0.0, 0.9]))
    axis = np.linspace(-3.9, 6.0, 400)
    grid = np.stack(np.meshgrid(axis, axis - 1.0, indexing="ij"), axis=-1).reshape(-1, 2)
    phi = np.asarray(jax.vmap(lambda chi: negative_log_density(problem, chi))(jnp.asarray(grid)))
    weights = np.exp(phi.min() - phi)
    weights /= weights.sum()
    got, z = np.asarray(ensemble.weights), np.asarray(ensemble.members)[:, 1]
    assert ensemble.certificates["minima"] == 2
    assert abs(got[z > 0].sum() - weights[grid[:, 1] > 0].sum()) < 0.02
    np.testing.assert_allclose(got @ z, weights @ grid[:, 1], atol=0.03)


def test_the_masses_of_two_gaussians():
    """A mixture in closed form: ψ ~ N(0, 1), z of mean 1/3 and above 0 in two draws of three."""
    ensemble = sampled(Bare(mixture), Nested(), jnp.array([0.0, 0.9]))
    weights, (psi, z) = np.asarray(ensemble.weights), np.asarray(ensemble.members).T
    assert ensemble.trust is Trust.CERTIFIED and ensemble.certificates["minima"] == 2
    assert abs(weights[z > psi / 4].sum() - 2 / 3) < 0.01
    mean, stdev = weighted(np.stack([psi, z], axis=1), weights)
    variance = 1 - 1 / 9 + (2 * 0.25**2 + 0.15**2) / 3 + 1 / 16
    np.testing.assert_allclose(mean, [0, 1 / 3], atol=0.03)
    np.testing.assert_allclose(stdev, [1, np.sqrt(variance)], rtol=0.02)


def funnel(chi):
    """z given ψ about ψ₁ with a variance of exp ψ₀, in closed form."""
    width, place = chi[0], chi[2]
    whole = (chi[1] - place) ** 2 * jnp.exp(-width) / 2 + width / 2
    return jnp.zeros(1), whole - chi[1] ** 2 / 2


@pytest.mark.slow
def test_a_funnel_in_five_dimensions_of_parameters():
    """ψ ~ N(0, I), z of variance 1 + √e, an evidence of 1: by draws that see the marginal alone."""
    ensemble = sampled(Bare(funnel, 6), Nested(), jnp.zeros(6))
    assert ensemble.trust is Trust.CERTIFIED, ensemble.advice
    mean, stdev = weighted(np.asarray(ensemble.members), np.asarray(ensemble.weights))
    expected = np.sqrt([1, 1 + np.exp(0.5), 1, 1, 1, 1])
    np.testing.assert_allclose(mean / expected, 0, atol=0.05)
    np.testing.assert_allclose(stdev, expected, rtol=0.03)
    assert abs(ensemble.log_evidence) < 0.03
    assert ensemble.gradients < 100_000


@pytest.mark.slow
def test_two_minima_in_many_dimensions_are_told():
    """Draws of five parameters follow one: they are never certified."""
    ensemble = sampled(Bare(mixture, 6), Nested(), jnp.zeros(6).at[1].set(0.9))
    assert ensemble.trust is Trust.DOUBTFUL and "several trajectories" in ensemble.advice


def test_what_it_is_not_for():
    plain = Misfit(lambda chi, _: chi - 1.0, 2, prior=1.0)
    refused = sampled(plain, Nested(), jnp.zeros(2))
    assert refused.trust is Trust.FAILED and "NUTS" in refused.advice
    with pytest.raises(ValueError, match="starts"):
        Nested(starts=0)


def test_a_node_that_is_not_found_says_so(marginal):
    """From where φ is infinite nothing is found, and no density is made up."""
    nowhere = jnp.full(marginal.start.shape, jnp.nan)
    found = eqx.filter_jit(conditional)(marginal, jnp.zeros(2), nowhere, True)
    assert found.log_density == -jnp.inf and found.curvatures == 0
