"""Shifts, and walls against fusion: the same numbers, with the arithmetic that a step needs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.problem import grids
from assim.problem.grids import shift, walled
from assim.problem.model import rk4_step

# ---- shift ---------------------------------------------------------------------------------------

SHIFTS = [(1, 0), (-1, 1), (3, -1), (-2, 0), (0, 1), (4, 0), (9, 1)]


@pytest.fixture
def values():
    return jnp.sin(jnp.arange(20.0)).reshape(4, 5)


@pytest.mark.parametrize(("n", "axis"), SHIFTS)
def test_a_shift_is_a_roll(values, n, axis):
    expected = np.roll(np.asarray(values), n, axis)
    for of in (partial(shift, n=n, axis=axis), jax.jit(partial(shift, n=n, axis=axis))):
        np.testing.assert_array_equal(of(values), expected)
    assert shift(values.astype(jnp.float32), n, axis).dtype == jnp.float32


def nonlinear(by, a):
    return by(a, 1, 0) * by(a, -1, 1) ** 2 + by(by(a, 2, 1), 1, 0)


@pytest.mark.parametrize(
    "derivative",
    [
        lambda f, a: jax.vjp(f, a)[1](a + 1.0)[0],
        lambda f, a: jax.jvp(f, (a,), (a + 1.0,))[1],
        lambda f, a: jax.hessian(lambda a: jnp.sum(f(a) ** 2))(a),
        lambda f, a: jax.vmap(f)(jnp.stack([a, 2 * a])),
        lambda f, a: jax.vmap(f, in_axes=2, out_axes=1)(jnp.stack([a, 2 * a], 2)),
        lambda f, a: jax.vmap(jax.grad(lambda a: jnp.sum(f(a))))(jnp.stack([a, 2 * a])),
        lambda f, a: jax.grad(lambda a: jnp.sum(jax.checkpoint(f)(a)))(a),
        lambda f, a: jax.linearize(f, a)[1](a + 1.0),
    ],
)
def test_derivatives_of_a_shift(values, derivative):
    shifted, rolled = (derivative(partial(nonlinear, by), values) for by in (shift, jnp.roll))
    np.testing.assert_allclose(shifted, rolled, rtol=1e-13, atol=1e-13)


def test_an_axis_that_is_not_there(values):
    with pytest.raises(ValueError, match="shift: axis 2 of an array of 2 dimensions"):
        shift(values, 1, 2)


# ---- walls ---------------------------------------------------------------------------------------

N = 20  # 3 N² = 1,200 values


def tendency(by, x, theta, t):
    """A flow as a user may write it: shifts of products of shifts."""
    del theta, t
    h, u, v = x["h"], x["u"], x["v"]
    flux = u * (h + by(h, 1, 1)), v * (h + by(h, 1, 0))
    turn = (v - by(v, 1, 1) - u + by(u, 1, 0)) / (h + by(h, 1, 1) + by(by(h, 1, 1), 1, 0))
    head = h + (u**2 + by(u, -1, 1) ** 2 + v**2 + by(v, -1, 0) ** 2) / 4
    along = [by(turn * (f + by(f, 1, 1 - axis)), -1, axis) for axis, f in enumerate(flux)]
    return {
        "h": flux[0] - by(flux[0], -1, 1) + flux[1] - by(flux[1], -1, 0),
        "u": along[1] - head + by(head, 1, 1),
        "v": -along[0] - head + by(head, 1, 0),
    }


def flow():
    wave = 0.1 * jnp.sin(2 * jnp.pi * jnp.arange(N) / N)
    x, y = jnp.meshgrid(wave, wave)
    return {"h": 1 + x + y, "u": y, "v": x}


def step(by, x):
    return rk4_step(partial(tendency, by), x, {}, 0.0, 0.1)


def squares(by, x):
    return sum(jnp.sum(value**2) for value in step(by, x).values())


def flops(function, x):
    return jax.jit(function).lower(x).compile().cost_analysis()["flops"]


@pytest.fixture(params=[jnp.roll, shift], ids=["roll", "shift"])
def by(request):
    return request.param


def test_a_gradient_takes_a_few_times_the_arithmetic_of_a_step(by):
    """4 tendencies of some 40 operations a point, four times that for stages and their adjoints."""
    forward, backward = (
        flops(partial(step, by), flow()),
        flops(jax.grad(partial(squares, by)), flow()),
    )
    assert forward < 4 * 60 * N**2
    assert backward < 5 * forward


def test_walls_change_no_number(by, monkeypatch):
    derivatives = jax.jit(jax.value_and_grad(partial(squares, by)))
    walls, gradient = derivatives(flow())
    monkeypatch.setattr(grids, "LARGE", 10 * N**2)
    plain, expected = jax.jit(jax.value_and_grad(lambda x: squares(by, x)))(flow())
    np.testing.assert_allclose(walls, plain, rtol=1e-14)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14), gradient, expected)


def calls(x):
    """Calls to other programs in the compiled text of a function of this state."""
    compiled = jax.jit(walled(lambda x: jax.tree.map(jnp.sin, x), x)).lower(x).compile()
    return compiled.as_text().count(" call(")


def test_small_states_have_no_walls():
    assert calls({"x": jnp.ones(grids.LARGE - 1)}) == 0
    assert calls({"x": jnp.ones(grids.LARGE - 1), "y": jnp.ones(1)}) == 1
