"""The simpler schemes of a cycle against closed forms, and on twins that others have published."""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.ensemble import ETKF, LETKF, IEnKS
from assim.analysis.cycle.inflation import Inflated, Inflation, Innovation
from assim.analysis.cycle.members import forecast, inflated
from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.cycle.posterior import prior_members
from assim.analysis.cycle.scheme import Seen
from assim.analysis.cycle.static import OptimalInterpolation, ThreeDVar
from assim.models import Lorenz63, Lorenz96
from assim.problem.arrays import Coordinate
from assim.problem.covariance import Dense, Independent, Joint
from assim.problem.cycled import Rows, in_carried_coordinates
from assim.problem.distance import apart
from assim.problem.window import Window, integrate
from assim.solve.transform import taper
from tests.cycle.toy import BACKGROUND, STEP, B, H, Linear, N, R, in_turn, matrix, twin

WINDOWS, MEMBERS, FACTOR, SHARE = 4, 8, 1.1, 0.3
DRIFT = {"drift": assim.prior.Normal(0.1, 0.5)}
SCHEMES = {
    "oi": OptimalInterpolation(share=SHARE),
    "3dvar": ThreeDVar(
        share=SHARE, minimiser=assim.minimiser.GaussNewton(n_outer=3, tolerance=1e-12)
    ),
    "etkf": ETKF(members=MEMBERS, inflation=FACTOR, rotate=True),
    "letkf": LETKF(members=MEMBERS, inflation=FACTOR, rotate=True, radius=np.inf),
    "ienks": IEnKS(members=MEMBERS, inflation=FACTOR, rotate=True),
}
STATIC, FILTERS = ("oi", "3dvar"), ("etkf", "letkf")


def close(a, b, atol=1e-8):
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@functools.cache
def cycle(name):
    """The scheme's twin, with everything that its windows gave; compiled once for all tests."""
    lag, parameters = (3 if name == "ienks" else 1), (None if name in STATIC else DRIFT)
    given = twin(SCHEMES[name], Plan(lag, 1), WINDOWS, parameters)
    return given, in_turn(given, WINDOWS)


# ---- a covariance that never changes -------------------------------------------------------------


@pytest.mark.parametrize("name", STATIC)
def test_static_schemes_are_the_best_linear_estimate_about_a_forecast(name):
    given, found = cycle(name)
    b, state = SHARE * B, BACKGROUND
    total = H @ b @ H.T + R * np.eye(2)
    gain = b @ H.T @ np.linalg.inv(total)
    after = b - gain @ H @ b
    for y, (_, analysed, measures) in zip(given.observed, found, strict=True):
        forecast = matrix() @ state
        innovation = y - H @ forecast
        state = forecast + gain @ innovation
        close(analysed.background["x"][1], forecast)
        close(analysed.analysis["x"][1], state)
        close(analysed.background_stdev["x"][1], np.sqrt(np.diag(b)))
        close(analysed.analysis_stdev["x"][1], np.sqrt(np.diag(after)))
        close(analysed.readings["x"].background_stdev, np.sqrt(np.diag(H @ b @ H.T)))
        close(analysed.readings["x"].analysis_stdev, np.sqrt(np.diag(H @ after @ H.T)))
        close(measures.cost, innovation @ np.linalg.solve(total, innovation) / 2)
        close(measures.signal, np.trace(H @ gain))
        assert measures.status == assim.Status.CONVERGED


