"""Simulation-based calibration: exact posteriors are uniform, wrong ones are found out."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Observations, Points, Window, likelihood, strong_constraint
from assim.findings.calibration import calibrate, ranked_entries
from assim.models import LotkaVolterra
from assim.problem.covariance import Diagonal
from assim.problem.operator import AbstractOperator, PointSample
from assim.problem.prior import Jeffreys, LogNormal
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Trust, equal_weights
from assim.solve.posterior.laplace import Laplace
from tests.solve import linear

pytestmark = pytest.mark.slow

L = 19
MEMBERS = 200


class Scaled(AbstractPosterior):
    """Draws of the Laplace Gaussian with all deviations multiplied, of which a share is NaN."""

    factor: float | jax.Array = eqx.field(default=1.0, converter=jnp.asarray)
    lost: float | jax.Array = eqx.field(default=0.0, converter=jnp.asarray)

    def name(self):
        return "scaled"

    def sample(self, problem, around, key, report=None):
        white = jax.random.normal(key, (MEMBERS, problem.size()))
        chi = around.chi[None] + self.factor * jax.vmap(around.gaussian.sqrt)(white)
        chi = jnp.where(jnp.arange(MEMBERS)[:, None] < self.lost * MEMBERS, jnp.nan, chi)
        trust = Trust.FAILED if self.lost == 1 else Trust.DOUBTFUL
        return Ensemble(chi, equal_weights(MEMBERS), trust, "")


class Weighted(AbstractPosterior):
    """Draws of the Laplace Gaussian twice as wide, with the weights that make up for it."""

    weigh: bool = True

    def name(self):
        return "weighted"

    def sample(self, problem, around, key, report=None):
        white = jax.random.normal(key, (20 * MEMBERS, problem.size()))
        chi = around.chi[None] + 2 * jax.vmap(around.gaussian.sqrt)(white)
        weights = jnp.exp(-1.5 * jnp.sum(white**2, axis=1)) if self.weigh else jnp.ones(len(chi))
        return Ensemble(chi, weights / jnp.sum(weights), Trust.CERTIFIED, "")


class Impatient(AbstractPosterior):
    """Draws exact ensembles of 20 members until one is narrow in the first control."""

    def name(self):
        return "impatient"

    def sample(self, problem, around, key, report=None):
        white = jax.random.normal(key, (200, 20, problem.size()))
        chi = around.chi[None, None] + jax.vmap(jax.vmap(around.gaussian.sqrt))(white)
        narrowest = jnp.argmin(jnp.std(chi[:, :, 0], axis=1))
        return Ensemble(chi[narrowest], equal_weights(20), Trust.CERTIFIED, "")


@pytest.fixture(scope="module")
def problem():
    """Seven controls, correlated errors, an unknown drive."""
    return linear.driven().problem


def calibrated(problem, method, number=200, seed=0, **options):
    options = {"draws": L, "starts": 1, "minimiser": GaussNewton(), "together": 2} | options
    return calibrate(problem, method, number, jax.random.key(seed), **options)


@pytest.fixture(scope="module")
def exact(problem):
    return calibrated(problem, Laplace())


def test_exact_posterior_is_uniform(exact):
    assert exact.uniform and all(exact.inside)
    assert "show no error" in exact.verdict()
    assert (exact.failed, exact.unsettled, exact.redrawn) == (0, 0, 0)
    assert (exact.certified, exact.doubtful) == (200, 0)
    assert exact.names == (*(f"u[{i}]" for i in range(6)), "b", "log_density")
    assert exact.ranks.shape == (200, 8)
    assert exact.ranks.min() == 0 and exact.ranks.max() == L
    np.testing.assert_array_equal(exact.histogram.sum(axis=1), 200)
    for shares in exact.coverage.values():
        assert all(one.right() for one in shares)


def test_truths_are_those_of_the_prior(problem):
    """Draws of the prior alone are wrong for every coordinate that the data inform."""
    wide = calibrated(problem, Scaled(3.0))
    assert not wide.uniform
    assert "too wide" in wide.verdict()


def test_halved_deviations_are_found_out(problem):
    narrow = calibrated(problem, Scaled(0.5))
    assert not narrow.uniform and not any(narrow.inside)
    assert np.all(narrow.p_values < 1e-4)
    half, most = (narrow.coverage[level] for level in (0.5, 0.9))
    # P(|z| < q/2) of z ~ N(0, 1), q the quantile of the level; of draws, about that
    for one in half[:-1]:
        assert abs(one.covered - 0.26) < 0.1 and not one.right()
    for one in most[:-1]:
        assert abs(one.covered - 0.59) < 0.12 and not one.right()
    assert "too narrow" in narrow.verdict()
    # U-shaped: the ends hold more than the middle
    assert narrow.histogram[0][[0, -1]].sum() > 3 * narrow.histogram[0][[4, 5]].sum()


def test_weights_are_part_of_the_method(problem):
    """A wide proposal is uniform with its weights, and not without."""
    assert calibrated(problem, Weighted()).uniform
    assert "too wide" in calibrated(problem, Weighted(weigh=False), number=100).verdict()


def test_the_stopping_rule_is_part_of_the_method(problem):
    """Every ensemble that it draws is exact; only that which it stops at is not."""
    stopped = calibrated(problem, Impatient())
    assert not stopped.uniform
    assert np.argmin(np.minimum(stopped.p_values, stopped.ecdf_p_values)) == 0
    assert stopped.coverage[0.9][0].covered < 0.75


def test_verdicts_of_the_method_are_counted(problem):
    doubtful = calibrated(problem, Scaled(), number=20)
    assert (doubtful.certified, doubtful.doubtful, doubtful.failed) == (0, 20, 0)


def test_some_draws_that_are_lost_leave_ranks_uniform(problem):
    some = calibrated(problem, Scaled(1.0, 0.3), seed=1)
    assert some.uniform and some.failed == 0
    assert set(np.unique(some.ranks)) == set(range(L + 1))


def test_a_method_without_draws_has_no_ranks(problem):
    none = calibrated(problem, Scaled(1.0, 1.0), number=20)
    assert none.failed == 20 and none.ranks.shape == (0, 8)
    assert none.certified == none.doubtful == 0
    assert "20 of 20 simulations have no posterior" in none.verdict()
    assert not none.uniform


def test_same_key_same_ranks(problem, exact):
    again = calibrated(problem, Laplace())
    np.testing.assert_array_equal(again.ranks, exact.ranks)
    json.dumps(dataclasses.asdict(again.band), default=np.ndarray.tolist)


def test_progress_and_an_odd_number(problem):
    said = []
    found = calibrated(problem, Laplace(), number=47, progress=lambda *at: said.append(at))
    assert len(found.ranks) == 47
    assert said[-1] == (47, 47)


# ---- what cannot be calibrated -------------------------------------------------------------------


def lotka(kind=None, **priors):
    model = LotkaVolterra()
    years = np.arange(3.0)
    values = np.array([30.0, 20.0, 10.0])
    o = Observations("hare", values, Points.at(years), PointSample("hare"), 1.0, kind)
    prior = {"hare": LogNormal(30.0, 0.1)}
    fields = {**prior, "lynx": LogNormal(5.0, 0.1)}
    return strong_constraint(
        model, Window.at(model, years), fields, observations=[o], parameters=priors
    )


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda: lotka(alpha=Jeffreys()), {}, "prior of 'alpha' is flat"),
        (lambda: lotka(likelihood.Huber()), {}, "likelihood of 'hare' draws good data alone"),
        (lotka, {"draws": 100}, "no bins divide"),
        (lotka, {"draws": 98}, "draws must be odd, got 98"),
        (lotka, {"number": 0}, "number must be at least 1"),
        (lotka, {"starts": 0}, "starts must be at least 1"),
    ],
)
def test_refused(make, options, words):
    options = {"number": 10} | options
    with pytest.raises(ValueError, match=words):
        calibrate(make(), Laplace(), key=jax.random.key(0), **options)


class PositivePart(AbstractOperator):
    """log u[0]: NaN at half of the prior."""

    share: float = eqx.field(default=0.0, static=True)

    def __call__(self, trajectory, points):
        u = trajectory.states["u"][0]
        return jnp.log(u[:1] + self.share)

    def units(self, labels):
        return "1"

    def dims(self, labels):
        return ()


def half_possible(share):
    model = linear.DrivenLinear(jnp.eye(2), jnp.ones(2), {"b": jnp.asarray(0.0)})
    window = Window.regular(model, 1, 1)
    o = Observations("logs", np.zeros(1), Points.at([0.0]), PositivePart(share), 0.3)
    return strong_constraint(model, window, {"u": np.zeros(2)}, Diagonal(1.0), [o])


def test_draws_at_which_the_model_fails_are_replaced():
    found = calibrated(half_possible(0.0), Scaled(), number=100)
    assert 50 < found.redrawn < 160
    assert len(found.ranks) == 100


def test_a_model_that_always_fails():
    with pytest.raises(ArithmeticError, match="model fails at 200 of 200 draws"):
        calibrated(half_possible(-100.0), Scaled(), number=10)


def test_some_entries_of_a_large_array_are_ranked():
    case = linear.ring(n=24)
    entries, names = ranked_entries(case.problem)
    assert len(entries) == 12 and entries[0] == 0 and entries[-1] == 23
    assert names[0] == "tracer[0]" and names[-1] == "tracer[23]"
