"""`trials`: what calling a code shows, each with a code that does it."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from tests.couple.compiled import chaotic, library, lorenz96, needs_compiler
from tests.couple.test_python_model import DEFAULTS, LABELS, adjoint, model, step, tangent

pytestmark = needs_compiler
ONE = assim.Labels({"x": assim.Label()})
X = {"x": jnp.asarray(2.0)}
U = {"u": jnp.asarray([1.0, -2.0, 0.5, 3.0, 0.2]), "total": jnp.asarray(0.3)}


def trials(given, x=X):
    return {trial.name: trial for trial in given.trials(x, given.parameters, 1.0)}


def failed(given, x=X):
    return [name for name, trial in trials(given, x).items() if trial.passed is False]


def in_c(symbol, **given):
    return assim.foreign.CModel(library("trouble"), ONE, 1.0, step=symbol, **given)


def test_a_good_code_passes():
    found = trials(lorenz96(), {"x": jnp.asarray(chaotic())})
    assert all(trial.passed for name, trial in found.items() if name != "time of a call")
    assert found["threads"].detail == "step, tangent, adjoint"
    assert "step" in found["time of a call"].detail and "in JAX" in found["time of a call"].detail


def test_a_good_function_passes():
    found = trials(model(), U)
    assert not failed(model(), U)
    assert found["threads"].passed is None and "one after another" in found["threads"].detail


def test_memory_of_the_last_state():
    assert failed(in_c("remembering")) == ["no memory"]
    assert "belongs into its fields" in trials(in_c("remembering"))["no memory"].detail


def test_other_numbers_every_time():
    assert "same again" in failed(in_c("random_step"))


def test_work_space_that_threads_share():
    assert failed(in_c("sharing", thread_safe=True)) == ["threads"]
    assert failed(in_c("sharing")) == []


def test_arguments_that_are_changed():
    assert failed(in_c("spoiling")) == ["same again", "no memory", "arguments", "results"]


def test_results_that_are_added_to():
    assert failed(in_c("adding")) == ["results"]


def taylor(given):
    """The derivative checks of one step, as `assim check` has them."""
    from assim.findings.steps import step_checks

    window = assim.Window.regular(given, slots=1)
    seen = assim.Observations(
        "total",
        np.zeros(1),
        assim.Points.at([1.0], {}),
        assim.operator.PointSample("total"),
        stdev=1.0,
    )
    posed = assim.strong_constraint(
        given, window, background=U, covariance=assim.covariance.Diagonal(0.1), observations=seen
    )
    return {result.name: result.passed for result in step_checks(posed, jnp.zeros(6))}


def of_a_step(given):
    return {name: passed for name, passed in taylor(given).items() if "of a step" in name}


def wrong_tangent(x, theta, t, dx, dtheta):
    return tangent(x, theta, t, dx, {**dtheta, "rate": 0.0})


def wrong_adjoint(x, theta, t, by):
    bx, btheta = adjoint(x, theta, t, by)
    return bx, {**btheta, "rate": -btheta["rate"]}


@pytest.mark.parametrize(
    "given, passed",
    [
        ({}, [True, True]),
        ({"tangent": wrong_tangent}, [False, False]),
        ({"adjoint": wrong_adjoint}, [True, False]),
        ({"adjoint": None}, [True]),
        ({"tangent": "differences"}, [True, True]),
        ({"tangent": None}, []),
    ],
)
def test_derivatives_of_a_step(given, passed):
    assert list(of_a_step(model(step, **given)).values()) == passed


def test_what_it_lacks():
    assert model().lacks() == model(tangent="differences").lacks() == ()
    assert model(tangent=None, adjoint=None).lacks() == ("tangent", "adjoint")
    given = assim.foreign.PythonModel(step, LABELS, 1.0, DEFAULTS)
    assert "no tangent and no adjoint" in given.derivatives(3)
