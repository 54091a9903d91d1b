"""An adaptive integrator steps over no event of a series that drives a model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    AbstractIntegrator,
    AbstractODE,
    Adaptive,
    Array,
    Forcing,
    Label,
    Labels,
    Params,
    State,
    Window,
)
from assim.problem.forcing import event_times
from assim.problem.window import integrate

K, WIDTH, BEGIN = 0.1, 0.05, 10.3
PULSE = Forcing([0.0, BEGIN, BEGIN + WIDTH, 60.0], [0.0, 1 / WIDTH, 0.0], "1", "steps")
HAT = Forcing([0.0, BEGIN, BEGIN + WIDTH, BEGIN + 2 * WIDTH, 60.0], [0, 0, 1 / WIDTH, 0, 0])


class Dosed(AbstractODE):
    """dV/dt = dose F(t) - k V."""

    given: Forcing
    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)
    parameters: Params = eqx.field(default_factory=lambda: {"dose": jnp.asarray(3.0)})

    def labels(self) -> Labels:
        return Labels({"V": Label()}, {"dose": Label()}, inputs={"given": Label()})

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        return {"V": theta["dose"] * self.given(t) - K * x["V"]}


def response(forcing: Forcing, time: np.ndarray) -> np.ndarray:
    """∫ F(s) exp(-k(t - s)) ds of a unit dose, long after it."""
    if forcing.interpolation == "steps":
        mass = np.expm1(K * WIDTH) / (K * WIDTH)
    else:
        mass = (np.expm1(K * WIDTH) / (K * WIDTH)) ** 2  # a hat is two pulses, convolved
    return np.where(time > BEGIN, mass * np.exp(-K * (time - BEGIN)), 0.0)


@pytest.mark.parametrize("columns, forcing", [
    pytest.param(64, PULSE, id="forward-steps"),
    pytest.param(64, HAT, id="forward-linear"),
    pytest.param(0, PULSE, id="backward-steps"),
    pytest.param(0, HAT, id="backward-linear", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_pulse_much_shorter_than_a_slot(columns, forcing):
    model = Dosed(forcing, Adaptive(max_columns=columns))
    window = Window.at(model, [0.0, 20.0, 60.0])

    @eqx.filter_jit
    def volumes(model: Dosed, dose: Array) -> Array:
        return integrate(model, {"V": jnp.zeros(())}, {"dose": dose}, window).states["V"]

    dose, expected = jnp.asarray(3.0), response(forcing, np.array([0.0, 20.0, 60.0]))
    np.testing.assert_allclose(volumes(model, dose), 3 * expected, rtol=1e-6)
    slope = eqx.filter_jit(jax.jacfwd(lambda dose, model: volumes(model, dose)))(dose, model)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    back = eqx.filter_jit(jax.grad(lambda dose, model: volumes(model, dose)[-1]))(dose, model)
    np.testing.assert_allclose(back, expected[-1], rtol=1e-6)


def test_a_jump_at_a_slot_edge_costs_no_accuracy():
    """Each step sees one side of a jump alone: the solution by pieces, exact in the tendency."""
    stairs = Forcing([0.0, 1.0, 2.0, 3.0], [1.0, 5.0, 2.0], "1", "steps")
    model = Dosed(stairs, Adaptive(max_steps=30))
    edges = [0.0, 1.0, 2.0, 3.0]
    got = integrate(model, {"V": jnp.zeros(())}, {"dose": jnp.ones(())}, Window.at(model, edges))
    expected = [0.0]
    for level in (1.0, 5.0, 2.0):
        expected.append(level / K + (expected[-1] - level / K) * np.exp(-K))
    np.testing.assert_allclose(got.states["V"], expected, rtol=1e-8)


def test_which_times_are_events():
    smooth = Forcing(np.linspace(0, 1, 400), np.sin(2 * np.pi * np.linspace(0, 1, 400)))
    assert np.isinf(event_times(Dosed(smooth), jnp.array([0.0, 1.0]))).all()
    events = event_times(Dosed(HAT), jnp.array([0.0, 60.0]))
    np.testing.assert_allclose(events[:3], [BEGIN, BEGIN + WIDTH, BEGIN + 2 * WIDTH])
    assert event_times(Dosed(Forcing.constant(1.0)), jnp.array([0.0, 60.0])).size == 0


@pytest.mark.parametrize("times, values", [
    ([0.0, 20.0, 20.005, 70.0, 80.0], [0.0, 900.0, 0.0, 1e6]),  # what is large comes after
    ([-9.0, 0.0, 20.0, 20.005, 60.0], [1e6, 0.0, 900.0, 0.0]),  # or before
    ([0.0, 10.0, 10.00001, 20.0, 20.005, 60.0], [0.0, 1e5, 0.0, 900.0, 0.0]),  # or is shorter
])  # fmt: skip
def test_a_pulse_is_an_event_whatever_else_is_large(times, values):
    pulse = Forcing(times, values, "1", "steps")
    events = np.asarray(event_times(Dosed(pulse), jnp.array([0.0, 60.0])))
    for end in (20.0, 20.005):
        assert np.min(np.abs(events - end)) < 1e-9
