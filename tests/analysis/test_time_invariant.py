"""Maps of linear problems built once, against the departures, Laplace and dense algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.time_invariant import TimeInvariant
from assim.models import AdvectionDiffusion, Lorenz96
from assim.problem.covariance import Autoregressive, Dense, Diagonal
from assim.problem.operator import PointSample
from assim.solve.posterior.laplace import Laplace

N, SLOTS, PLACES, STDEV = 12, 6, np.array([0.13, 0.5, 0.77]), 0.3
MODEL = AdvectionDiffusion(n=N, dt=0.05)
WINDOW = assim.Window.regular(MODEL, slots=SLOTS, steps=2)
X = np.asarray(MODEL.labels().coordinates["x"].values)
Q = Dense(0.2 * np.exp(-(np.sin(np.pi * (X[:, None] - X)) ** 2)) + 0.01 * np.eye(N))


def observed(places=PLACES, name="c", seed=0, shuffle=True, stdev=STDEV, times=None, **given):
    """Readings at some places at the end of every slot, in no order."""
    rng = np.random.default_rng(seed)
    times = np.asarray(WINDOW.edges[1:]) if times is None else times
    when, where = (a.ravel() for a in np.meshgrid(times, places, indexing="ij"))
    rows = rng.permutation(when.size) if shuffle else np.arange(when.size)
    points = assim.Points.at(jnp.asarray(when[rows]), {"x": jnp.asarray(where[rows])})
    values = rng.normal(size=when.size)
    return assim.Observations(name, values, points, PointSample("tracer"), stdev, **given)


def posed(*observations, model=MODEL, window=WINDOW, **error):
    """Under weak constraint, with the initial state and all errors as controls."""
    background = {name: np.zeros(N) for name in model.labels().state}
    given = list(observations or [observed()])
    jumps = assim.ModelError(**{"covariance": Q, **error})
    return assim.weak_constraint(model, window, background, Diagonal(0.5), given, model_error=jumps)


@pytest.fixture(scope="module")
def problem():
    return posed(observed(), observed(PLACES[:2], "d", seed=3, stdev=0.5))


@pytest.fixture(scope="module")
def found(problem):
    return TimeInvariant.of(problem)


def dense(problem):
    """d⁰ and G of the departures, a column a control."""
    zero = jnp.zeros(problem.size())
    d = lambda chi: problem(chi).normalised  # noqa: E731
    return np.asarray(d(zero)), np.asarray(jax.jacfwd(d)(zero))


def test_products_are_those_of_the_departures(problem, found):
    _, g = dense(problem)
    g = g[np.asarray(found.order)]
    rng = np.random.default_rng(1)
    chi, d = rng.normal(size=problem.size()), rng.normal(size=len(g))
    np.testing.assert_allclose(found.forward(chi), g @ chi, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.adjoint(d), g.T @ d, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.gram, g @ g.T, rtol=0, atol=1e-12)


def test_the_posterior_is_that_of_laplace(problem, found):
    settings = Laplace(certificate=0, members=2)
    analysis = assim.analyse(problem, posterior=settings)
    exact = found.posterior()
    np.testing.assert_allclose(exact.mean(), analysis.solution.chi, rtol=0, atol=1e-6)
    np.testing.assert_allclose(exact.cost(), analysis.solution.cost, rtol=1e-10)
    np.testing.assert_allclose(exact.log_evidence(), analysis.log_evidence(), rtol=1e-9)


def test_other_values_need_no_other_map(problem, found):
    rng = np.random.default_rng(5)
    values = {o.name: rng.normal(size=o.values.size) for o in problem.observations}
    several = tuple(
        assim.Observations(o.name, values[o.name], o.points, o.operator, covariance=o.covariance)
        for o in problem.observations
    )
    d, g = dense(posed(*several))
    expected = -np.linalg.solve(np.eye(problem.size()) + g.T @ g, g.T @ d)
    np.testing.assert_allclose(found.posterior(values).mean(), expected, rtol=0, atol=1e-11)


def test_missing_values_count_for_nothing(problem, found):
    values = {o.name: np.array(o.values) for o in problem.observations}
    values["c"][[2, 7]], values["d"][4] = np.nan, np.nan
    d, g = dense(problem)
    keep = np.isfinite(np.concatenate([values["c"], values["d"]]))
    expected = -np.linalg.solve(np.eye(problem.size()) + g[keep].T @ g[keep], g[keep].T @ d[keep])
    exact = found.posterior(values)
    np.testing.assert_allclose(exact.mean(), expected, rtol=0, atol=1e-11)
    assert np.isnan(exact.log_evidence())


def test_draws_have_the_covariance(found, problem):
    """Of 40,000 draws every variance is within 4 √(2/N) of the exact one, every mean likewise."""
    _, g = dense(problem)
    covariance = np.linalg.inv(np.eye(problem.size()) + g.T @ g)
    exact, number = found.posterior(), 40_000
    draws = np.asarray(exact.draws(jax.random.key(2), number))
    stdev = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(draws.mean(0) - exact.mean()) < 4.5 * stdev / np.sqrt(number))
    assert np.all(np.abs(draws.var(0) / stdev**2 - 1) < 4.5 * np.sqrt(2 / number))
    first = np.cov(draws[:, :3].T)
    np.testing.assert_allclose(first, covariance[:3, :3], rtol=0, atol=0.02)


def test_what_other_places_would_read(problem, found):
    other = posed(observed(np.array([0.3, 0.9]), "e", seed=8, stdev=0.7))
    d, g = dense(problem)
    _, h = dense(other)
    covariance = np.linalg.inv(np.eye(problem.size()) + g.T @ g)
    mean = 0.7 * h @ covariance @ g.T @ d
    stdev = 0.7 * np.sqrt(np.diag(h @ covariance @ h.T))
    reading = found.posterior().predict(TimeInvariant.of(other))["e"]
    np.testing.assert_allclose(reading.mean, mean, rtol=0, atol=1e-11)
    np.testing.assert_allclose(reading.stdev, stdev, rtol=1e-8)


def nonlinear():
    model = Lorenz96(n=N, dt=0.05)
    window = assim.Window.regular(model, slots=SLOTS, steps=2)
    when, where = (a.ravel() for a in np.meshgrid(window.edges[1:], np.arange(3.0), indexing="ij"))
    points = assim.Points.at(jnp.asarray(when), {"site": jnp.asarray(where)})
    readings = assim.Observations("x", np.zeros(when.size), points, PointSample("x"), STDEV)
    return posed(readings, model=model, window=window)


NOT_SUCH = {
    "not linear": (nonlinear, "not linear"),
    "uneven": (
        lambda: posed(observed(times=np.asarray(WINDOW.edges[2:]))),
        "got readings at 5 times",
    ),
    "Q in time": (lambda: posed(in_time=Autoregressive(0.2, 1.0)), "changes with time"),
    "errors change": (
        lambda: posed(observed(stdev=np.linspace(0.1, 0.9, SLOTS * 3))),
        "changes with time",
    ),
    "robust": (
        lambda: posed(observed(likelihood=assim.likelihood.Huber())),
        "no independent Gaussian errors",
    ),
    "scale": (
        lambda: posed(scale=assim.ErrorScale("s", assim.prior.LogNormal(1.0, 0.5))),
        "scale is estimated",
    ),
}


@pytest.mark.parametrize("kind", NOT_SUCH)
def test_what_has_no_such_map_is_refused(kind):
    made, words = NOT_SUCH[kind]
    with pytest.raises(ValueError, match=words):
        TimeInvariant.of(made())


def test_values_that_do_not_fit(found):
    with pytest.raises(ValueError, match="expected values of shapes"):
        found.posterior({"c": np.zeros(3)})
    short = assim.Window.regular(MODEL, slots=3, steps=2)
    other = posed(observed(times=np.asarray(short.edges[1:])), window=short)
    with pytest.raises(ValueError, match="map of the same controls"):
        found.posterior().predict(TimeInvariant.of(other))
    doubled = posed(covariance=Diagonal(2.0))
    with pytest.raises(ValueError, match="another model, background, B or Q"):
        found.posterior().predict(TimeInvariant.of(doubled))
