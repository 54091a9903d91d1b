"""How a minimisation ends where there is no minimum: saddles, and what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Status
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.guess import first_guesses
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.laplace import Laplace, laplace
from tests.solve.departures import Misfit

NEWTON = {
    "gauss-newton": GaussNewton(),
    "newton-cg": NewtonCG(),
    "trust-region": NewtonCG(globalisation="trust_region"),
    "preconditioned": GaussNewton(precondition=5),
}


def ridge(chi, data):
    """½ 9 (x² - 1)² in the first coordinate, ½ x² in the others: a saddle at 0."""
    del data
    return jnp.concatenate([3.0 * (chi[:1] ** 2 - 1), chi[1:]])


@pytest.mark.parametrize("n", [3, 100])
@pytest.mark.parametrize("globalisation", ["damping", "trust_region"])
def test_saddle(n, globalisation):
    """The gradient vanishes there, and only curvature tells; with a matrix and without."""
    method = NewtonCG(globalisation=globalisation)
    solution = minimise(Misfit(ridge, n), method, jnp.zeros(n))
    assert solution.status is Status.SADDLE
    assert "curves downwards" in solution.status.advice
    assert not solution.minima
    other = minimise(Misfit(ridge, n), method, jnp.zeros(n).at[0].set(1e-3))
    assert other.status is Status.CONVERGED


@pytest.mark.parametrize(("n", "j"), [(64, 41), (200, 112), (5000, 995)])
def test_a_maximum_of_one_coordinate(n, j):
    """Whichever coordinate it is that J falls along: ½ (2 - χ_j²)² + ½ |χ|² curves by -3 at 0."""
    problem = Misfit(lambda chi, data: 2.0 - chi[j : j + 1] ** 2, n)
    assert minimise(problem, NewtonCG(), jnp.zeros(n)).status is Status.SADDLE


@pytest.mark.parametrize("n", [20, 200])
def test_a_maximum_reached_by_a_last_step(n):
    """Where nothing is left of J to gain though |∇J| = 10⁻⁵, and that gradient cannot see it."""
    problem = Misfit(lambda chi, data: jnp.stack([100 * chi[0], 2.0 - chi[7] ** 2]), n)
    solution = minimise(problem, NewtonCG(), jnp.zeros(n).at[0].set(1e-9))
    assert solution.gradient_norm > 1e-6
    assert solution.status is Status.SADDLE


def test_the_posterior_tells_of_a_saddle():
    """Where Gauss-Newton, whose Hessian cannot see it, has ended on one."""
    problem = Misfit(ridge, 3)
    assert minimise(problem, GaussNewton(), jnp.zeros(3)).status is Status.CONVERGED
    posterior = laplace(problem, jnp.zeros(3), Laplace(certificate=0), jax.random.key(0))
    assert "saddle" in posterior.advice()


def test_the_posterior_tells_of_a_flat_coordinate():
    """Which is no saddle, and which another minimiser does not mend."""
    problem = Misfit(lambda chi, data: chi[:1] - 1.0, 2)
    chi = jnp.array([1.0, 0.0])
    posterior = laplace(problem, chi, Laplace(certificate=0), jax.random.key(0))
    assert not posterior.indefinite
    assert "give it a proper prior" in posterior.advice()


@pytest.mark.parametrize("n", [3, 100])
def test_a_minimum_is_no_saddle(n):
    """Nor is one whose curvature is zero in some directions."""
    flat = Misfit(lambda chi, data: chi[:2] - 1.0, n)
    solution = minimise(flat, NewtonCG(), jnp.zeros(n).at[:2].set(1.0))
    assert solution.status is Status.CONVERGED


def steep(chi, data):
    """d = √χ: finite at 0, its derivative is not."""
    del data
    return jnp.sqrt(chi)


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_gradient_not_finite_at_the_first_guess(minimiser):
    solution = minimise(Misfit(steep, 2), minimiser, jnp.array([0.0, 1.0]))
    assert solution.status is Status.NON_FINITE
    assert "gradient" in solution.status.advice
    np.testing.assert_array_equal(solution.chi, [0.0, 1.0])


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_a_first_guess_that_is_not_finite_stops_no_other(minimiser):
    problem = Misfit(lambda chi, data: chi**3 + chi - 2.0, 2, 0.1)
    starts = jnp.array([[jnp.nan, 1.0], [0.5, -0.5], [jnp.inf, 0.0]])
    solution = minimise(problem, minimiser, starts)
    assert solution.status is Status.CONVERGED
    assert (solution.starts, solution.failed_starts) == (3, 2)
    assert np.all(np.isfinite(solution.chi))
    alone = minimise(problem, minimiser, starts[0])
    assert alone.status is Status.NON_FINITE
    assert alone.cost == np.inf


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_a_model_that_overflows_on_the_way(minimiser):
    """The first full step lands where d overflows: it is shortened, and the rest goes on."""
    problem = Misfit(lambda chi, data: jnp.exp(chi) - 1.0, 2)
    solution = minimise(problem, minimiser, jnp.full(2, -8.0))  # the full step is to +2972
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.chi, 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (np.zeros(3), r"must be a control vector of shape \(8,\), got shape \(3,\)"),
        (np.full(8, np.nan), "must be finite, got nan at entry 0"),
    ],
)
def test_a_first_guess_that_is_refused(first, message):
    """For its shape or for its values: no message tells of the other."""
    with pytest.raises(ValueError, match=message):
        first_guesses(8, 1, jax.random.key(0), first)
