"""Model errors between bounds: jumps of log x, or of a logit, under weak constraint and ahead."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim import AbstractModel, Array, Label, Labels, ModelError, Params, State, Window
from assim.analysis.forecast import forecast
from assim.problem.bounds import Bounds
from assim.problem.covariance import Autoregressive, Diagonal
from assim.problem.departure import Problem
from assim.problem.observation import ErrorScale
from assim.problem.prior import LogNormal, Normal, Uniform
from assim.run.check import _bounds

SLOTS, START, SPREAD, STEP, NOISE = 6, 15.0, 0.5, 0.3, 0.2
SEEN = np.array([1.0, 2.0, 4.0, 6.0])
VALUES = np.array([20.0, 12.0, 30.0, 55.0])
POSITIVE = {"S": Bounds(lower=0.0)}


class Persistence(AbstractModel):
    """A store that stays as it is."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=dict)

    def labels(self) -> Labels:
        return Labels({"S": Label((), "mm", "store")})

    def step(self, x: State, theta: Params, t: Array) -> State:
        return x


MODEL = Persistence()
WINDOW = Window.regular(MODEL, SLOTS)


def walk(logarithmic: bool, formulation: str = "forcing", **options) -> Problem:
    """A geometric random walk with log-normal readings; or its logarithm, which is linear."""
    values = VALUES if logarithmic else np.log(VALUES)
    likelihood = assim.likelihood.LogNormal() if logarithmic else assim.likelihood.Gaussian()
    prior = LogNormal(START, SPREAD) if logarithmic else Normal(np.log(START), SPREAD)
    sample, points = assim.operator.PointSample("S"), assim.Points.at(SEEN)
    seen = assim.Observations("S", values, points, sample, NOISE, likelihood, units="mm")
    bounds = POSITIVE if logarithmic else {}
    error = ModelError({"S": Diagonal(STEP)}, bounds=bounds, **options)
    given = (MODEL, WINDOW, {"S": prior}, None, seen)
    return assim.weak_constraint(*given, model_error=error, formulation=formulation)


