"""Windows that are lengthened: what the model and the observations do after the horizon."""

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
    Status,
    Window,
    strong_constraint,
)
from assim.problem.covariance import Autoregressive, Dense, Diagonal
from assim.problem.operator import PointSample
from assim.solve.cost import cost
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import minimise_quasi_static

N = 20  # more than are differentiated forward


class Explosive(AbstractModel):
    """dx/dt = x³ by Euler steps: infinite after a while from where it starts too high."""

    parameters: Params
    dt: float

    def __init__(self) -> None:
        self.parameters, self.dt = {}, 0.05

    def labels(self) -> Labels:
        return Labels({"x": Label(("i",))}, {}, {"i": Coordinate(np.arange(float(N)))})

    def step(self, x: State, theta: Params, t: Array) -> State:
        del theta, t
        return {"x": x["x"] + self.dt * x["x"] ** 3}


def problem(start, slots=40):
    model = Explosive()
    window = Window.regular(model, slots)
    truth = np.asarray(model.states({"x": jnp.full(N, 0.4)}, {}, window.edges, 1)["x"])
    edges = np.arange(1, slots + 1, 2)
    times = np.repeat(np.asarray(window.edges)[edges], N)
    points = Points.at(times, {"i": np.tile(np.arange(float(N)), edges.size)})
    values = Observations("x", truth[edges].ravel(), points, PointSample("x"), stdev=0.1)
    return strong_constraint(model, window, {"x": np.full(N, start)}, Diagonal(1.0), values)


@pytest.mark.slow
def test_a_window_that_overflows_is_lengthened():
    """At once its gradient is not finite; a stage that ends before the overflow can begin."""
    whole = problem(1.5)
    origin = jnp.zeros(N)
    gradient = jax.jit(jax.grad(lambda chi: cost(whole, chi)))
    assert not np.all(np.isfinite(gradient(origin)))
    stages = whole.lengthened(8)
    first = jax.jit(jax.grad(lambda chi: cost(stages[0], chi)))(origin)
    assert np.all(np.isfinite(first))
    solution = minimise_quasi_static(stages, GaussNewton(), origin[None])
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(whole.control(solution.chi).state["x"], 0.4, atol=0.05)


def test_the_last_stage_is_the_window():
    whole = problem(0.5)
    chi = 0.1 * jax.random.normal(jax.random.key(0), (N,))
    last = whole.lengthened(3)[-1]
    np.testing.assert_allclose(last(chi).normalised, whole(chi).normalised, rtol=1e-13)


def test_departures_before_the_horizon_are_those_of_the_window():
    whole = problem(0.5)
    chi = 0.1 * jax.random.normal(jax.random.key(0), (N,))
    first = np.asarray(whole.lengthened(2)[0](chi).normalised)
    early = np.asarray(whole.observations[0].points.times) <= 1.0 + 1e-9
    np.testing.assert_allclose(first[early], whole(chi).normalised[early], rtol=1e-13)
    assert np.all(first[~early] == 0)


def correlated(covariance, times):
    model = Explosive()
    points = Points.at(times, {"i": np.zeros(len(times))})
    values = Observations(
        "x", np.full(len(times), 0.4), points, PointSample("x"), covariance=covariance
    )
    window = Window.regular(model, 4)
    return strong_constraint(model, window, {"x": np.full(N, 0.4)}, Diagonal(1.0), values)


def test_correlated_errors_in_order_of_time():
    """Values after the horizon do not move the departures before it."""
    times = np.array([0.05, 0.1, 0.15, 0.2])
    one = correlated(Autoregressive(0.1), times).lengthened(2)[0]
    other = correlated(Autoregressive(0.1), times)
    moved = np.asarray(other.observations[0].values) + np.array([0, 0, 1.0, 1000.0])
    points = other.observations[0].points
    late = Observations("x", moved, points, PointSample("x"), covariance=Autoregressive(0.1))
    other = strong_constraint(
        other.model, other.window, {"x": np.full(N, 0.4)}, Diagonal(1.0), late
    ).lengthened(2)[0]
    chi = jnp.zeros(N)
    np.testing.assert_array_equal(one(chi).normalised, other(chi).normalised)


def test_correlated_errors_out_of_order_are_refused():
    matrix = 0.01 * (np.eye(4) + 0.5)
    with pytest.raises(ValueError, match=r"lengthened: the errors of 'x'.*sort its rows"):
        correlated(Dense(matrix), np.array([0.05, 0.15, 0.1, 0.2])).lengthened(2)
