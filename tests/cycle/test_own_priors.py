"""Fields with a prior of their own, carried for windows far from where that prior has its mass."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.ensemble import ETKF
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.variational import FourDVar
from assim.problem.continued import continued
from assim.problem.cycled import Rows, in_carried_coordinates
from tests.registry import PRIORS

RATES = np.array([0.9, -0.8])  # of growth in a window
STDEV, WINDOWS = 0.25, 6  # of the logarithm of a reading
MINIMISER = assim.minimiser.GaussNewton(n_outer=8, tolerance=1e-12)


class Growth(assim.AbstractModel):
    """x(t + dt) = x(t) exp(rate), a straight line of the logarithm."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: dict = eqx.field(default_factory=dict)

    def labels(self):
        place = assim.Coordinate(np.arange(2.0), "1", "place")
        return assim.Labels({"x": assim.Label(("place",))}, {}, {"place": place})

    def step(self, x, theta, t):
        del theta, t
        return {"x": x["x"] * jnp.exp(jnp.asarray(RATES))}


def readings(values, time):
    points = assim.Points.at(jnp.full(2, time), {"place": jnp.arange(2.0)})
    errors = assim.likelihood.LogNormal()
    return assim.Observations(
        "x", values, points, assim.operator.PointSample("x"), STDEV, likelihood=errors
    )


def posed(prior, scheme, start):
    """A cycle, and log-normal readings of a truth that starts there, one a place and window."""
    generator, model = np.random.default_rng(4), Growth()
    log_truth = np.log(start) + RATES * np.arange(1, WINDOWS + 1)[:, None]
    values = np.exp(log_truth + STDEV * generator.standard_normal(log_truth.shape))
    first = assim.Window.regular(model, 1)
    problem = assim.strong_constraint(model, first, {"x": prior}, None, readings(values[0], 1.0))
    return Cycle(problem, scheme, Plan(1, 1)), values


def in_turn(cycle, values):
    carry, several = cycle.start(), []
    for number, y in enumerate(values):
        edges, rows = jnp.array([number, number + 1.0]), Rows.of(readings(y, number + 1.0))
        carry, analysed, measures = cycle.window(carry, number, edges, (rows,))
        several.append((carry, analysed, measures))
    return several


def test_a_log_normal_field_is_kalmans_of_its_logarithm():
    """One place grows to 18 prior standard deviations above its prior, the other falls to 16."""
    median, log_stdev = np.array([10.0, 4.0]), 0.3
    prior = assim.prior.LogNormal(median, log_stdev)
    cycle, values = posed(prior, FourDVar(minimiser=MINIMISER), [14.0, 3.0])
    mean, variance = np.log(median), log_stdev**2
    for y, (_, analysed, measures) in zip(values, in_turn(cycle, values), strict=True):
        mean = mean + RATES
        gain = variance / (variance + STDEV**2)
        mean, variance = mean + gain * (np.log(y) - mean), (1 - gain) * variance
        found = np.asarray(analysed.analysis["x"][-1])
        np.testing.assert_allclose(np.log(found), mean, rtol=0, atol=1e-8)
        stdev = analysed.analysis_stdev["x"][-1] / found  # of the tangent linear
        np.testing.assert_allclose(stdev, np.sqrt(variance), rtol=1e-8)
        assert measures.status == assim.Status.CONVERGED
    assert np.all(np.abs(mean - np.log(median)) > 8 * log_stdev)


