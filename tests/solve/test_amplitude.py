"""An unknown amplitude of many unknowns, and states whose prior is their jumps: in closed form."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from assim import Status
from assim.findings.derivatives import gradient_test
from assim.solve.cost import cost, exact_linearisation, gauss_newton_linearisation
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.laplace import Laplace, laplace
from tests.solve.departures import Departures

M = 30


class Amplitude(eqx.Module):
    """y = s w + ε, with w and ε ~ N(0, I) and s = exp(χ_s): hence y ~ N(0, (1 + s²) I)."""

    values: jax.Array

    def __call__(self, chi: jax.Array) -> Departures:
        s = jnp.exp(chi[0])
        volume = self.values.size * jnp.log(1 + s**2) / 2
        return Departures(self.values - s * chi[1:], jnp.zeros(()), volume)

    def size(self) -> int:
        return 1 + self.values.size

    def weight(self) -> jax.Array:
        return jnp.ones(self.size())

    def has_normaliser(self) -> bool:
        return True

    def proper(self) -> bool:
        return True

    def workspace(self) -> int:
        return 2 * self.size()


def amplitude(spread=2.0, seed=0):
    values = np.random.default_rng(seed).normal(scale=np.hypot(1, spread), size=M)
    return Amplitude(jnp.asarray(values))


def marginal(problem, chi):
    """-log p(χ_s | y) but for constants."""
    total = np.sum(np.asarray(problem.values) ** 2)
    variance = 1 + np.exp(2 * chi)
    return chi**2 / 2 + total / variance / 2 + M * np.log(variance) / 2


@pytest.mark.parametrize("minimiser", [GaussNewton(n_outer=200), NewtonCG()], ids=["gn", "newton"])
def test_mode_of_the_marginal(minimiser):
    """Minimising over w too would drive the amplitude to where w is small: the volume forbids."""
    problem = amplitude()
    solution = minimise(problem, minimiser, jnp.zeros(problem.size()))
    exact = scipy.optimize.minimize_scalar(
        lambda chi: marginal(problem, chi), (0.0, 1.0), tol=1e-12
    )
    assert solution.status is Status.CONVERGED
    assert abs(solution.chi[0] - exact.x) < 1e-6
    assert abs(solution.cost - exact.fun) < 1e-9
    s = np.exp(exact.x)
    np.testing.assert_allclose(solution.chi[1:], s * problem.values / (1 + s**2), atol=1e-5)


def test_gradient_with_a_volume():
    problem, chi = amplitude(), jnp.linspace(-1.0, 1.0, M + 1)
    assert gradient_test(lambda chi: cost(problem, chi), chi).passed
    exact, outer = exact_linearisation(problem, chi), gauss_newton_linearisation(problem, chi)
    np.testing.assert_allclose(outer.gradient, exact.gradient, rtol=1e-12)
    assert abs(outer.cost - exact.cost) < 1e-12 * abs(exact.cost)


def test_evidence_leaves_the_volume_out():
    """log p(y) is Laplace's in χ_s alone, -marginal at its mode - ½ log of its curvature there.

    Exactly so, as w is integrated out without error; against the integral over χ_s it is off by
    what the marginal's skewness makes, which is known too.
    """
    problem = amplitude()
    solution = minimise(problem, NewtonCG(tolerance=1e-9), jnp.zeros(problem.size()))
    posterior = laplace(problem, solution.chi, Laplace(certificate=4000), jax.random.key(0))
    mode, step = float(solution.chi[0]), 1e-3
    low, here, high = (marginal(problem, mode + shift) for shift in (-step, 0.0, step))
    in_s_alone = -here - np.log((low - 2 * here + high) / step**2) / 2
    assert abs(posterior.log_evidence - in_s_alone) < 1e-5
    nodes = np.linspace(-6, 4, 4001)
    exact = np.log(np.trapezoid(np.exp(-marginal(problem, nodes)), nodes) / np.sqrt(2 * np.pi))
    assert posterior.hessian == "exact Hessian"
    assert abs(in_s_alone - exact) < 0.05


# ---- states with jumps ---------------------------------------------------------------------------


class Chain(NamedTuple):
    decay: float
    stdev: float  # of a jump
    length: int


class JumpingStates(eqx.Module):
    """x₀ = χ₀ ~ N(0, 1), x_k = decay·x_{k-1} + stdev·N(0, 1); x_k = stdev·χ_k, all observed."""

    values: jax.Array
    chain: Chain = eqx.field(static=True)

    def states(self, chi: jax.Array) -> jax.Array:
        return jnp.concatenate([chi[:1], self.chain.stdev * chi[1:]])

    def __call__(self, chi: jax.Array) -> Departures:
        x = self.states(chi)
        jumps = (x[1:] - self.chain.decay * x[:-1]) / self.chain.stdev
        departures = jnp.concatenate([self.values - x, jumps])
        return Departures(departures, jnp.zeros(()), jnp.zeros(()))

    def size(self) -> int:
        return self.chain.length

    def weight(self) -> jax.Array:
        return (jnp.arange(self.size()) == 0).astype(float)

    def has_normaliser(self) -> bool:
        return False

    def proper(self) -> bool:
        return True

    def workspace(self) -> int:
        return 3 * self.size()


def states(length):
    values = jnp.asarray(np.random.default_rng(1).normal(scale=1.5, size=length))
    return JumpingStates(values, Chain(0.8, 0.5, length))


def prior_covariance(chain):
    c = np.zeros((chain.length, chain.length))
    c[0, 0] = 1.0
    for k in range(1, chain.length):
        c[k, :k] = c[:k, k] = chain.decay * c[k - 1, :k]
        c[k, k] = chain.decay**2 * c[k - 1, k - 1] + chain.stdev**2
    return c


@pytest.mark.parametrize("which", ["exact", "gauss_newton"])
def test_evidence_of_states_with_jumps(which):
    """log N(y; 0, C + I), although only one coordinate has a weight."""
    problem = states(12)
    solution = minimise(problem, GaussNewton(tolerance=1e-11), jnp.zeros(12))
    settings = Laplace(hessian=which, certificate=1000)
    posterior = laplace(problem, solution.chi, settings, jax.random.key(0))
    covariance = prior_covariance(problem.chain) + np.eye(12)
    exact = scipy.stats.multivariate_normal.logpdf(problem.values, cov=covariance)
    assert abs(posterior.log_evidence - (exact + 6 * np.log(2 * np.pi))) < 1e-9
    scale = np.append(1.0, np.full(11, problem.chain.stdev))
    prior = prior_covariance(problem.chain)
    analysis = prior - prior @ np.linalg.solve(covariance, prior)
    np.testing.assert_allclose(posterior.gaussian.stdev() * scale, np.sqrt(np.diag(analysis)))
    assert "without a prior" not in posterior.advice()


@pytest.mark.slow
def test_pairs_that_do_not_do_for_states_with_jumps():
    """Eigenvalues of either sign do not cancel in what is left out: no evidence is given."""
    problem = states(200)
    solution = minimise(problem, GaussNewton(n_inner=200), jnp.zeros(200))
    settings = Laplace(rank=20, dense_limit=10, certificate=0)
    posterior = laplace(problem, solution.chi, settings, jax.random.key(0))
    a = np.asarray(
        jax.vmap(gauss_newton_linearisation(problem, solution.chi).hessian)(jnp.eye(200))
    )
    rest = np.sort(np.abs(np.linalg.eigvalsh(a - np.eye(200))))[:-20]
    assert posterior.left_out > 0.8 * rest.sum() > 1
    assert np.isnan(posterior.log_evidence)
    assert "too few" in posterior.advice()