def test_an_increment_serves_all_times_of_a_window():
    """Observations at both edges of two slots see one displacement: the analysis is FGAT."""
    generator = np.random.default_rng(1)
    model, edges = Linear(), STEP * np.arange(3)
    times = jnp.asarray(np.repeat(edges[1:], 2))
    points = assim.Points.at(times, {"place": jnp.tile(jnp.arange(2.0), 2)})
    values = generator.standard_normal(4)
    problem = assim.strong_constraint(
        model,
        assim.Window.at(model, edges),
        {"x": BACKGROUND},
        assim.covariance.Dense(B),
        assim.Observations("x", values, points, assim.operator.PointSample("x"), np.sqrt(R)),
    )
    scheme, key = OptimalInterpolation(), jax.random.key(0)
    move = Move(jnp.array(2), jnp.array(2))
    step = eqx.filter_jit(scheme.step)
    after, analysed = step(
        in_carried_coordinates(problem), scheme.start(problem, Plan(1, 1), key), move, key
    )
    m, h = matrix(), np.concatenate([H, H])
    path = [BACKGROUND, m @ BACKGROUND, m @ m @ BACKGROUND]
    innovation = values - np.concatenate([H @ path[1], H @ path[2]])
    increment = B @ h.T @ np.linalg.solve(h @ B @ h.T + R * np.eye(4), innovation)
    close(analysed.analysis["x"], np.asarray(path) + increment)
    close(after.state["x"], path[2] + increment)


@pytest.mark.parametrize("scheme", [OptimalInterpolation(), ThreeDVar()])
def test_what_is_measured_far_better_than_forecast_keeps_the_errors_of_the_measurement(scheme):
    """σ = 10⁻¹⁰ where B has 1: a difference of variances would leave 10⁻⁸ of rounding, or 0."""
    model, stdev = Linear(), 1e-10
    window = assim.Window.at(model, STEP * np.arange(2))
    points = assim.Points.at(jnp.full(N, STEP), {"place": jnp.arange(float(N))})
    truth = matrix() @ BACKGROUND
    observed = assim.Observations("x", truth, points, assim.operator.PointSample("x"), stdev)
    b = assim.covariance.Dense(B)
    problem = assim.strong_constraint(model, window, {"x": BACKGROUND}, b, observed)
    key, move = jax.random.key(0), Move(jnp.array(1), jnp.array(1))
    start = scheme.start(problem, Plan(1, 1), key)
    _, analysed = eqx.filter_jit(scheme.step)(in_carried_coordinates(problem), start, move, key)
    np.testing.assert_allclose(analysed.analysis_stdev["x"], stdev, rtol=1e-3)


# ---- members -------------------------------------------------------------------------------------


def augmented():
    """M and H of (drift in white units, state), with θ = 0.1 + 0.5 w, and what is added to Mx."""
    m = np.zeros((N + 1, N + 1))
    m[0, 0], m[1:, 1:], m[1, 0] = 1.0, matrix(), 0.5
    constant = np.zeros(N + 1)
    constant[1] = 0.1
    return m, np.concatenate([np.zeros((2, 1)), H], axis=1), constant


def moments(members):
    """Sample mean and covariance of (drift, state)."""
    parts = [members["parameters"]["drift"][:, None], members["background"]["x"]]
    z = np.concatenate([np.asarray(part) for part in parts], axis=1)
    return np.mean(z, axis=0), np.cov(z.T)


def updated(mean, covariance, h, innovation):
    gain = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T + R * np.eye(2))
    return mean + gain @ innovation, covariance - gain @ h @ covariance


def grown(covariance):
    """Inflated in the state alone."""
    factors = np.array([1.0, *[FACTOR] * N])
    return factors[:, None] * covariance * factors


@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_the_kalman_filter_of_their_sample(name):
    given, found = cycle(name)
    m, h, constant = augmented()
    members = given.cycle.start().members
    for y, (carry, analysed, measures) in zip(given.observed, found, strict=True):
        mean, covariance = moments(members)
        mean, covariance = m @ mean + constant, m @ covariance @ m.T
        close(analysed.background["x"][1], mean[1:])
        close(analysed.background_stdev["x"][1], np.sqrt(np.diag(covariance))[1:])
        innovation, total = y - h @ mean, h @ covariance @ h.T + R * np.eye(2)
        close(measures.cost, innovation @ np.linalg.solve(total, innovation) / 2)
        close(measures.signal, np.trace(np.linalg.solve(total, h @ covariance @ h.T)))
        mean, covariance = updated(mean, covariance, h, innovation)
        close(analysed.analysis["x"][1], mean[1:])
        close(analysed.analysis_stdev["x"][1], np.sqrt(np.diag(covariance))[1:])
        close(analysed.scalars["drift"], 0.1 + 0.5 * mean[0])
        close(analysed.scalars_stdev["drift"], 0.5 * np.sqrt(covariance[0, 0]))
        members = carry.members
        close(moments(members)[0], mean)
        close(moments(members)[1], grown(covariance))