def test_members_of_a_log_normal_field_are_the_kalman_filter_of_their_logarithms():
    cycle, values = posed(
        assim.prior.LogNormal(np.array([10.0, 4.0]), 0.3), ETKF(members=6), [14.0, 3.0]
    )
    field = jax.vmap(in_carried_coordinates(cycle.problem).control.fields["x"])
    moments = lambda white: (np.mean(log := np.log(field(white)), axis=0), np.cov(log.T))  # noqa: E731
    mean, covariance = moments(cycle.start().members["fields"]["x"])
    for y, (carry, _, _) in zip(values, in_turn(cycle, values), strict=True):
        mean = mean + RATES
        gain = covariance @ np.linalg.inv(covariance + STDEV**2 * np.eye(2))
        mean, covariance = mean + gain @ (np.log(y) - mean), covariance - gain @ covariance
        found = moments(carry.members["fields"]["x"])
        np.testing.assert_allclose(found[0], mean, rtol=0, atol=1e-8)
        np.testing.assert_allclose(found[1], covariance, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_a_truncated_normal_field_grows_away_from_its_prior():
    """The posterior of where it began, by quadrature over all readings of a place."""
    prior = assim.prior.TruncatedNormal(10.0, 5.0, lower=0.0)
    start = [14.0, 3.0]
    cycle, values = posed(prior, FourDVar(minimiser=MINIMISER), start)
    _, analysed, measures = in_turn(cycle, values)[-1]
    x = np.linspace(1e-3, 40.0, 200_001)
    for place in range(2):
        since = np.log(values[:, place]) - RATES[place] * np.arange(1, WINDOWS + 1)
        misfit = np.sum((since[:, None] - np.log(x)) ** 2, axis=0) / (2 * STDEV**2)
        p = np.exp(-misfit - (x - 10.0) ** 2 / 50)
        p = p / p.sum()
        mean = p @ np.log(x)
        stdev = np.sqrt(p @ (np.log(x) - mean) ** 2)
        found = np.log(analysed.analysis["x"][-1][place]) - WINDOWS * RATES[place]
        assert abs(found - mean) < 0.1 * stdev
        spread = analysed.analysis_stdev["x"][-1][place] / analysed.analysis["x"][-1][place]
        assert spread == pytest.approx(stdev, rel=0.05)
    assert measures.status == assim.Status.CONVERGED


@pytest.mark.parametrize(
    ("scheme", "sound"),
    [(FourDVar(minimiser=MINIMISER), 1), pytest.param(ETKF(), 2, marks=pytest.mark.slow)],
)
def test_a_field_that_leaves_the_bounds_of_its_prior_ends_as_not_finite(scheme, sound):
    """The truth does in the second window, some members in the first, which are left out."""
    cycle, values = posed(assim.prior.Uniform(0.0, 100.0), scheme, [30.0, 3.0])
    found = [int(measures.status) for _, _, measures in in_turn(cycle, values[:3])]
    assert found == [assim.Status.CONVERGED] * sound + [assim.Status.NON_FINITE] * (3 - sound)
    remark = cycle.scheme.remarks(cycle.problem, cycle.plan)["background.x"]
    assert "between 0 and 100" in remark


def test_a_field_whose_prior_is_positive_needs_no_remark():
    cycle, _ = posed(assim.prior.LogNormal(10.0, 0.3), ETKF(members=6), [14.0, 3.0])
    assert cycle.scheme.remarks(cycle.problem, cycle.plan) == {}


# ---- the coordinate ------------------------------------------------------------------------------

PROPER = [name for name, entry in PRIORS.items() if entry.distribution is not None]


@pytest.mark.parametrize("name", PROPER)
def test_a_prior_goes_on_over_its_support(name):
    """Itself within four standard deviations; beyond, it rises on and can be turned round."""
    prior, h = PRIORS[name].make(), 1e-5
    whole, about = continued(prior), np.array([-h, 0.0, h])
    w = np.concatenate([np.linspace(-12.0, 12.0, 97), about - 4, about + 4])
    both = jax.jit(lambda w: (whole(w), whole.inverse(whole(w))))(w)
    x, back = (np.asarray(values) for values in both)
    near = np.abs(w) <= 4
    np.testing.assert_allclose(x[near], prior(w[near]), rtol=1e-13, atol=1e-14)
    assert np.all(np.isfinite(x)) and np.all(np.diff(x[:97]) >= 0)
    before, after = np.diff(x[97:].reshape(2, 3)).T
    assert np.all(before > 0)
    np.testing.assert_allclose(before, after, rtol=1e-3)  # one slope on both sides
    bounds = [end for end in PRIORS[name].distribution.support() if np.isfinite(end)]
    rounded = np.any([np.abs(x - end) <= 1e-9 * abs(end) for end in bounds], axis=0) | (w != w)
    assert np.sum(~rounded) > 50
    np.testing.assert_allclose(back[~rounded], w[~rounded], rtol=0, atol=1e-5)
    for end, side in zip(bounds, np.sign(np.subtract(bounds, x[48])), strict=True):
        assert not np.isfinite(whole.inverse(jnp.asarray(end + side)))


@pytest.mark.parametrize("name", ["normal", "log-normal"])
def test_a_straight_line_is_its_own_continuation(name):
    prior, w = PRIORS[name].make(), np.linspace(-12.0, 12.0, 97)
    np.testing.assert_allclose(continued(prior)(w), prior(w), rtol=1e-12, atol=1e-12)


class Written(assim.prior.AbstractPrior):
    """T as somebody may write it."""

    function: Callable = eqx.field(static=True)

    def __call__(self, w):
        return self.function(w)

    def inverse(self, value):
        return value

    def mean(self):
        return jnp.zeros(())

    def stdev(self):
        return jnp.ones(())

    def weight(self):
        return 1.0


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (
            lambda w: jnp.where(jnp.isinf(w), jnp.nan, w**3 + w),
            "Written is not known",
        ),
        (lambda w: jnp.tanh(9 * w), "does not rise within its support -4"),  # rounded to -1
    ],
)
def test_a_prior_that_cannot_go_on_is_refused(function, says):
    cycle, _ = posed(Written(function), FourDVar(), [14.0, 3.0])
    with pytest.raises(ValueError, match=rf"field 'x': .*({says}).*"):
        cycle.check()


def test_a_bound_at_some_places_alone_is_refused():
    prior = assim.prior.TruncatedNormal(10.0, 5.0, lower=np.array([0.0, -np.inf]))
    cycle, _ = posed(prior, FourDVar(), [14.0, 3.0])
    with pytest.raises(ValueError, match=r"field 'x'.*at some places alone"):
        cycle.check()


def test_bounds_that_differ_from_place_to_place():
    prior = continued(assim.prior.Uniform(0.0, np.array([1.0, 100.0])))
    w = jnp.array([7.0, 7.0])
    np.testing.assert_allclose(prior(w)[1], 100 * prior(w)[0], rtol=1e-12)
    np.testing.assert_allclose(prior.inverse(prior(w)), w, rtol=1e-6)
