"""Laws of observation operators."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.problem.arrays import Coordinate, Grid, Label, Labels, Trajectory
from assim.problem.cycled import Rows, of_window
from assim.problem.observation import Observations
from assim.problem.operator import PointSample, TimeDifference, TimeIntegral, TimeMean
from assim.problem.points import Points
from assim.problem.window import Window
from tests.registry import OPERATORS
from tests.solve.linear import driven

EDGES = np.array([0.0, 0.5, 0.7, 2.0, 2.5])  # irregular on purpose
PLACES = np.array([0.0, 1.0, 2.5, 3.0])
LABELS = Labels(
    state={"u": Label(("x",), "m", "wave"), "s": Label((), "kg", "scalar")},
    coordinates={"x": Coordinate(PLACES, "m", "place", period=5.0)},
    time_unit="days",
)


def trajectory(u, s=None):
    s = np.zeros(len(EDGES)) if s is None else s
    states = {"u": jnp.asarray(u), "s": jnp.asarray(s)}
    return Trajectory(jnp.asarray(EDGES), states, {}, Grid.of(LABELS))


@eqx.filter_jit
def observed(operator, trajectory, points):
    return operator(trajectory, points)


def random_field(seed=0):
    return jax.random.normal(jax.random.key(seed), (len(EDGES), len(PLACES)))


INTERVALS = Points.over(
    jnp.array([0.0, 0.1, 0.5, 0.6, 2.0]),
    jnp.array([2.5, 0.3, 0.7, 2.1, 2.5]),
    {"x": jnp.array([0.0, 0.4, 2.7, 3.0, 4.1])},
)


@pytest.fixture(params=OPERATORS)
def name(request):
    return request.param


@pytest.fixture
def operator(name):
    return OPERATORS[name]()


@functools.cache
def derivatives(name):
    """H(u), H'(u) du and H'(u)ᵀ w, compiled once."""
    operator = OPERATORS[name]()

    def observe(u):
        return operator(trajectory(u), INTERVALS)

    @jax.jit
    def all_at(u, du, w):
        return (*jax.jvp(observe, (u,), (du,)), jax.vjp(observe, u)[1](w)[0])

    return all_at


U, DU = random_field(1), random_field(2)
WEIGHTS = jax.random.normal(jax.random.key(3), INTERVALS.times.shape)


# ---- places found once ---------------------------------------------------------------------------

SPREAD = {  # times of starts and ends, and places
    "anywhere": (INTERVALS.starts, INTERVALS.ends, INTERVALS.coordinates["x"]),
    "at edges": (EDGES[[0, 1, 0]], EDGES[[1, 4, 3]], np.array([0.2, 4.4, 2.7])),
    "on the grid": (np.array([0.1, 0.6]), np.array([0.3, 2.4]), np.array([3.0, 1.0])),
    "every value in turn": (
        np.repeat(EDGES[:-1], 4),
        np.repeat(EDGES[1:], 4),
        np.tile(PLACES, 4),
    ),
}


@pytest.mark.parametrize("spread", SPREAD)
def test_places_found_once_give_the_same(operator, spread):
    """Values, and the adjoint, with as few corners and edges as the values need."""
    starts, ends, places = SPREAD[spread]
    points = Points.over(starts, ends, {"x": places})
    instrument = Observations("u", np.zeros(len(places)), points, operator)
    window = Window(jnp.asarray(EDGES))
    place = instrument.place(LABELS, window)
    assert (place.stencil.weight is None) == (spread in ("on the grid", "every value in turn"))
    assert (place.ends.fraction is None) == (spread in ("at edges", "every value in turn"))
    assert place.first == (4 if spread == "every value in turn" else None)
    weights = jnp.sin(1.0 + jnp.arange(len(places)))

    @jax.jit
    def both_ways(u, placed):
        value, pull = jax.vjp(lambda u: placed.predict(trajectory(u)), u)
        return value, pull(weights)[0]

    expected, found = both_ways(U, instrument), both_ways(U, instrument.on(place))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


def test_points_that_are_changed_are_found_anew():
    points = Observations("u", np.zeros(5), INTERVALS, PointSample("u"))
    placed = points.on(points.place(LABELS, Window(jnp.asarray(EDGES)))).points
    assert placed.located is not None
    assert dataclasses.replace(placed, times=placed.times + 0.1).located is None


def test_a_problem_places_its_values_and_another_window_does_not():
    problem = driven().problem
    assert all(place is not None for place in problem.located)
    chi = 0.3 * jnp.ones(problem.size())
    apart = dataclasses.replace(problem, located=())
    np.testing.assert_allclose(problem(chi).normalised, apart(chi).normalised, rtol=1e-13)
    rows = tuple(Rows.of(o) for o in problem.observations)
    assert of_window(problem, problem.window.edges, rows).located == ()


def test_shape(name):
    values, _, _ = derivatives(name)(U, DU, WEIGHTS)
    assert values.shape == INTERVALS.times.shape
    assert np.all(np.isfinite(values))


def test_tangent_linear_has_slope_two(name):
    observe = lambda u: derivatives(name)(u, DU, WEIGHTS)[0]  # noqa: E731
    value, pushed, _ = derivatives(name)(U, DU, WEIGHTS)
    sizes = 10.0 ** -np.arange(1, 6)
    errors = [jnp.linalg.norm(observe(U + e * DU) - value - e * pushed) for e in sizes]
    if max(errors) < 1e-14:
        return  # linear
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(slope - 2) < 0.05


def test_adjoint(name):
    _, pushed, pulled = derivatives(name)(U, DU, WEIGHTS)
    one, other = jnp.vdot(pushed, WEIGHTS), jnp.vdot(DU, pulled)
    assert abs(one - other) <= 1e-13 * jnp.linalg.norm(pushed) * jnp.linalg.norm(WEIGHTS)


FINER = np.union1d(EDGES, [0.05, 0.33, 0.6, 1.0, 1.77, 2.31])


@functools.cache
def refined(name):
    """H of the same field held at more edges, compiled once."""
    operator = OPERATORS[name]()
    held = jax.vmap(lambda column: jnp.interp(FINER, EDGES, column), 1, 1)

    @jax.jit
    def at(u, points):
        there = Trajectory(jnp.asarray(FINER), {"u": held(u)}, {}, Grid.of(LABELS))
        return operator(there, points), operator(trajectory(u), points)

    return at


def test_fields_are_linear_between_edges(name):
    """Edges in between change nothing, whether or not observations fall on them."""
    fine, coarse = refined(name)(U, INTERVALS)
    np.testing.assert_allclose(fine, coarse, rtol=1e-12, atol=1e-13)


def test_values_at_an_edge_are_those_of_the_edge(name):
    """Intervals between edges do not see what happens elsewhere."""
    points = Points.over([0.5, 0.7], [0.7, 2.0], {"x": jnp.array([0.4, 2.7])})
    moved = U.at[0].add(3.0).at[4].add(-2.0)
    for one, other in zip(refined(name)(U, points), refined(name)(moved, points), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_labels(operator):
    assert operator.dims(LABELS) == ("x",)
    assert isinstance(operator.units(LABELS), str)


def test_unknown_field():
    for kind in (PointSample, TimeIntegral, TimeMean, TimeDifference):
        with pytest.raises(KeyError):
            kind("nothing").units(LABELS)


def test_units():
    assert PointSample("u").units(LABELS) == "m"
    assert TimeIntegral("u").units(LABELS) == "m days"
    assert TimeMean("u").units(LABELS) == "m"


# ---- point samples -------------------------------------------------------------------------------


def test_point_sample_is_exact_on_linear_fields():
    u = 2.0 + 3.0 * EDGES[:, None] - PLACES + 0.5 * EDGES[:, None] * PLACES
    times, x = jnp.array([0.0, 0.6, 1.9, 2.5, 0.5]), jnp.array([0.0, 0.4, 2.2, 3.0, 2.5])
    values = observed(PointSample("u"), trajectory(u), Points.at(times, {"x": x}))
    np.testing.assert_allclose(values, 2.0 + 3.0 * times - x + 0.5 * times * x, rtol=1e-13)


def test_point_sample_of_a_scalar():
    there = trajectory(random_field(), 1.0 - 2.0 * EDGES)
    values = observed(PointSample("s"), there, Points.at([0.2, 2.4]))
    np.testing.assert_allclose(values, [0.6, -3.8], rtol=1e-13)


def test_point_sample_wraps():
    u = np.broadcast_to(np.array([1.0, 2.0, 4.0, 8.0]), (len(EDGES), 4))
    # From 8 at x = 3 to 1 at x = 5 = 0, and the same one period further either way.
    x = jnp.array([4.0, 4.5, 9.0, -1.0, 5.0, -5.0, 5.5, 3.0, -1e-17])
    values = observed(PointSample("u"), trajectory(u), Points.at(jnp.ones(x.shape), {"x": x}))
    np.testing.assert_allclose(values, [4.5, 2.75, 4.5, 4.5, 1, 1, 1.5, 8, 1], rtol=1e-12)


def test_point_sample_in_two_dimensions():
    labels = Labels(
        state={"c": Label(("y", "x"))},
        coordinates={
            "y": Coordinate(np.array([0.0, 2.0, 3.0])),
            "x": Coordinate(np.array([0.0, 1.0, 4.0, 5.0])),
        },
    )
    y, x = np.array([0.0, 2.0, 3.0])[:, None], np.array([0.0, 1.0, 4.0, 5.0])
    field = np.broadcast_to(1.0 + y - 2.0 * x + 0.3 * x * y, (len(EDGES), 3, 4))
    there = Trajectory(jnp.asarray(EDGES), {"c": jnp.asarray(field)}, {}, Grid.of(labels))
    y, x = jnp.array([0.0, 1.0, 2.5, 3.0]), jnp.array([5.0, 0.5, 3.3, 0.0])
    values = observed(PointSample("c"), there, Points.at(jnp.ones(4), {"y": y, "x": x}))
    np.testing.assert_allclose(values, 1.0 + y - 2.0 * x + 0.3 * x * y, rtol=1e-13)


# ---- intervals -----------------------------------------------------------------------------------


def piecewise_integral(values, start, end):
    """Exact integral of the piecewise linear function: the trapezium rule with every kink."""
    nodes = np.unique(np.concatenate([[start, end], EDGES[(start < EDGES) & (end > EDGES)]]))
    at = np.interp(nodes, EDGES, values)
    return np.sum(np.diff(nodes) * (at[1:] + at[:-1]) / 2)


def exact(values):
    pairs = zip(np.asarray(INTERVALS.starts), np.asarray(INTERVALS.ends), strict=True)
    return np.array([piecewise_integral(values, *pair) for pair in pairs])


def test_time_integral_and_mean():
    s = np.array([1.0, -2.0, 3.0, 0.5, 7.0])
    there = trajectory(random_field(), s)
    lengths = np.asarray(INTERVALS.ends - INTERVALS.starts)
    np.testing.assert_allclose(observed(TimeIntegral("s"), there, INTERVALS), exact(s), rtol=1e-13)
    np.testing.assert_allclose(
        observed(TimeMean("s"), there, INTERVALS), exact(s) / lengths, rtol=1e-13
    )


def test_time_difference():
    s = np.array([1.0, -2.0, 3.0, 0.5, 7.0])
    expected = np.interp(INTERVALS.ends, EDGES, s) - np.interp(INTERVALS.starts, EDGES, s)
    there = trajectory(random_field(), s)
    values = observed(TimeDifference("s", factor=-1.0), there, INTERVALS)
    np.testing.assert_allclose(values, -expected, rtol=1e-13)
