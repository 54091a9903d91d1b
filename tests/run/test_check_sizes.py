"""Derivative checks pass sound problems of values of any size, and find faults at each of them."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    AbstractModel,
    Array,
    Coordinate,
    Label,
    Labels,
    Observations,
    Params,
    Points,
    State,
    Window,
    strong_constraint,
)
from assim.findings.derivatives import verify
from assim.problem.covariance import Diagonal
from assim.problem.departure import Problem
from assim.problem.operator import PointSample
from assim.run.check import _derivatives

SIZES = {1e-9: 1e-2, 1.0: 1e-2, 280.0: 2e-3, 1e5: 1e-6, 1e9: 1e-9}  # with the relative error


def linear(x: Array, size: float) -> Array:
    del size
    return 0.9 * x + 0.1 * jnp.roll(x, 1)


def nonlinear(x: Array, size: float) -> Array:
    return x + 0.3 * x * (1 - jnp.roll(x, 1) / (2 * size))


def exact(f: Callable, x: Array, dx: Array, size: float) -> Array:
    return jax.jvp(lambda x: f(x, size), (x,), (dx,))[1]


def without_neighbour(f: Callable, x: Array, dx: Array, size: float) -> Array:
    """The derivative without the term of the neighbour."""
    by = 0.1 if f is linear else -0.3 * x / (2 * size)
    return exact(f, x, dx, size) - by * jnp.roll(dx, 1)


FAULTS = {
    "one per cent": lambda *at: 1.01 * exact(*at),
    "sign": lambda *at: -exact(*at),
    "missing term": without_neighbour,
}


class Ring(AbstractModel):
    """Three points, of values about `size`, with a step whose derivative may be wrong."""

    size: float = eqx.field(static=True)
    function: Callable = eqx.field(static=True)
    fault: Callable | None = eqx.field(default=None, static=True)
    reverse: bool = eqx.field(default=False, static=True)
    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=dict)

    def labels(self) -> Labels:
        return Labels({"x": Label(("i",))}, {}, {"i": Coordinate(np.arange(3.0))})

    def step(self, x: State, theta: Params, t: Array) -> State:
        if self.reverse:
            return {"x": _by_reverse(lambda x: self.function(x, self.size))(x["x"])}
        if self.fault is None:
            return {"x": self.function(x["x"], self.size)}
        return {"x": _with_derivative(self.function, self.fault, self.size)(x["x"])}


def _with_derivative(function: Callable, derivative: Callable, size: float) -> Callable:
    wrapped = jax.custom_jvp(lambda x: function(x, size))
    wrapped.defjvp(lambda x, dx: (function(x[0], size), derivative(function, x[0], dx[0], size)))
    return wrapped


def _by_reverse(function: Callable) -> Callable:
    wrapped = jax.custom_vjp(function)
    wrapped.defvjp(lambda x: jax.vjp(function, x), lambda pull, w: (1.01 * pull(w)[0],))
    return wrapped


def posed(model: Ring) -> Problem:
    size, relative = model.size, SIZES[model.size]
    points = Points.at(jnp.asarray([1.0, 2.0, 2.0]), {"i": jnp.asarray([0.0, 1.0, 2.0])})
    values, stdev = size * np.array([1.0, 0.9, 1.2]), relative * size
    seen = Observations("x", values, points, PointSample("x"), stdev=stdev)
    start = {"x": size * jnp.asarray([1.0, 0.8, 1.1])}
    return strong_constraint(model, Window.regular(model, 2), start, Diagonal(2 * stdev), seen)


def passed(model: Ring) -> list[bool]:
    return [result.passed for result in verify(posed(model))]


def table(sizes: list[float], faults: list[str]) -> list:
    return [(s, f, fault) for s in sizes for f in (linear, nonlinear) for fault in (None, *faults)]


@pytest.mark.parametrize(
    ("size", "function", "fault"),
    [(280.0, linear, None), (1e9, nonlinear, None), (280.0, nonlinear, "one per cent")],
)
def test_a_problem_passes_where_it_is_sound(size, function, fault):
    derivative = None if fault is None else FAULTS[fault]
    assert all(passed(Ring(size, function, derivative))) == (fault is None)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "function", "fault"), table([*SIZES], [*FAULTS]))
def test_at_every_size(size, function, fault):
    derivative = None if fault is None else FAULTS[fault]
    assert all(passed(Ring(size, function, derivative))) == (fault is None)


def test_a_derivative_in_reverse_only_is_named():
    problem = posed(Ring(280.0, linear, reverse=True))
    (check,) = _derivatives(problem, jnp.zeros(problem.size()))
    assert check.passed is False
    assert "custom_jvp" in check.detail
