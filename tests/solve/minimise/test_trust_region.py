"""The trust region: its step solves the subproblem, its radius follows the model's worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from assim import Status
from assim.solve.cost import cost
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.globalisation import GLOBALISATIONS, Model
from assim.solve.minimise.loop import minimise
from tests.solve.departures import Misfit, rosenbrock

WAY = GLOBALISATIONS["trust_region"]
step = jax.jit(WAY.step)
after = jax.jit(WAY.after)


def value(model, c):
    return float(-model.slope @ c + jnp.sum(model.curvature * c**2) / 2)


def optimal(model, c, radius):
    """(T + λ)c = g with λ ≥ 0 that is zero inside, and T + λ ≥ 0: Conn, Gould & Toint 7.2.1."""
    g, t = np.asarray(model.slope), np.asarray(model.curvature)
    c = np.asarray(c)
    assert np.linalg.norm(c) <= radius * (1 + 1e-9)
    multiplier = c @ (g - t * c) / (c @ c)
    np.testing.assert_allclose((t + multiplier) * c, g, atol=1e-7 * np.max(np.abs(g)))
    assert multiplier >= -1e-9
    assert np.min(t) + multiplier >= -1e-7 * np.max(np.abs(t))
    assert multiplier < 1e-9 or np.linalg.norm(c) > (1 - 1e-9) * radius


@pytest.mark.parametrize("radius", [1e-3, 0.3, 2.0, 50.0])
@pytest.mark.parametrize("least", [-4.0, -1e-3, 0.5])
def test_step_is_the_minimum_within_the_radius(least, radius):
    rng = np.random.default_rng(0)
    curvature = jnp.asarray(np.append(least, np.sort(rng.uniform(1, 1e3, 11))))
    model = Model(jnp.asarray(rng.normal(size=12)), curvature)
    c, predicted = step(model, jnp.asarray(radius))
    optimal(model, c, radius)
    assert abs(predicted + value(model, c)) < 1e-9 * abs(predicted)


def test_inside_it_is_the_newton_step():
    model = Model(jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, 2.0, 10.0]))
    c, _ = step(model, jnp.asarray(100.0))
    np.testing.assert_allclose(c, [2.0, -1.0, 0.3], rtol=1e-14)


def test_hard_case():
    """No slope along the direction of negative curvature: the step still reaches the edge."""
    model = Model(jnp.array([0.0, 1.0, -1.0]), jnp.array([-2.0, 3.0, 5.0]))
    c, predicted = step(model, jnp.asarray(4.0))
    optimal(model, c, 4.0)
    np.testing.assert_allclose(np.abs(c[1:]), [1 / 5, 1 / 7], rtol=1e-7)
    assert predicted > 2.0 * (c[0] ** 2) / 2


def test_radius_follows_the_ratio():
    """Algorithm 6.1.1: wider where it binds and the model was right, a quarter where it was not."""
    model = Model(jnp.ones(2), jnp.ones(2))
    new = lambda ratio, length: float(after(model, jnp.asarray(1.0), ratio, length))  # noqa: E731
    assert new(0.9, 1.0) == 2.0
    assert new(0.9, 0.4) == 1.0
    assert new(0.5, 1.0) == 1.0
    assert new(0.1, 0.4) == pytest.approx(0.1)
    assert new(-np.inf, 1.0) == 0.25


@pytest.mark.parametrize("kind", [GaussNewton, NewtonCG])
def test_rosenbrock(kind):
    start = jnp.array([-1.2, 1.0, -1.2, 1.0])
    method = kind(n_outer=100, globalisation="trust_region")
    solution = minimise(Misfit(rosenbrock, 4), method, start)
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.chi, 1.0, atol=1e-6)
    assert np.all(np.diff([loop.cost for loop in solution.loops[1:]]) <= 0)


@pytest.mark.parametrize("precondition", [0, 10])
def test_no_step_is_longer_than_the_radius(precondition):
    """|χ - χ_previous| in prior standard deviations; |S⁻¹δχ| with a preconditioner."""
    problem, method = (
        Misfit(rosenbrock, 6),
        GaussNewton(precondition=precondition, globalisation="trust_region"),
    )
    state = method.init(problem, jnp.full(6, -2.0))
    assert float(state.control) == pytest.approx(np.sqrt(6))
    advance = jax.jit(lambda state: method.step(problem, state))
    for _ in range(8):
        following = advance(state)
        length = jnp.linalg.norm(state.preconditioner.inverse_sqrt(following.chi - state.chi))
        assert length <= state.control * (1 + 1e-9)
        assert following.cost <= state.cost
        state = following


def ridge(chi, data):
    """½ 9 (x² - 1)² in each coordinate: a maximum at 0."""
    del data
    return 3.0 * (chi**2 - 1)


def test_leaves_a_ridge():
    """Along negative curvature to the edge of the region, and from there to a minimum."""
    problem = Misfit(ridge, 3)
    solution = minimise(problem, NewtonCG(globalisation="trust_region"), jnp.full(3, 1e-4))
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(np.abs(solution.chi), 1.0, atol=1e-6)


def test_agrees_with_scipy():
    """The same minimum as another trust-region method, from the same first guess."""
    wiggly = Misfit(lambda chi, data: jnp.sin(3 * chi) + chi - jnp.roll(chi, 1) ** 2 - 1, 4, 1.0)
    j = jax.jit(lambda chi: cost(wiggly, chi))
    start = np.array([0.2, -0.1, 0.3, 0.1])
    expected = scipy.optimize.minimize(
        lambda x: float(j(jnp.asarray(x))),
        start,
        jac=lambda x: np.asarray(jax.grad(j)(jnp.asarray(x))),
        hess=lambda x: np.asarray(jax.hessian(j)(jnp.asarray(x))),
        method="trust-exact",
        options={"gtol": 1e-10},
    )
    solution = minimise(wiggly, NewtonCG(globalisation="trust_region"), jnp.asarray(start))
    assert abs(solution.cost - expected.fun) < 1e-10
    np.testing.assert_allclose(solution.chi, expected.x, atol=1e-7)


def test_compiled_loop():
    problem, start = Misfit(rosenbrock, 4), jnp.array([-1.2, 1.0, -1.2, 1.0])
    method = GaussNewton(n_outer=100, globalisation="trust_region")
    state = jax.jit(lambda chi: minimise_compiled(problem, method, chi))(start)
    np.testing.assert_allclose(state.chi, minimise(problem, method, start).chi, atol=1e-8)


def test_unknown_globalisation():
    with pytest.raises(ValueError, match="globalisation must be one of"):
        NewtonCG(globalisation="line_search")