def smoother() -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of log S at every edge, from the joint Gaussian."""
    steps = np.arange(SLOTS + 1)
    prior = SPREAD**2 + STEP**2 * np.minimum.outer(steps, steps)
    h = np.eye(SLOTS + 1)[SEEN.astype(int)]
    gain = prior @ h.T @ np.linalg.inv(h @ prior @ h.T + NOISE**2 * np.eye(len(h)))
    mean = np.log(START) + gain @ (np.log(VALUES) - np.log(START))
    return mean, np.sqrt(np.diag(prior - gain @ h @ prior))


@pytest.mark.parametrize("formulation", ["forcing", "state"])
def test_a_geometric_random_walk_is_the_kalman_smoother_of_its_logarithm(formulation):
    """At the minimum, with the spread of the tangent linear, which is that of the logarithm."""
    tangent = assim.posterior.Laplace(certificate=0)  # no weights, which know of the exponential
    analysis = assim.analyse(walk(True, formulation), posterior=tangent)
    mean, stdev = smoother()
    store = np.asarray(analysis.analysis.trajectory.states["S"])
    np.testing.assert_allclose(np.log(store), mean, rtol=0, atol=1e-8)
    spread = np.asarray(analysis.posterior.trajectory_stdev["S"])
    np.testing.assert_allclose(spread / store, stdev, rtol=1e-8)


AMPLITUDE = ErrorScale("q", LogNormal(1.0, 0.5))


@pytest.mark.parametrize("formulation", ["forcing", "state"])
@pytest.mark.parametrize(
    "options",
    [{"scale": AMPLITUDE}, {"observed": "before"}, {"every": 2, "jump_at_end": False},
     {"in_time": Autoregressive(2.0)}],
    ids=["amplitude", "before", "no last jump", "in time"],
)  # fmt: skip
def test_it_poses_the_same_problem_as_its_logarithm(formulation, options):
    """d, c and v are the same functions of χ, and so is whatever is computed of them."""
    ours, linear = (walk(logarithmic, formulation, **options) for logarithmic in (True, False))
    chi = 0.7 * jax.random.normal(jax.random.key(1), (linear.size(),))
    for got, expected in zip(*(eqx.filter_jit(p)(chi) for p in (ours, linear)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("options", [{}, {"every": 2, "jump_at_end": False}], ids=str)
def test_the_two_formulations_are_one_to_one(options):
    forcing = walk(True, **options)
    chi = 0.7 * jax.random.normal(jax.random.key(1), (forcing.size(),))
    states = forcing.as_states()
    there = forcing.moved(chi, states)
    np.testing.assert_allclose(states.moved(there, forcing), chi, atol=1e-12)
    same = [p.trajectory(c).states["S"] for p, c in ((forcing, chi), (states, there))]
    np.testing.assert_allclose(*same, rtol=1e-12)


def test_members_of_a_forecast_stay_within_bounds():
    """The logarithm of members is what members of the linear walk are, drawn alike."""
    start = np.exp(np.random.default_rng(0).normal(0.0, 1.0, 50))
    error = ModelError({"S": Diagonal(1.5)}, bounds=POSITIVE)
    linear = ModelError({"S": Diagonal(1.5)})
    ahead = forecast(MODEL, {"S": start}, {}, WINDOW, model_error=error)
    expected = forecast(MODEL, {"S": np.log(start)}, {}, WINDOW, model_error=linear)
    assert ahead.left_out == 0 and ahead.members["S"].min() > 0
    np.testing.assert_allclose(np.log(ahead.members["S"]), expected.members["S"], atol=1e-10)
    np.testing.assert_allclose(ahead.mean["S"], ahead.members["S"].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(ahead.quantiles["q50"]["S"], np.median(ahead.members["S"], axis=0))
    share = ModelError({"S": Diagonal(3.0)}, bounds={"S": (0.0, 1.0)})
    within = forecast(MODEL, {"S": start / 50}, {}, WINDOW, model_error=share).members["S"]
    assert within.min() > 0 and within.max() < 1 and np.ptp(within) > 0.9


def test_a_member_outside_the_bounds_is_left_out():
    error = ModelError({"S": Diagonal(0.1)}, bounds=POSITIVE)
    ahead = forecast(MODEL, {"S": np.array([1.0, -1.0, 2.0])}, {}, WINDOW, model_error=error)
    assert ahead.left_out == 1
    np.testing.assert_array_equal(ahead.finite, [True, False, True])


@pytest.mark.parametrize("bounds", [(0.0, np.inf), (-np.inf, 3.0), (-1.0, 3.0)])
def test_bounds(bounds):
    limits, z = Bounds(*bounds), jnp.linspace(-5.0, 5.0, 11)
    x = limits.bounded(z)
    assert np.all((x > bounds[0]) & (x < bounds[1]) & (np.diff(x, prepend=-np.inf) > 0))
    np.testing.assert_allclose(limits.free(x), z, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": {"S": ()}}, "one of them must be finite"),
        ({"bounds": {"S": (1.0, 0.0)}}, "lower below upper, got 1 and 0"),
        ({"bounds": {"T": (0.0,)}}, "bounds are given for 'T', which has no model error"),
        ({"bounds": {"S": (0.0,)}, "acts": "tendency"}, "bounds is for jumps"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ModelError({"S": Diagonal(1.0)}, **options).on(MODEL, WINDOW)


def test_a_background_outside_is_refused():
    seen = assim.Observations("S", VALUES, assim.Points.at(SEEN), assim.operator.PointSample("S"))
    given = (MODEL, WINDOW, {"S": -1.0}, Diagonal(1.0), seen)
    with pytest.raises(ValueError, match="background of 'S' does not lie between its bounds, 0"):
        assim.weak_constraint(*given, model_error=ModelError(Diagonal(0.1), bounds=POSITIVE))


def test_check_recommends_them_where_a_prior_has_bounds():
    positive, share = LogNormal(15.0, 0.5), Uniform(0.0, 2.0)
    seen = assim.Observations("S", VALUES, assim.Points.at(SEEN), assim.operator.PointSample("S"))
    for prior, words in ((positive, "{ lower = 0 }"), (share, "{ lower = 0, upper = 2 }")):
        given, error = (MODEL, WINDOW, {"S": prior}, None, seen), ModelError({"S": Diagonal(3.0)})
        (check,) = _bounds(assim.weak_constraint(*given, model_error=error))
        assert check.name == "model_error.bounds.S" and check.passed is None
        assert words in check.detail
    assert not list(_bounds(walk(True)))
    assert not list(_bounds(walk(False)))
