"""Shallow water in C, three fields with hand-written derivatives, against the engine's own."""

import jax
import jax.numpy as jnp
import numpy as np

import assim
from assim.solve.cost import cost, gauss_newton_linearisation
from tests.couple.compiled import hill, needs_compiler, shallow_water
from tests.couple.test_c_model import closeness

pytestmark = needs_compiler
N = 12


def trajectory(model, start, steps=6):
    window = assim.Window.regular(model, slots=3, steps=steps // 3)
    return model.states(start, model.parameters, window.edges, window.steps)


def test_trajectory_and_gradient():
    def run(model):
        j = lambda x: sum(jnp.sum(v[1:] ** 2) for v in trajectory(model, x).values())  # noqa: E731
        return jax.jit(lambda x: (trajectory(model, x), jax.grad(j)(x)))(hill(N))

    assert closeness(*map(run, shallow_water(N))) < 1e-11


def test_every_field_of_the_tangent():
    rng, start = np.random.default_rng(0), hill(N)
    away = {name: jnp.asarray(rng.standard_normal((N, N))) for name in start}
    for field in start:
        one = {name: value * (name == field) for name, value in away.items()}
        push = lambda m, one=one: jax.jit(  # noqa: E731
            lambda x: jax.jvp(lambda x: m.step(x, m.parameters, 0.0), (x,), (one,))[1]
        )(start)
        ours, theirs = map(push, shallow_water(N))
        for name in start:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-11, atol=1e-12)


def posed(model):
    """Thickness observed at every second cell, of a window of three slots; B diffuses."""
    start, window = hill(N), assim.Window.regular(model, slots=3, steps=2)
    rng = np.random.default_rng(1)
    at = 10e3 * (np.arange(0, N, 2) + 0.5)
    times, y, x = (a.ravel() for a in np.meshgrid(window.edges[1:], at, at, indexing="ij"))
    background = {
        name: value + 0.05 * jnp.asarray(rng.standard_normal((N, N)))
        for name, value in start.items()
    }
    gauges = assim.Observations(
        "h",
        100 + 0.1 * rng.standard_normal(times.size),
        assim.Points.at(times, {"y": y, "x": x}),
        assim.operator.PointSample("h"),
        stdev=0.1,
    )
    return assim.strong_constraint(
        model,
        window,
        background=background,
        covariance={
            "h": assim.covariance.Diagonal(0.5),
            "u": assim.covariance.Diagonal(0.05),
            "v": assim.covariance.Diagonal(0.05),
        },
        observations=gauges,
    )


def settled(own, analysis):
    """The minimum by one more step, solved directly: J itself has no digits left to tell it by."""

    def step(chi):
        here = gauss_newton_linearisation(own, chi)
        return chi - jnp.linalg.solve(jax.vmap(here.hessian)(jnp.eye(chi.size)), here.gradient)

    return jax.jit(step)(analysis.solution.chi)


def test_gauss_newton_product_and_analysis():
    chi = 0.1 * jnp.asarray(np.random.default_rng(2).standard_normal(3 * N * N))

    def parts(model):
        own = posed(model)

        def products(chi):
            here = gauss_newton_linearisation(own, chi)
            return cost(own, chi), here.gradient, here.hessian(chi)

        minimiser = assim.minimiser.GaussNewton(tolerance=1e-10, inner_tolerance=1e-10, n_inner=432)
        return jax.jit(products)(chi), settled(own, assim.analyse(own, minimiser, None))

    (first, ours), (second, theirs) = map(parts, shallow_water(N))
    assert closeness(first, second) < 1e-10
    assert closeness(ours, theirs) < 1e-10


def test_members_together():
    start = hill(N)
    many = {name: jnp.stack([v * (1 + 1e-3 * k) for k in range(5)]) for name, v in start.items()}
    run = lambda m: jax.jit(jax.vmap(lambda x: trajectory(m, x)))(many)  # noqa: E731
    assert closeness(*map(run, shallow_water(N))) < 1e-12