def test_a_short_radius_leaves_places_without_observations_as_they_were():
    scheme = LETKF(members=MEMBERS, radius={"place": 0.5})
    given = twin(scheme, Plan(1, 1), 1)
    ((_, analysed, _),) = in_turn(given, 1)
    before, stdev = analysed.background["x"][1], analysed.background_stdev["x"][1]
    gain = stdev**2 / (stdev**2 + R)
    expected = np.array(before)
    expected[:2] += (gain[:2]) * (given.observed[0] - before[:2])
    close(analysed.analysis["x"][1], expected)
    shrunk = np.array(stdev)
    shrunk[:2] *= np.sqrt(1 - gain[:2])
    close(analysed.analysis_stdev["x"][1], shrunk)


def test_tapers_go_the_shorter_way_round_along_the_dimensions_named():
    points = assim.Points.at(np.zeros(2), {"ring": np.array([-0.5, 4.0]), "line": np.array([0, 9])})
    o = assim.Observations("x", np.zeros(2), points, assim.operator.PointSample("x"), 1.0)
    ring = Coordinate(np.arange(8.0), period=8.0)
    axes = {"ring": ring, "line": Coordinate(np.arange(2.0))}
    at = {"ring": jnp.array(7.0), "line": jnp.array(0.0)}
    near, far = taper(apart(o, axes, at, {"ring": 1.0}))
    close(near, 0.6848958333333333)  # eq. 4.10 at 1/2
    assert far == 0
    assert taper(apart(o, axes, at, 3.0))[1] == 0
    assert taper(apart(o, axes, at, {"line": 5.0}))[0] == 1


def test_tapers_take_longitudes_in_any_turn_on_an_axis_with_ends():
    """5 degrees west are 355 east, 3 from the grid point at 358, as the operator has it."""
    points = assim.Points.at(np.zeros(4), {"lon": np.array([-5.0, 355.0, 715.0, 359.0])})
    o = assim.Observations("x", np.zeros(4), points, assim.operator.PointSample("x"), 1.0)
    axes = {"lon": Coordinate(np.arange(350.0, 371.0), "degrees_east")}
    found = taper(apart(o, axes, {"lon": jnp.array(358.0)}, 6.0))
    close(found[:3], 0.6848958333333333)  # eq. 4.10 at 1/2
    assert found[3] > found[0]


def test_the_smoother_is_that_of_its_sample():
    given, found = cycle("ienks")
    m, h, constant = augmented()
    members = given.cycle.start().members
    for number, (carry, analysed, measures) in enumerate(found):
        newest, moves = min(number + 1, 3), number >= 2
        mean, covariance = moments(members)
        ahead, power = [mean], np.linalg.matrix_power(m, newest)
        for _ in range(newest):
            ahead.append(m @ ahead[-1] + constant)
        innovation = given.observed[number] - h @ ahead[-1]
        mean, covariance = updated(mean, covariance, h @ power, innovation)
        close(analysed.analysis["x"][0], mean[1:])
        close(analysed.analysis_stdev["x"][0], np.sqrt(np.diag(covariance))[1:])
        assert measures.status == assim.Status.CONVERGED
        assert measures.gradient_norm < 1e-8
        expected = (m @ mean + constant, grown(m @ covariance @ m.T)) if moves else None
        after = moments(carry.members)
        for found_one, one in zip(after, expected or (mean, covariance), strict=True):
            close(found_one, one)
        members = carry.members


