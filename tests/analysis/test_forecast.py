"""Ensemble forecasts against closed forms of a linear model, and what they score."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.cycle.batches import batch_numbers
from assim.analysis.cycle.ensemble import ETKF
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.scheme import AbstractScheme
from assim.analysis.cycle.static import ThreeDVar
from assim.analysis.cycle.variational import FourDVar
from assim.analysis.forecast import Forecast, Past, StartMembers, forecast, predicted_readings
from assim.findings.verification import against_truth, by_slot, judged, scores
from assim.statistics.scores import crps_gaussian
from tests.cycle.toy import BACKGROUND, STEP, B, Linear, N, in_turn, kalman, matrix, twin

SLOTS, MEMBERS = 3, 4000
KEY = jax.random.key(0)
E = np.eye(N)[0]


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly() -> Iterator[None]:
    """Compiling is what takes time here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def linear() -> tuple[Forecast, np.ndarray, StartMembers]:
    """Draws of state and drift together, correlated, run on; with the draws as rows."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((N + 1, N + 1)) / 2
    joint = rng.standard_normal((MEMBERS, N + 1)) @ root.T + np.append(BACKGROUND, 0.3)
    draws = StartMembers({"x": joint[:, :N]}, {"drift": joint[:, N]}, {}, {})
    model = Linear()
    window = assim.Window.at(model, STEP * np.arange(SLOTS + 1))
    return forecast(model, draws.state, draws.parameters, window), joint, draws


def propagator(slots: int) -> np.ndarray:
    """The map from (x, drift) to x after so many slots."""
    found = np.eye(N, N + 1)
    for _ in range(slots):
        found = matrix() @ found + np.outer(E, np.eye(N + 1)[N])
    return found


def test_moments_are_those_of_the_linear_map(linear) -> None:
    found, joint, _ = linear
    mean, covariance = joint.mean(axis=0), np.cov(joint.T)
    for slot in range(SLOTS + 1):
        g = propagator(slot)
        np.testing.assert_allclose(found.mean["x"][slot], g @ mean, atol=1e-12)
        expected = g @ covariance @ g.T
        np.testing.assert_allclose(found.stdev["x"][slot] ** 2, np.diag(expected), rtol=1e-10)
        np.testing.assert_allclose(np.cov(found.members["x"][:, slot].T), expected, atol=1e-10)


def test_quantiles_are_those_of_a_gaussian(linear) -> None:
    found, _, _ = linear
    for key, z in {"q05": -1.6449, "q50": 0.0, "q95": 1.6449}.items():
        normal = found.mean["x"] + z * found.stdev["x"]
        away = (found.quantiles[key]["x"] - normal) / found.stdev["x"]
        assert np.max(np.abs(away)) < 0.12


def test_nine_of_ten_new_members_lie_between_the_outer_quantiles_of_few() -> None:
    """Of 20 standard Gaussians: the expected probability between them, of 100 such samples."""
    model, inside = Linear(), []
    window = assim.Window.at(model, STEP * np.arange(2))
    for seed in range(100):
        draws = np.random.default_rng(seed).standard_normal((20, N))
        few = forecast(model, {"x": draws}, {"drift": np.zeros(20)}, window)
        low, high = (jax.scipy.stats.norm.cdf(few.quantiles[q]["x"][0]) for q in ("q05", "q95"))
        inside.append(np.mean(high - low))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.012)


def test_instruments_have_errors_of_their_own(linear) -> None:
    ahead, _, draws = linear
    points = assim.Points.at(np.asarray(ahead.window.edges)[1:2], {"place": jnp.zeros(1)})
    noise = []
    for name in ("a", "b"):
        reads = assim.operator.PointSample("x")
        readings = predicted_readings(
            ahead, assim.Observations(name, np.zeros(1), points, reads, stdev=0.1), draws
        )
        noise.append((readings.drawn - readings.exact).ravel())
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.1


def test_trajectories_can_be_kept_from_a_later_edge(linear) -> None:
    found, _, draws = linear
    model = Linear()
    window = assim.Window.at(model, STEP * np.arange(SLOTS + 1))
    later = forecast(model, draws.state, draws.parameters, window, first=2)
    np.testing.assert_allclose(later.window.edges, window.edges[2:])
    np.testing.assert_allclose(later.mean["x"], found.mean["x"][2:])


@pytest.mark.parametrize("acts", ["jump", "tendency"])
def test_model_error_adds_its_covariance(acts: str) -> None:
    model, q = Linear(), 0.4
    factor = 1.0 if acts == "jump" else STEP
    window = assim.Window.at(model, STEP * np.arange(SLOTS + 1))
    x = {"x": np.tile(BACKGROUND, (MEMBERS, 1))}
    error = assim.ModelError(assim.covariance.Diagonal(jnp.asarray(q)), acts=acts)
    found = forecast(model, x, {}, window, model_error=error, amplitude=jnp.full(MEMBERS, 2.0))
    expected = np.zeros((N, N))
    for _ in range(SLOTS):
        expected = matrix() @ expected @ matrix().T + (2 * q * factor) ** 2 * np.eye(N)
    got = np.cov(found.members["x"][:, -1].T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.max(np.abs(got - expected) / scale) < 5 / np.sqrt(MEMBERS)


def test_model_errors_go_on_from_those_before() -> None:
    """Of a first-order autoregressive series: mean φu, variance 1 - φ², and so on."""
    model, q, time, groups = Linear(), 0.4, 1.0, 2
    window = assim.Window.at(model, STEP * np.arange(4, 6))
    x = {"x": np.zeros((MEMBERS, N))}
    error = assim.ModelError(
        assim.covariance.Diagonal(jnp.asarray(q)), assim.covariance.Autoregressive(time)
    )
    u = np.array([3.0, -1.0])[:, None] * np.ones((1, N))
    series = {"x": jnp.asarray(np.tile(u, (MEMBERS, 1, 1)))}
    past = Past(STEP * np.arange(2, 3 + groups), series)
    found = forecast(model, x, {}, window, model_error=error, past=past)
    phi = np.exp(-STEP / time)
    np.testing.assert_allclose(found.mean["x"][1], -q * phi, atol=5 * q / np.sqrt(MEMBERS))
    expected = q * np.sqrt(1 - phi**2)
    np.testing.assert_allclose(found.stdev["x"][1], expected, rtol=5 / np.sqrt(2 * MEMBERS))


def test_readings_before_jumps_are_those_of_the_model() -> None:
    """At an edge what the model makes of the state after the jump before, without one of its own.

    There is a jump at the end of every slot, whatever was said of the analysed window's end.
    """
    model, few = Linear(), 5
    window = assim.Window.at(model, STEP * np.arange(SLOTS + 1))
    before = {"observed": "before", "jump_at_end": False}
    error = assim.ModelError(assim.covariance.Diagonal(0.4), **before)
    x = {"x": np.tile(BACKGROUND, (few, 1))}
    ahead = forecast(model, x, {}, window, model_error=error)
    points = assim.Points.at(window.edges[1:], {"place": jnp.full(SLOTS, 2.0)})
    reads = assim.operator.PointSample("x")
    observed = assim.Observations("x", np.zeros(SLOTS), points, reads, stdev=1.0)
    draws = StartMembers({"x": ahead.members["x"][:, 0]}, {}, {}, {})
    expected = ahead.members["x"][:, :-1] @ matrix().T
    readings = predicted_readings(ahead, observed, draws)
    np.testing.assert_allclose(readings.exact, expected[..., 2], atol=1e-12)
    assert np.min(np.std(ahead.members["x"][:, 1] - expected[:, 0], axis=0)) > 0.05


def test_a_past_that_ended_without_a_jump() -> None:
    """The series goes on from the last jump there was, two intervals before."""
    model, q, time = Linear(), 0.4, 1.0
    window = assim.Window.at(model, STEP * np.arange(4, 6))
    in_time = assim.covariance.Autoregressive(time)
    error = assim.ModelError(assim.covariance.Diagonal(q), in_time, jump_at_end=False)
    past = Past(STEP * np.arange(2, 5), {"x": jnp.full((MEMBERS, 1, N), 2.0)})
    ahead = forecast(model, {"x": np.zeros((MEMBERS, N))}, {}, window, model_error=error, past=past)
    phi = np.exp(-2 * STEP / time)
    np.testing.assert_allclose(ahead.mean["x"][1], 2 * q * phi, atol=5 * q / np.sqrt(MEMBERS))


class Breaking(Linear):
    """It is not finite where the drift is positive."""

    def step(self, x, theta, t):
        return {"x": jnp.where(theta["drift"] > 0, jnp.nan, 1.0) * x["x"]}


def test_members_that_are_not_finite_are_left_out() -> None:
    model = Breaking()
    window = assim.Window.at(model, [0.0, STEP])
    x = {"x": np.arange(5.0)[:, None] * np.ones((1, N))}
    found = forecast(model, x, {"drift": np.array([0.0, 1.0, 0.0, 1.0, 0.0])}, window)
    assert (found.size, found.left_out) == (3, 2)
    np.testing.assert_allclose(found.mean["x"], 2.0)
    np.testing.assert_allclose(found.parameters["drift"], 0.0)
    none = forecast(model, x, {"drift": np.ones(5)}, window)
    assert none.size == 0
    assert np.isnan(none.mean["x"]).all() and np.isnan(none.quantiles["q95"]["x"]).all()


@pytest.mark.parametrize(
    ("state", "parameters", "message"),
    [
        ({"y": np.zeros((2, N))}, {}, "fields"),
        ({"x": np.zeros((2, N + 1))}, {}, "'x' must have shape"),
        ({"x": np.zeros((2, N))}, {"drift": np.zeros(3)}, "'drift' must have shape"),
        ({"x": np.zeros((2, N))}, {"F": np.zeros(2)}, "no parameter 'F'"),
    ],
)
def test_draws_that_do_not_fit(state: dict, parameters: dict, message: str) -> None:
    model = Linear()
    with pytest.raises(ValueError, match=message):
        forecast(model, state, parameters, assim.Window.at(model, [0.0, STEP]))


def readings_of(found: Forecast, draws: StartMembers):
    """Every place at the end of every slot, and what is predicted of it."""
    times = np.repeat(np.asarray(found.window.edges)[1:], N)
    points = assim.Points.at(jnp.asarray(times), {"place": jnp.tile(jnp.arange(float(N)), SLOTS)})
    values = np.random.default_rng(1).standard_normal(SLOTS * N)
    o = assim.Observations("x", values, points, assim.operator.PointSample("x"), 0.5)
    return o, predicted_readings(found, o, draws, seed=3), times


def test_readings_score_as_a_gaussian_does(linear) -> None:
    found, _, draws = linear
    o, readings, times = readings_of(found, draws)
    rows = judged(readings, np.asarray(o.values))
    mean, stdev = found.mean["x"][1:].ravel(), found.stdev["x"][1:].ravel()
    total = np.sqrt(stdev**2 + 0.5**2)
    np.testing.assert_allclose(rows.mean, mean, atol=1e-10)
    np.testing.assert_allclose(rows.stdev, stdev, rtol=1e-10)
    z = (rows.observed - mean) / total
    np.testing.assert_allclose(rows.crps, crps_gaussian(mean, total, rows.observed), atol=0.1)
    exact = -(z**2) / 2 - np.log(total * np.sqrt(2 * np.pi))
    near = np.abs(z) < 2
    np.testing.assert_allclose(rows.log_score[near], exact[near], atol=0.15)
    whole = scores(rows)
    assert whole.number == SLOTS * N and whole.ranks.sum() == SLOTS * N
    assert whole.rmse == pytest.approx(np.sqrt(np.mean((mean - rows.observed) ** 2)))
    assert whole.bias == pytest.approx(np.mean(mean - rows.observed))
    assert whole.spread == pytest.approx(np.sqrt(np.mean(stdev**2)))
    parts = by_slot(rows, 1 + batch_numbers(times, np.asarray(found.window.edges), 1))
    assert [*parts] == [1, 2, 3]
    assert np.mean([one.crps for one in parts.values()]) == pytest.approx(whole.crps)


def test_ranks_and_coverage_of_what_the_members_themselves_predict(linear) -> None:
    found, _, draws = linear
    _, readings, _ = readings_of(found, draws)
    inside, ranks = [], np.zeros(10)
    for number in range(200):
        others = readings._replace(
            exact=readings.exact[200:],
            drawn=readings.drawn[200:],
            log_densities=readings.log_densities[200:],
        )
        one = scores(judged(others, readings.drawn[number], seed=number))
        inside.append(one.coverage.covered)
        ranks += one.ranks
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)
    expected = ranks.sum() / 10
    assert np.max(np.abs(ranks - expected)) < 6 * np.sqrt(expected)


def test_scales_and_biases_are_those_of_every_member(linear) -> None:
    found, _, draws = linear
    points = assim.Points.at(jnp.asarray([STEP]), {"place": jnp.zeros(1)})
    scale = assim.ErrorScale("s", assim.prior.LogNormal(1.0, 0.1))
    bias = assim.BiasCorrection({"b": assim.prior.Normal(0.0, 1.0)})
    o = assim.Observations(
        "x", np.zeros(1), points, assim.operator.PointSample("x"), 0.5, scale=scale, bias=bias
    )
    few = found.finite[:MEMBERS]
    given = draws._replace(
        scales={"s": np.full(few.size, 3.0)}, biases={"b": np.full(few.size, 7.0)}
    )
    readings = predicted_readings(found, o, given)
    np.testing.assert_allclose(readings.exact[:, 0], found.members["x"][:, 1, 0] + 7.0)
    noise = (readings.drawn - readings.exact).ravel()
    assert np.std(noise) == pytest.approx(1.5, rel=0.1)
    with pytest.raises(ValueError, match="'s' is not among"):
        predicted_readings(found, o, draws)


def test_a_truth_is_compared_by_lead_time(linear) -> None:
    found, _, _ = linear
    edges = np.array([0, 2])
    truth = {"x": found.mean["x"][edges] + np.array([[1.0], [2.0]])}
    one = against_truth(found, truth, edges)["x"]
    np.testing.assert_allclose(one.rmse, [1.0, 2.0])
    np.testing.assert_allclose(one.spread, np.sqrt(np.mean(found.stdev["x"][edges] ** 2, axis=1)))
    assert one.crps.shape == (2,)


def test_draws_of_what_4d_var_carries() -> None:
    cycle = twin(FourDVar(), Plan(1, 1), 2, {"drift": assim.prior.Normal(0.0, 0.5)}).cycle
    drawn = cycle.scheme.draws(cycle.problem, cycle.start(), MEMBERS, KEY, 0)
    joint = np.column_stack([drawn.state["x"], drawn.parameters["drift"]])
    np.testing.assert_allclose(joint.mean(axis=0), [*BACKGROUND, 0.0], atol=0.15)
    expected = np.diag([*np.diag(B), 0.25])
    assert np.max(np.abs(np.cov(joint.T) - expected)) < 0.3


def test_a_share_of_the_static_covariance_is_drawn_too() -> None:
    cycle = twin(FourDVar(rank=2), Plan(1, 1), 2).cycle
    carry = cycle.start()
    share = jnp.asarray(0.25)
    carry = eqx.tree_at(lambda c: c.background.share, carry, share)
    drawn = cycle.scheme.draws(cycle.problem, carry, MEMBERS, KEY, 0)
    variance = np.var(np.asarray(drawn.state["x"]), axis=0)
    np.testing.assert_allclose(variance, 0.25 * np.diag(B), rtol=0.15)


def test_localised_members_of_4d_var_are_drawn_with_their_localisation() -> None:
    scheme = FourDVar(
        carry="ensemble", members=4, share=0.2, localisation=assim.covariance.GaspariCohn(0.4)
    )
    cycle = twin(scheme, Plan(1, 1), 2).cycle
    carry = eqx.tree_at(lambda c: c.background.share, cycle.start(), jnp.asarray(0.2))
    drawn = cycle.scheme.draws(cycle.problem, carry, MEMBERS, KEY, 0)
    vectors = np.asarray(carry.background.vectors["background"]["x"])
    expected = np.diag(np.sum(vectors**2, axis=0) + 0.2 * np.diag(B))  # nothing reaches a neighbour
    got = np.cov(np.asarray(drawn.state["x"]).T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.max(np.abs(got - expected) / scale) < 5 / np.sqrt(MEMBERS)


def test_members_are_used_as_they_are() -> None:
    cycle = twin(ETKF(members=6), Plan(1, 1), 2, {"drift": assim.prior.Normal(0.0, 0.5)}).cycle
    carry = cycle.start()
    drawn = cycle.scheme.draws(cycle.problem, carry, MEMBERS, KEY, 0)
    np.testing.assert_allclose(drawn.state["x"], carry.members["background"]["x"])
    np.testing.assert_allclose(
        drawn.parameters["drift"], 0.5 * carry.members["parameters"]["drift"]
    )


def test_draws_start_at_the_newest_observations_with_the_model_errors_found() -> None:
    """Of windows that overlap, under weak constraint: the Kalman filter's last analysis."""
    windows, plan = 4, Plan(3, 1)
    scheme = FourDVar(minimiser=assim.minimiser.GaussNewton(n_outer=3, tolerance=1e-12))
    given = twin(scheme, plan, windows, error=assim.ModelError(assim.covariance.Diagonal(0.2)))
    carry, _, _ = in_turn(given, windows)[-1]
    edges = STEP * (2 + jnp.arange(4.0))
    problem = eqx.tree_at(lambda p: p.window.edges, given.cycle.problem, edges)
    drawn = given.cycle.scheme.draws(problem, carry, MEMBERS, KEY, 2)
    mean, covariance = kalman(given.observed, q=0.04)[-1]
    x = np.asarray(drawn.state["x"])
    stdev = np.sqrt(np.diag(covariance)[:4])
    assert np.all(np.abs(x.mean(axis=0) - mean[:4]) < 5 * stdev / np.sqrt(MEMBERS))
    np.testing.assert_allclose(x.std(axis=0), stdev, rtol=5 / np.sqrt(MEMBERS))


def test_draws_about_a_state_of_3d_var() -> None:
    cycle = twin(ThreeDVar(share=4.0), Plan(1, 1), 2).cycle
    drawn = cycle.scheme.draws(cycle.problem, cycle.start(), MEMBERS, KEY, 0)
    variance = np.var(np.asarray(drawn.state["x"]), axis=0)
    np.testing.assert_allclose(variance, 4 * np.diag(B), rtol=0.15)


class Frozen(AbstractScheme):
    """A scheme that hands on what it was given, from which it draws nothing."""

    def check(self, problem, plan):
        pass

    def start(self, problem, plan, key):
        return ()

    def step(self, problem, carry, move, key):
        raise NotImplementedError


def test_nothing_is_drawn_from_what_is_not_known() -> None:
    cycle = twin(FourDVar(), Plan(1, 1), 2).cycle
    assert Frozen().draws(cycle.problem, cycle.start(), 3, KEY, 0) is None
