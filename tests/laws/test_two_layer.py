"""The two-layer energy-balance model against its closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import TwoLayer
from assim.problem.forcing import Forcing
from assim.problem.window import Window, integrate

REST = {"surface": 0.0, "deep": 0.0, "variability": 0.0}


def run(model, years, start=REST):
    window = Window.regular(model, round(years / model.dt))
    x = {name: jnp.asarray(value) for name, value in start.items()}
    return jax.jit(lambda x: integrate(model, x, model.parameters, window))(x)


def step_response(p, forcing, t):
    """T and T0 after a step of the forcing: Geoffroy et al. (2013), part I, equations 14 to 19,
    with the efficacy of part II: γ of the surface becomes ε γ.
    """
    loss = (p["feedback"] + p["efficacy"] * p["exchange"]) / p["surface_capacity"]
    gain = p["exchange"] / p["deep_capacity"]
    root = np.sqrt((loss + gain) ** 2 - 4 * p["feedback"] / p["surface_capacity"] * gain)
    warming = p["feedback"] / p["surface_capacity"]
    tau = [(loss + gain + sign * root) / (2 * warming * gain) for sign in (-1, 1)]
    ratio = [
        p["surface_capacity"] / (2 * p["efficacy"] * p["exchange"]) * (loss - gain + sign * root)
        for sign in (-1, 1)
    ]
    share = [
        ratio[1] * tau[0] * warming / (ratio[1] - ratio[0]),
        -ratio[0] * tau[1] * warming / (ratio[1] - ratio[0]),
    ]
    modes = [a * np.exp(-t / scale) for a, scale in zip(share, tau, strict=True)]
    deep = 1 - sum(phi * mode for phi, mode in zip(ratio, modes, strict=True))
    return forcing / p["feedback"] * (1 - sum(modes)), forcing / p["feedback"] * deep


@pytest.mark.parametrize("dt", [1.0, 0.25, 5.0])
def test_step_response_is_exact(dt):
    model = TwoLayer(Forcing.constant(3.93), dt=dt)
    found = run(model, 200)
    p = {name: float(value) for name, value in model.parameters.items()}
    surface, deep = step_response(p, 3.93, np.asarray(found.times))
    np.testing.assert_allclose(found.states["surface"], surface, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.states["deep"], deep, rtol=1e-12, atol=1e-13)


def test_steps_of_a_year_need_no_smaller_ones():
    yearly = Forcing(np.arange(41.0), np.sin(np.arange(40.0)), "W m-2", "steps")
    coarse, fine = (run(TwoLayer(yearly, dt=dt), 40) for dt in (1.0, 0.125))
    for name in ("surface", "deep"):
        found = np.asarray(fine.states[name][::8])
        np.testing.assert_allclose(coarse.states[name], found, rtol=1e-11, atol=1e-14)


def test_linear_forcing_converges_with_order_two():
    """dT/dt of a ramp F = k t is the response to a step k, so T is that response's integral."""
    ends = []
    for dt in (1.0, 0.5, 0.25, 1 / 64):
        curve = 0.01 * np.arange(41.0) ** 2  # not linear over a step of the finest series
        ends.append(
            float(run(TwoLayer(Forcing(np.arange(41.0), curve), dt=dt), 40).at_end()["deep"])
        )
    errors = np.abs(np.array(ends[:-1]) - ends[-1])
    np.testing.assert_allclose(errors[:-1] / errors[1:], 4.0, rtol=0.05)


def test_heat_content_takes_up_what_the_top_of_the_atmosphere_lets_in():
    """∫ N dt = C T + C0 T0 with N = F - λ T - (ε - 1) γ (T - T0)."""
    model = TwoLayer(Forcing.constant(2.0), Forcing.constant(-0.5), dt=0.01)
    found, p = run(model, 30), model.parameters
    surface, deep = (np.asarray(found.states[name]) for name in ("surface", "deep"))
    uptake = 1.5 - p["feedback"] * surface - (p["efficacy"] - 1) * p["exchange"] * (surface - deep)
    heat = p["surface_capacity"] * surface + p["deep_capacity"] * deep
    np.testing.assert_allclose(heat[-1], np.trapezoid(uptake, dx=0.01), rtol=1e-5)


def test_variability_decays_and_moves_no_heat():
    model = TwoLayer()
    found = run(model, 3, {**REST, "variability": 0.2})
    expected = 0.2 * np.exp(-np.arange(4.0) / model.parameters["memory"])
    np.testing.assert_allclose(found.states["variability"], expected, rtol=1e-14)
    assert np.all(found.states["surface"] == 0)
    assert np.all(found.states["deep"] == 0)


def test_refuses_a_step_that_is_not_positive():
    with pytest.raises(ValueError, match="dt must be positive"):
        TwoLayer(dt=0.0)