@pytest.mark.parametrize("name", SCHEMES)
def test_observations_without_weight_leave_the_forecast(name):
    given, found = cycle(name)
    plan, number = given.cycle.plan, WINDOWS - 1
    carry = found[number - 1][0]
    rows = plan.rows(given.batches, number)
    blind = tuple(eqx.tree_at(lambda r: r.weight, one, 0 * one.weight) for one in rows)
    edges, first = plan.stretch(given.edges, number), int(plan.first_slot(number))
    truth = {"x": given.truth["x"][first : first + plan.slots + 1]}
    after, analysed, measures = given.cycle.window(carry, number, edges, blind, truth)
    close(analysed.analysis["x"], analysed.background["x"])
    close(analysed.analysis_stdev["x"], analysed.background_stdev["x"])
    assert measures.number == 0
    close(measures.signal if name in STATIC else measures.cost, 0.0)
    if name in STATIC:
        close(after.state["x"], matrix() @ carry.state["x"])
        return
    x, drift = (
        np.asarray(part)
        for part in (carry.members["background"]["x"], carry.members["parameters"]["drift"])
    )
    moved = x @ matrix().T + (0.1 + 0.5 * drift)[:, None] * np.eye(N)[0]
    close(after.members["background"]["x"], moved)
    close(after.members["parameters"]["drift"], drift)


def weak():
    """One window of one slot with model error, states as the control."""
    given = twin(ETKF(), Plan(1, 1), 1)
    p = given.cycle.problem
    return assim.weak_constraint(
        p.model,
        p.window,
        {"x": BACKGROUND},
        assim.covariance.Dense(B),
        p.observations,
        model_error=assim.ModelError(assim.covariance.Diagonal(0.7)),
        formulation="state",
    )


def test_members_are_drawn_from_the_prior_and_carried_with_model_error():
    number, problem = 4000, weak()
    members = prior_members(problem.control, number, jax.random.key(0))
    x = np.asarray(members["background"]["x"])
    np.testing.assert_allclose(np.mean(x, axis=0), BACKGROUND, rtol=0, atol=0.1)
    np.testing.assert_allclose(np.cov(x.T), B, rtol=0, atol=0.25)
    forcing = in_carried_coordinates(problem)
    path = jax.jit(forecast)(forcing, members, jax.random.key(1))["background"]["x"]
    expected = matrix() @ np.cov(x.T) @ matrix().T + 0.49 * np.eye(N)
    np.testing.assert_allclose(np.cov(np.asarray(path[:, 1]).T), expected, rtol=0, atol=0.25)


def test_adaptive_inflation_sees_the_innovations_of_the_mean():
    problem = cycle("etkf")[0].cycle.problem
    d = np.random.default_rng(2).standard_normal((MEMBERS, 2)) + 3.0
    adaptive = Inflation(1.05, adaptive=True)
    so_far = Inflated(jnp.array(1.05), jnp.array(1.05))
    before = Seen({}, (), {}, departures=jnp.asarray(d))
    found = inflated(adaptive, so_far, problem, before, Move(jnp.array(1), jnp.array(1)))
    values = np.linalg.eigvalsh(np.cov(d.T))
    innovation = Innovation.of(np.sum(np.mean(d, axis=0) ** 2), jnp.array(2.0), values)
    close(found.factor, adaptive.after(so_far, innovation, jnp.array(True)).factor)
    assert found.factor > 1.05 and found.applied == found.factor
    still = inflated(adaptive, so_far, problem, before, Move(jnp.array(1), jnp.array(0)))
    assert still.factor == 1.05 and still.applied == 1


# ---- what they do not take -----------------------------------------------------------------------


