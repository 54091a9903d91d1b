"""The control: what χ stands for, entry by entry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import ErrorScale, Observations, Points, Window, strong_constraint
from assim.problem.covariance import Dense
from assim.problem.operator import PointSample
from assim.problem.prior import HalfNormal, Jeffreys, LogNormal, Normal
from tests.problem.toy import BACKGROUND, Decay

B = np.array([[1.0, 0.4, 0.1], [0.4, 2.0, 0.3], [0.1, 0.3, 0.5]])


@pytest.fixture(scope="module")
def problem():
    """Every kind of entry: a Gaussian field, one with a prior, a parameter, two error scales."""
    model = Decay()
    points = Points.at([0.25, 0.5], {"x": np.array([0.0, 1.5])})
    flux, level = ErrorScale("noise", Jeffreys(0.3)), ErrorScale("drift", HalfNormal(2.0))
    return strong_constraint(
        model,
        Window.regular(model, 2),
        {"u": BACKGROUND["u"], "total": LogNormal(5.0, 0.7)},
        {"u": Dense(B)},
        [
            Observations("u", [1.0, 2.0], points, PointSample("u"), 0.5, scale=flux),
            Observations("total", [6.0], Points.at([0.5]), PointSample("total"), 2.0, scale=level),
        ],
        {"rate": Normal(0.4, 0.1)},
    )


def test_names_and_size(problem):
    control = problem.control
    assert control.size() == problem.size() == 7
    assert control.names() == ["u[0]", "u[1]", "u[2]", "total", "rate", "drift", "noise"]


def test_names_point_at_their_entries(problem):
    """Moving one entry moves what its name says, and nothing else."""
    control = problem.control
    here = control(jnp.zeros(7))
    for i, name in enumerate(control.names()):
        there = control(jnp.zeros(7).at[i].set(0.7))
        for part, other in zip(here, there, strict=True):
            for field in part:
                moved = not np.array_equal(part[field], other[field])
                assert moved == (field == name.split("[")[0])


def test_values(problem):
    """x^b + Lχ with the Cholesky factor of B, and each prior's own map."""
    chi = np.array([0.5, -1.0, 2.0, 0.3, -0.8, 1.2, 0.9])
    state, parameters, scales, *_ = problem.control(jnp.asarray(chi))
    np.testing.assert_allclose(state["u"], BACKGROUND["u"] + np.linalg.cholesky(B) @ chi[:3])
    np.testing.assert_allclose(state["total"], 5 * np.exp(0.7 * 0.3))
    np.testing.assert_allclose(parameters["rate"], 0.4 - 0.1 * 0.8)
    np.testing.assert_allclose(scales["noise"], 0.3 * np.exp(0.9))
    assert scales["drift"] > 0


def test_split_and_join(problem):
    chi = jnp.arange(7.0)
    white = problem.control.split(chi)
    assert {kind: sorted(part) for kind, part in white.items()} == {
        "background": ["u"],
        "biases": [],
        "fields": ["total"],
        "later": [],
        "model_error": [],
        "parameters": ["rate"],
        "scales": ["drift", "noise"],
    }
    assert np.array_equal(problem.control.join(white), chi)


def test_whiten_inverts_the_transform(problem):
    """χ of a state and parameters; error scales, which they do not say, at their median."""
    chi = jnp.array([0.5, -1.0, 2.0, 0.3, -0.8, 0.0, 0.0])
    state, parameters, *_ = problem.control(chi)
    back = problem.control.whiten(state, {"rate": parameters["rate"]})
    np.testing.assert_allclose(back, chi, rtol=1e-12, atol=1e-12)


def test_weight_is_zero_without_a_prior(problem):
    assert np.array_equal(problem.weight(), [1, 1, 1, 1, 1, 1, 0])


def test_stdev(problem):
    spread = problem.control.stdev()
    np.testing.assert_allclose(spread.state["u"], np.sqrt(np.diag(B)))
    mean = 5 * np.exp(0.7**2 / 2)
    np.testing.assert_allclose(spread.state["total"], mean * np.sqrt(np.expm1(0.7**2)))
    np.testing.assert_allclose(spread.parameters["rate"], 0.1)
    assert np.isinf(spread.scales["noise"])


def test_cost_by_hand(problem):
    """½ χᵀWχ + ½ dᵀd + c with the departures, the scales and the log-normaliser written out."""
    chi = np.array([0.5, -1.0, 2.0, 0.3, -0.8, 1.2, 0.9])
    state, parameters, scales, *_ = problem.control(jnp.asarray(chi))
    shrink = 1 - 0.25 * float(parameters["rate"])
    u, total = np.asarray(state["u"]), float(state["total"])
    noise, drift = float(scales["noise"]), float(scales["drift"])
    predicted = np.array([shrink * u[0], shrink**2 * (u[1] + u[2]) / 2])
    d = np.append(
        (np.array([1, 2]) - predicted) / (0.5 * noise), (6 - shrink**2 * total) / 2 / drift
    )
    c = 2 * np.log(0.5 * noise) + np.log(2 * drift)
    value, terms = jax.jit(lambda chi: (problem(chi), problem.cost_terms(chi)))(jnp.asarray(chi))
    np.testing.assert_allclose(value.normalised, d, rtol=1e-12)
    np.testing.assert_allclose(value.normaliser, c, rtol=1e-12)
    np.testing.assert_allclose(terms["background"], np.sum(chi[:4] ** 2) / 2)
    np.testing.assert_allclose(terms["parameters"], (chi[4] ** 2 + chi[5] ** 2) / 2)
    np.testing.assert_allclose(terms["observation"], d @ d / 2 + c)
    np.testing.assert_allclose(terms["total"], np.sum(chi[:6] ** 2) / 2 + d @ d / 2 + c)
    assert problem.has_normaliser()


def test_simulate(problem):
    simulated = problem.simulate(jnp.zeros(7))
    assert set(simulated.predictions) == {"u", "total"}
    np.testing.assert_allclose(simulated.predictions["u"], [0.9, 0.9**2 * 2.5], rtol=1e-12)
    np.testing.assert_allclose(simulated.predictions["total"], [0.9**2 * 5], rtol=1e-12)
