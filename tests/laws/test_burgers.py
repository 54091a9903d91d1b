"""Burgers' equation against the solution by Cole and Hopf, and what it conserves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import Burgers
from assim.problem.window import Window, integrate


def end(model, u, time):
    window = Window.at(model, [0.0, time])
    return jax.jit(lambda u: integrate(model, {"u": u}, model.parameters, window).at_end()["u"])(u)


def cole_hopf(x, t, viscosity, length, a=0.95, speed=0.4):
    """u = c - 2ν φ'/φ (x - ct), φ = 1 + a cos(kx) exp(-νk²t), a solution of the heat equation."""
    k = 2 * np.pi / length
    a, moved = a * np.exp(-viscosity * k**2 * t), k * (x - speed * t)
    return speed + 2 * viscosity * k * a * np.sin(moved) / (1 + a * np.cos(moved))


def test_meets_cole_and_hopf_with_order_two_in_space():
    errors = []
    for n in (32, 64, 128):
        model = Burgers(n, dt=0.005, length=2.0, parameters={"viscosity": jnp.asarray(0.03)})
        x = model.labels().coordinates["x"].values
        u = end(model, jnp.asarray(cole_hopf(x, 0.0, 0.03, 2.0)), 1.0)
        errors.append(np.max(np.abs(u - cole_hopf(x, 1.0, 0.03, 2.0))))
    assert abs(np.log2(errors[1] / errors[2]) - 2) < 0.1, errors
    assert errors[2] < 2e-3 * np.ptp(cole_hopf(x, 1.0, 0.03, 2.0))


def test_converges_with_order_four_in_time():
    u = jnp.sin(2 * jnp.pi * jnp.arange(16.0) / 16)
    *coarse, fine = (end(Burgers(16, dt), u, 0.4) for dt in (0.04, 0.02, 0.0025))
    errors = [float(jnp.max(jnp.abs(each - fine))) for each in coarse]
    assert abs(np.log2(errors[0] / errors[1]) - 4) < 0.4, errors


@pytest.mark.parametrize("viscosity", [0.0, 0.01])
def test_conserves_momentum_and_only_viscosity_takes_energy(viscosity):
    """d/dt Σ u²/2 = -ν Σ ((u_{i+1} - u_i)/dx)²."""
    u = jnp.asarray(np.random.default_rng(0).normal(size=17))
    model = Burgers(17, dt=1e-7, parameters={"viscosity": jnp.asarray(viscosity)})
    change = (model.step({"u": u}, model.parameters, 0.0)["u"] - u) / model.dt
    assert abs(jnp.sum(change)) < 1e-9 * jnp.sum(jnp.abs(change))
    lost = viscosity * np.sum((np.roll(u, -1) - u) ** 2) * 17**2
    assert abs(jnp.vdot(u, change) + lost) < 1e-5 * jnp.sum(jnp.abs(u * change))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Burgers(n=2), "Burgers: n must"),
        (lambda: Burgers(dt=0.0), "Burgers: dt must be positive"),
        (lambda: Burgers(length=-1.0), "Burgers: length must be positive"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