def problems():
    """One for every reason to refuse it."""
    plain = twin(ETKF(), Plan(1, 1), 1).cycle.problem
    o = plain.observations[0]
    given = (plain.model, plain.window, {"x": BACKGROUND}, assim.covariance.Dense(B))
    at = (o.name, o.values, o.points, o.operator)
    scale = assim.ErrorScale("s", assim.prior.LogNormal(1.0, 0.3))
    correlated = assim.Observations(*at, covariance=assim.covariance.Dense(np.eye(2) + 0.5))
    scaled = assim.Observations(*at, 1.0, scale=scale)
    prior = {"x": assim.prior.Normal(BACKGROUND, np.ones(N))}
    return {
        "plain": plain,
        "parameter": assim.strong_constraint(*given, o, DRIFT),
        "scale": assim.strong_constraint(*given, scaled),
        "field": assim.strong_constraint(*given[:2], prior, None, o),
        "correlated": assim.strong_constraint(*given, correlated),
        "model error": weak(),
    }


REFUSED = {
    "parameter": (*STATIC,),
    "field": (*STATIC,),
    "scale": (*SCHEMES,),
    "model error": (*STATIC, "ienks"),
    "correlated": ("letkf",),
    "plain": (),
}


def test_every_scheme_refuses_what_it_cannot_take_and_nothing_else():
    for what, problem in problems().items():
        for name, scheme in SCHEMES.items():
            if name in REFUSED[what]:
                with pytest.raises(ValueError, match=f"^{type(scheme).__name__}: .*FourDVar"):
                    scheme.check(problem, Plan(1, 1))
            else:
                scheme.check(problem, Plan(1, 1))


@pytest.mark.parametrize("name", SCHEMES)
def test_only_the_smoother_takes_windows_that_overlap(name):
    problem = twin(ETKF(), Plan(3, 1), 1).cycle.problem
    if name == "ienks":
        SCHEMES[name].check(problem, Plan(3, 1))
        return
    with pytest.raises(ValueError, match="overlap, got windows of 3 batches"):
        SCHEMES[name].check(problem, Plan(3, 1))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="ThreeDVar: share must be positive and finite, got 0"):
        ThreeDVar(share=0.0)
    with pytest.raises(ValueError, match="ETKF: members must be at least 2, got 1"):
        ETKF(members=1)
    with pytest.raises(ValueError, match="LETKF: every radius must be positive"):
        LETKF(radius={"place": -1.0})
    with pytest.raises(ValueError, match="IEnKS: iterations must be at least 1"):
        IEnKS(iterations=0)
    with pytest.raises(ValueError, match="IEnKS: tolerance must not be negative"):
        IEnKS(tolerance=-1.0)
    with pytest.raises(ValueError, match="LETKF: no dimension 'site'; the model has place"):
        LETKF(radius={"site": 1.0}).check(problems()["plain"], Plan(1, 1))


# ---- published twins -----------------------------------------------------------------------------


class Published(NamedTuple):
    """A twin: observations of every variable each `every` steps, windows of `slots` of these."""

    scheme: object
    model: object
    every: int
    slots: int
    variance: float  # of the observation errors
    rmse: float  # at the newest observations, over 1,000 windows
    margin: float


TWINS = {
    "3dvar96": Published(ThreeDVar(share=0.02), Lorenz96(), 1, 1, 1.0, 0.41, 0.02),
    "oi96": Published(OptimalInterpolation(share=0.02), Lorenz96(), 1, 1, 1.0, 0.41, 0.02),
    "etkf96": Published(ETKF(24, 1.02, rotate=True), Lorenz96(), 1, 1, 1.0, 0.18, 0.02),
    "letkf96": Published(
        LETKF(7, 1.04, rotate=True, radius=7.0), Lorenz96(), 1, 1, 1.0, 0.22, 0.02
    ),
    "ienks96": Published(IEnKS(20, 1.03, rotate=True), Lorenz96(), 4, 4, 1.0, 0.31, 0.03),
    "ienks96 each 0.6": Published(IEnKS(25, 1.2, rotate=True), Lorenz96(), 12, 1, 1.0, 0.46, 0.03),
    "3dvar63": Published(ThreeDVar(share=0.1), Lorenz63(), 25, 1, 2.0, 1.04, 0.06),
    "etkf63": Published(ETKF(10, 1.02, rotate=True), Lorenz63(), 25, 1, 2.0, 0.6, 0.08),
    "ienks63": Published(IEnKS(10, 1.02, rotate=True), Lorenz63(), 25, 1, 2.0, 0.31, 0.03),
}
SPIN_UP, JUDGED = 200, 1000


