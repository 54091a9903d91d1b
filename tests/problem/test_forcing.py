"""Time-dependent inputs of models: interpolation, spans, and the checks at the door."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import TwoLayer
from assim.problem.constraint import strong_constraint
from assim.problem.forcing import Forcing, check_span, forcings
from assim.problem.observation import Observations
from assim.problem.operator import PointSample
from assim.problem.points import Points
from assim.problem.prior import Normal
from assim.problem.window import Window

LINEAR = Forcing([0.0, 1.0, 3.0], [2.0, 4.0, 0.0], "W m-2")
STEPS = Forcing([0.0, 1.0, 3.0], [2.0, 4.0], "W m-2", "steps")


@pytest.mark.parametrize(
    ("forcing", "expected"),
    [(LINEAR, [2.0, 3.0, 4.0, 2.0, 0.0]), (STEPS, [2.0, 2.0, 4.0, 4.0, 4.0])],
    ids=["linear", "steps"],
)
def test_values(forcing, expected):
    found = jax.vmap(forcing)(jnp.array([0.0, 0.5, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.parametrize("forcing", [LINEAR, STEPS], ids=["linear", "steps"])
def test_never_extrapolates(forcing):
    assert np.isnan(jax.vmap(forcing)(jnp.array([-0.01, 3.01]))).all()
    assert np.isfinite(forcing(3.0 + 1e-12))  # rounding is no extrapolation


def test_several_series():
    values = np.arange(12.0).reshape(3, 2, 2)
    found = Forcing([0.0, 1.0, 3.0], values)(2.0)
    np.testing.assert_allclose(found, (values[1] + values[2]) / 2, rtol=1e-15)


def test_constant():
    found = Forcing.constant([1.0, 2.0])(1e9)
    np.testing.assert_array_equal(found, [1.0, 2.0])


def test_derivatives():
    """dF/dt is the slope, and a factor on the values goes through."""
    assert jax.grad(LINEAR)(2.0) == -2.0
    scaled = jax.grad(lambda s: Forcing(LINEAR.times, s * LINEAR.values)(2.0))(1.0)
    np.testing.assert_allclose(scaled, 2.0, rtol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0], [1.0, 2.0], "1", "cubic"), "interpolation must be one of"),
        (([0.0, 1.0], [1.0, 2.0], "1", "steps"), r"needs 3 times, got shape \(2,\)"),
        (([0.0, 1.0, 2.0], [1.0, 2.0]), r"needs 2 times, got shape \(3,\)"),
        (([0.0], [1.0]), r"needs 2 times, got shape \(1,\)"),
        (([0.0, 1.0, 1.0], [1.0, 2.0, 3.0]), "times must increase, but 1 is 1 and 2 is 1"),
        (([0.0, np.nan], [1.0, 2.0]), "times must increase"),
        (([0.0, 1.0], [1.0, np.nan]), "finite, the first that is not has index 1"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Forcing(*arguments)


def posed(forcing, window):
    model = TwoLayer(forcing)
    fields = ("surface", "deep", "variability")
    seen = Observations("T", [0.1], Points.at([1.0]), PointSample("surface"), 0.1, units="K")
    return strong_constraint(
        model,
        window(model),
        {name: jnp.zeros(()) for name in fields},
        observations=seen,
        parameters={"feedback": Normal(1.0, 0.1)},
    )


def test_window_within_the_span():
    problem = posed(LINEAR, lambda model: Window.regular(model, 3))
    assert np.isfinite(problem(jnp.zeros(1))[0]).all()


@pytest.mark.parametrize(("start", "slots"), [(0.0, 4), (-1.0, 3)])
def test_window_outside_the_span_is_refused_at_the_door(start, slots):
    with pytest.raises(ValueError, match=r"'forcing' has values from 0 to 3 only"):
        posed(LINEAR, lambda model: Window.regular(model, slots, start=start))


def test_inputs_of_a_model_by_name():
    model = TwoLayer(LINEAR)
    assert list(forcings(model)) == ["forcing", "aerosol"]
    check_span(model, Window.regular(model, 3))
