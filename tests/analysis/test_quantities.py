"""Scalars of an analysis: of whatever control, with and without a posterior, and their prior."""

import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    Derived,
    ModelError,
    Observations,
    Points,
    Window,
    analyse,
    strong_constraint,
    weak_constraint,
)
from assim.files.write.summary import summary
from assim.models import Lorenz63
from assim.problem.covariance import Diagonal, Regression, Sum
from assim.problem.operator import PointSample
from assim.problem.prior import Jeffreys
from assim.solve.posterior.laplace import Laplace

MEMBERS = 2000
START = {"x": jnp.asarray(1.0), "y": jnp.asarray(1.0), "z": jnp.asarray(20.0)}
END = {"end": Derived(lambda trajectory: trajectory.at_end()["x"], "m", "x at the end")}
NORMAL = 1.6448536269514722


def asked(covariance, **given):
    model = Lorenz63()
    window = Window.regular(model, 4, 5)
    points = Points.at(window.edges[1:])
    observed = Observations("x", jnp.full(4, 1.2), points, PointSample("x"), 0.5)
    constraint = weak_constraint if "model_error" in given else strong_constraint
    return constraint(model, window, START, covariance, observed, **given)


@pytest.mark.slow
def test_both_formulations_have_the_same_prior():
    """Quantiles of a derived quantity, each within four of its sampling errors,
    √(p(1 - p)/N)/φ(z_p) standard deviations, of both.
    """
    found = []
    for formulation in ("forcing", "state"):
        error = ModelError(Diagonal(0.2))
        problem = asked(Diagonal(0.5), model_error=error, formulation=formulation)
        settings = Laplace(certificate=0, members=MEMBERS)
        analysis = analyse(problem, posterior=settings, quantities=END)
        found.append(analysis)
    first, second = (np.array(one.quantities["end"].prior) for one in found)
    stdev = (first[2] - first[0]) / (2 * NORMAL)
    error = np.sqrt([0.05 * 0.95, 0.25, 0.05 * 0.95]) / np.array([0.1031, 0.3989, 0.1031])
    assert np.all(np.abs(first - second) < 4 * stdev * error * np.sqrt(2 / MEMBERS))
    for one in found:
        assert np.shape(one.derived["end"].prior) == (MEMBERS,)
        assert np.std(one.prior_draws.state["x"]) == pytest.approx(0.5, rel=0.1)


@pytest.mark.slow
def test_there_is_no_prior_of_what_depends_on_a_flat_one():
    problem = asked(Diagonal(0.5), parameters={"rho": Jeffreys(28.0)})
    wanted = {**END, "start": Derived(lambda trajectory: trajectory.states["x"][0])}
    settings = Laplace(certificate=0, members=50)
    analysis = analyse(problem, posterior=settings, quantities=wanted)
    assert np.isnan(analysis.quantities["end"].prior).all()
    assert np.isnan(analysis.derived["end"].prior).all()
    assert np.isnan(analysis.prior_draws.parameters["rho"]).all()
    assert np.isfinite(analysis.quantities["start"].prior).all()
    assert np.isfinite(analysis.draws.parameters["rho"]).all()


def test_derived_quantities_without_a_posterior():
    problem = asked(Diagonal(0.5))
    analysis = analyse(problem, posterior=None, quantities=END)
    (one,) = analysis.quantities.values()
    assert one.map == float(analysis.analysis.trajectory.states["x"][-1])
    assert (one.units, one.long_name) == ("m", "x at the end")
    found = summary(analysis)["quantities"]["end"]
    assert found["map"] == one.map
    assert {found[name] for name in ("mean", "stddev", "q05", "q50", "q95")} == {None}
    assert "draws" not in found and "prior" not in found


@pytest.mark.parametrize(
    ("covariance", "prior"),
    [
        (
            Regression(
                {"x": Diagonal(0.5), "y": Diagonal(0.3), "z": Diagonal(0.2)}, {"y": {"x": 0.8}}
            ),
            {"x": 0.5, "y": np.hypot(0.3, 0.4), "z": 0.2},
        ),
        pytest.param(
            {"x": Sum([Diagonal(0.3), Diagonal(0.4)]), "y": Diagonal(0.5)},
            {"x": 0.5, "y": 0.5},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_estimated_scalar_field_is_reported(covariance, prior):
    """With the posterior's standard deviation and the prior's, within four sampling errors."""
    problem = asked(covariance)
    settings = Laplace(certificate=0, members=MEMBERS)
    analysis = analyse(problem, posterior=settings, quantities=END)
    assert list(analysis.quantities) == [*prior, "end"]
    allowed = 4 / np.sqrt(2 * MEMBERS / 2)  # in antithetic pairs
    for name, stdev in prior.items():
        one = analysis.quantities[name]
        assert abs(one.stddev / float(analysis.state_stdev[name]) - 1) < allowed
        assert one.map == pytest.approx(float(analysis.analysis.control.state[name]), rel=1e-12)
        if one.prior is not None:
            low, middle, high = one.prior
            assert abs(middle - float(START[name])) < 4 * 1.2533 * stdev / np.sqrt(MEMBERS)
            assert abs((high - low) / (2 * NORMAL * stdev) - 1) < 0.1
    assert analysis.quantities["x"].prior is not None
    assert set(analysis.derived) == {"end"}


def test_the_mean_of_a_truth_value_is_a_share_and_several_numbers_are_refused():
    """Whether x ends above 1.7: its mean over members is how many of them do."""
    above = Derived(lambda t: t.at_end()["x"] > 1.7)
    settings = Laplace(members=200, certificate=200)
    quantities = {"above": above, **END}
    analysis = analyse(asked(Diagonal(0.5)), posterior=settings, quantities=quantities)
    posterior = analysis.posterior
    ends, weights = posterior.derived["end"].members, posterior.weights
    np.testing.assert_allclose(posterior.derived["above"].members, ends > 1.7)
    np.testing.assert_allclose(analysis.quantities["above"].mean, weights @ (ends > 1.7), atol=0.02)
    with pytest.raises(ValueError, match=r"quantity 'all' must be one number, got shape \(5,\)"):
        analyse(asked(Diagonal(0.5)), quantities={"all": Derived(lambda t: t.states["x"])})