def climatology(model):
    """Covariance of a long run, sampled every tenth step."""
    window = Window.regular(model, 4000, 10)
    labels = model.labels()
    start = {
        name: 1 + 0.1 * jax.random.normal(jax.random.key(9 + k), labels.shape(name))
        for k, name in enumerate(labels.state)
    }
    states = jax.jit(integrate)(model, start, dict(model.parameters), window).states
    rows = [np.asarray(value[200:]).reshape(3801, -1) for value in states.values()]
    covariance = Dense(np.cov(np.concatenate(rows, axis=1).T))
    if len(states) == 1:
        return Independent(dict.fromkeys(states, covariance))
    return Joint(tuple(states), covariance)


def published(given, seed):
    """A cycle on the attractor, its slot edges, batches and truth."""
    model, windows = given.model, SPIN_UP + JUDGED
    labels, keys = model.labels(), jax.random.split(jax.random.key(seed), 3)
    normal = lambda key, k, shape: jax.random.normal(jax.random.fold_in(key, k), shape)  # noqa: E731
    run = jax.jit(integrate)
    start = {n: 1 + 0.01 * normal(keys[0], k, labels.shape(n)) for k, n in enumerate(labels.state)}
    spin_up = Window.regular(model, 1, int(50 / model.dt))
    background = run(model, start, dict(model.parameters), spin_up).at_end()
    stdev = np.sqrt(given.variance)
    first = {
        n: v + stdev * normal(keys[1], k, v.shape) for k, (n, v) in enumerate(background.items())
    }
    whole = Window.regular(model, windows + given.slots, given.every)
    truth = run(model, first, dict(model.parameters), whole).states
    instruments, batches = [], []
    for k, (name, value) in enumerate(truth.items()):
        true = value[1 : windows + 1].reshape(windows, -1)
        values = true + stdev * normal(keys[2], k, true.shape)
        m = values.shape[1]
        places = {dim: jnp.arange(float(m)) for dim in labels.state[name].dims}
        points = assim.Points.at(jnp.full(m, whole.edges[1]), places)
        o = assim.Observations(name, values[0], points, assim.operator.PointSample(name), stdev)
        one = jax.tree.map(lambda v: jnp.broadcast_to(v, (windows, *v.shape)), Rows.of(o))
        times = jnp.repeat(whole.edges[1 : windows + 1, None], m, axis=1)
        where = lambda r: (r.values, r.points.times, r.points.starts, r.points.ends)  # noqa: E731
        instruments.append(o)
        batches.append(eqx.tree_at(where, one, (values, times, times, times)))
    window = Window.regular(model, given.slots, given.every)
    problem = assim.strong_constraint(
        model, window, background, assim.covariance.Diagonal(stdev), tuple(instruments)
    )
    scheme = given.scheme
    if isinstance(scheme, ThreeDVar | OptimalInterpolation):
        scheme = eqx.tree_at(
            lambda s: s.static, scheme, climatology(model), is_leaf=lambda leaf: leaf is None
        )
    plan = Plan(given.slots, 1)
    return Cycle(problem, scheme, plan, seed), whole.edges, tuple(batches), truth


def over_fields(values):
    """Mean over windows of the root mean square over all variables."""
    squares = sum(np.asarray(v)[SPIN_UP:] ** 2 for v in values.values()) / len(values)
    return np.mean(np.sqrt(squares))


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_published_errors_are_reached(name):
    given = TWINS[name]
    cycle, *data = published(given, 1)
    _, measures = cycle.scan(SPIN_UP + JUDGED, *data)
    rmse = over_fields(measures.errors.analysis)
    assert rmse < given.rmse + given.margin
    assert 0.85 < over_fields(measures.spreads.analysis) / rmse < 1.4
    assert 0.9 < np.mean(measures.chi_squared[SPIN_UP:]) < 1.2
