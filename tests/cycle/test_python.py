"""A cycle from Python: what it is given, what it refuses, and problems of every kind in it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.cycle.batches import room
from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.variational import FourDVar
from assim.problem.cycled import Rows
from tests.cycle.toy import BACKGROUND, STEP, B, H, Linear, N, R, in_turn, matrix, twin

MINIMISER = assim.minimiser.GaussNewton(n_outer=3, tolerance=1e-12)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


def readings(times, values, name="x"):
    points = assim.Points.at(jnp.asarray(times), {"place": jnp.zeros(len(times))})
    return assim.Observations(
        name, jnp.asarray(values), points, assim.operator.PointSample("x"), 0.3
    )


def posed(plan, times, values, scheme=None):
    """A cycle whose problem has these observations in its first window."""
    model, times, values = Linear(), np.asarray(times), np.asarray(values)
    first = assim.Window.regular(model, plan.slots)
    inside = times <= first.edges[-1]
    seen = readings(times[inside], values[inside])
    problem = assim.strong_constraint(
        model, first, {"x": BACKGROUND}, assim.covariance.Dense(B), seen
    )
    return Cycle(problem, scheme or FourDVar(minimiser=MINIMISER), plan)


# ---- observations --------------------------------------------------------------------------------


def test_observations_are_cut_into_batches():
    """In any order; the end of a shift belongs to it, and batches have room for the largest."""
    plan = Plan(2, 1)
    cycle = posed(plan, [0.5], [1.0])
    whole = plan.whole(cycle.problem.window, 4)
    np.testing.assert_allclose(whole.edges, STEP * np.arange(5))
    given = readings([1.75, 0.25, 0.5, 2.0, 0.1], [4.0, 1.0, 2.0, 5.0, 0.0])
    (rows,) = cycle.batches([given], whole.edges)
    assert rows.values.shape == (4, 3)
    counted = [sorted(v[w > 0]) for v, w in zip(rows.values, rows.weight, strict=True)]
    assert counted == [[0.0, 1.0, 2.0], [], [], [4.0, 5.0]]


def test_a_series_of_all_windows():
    given = twin(FourDVar(minimiser=MINIMISER), Plan(1, 1), 4)
    times, values = np.repeat(np.asarray(given.edges)[1:5], 2), given.observed.ravel()
    places = {"place": jnp.tile(jnp.arange(2.0), 4)}
    points = assim.Points.at(jnp.asarray(times), places)
    given_x = assim.Observations("x", values, points, assim.operator.PointSample("x"), np.sqrt(R))
    batches = given.cycle.batches([given_x], given.edges)
    for one, other in zip(jax.tree.leaves(batches), jax.tree.leaves(given.batches), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    _, measures = given.cycle.scan(4, given.edges, batches)
    series = assim.to_dataset(given.cycle, given.edges, measures)
    np.testing.assert_allclose(series["t"], np.asarray(given.edges)[1:5])
    np.testing.assert_allclose(series["cost"], measures.cost)
    several = [jax.tree.map(lambda leaf, k=k: leaf[k], measures) for k in range(4)]
    assert assim.to_dataset(given.cycle, given.edges, several).equals(series)


def test_what_does_not_belong_to_a_window_is_refused():
    plan = Plan(2, 2)
    cycle = posed(plan, [0.5, 1.0], [1.0, 2.0])
    whole = plan.whole(cycle.problem.window, 2)
    given = readings([0.5, 1.0, 1.5, 2.0], [1.0, 2.0, 3.0, 4.0])
    batches, carry = cycle.batches([given], whole.edges), cycle.start()
    own = plan.stretch(whole.edges, 1)
    with pytest.raises(ValueError, match=r"window 1 goes from 1 to 2.*'x' from 0.5 to 1;.*Plan"):
        cycle.window(carry, 1, own, plan.rows(batches, 0))
    with pytest.raises(ValueError, match="3 slot edges and observations of 1 instruments, got 5"):
        cycle.window(carry, 1, whole.edges, plan.rows(batches, 1))
    with pytest.raises(ValueError, match=r"3 windows have 7 slot edges and 3 batches.*got 5 and 2"):
        cycle.scan(3, whole.edges, batches)
    with pytest.raises(ValueError, match="'x': 1 of 2 times lie outside"):
        cycle.batches([readings([0.5, 2.5], [1.0, 2.0])], whole.edges)
    with pytest.raises(ValueError, match="expected observations of x, in this order, got y"):
        cycle.batches([readings([0.5], [1.0], "y")], whole.edges)


def means(starts, ends):
    points = assim.Points.over(jnp.asarray(starts), jnp.asarray(ends), {"place": jnp.zeros(2)})
    return assim.Observations("x", jnp.ones(2), points, assim.operator.TimeMean("x"), 0.3)


@pytest.mark.parametrize(
    ("plan", "refused"),
    [(Plan(1, 1), True), (Plan(2, 1), False), (Plan(2, 1, "several"), True), (Plan(2, 2), False)],
)
def test_an_interval_that_begins_before_its_window_is_refused(plan, refused):
    """A mean over two shifts; where a batch enters several windows, before the last of them."""
    cycle = posed(plan, [0.5], [1.0])
    edges = plan.whole(cycle.problem.window, 4 // plan.shift).edges[:5]
    given = means([0.0, 1.0], [STEP, 2.0])
    if refused:
        with pytest.raises(ValueError, match=r"1 of 2 values of 'x' begin.*window at 1.5"):
            cycle.batches([given], edges)
        return
    (rows,) = cycle.batches([given], edges)
    assert float(jnp.sum(rows.weight)) == 2
    blind = dataclasses.replace(given, weight=jnp.array([1.0, 0.0]))
    (rows,) = posed(Plan(1, 1), [0.5], [1.0]).batches([blind], edges)  # what does not count may
    assert float(jnp.sum(rows.weight)) == 1


@pytest.mark.parametrize(
    ("plan", "slot"), [(Plan(3, 3), 12), (Plan(3, 1), 2), (Plan(3, 1, "several"), 4)]
)
def test_a_batch_begins_with_the_last_window_that_has_it(plan, slot):
    assert int(plan.earliest(4)) == slot
    assert int(plan.earliest(0)) == 0


def test_a_reading_of_an_interval_is_where_it_is_read():
    """At a time in the window before the one in which its interval ends."""
    cycle = posed(Plan(1, 1), [0.5], [1.0])
    edges = cycle.plan.whole(cycle.problem.window, 4).edges
    late = means([0.0, 1.0], [STEP, 2.0])
    points = dataclasses.replace(late.points, times=jnp.array([STEP, 1.25]))
    read = assim.Observations("x", late.values, points, assim.operator.PointSample("x"), 0.3)
    with pytest.raises(ValueError, match=r"the first at 1.25, its window at 1.5"):
        cycle.batches([read], edges)
    points = dataclasses.replace(points, times=jnp.array([STEP, 1.75]))
    (rows,) = cycle.batches(
        [assim.Observations("x", late.values, points, read.operator, 0.3)], edges
    )
    assert float(jnp.sum(rows.weight)) == 2


def test_rows_that_begin_before_their_window_are_refused():
    plan = Plan(1, 1)
    cycle = posed(plan, [0.5], [1.0])
    problem = dataclasses.replace(cycle.problem, observations=(means([0.0, 0.0], [STEP, STEP]),))
    cycle, edges = Cycle(problem, cycle.scheme, plan), jnp.array([1.5, 2.0])
    with pytest.raises(ValueError, match=r"goes from 1.5 to 2, got values of 'x' from 1 to 2"):
        cycle.window(cycle.start(), 3, edges, (Rows.of(means([1.0, 1.5], [2.0, 2.0])),))


def test_a_plan_of_other_slots_is_refused():
    cycle = posed(Plan(2, 2), [0.5], [1.0])
    with pytest.raises(ValueError, match="3 slots each, but the window of the problem has 2"):
        Cycle(cycle.problem, cycle.scheme, Plan(3, 1)).start()


def test_inflation_does_not_follow_what_has_been_seen():
    scheme = FourDVar(inflation=assim.scheme.Inflation(adaptive=True))
    with pytest.raises(ValueError, match="enter several windows"):
        posed(Plan(2, 1, "several"), [0.5], [1.0], scheme).start()


def test_localised_members_get_no_model_error():
    error = assim.ModelError(assim.covariance.Diagonal(0.2))
    scheme = FourDVar(carry="ensemble", members=5, localisation=assim.covariance.GaspariCohn(2.0))
    with pytest.raises(ValueError, match="drop the localisation, or use LETKF"):
        twin(scheme, Plan(1, 1), 2, error=error).cycle.start()


def test_rooms_are_few_and_hold_their_rows():
    rooms = [room(rows) for rows in range(1, 200)]
    assert rooms == sorted(rooms)
    assert all(rows <= size <= 1.5 * rows for rows, size in enumerate(rooms, start=1))
    assert set(rooms) <= {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256}


# ---- problems of every kind ----------------------------------------------------------------------


def test_a_bias_is_carried_with_what_is_known_of_it():
    """Joint with the state, as the Kalman filter of both has it."""
    windows, prior = 5, 0.7
    given = twin(FourDVar(minimiser=MINIMISER), Plan(1, 1), windows)
    bias = assim.BiasCorrection({"offset": assim.prior.Normal(0.0, prior)})
    seen = given.cycle.problem.observations[0]
    biased = assim.Observations(
        "x", seen.values, seen.points, assim.operator.PointSample("x"), np.sqrt(R), bias=bias
    )
    problem = assim.strong_constraint(
        Linear(), given.cycle.problem.window, {"x": BACKGROUND}, assim.covariance.Dense(B), biased
    )
    biased_twin = given._replace(cycle=Cycle(problem, given.cycle.scheme, given.cycle.plan))
    x, p = np.append(BACKGROUND, 0.0), np.zeros((N + 1, N + 1))
    p[:N, :N], p[N, N] = B, prior**2
    m, h = np.eye(N + 1), np.ones((2, N + 1))
    m[:N, :N], h[:, :N] = matrix(), H
    for (_, analysed, _), y in zip(in_turn(biased_twin, windows), given.observed, strict=True):
        x, p = m @ x, m @ p @ m.T
        gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + R * np.eye(2))
        x, p = x + gain @ (y - h @ x), p - gain @ h @ p
        close(analysed.analysis["x"][-1], x[:N])
        close(analysed.scalars["offset"], x[N])
        close(analysed.scalars_stdev["offset"], np.sqrt(p[N, N]))


class Two(assim.AbstractModel):
    """Two fields that turn into each other, the second in units that are `small` times as large."""

    small: float = eqx.field(default=1.0, converter=float)
    dt: float = eqx.field(default=STEP, static=True)
    parameters: dict = eqx.field(default_factory=dict)

    def labels(self):
        place = assim.Coordinate(np.arange(2.0), "1", "place")
        fields = {"u": assim.Label(("place",)), "v": assim.Label(("place",))}
        return assim.Labels(fields, {}, {"place": place})

    def step(self, x, theta, t):
        del theta, t
        joined = jnp.concatenate([x["u"], x["v"] * self.small])
        u, v = jnp.split(jnp.asarray(matrix()) @ joined, 2)
        return {"u": u, "v": v / self.small}


def test_what_is_kept_of_a_covariance_does_not_depend_on_units():
    """Two of four vectors, in units of the static standard deviations."""
    found = []
    for small in (1.0, 1e-3):
        model = Two(small)
        first = assim.Window.regular(model, 1)
        points = assim.Points.at(first.edges[1:], {"place": jnp.zeros(1)})
        seen = assim.Observations("u", jnp.ones(1), points, assim.operator.PointSample("u"), 0.3)
        stdev = {"u": assim.covariance.Diagonal(1.0), "v": assim.covariance.Diagonal(0.8 / small)}
        start = {"u": jnp.array([1.0, -1.0]), "v": jnp.array([0.5, 0.2]) / small}
        problem = assim.strong_constraint(model, first, start, stdev, seen)
        cycle = Cycle(problem, FourDVar(rank=2, share=0.1, minimiser=MINIMISER), Plan(1, 1))
        carry, states = cycle.start(), []
        for number in range(3):
            edges = first.edges + number * STEP
            here = assim.Points.at(edges[1:], {"place": jnp.zeros(1)})
            rows = eqx.tree_at(lambda r: r.points, Rows.of(seen), here)
            carry, analysed, _ = cycle.window(carry, number, edges, (rows,))
            for states_of in (analysed.analysis, analysed.analysis_stdev):
                states.append(np.append(states_of["u"], states_of["v"] * small))
        found.append(states)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
