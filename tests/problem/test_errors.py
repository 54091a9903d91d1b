"""What a user is told who asks for something that cannot be."""

import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    ErrorScale,
    ModelContractError,
    Observations,
    Points,
    Window,
    likelihood,
    strong_constraint,
)
from assim.problem.covariance import Dense, Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import HalfNormal, Jeffreys, LogNormal, Normal
from tests.problem.toy import BACKGROUND, Decay, Tendency

TIMES = [0.25, 0.5]


def observed(name="total", **more):
    given = {"points": Points.at(TIMES), "operator": PointSample("total"), **more}
    return Observations(name, [5.0, 4.0], **given)


def ask(model=None, **changes):
    model = Decay() if model is None else model
    given = {
        "background": BACKGROUND,
        "covariance": Diagonal(1.0),
        "observations": observed(),
        "parameters": None,
        **changes,
    }
    return strong_constraint(model, Window.regular(model, 2), **given)


def test_nothing_wrong():
    assert ask().size() == 4
    assert ask(covariance=None, parameters={"rate": Normal(0.5, 0.1)}).size() == 1
    assert ask(covariance={"total": Diagonal(1.0)}).size() == 1


FIELD = {"u": BACKGROUND["u"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"background": {**BACKGROUND, "totl": 1.0}}, "no field 'totl'; did you mean 'total'"),
        ({"background": {**BACKGROUND, "zzz": 1.0}}, "no field 'zzz'; it has total, u"),
        ({"background": FIELD}, "field 'total' of the model is missing; give every one"),
        ({"background": {**BACKGROUND, "u": np.ones(4)}}, r"'u' has shape \(4,\).*say \(3,\)"),
        ({"background": {**BACKGROUND, "total": np.nan}}, "'total' has values that are not finite"),
        ({"covariance": {"uu": Diagonal(1.0)}}, "covariance: the model has no field 'uu'"),
        ({"covariance": {"u": Dense(np.eye(2))}}, "does not fit a field of shape"),
        (
            {
                "background": {**FIELD, "total": LogNormal(5.0, 1.0)},
                "covariance": {"total": Diagonal(1.0)},
            },
            "'total' already has a prior of its own",
        ),
        ({"parameters": {"rat": Normal(0, 1)}}, "no parameter 'rat'; did you mean 'rate'"),
        ({"covariance": None}, "nothing to estimate: give a background covariance"),
        ({"observations": ()}, "at least one instrument is needed"),
        ({"observations": [observed(), observed()]}, "2 instruments are called 'total'"),
        ({"observations": observed(operator=PointSample("u"))}, "PointSample needs the coordinate"),
    ],
)
def test_problems(changes, words):
    with pytest.raises(ValueError, match=words):
        ask(**changes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: {"u": x["u"]}, r"must return the fields \['total', 'u'\], it returned \['u'\]"),
        (lambda x: {**x, "v": x["u"]}, r"it returned \['total', 'u', 'v'\]"),
        (lambda x: x["u"], "must return the fields"),
        (lambda x: {**x, "u": x["u"][:2]}, r"field 'u': it was given \(3,\) float64 and returned"),
        (lambda x: {**x, "u": x["u"][None]}, r"returned \(1, 3\) float64"),
        (lambda x: {**x, "total": x["total"].astype(jnp.float32)}, "returned .* float32"),
    ],
)
def test_steps_that_break_the_contract(wrong, words):
    with pytest.raises(ModelContractError, match=words):
        ask(Decay(wrong=wrong))


def test_unlabelled_parameters():
    with pytest.raises(ModelContractError, match=r"only one of them has speed"):
        ask(Decay({"rate": jnp.asarray(0.5), "speed": jnp.asarray(1.0)}))


def test_tendency_that_breaks_the_contract():
    model = Tendency(lambda x, theta, t: jnp.stack([x, x], axis=1), 2)
    observations = Observations("x0", [1.0], Points.at([1.0]), PointSample("x0"))
    with pytest.raises(ModelContractError, match=r"Tendency: the tendency must keep the shape"):
        strong_constraint(
            model,
            Window.at(model, [0.0, 1.0]),
            {"x0": 1.0, "x1": 1.0},
            Diagonal(1.0),
            observations,
        )


@pytest.mark.parametrize(
    ("values", "more", "words"),
    [
        ([], {}, "total: observed values must be a list"),
        ([[1.0, 2.0]], {}, "total: observed values must be a list"),
        ([1.0, np.nan], {}, "must be finite; drop the missing ones"),
        (
            [1.0, -2.0],
            {"likelihood": likelihood.LogNormal()},
            r"needs values > 0, got 1 of 2 that are not, the first -2 \(number 1\)",
        ),
        (
            [1.0, 2.5],
            {"likelihood": likelihood.Poisson()},
            r"needs whole counts >= 0, got 1 of 2 that are not, the first 2.5 \(number 1\)",
        ),
        (
            [1.0, 2.0],
            {"likelihood": likelihood.Poisson(), "scale": ErrorScale("s", Jeffreys())},
            "no error scale to estimate",
        ),
        ([1.0, 2.0], {"covariance": Dense(np.eye(3))}, "does not fit"),
        ([1.0, 2.0], {"covariance": Diagonal(np.ones(3))}, "does not fit"),
        ([1.0, 2.0], {"stdev": 0.1, "covariance": Diagonal(0.1)}, "either stdev or covariance"),
        ([1.0, 2.0], {"stdev": Diagonal(0.1)}, "given by covariance="),
        ([1.0, 2.0], {"stdev": 0.0}, "stdev must be positive"),
        ([1.0, 2.0], {"stdev": -0.1}, "stdev must be positive"),
    ],
)
def test_observations(values, more, words):
    with pytest.raises(ValueError, match=words):
        Observations("total", values, Points.at(TIMES), PointSample("total"), **more)


def test_a_shared_scale_is_one_entry():
    shared = ErrorScale("noise", HalfNormal(1.0))
    two = [observed("total", scale=shared), observed("again", scale=shared)]
    problem = ask(observations=two)
    assert problem.control.names().count("noise") == 1
    chi = jnp.zeros(problem.size())
    scale = float(problem.control(chi).scales["noise"])
    np.testing.assert_allclose(problem(chi).normaliser, 4 * np.log(scale), rtol=1e-12)
