"""Barotropic vorticity: what it conserves, waves that are exact, and its orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import BarotropicVorticity
from assim.problem.window import Window, integrate

FREE = dict.fromkeys(("beta", "drag", "viscosity", "hyperviscosity", "forcing"), 0.0)
X, Y = np.meshgrid(2 * np.pi * np.arange(16) / 16, 2 * np.pi * np.arange(12) / 12)


def plane(dt=0.1, **parameters):
    """16 × 12 points: wavenumbers are whole numbers along x, and multiples of 4/3 along y."""
    given = {name: jnp.asarray(value) for name, value in {**FREE, **parameters}.items()}
    return BarotropicVorticity(16, 12, 2 * np.pi / 16, dt, 1, given)


def end(model, vorticity, time):
    window = Window.at(model, [0.0, time])
    run = lambda x: integrate(model, {"vorticity": x}, model.parameters, window)  # noqa: E731
    return jax.jit(lambda x: run(x).at_end()["vorticity"])(jnp.asarray(vorticity))


def turbulence(seed=0):
    """Resolved waves alone, of mean zero."""
    modes = np.fft.rfft2(np.random.default_rng(seed).normal(size=(12, 16)))
    index_y = np.abs(np.fft.fftfreq(12, 1 / 12))[:, None]
    modes *= (np.arange(9) <= 5)[None, :] * (index_y <= 3)
    modes[0, 0] = 0
    return np.fft.irfft2(modes, (12, 16))


def energy_and_enstrophy(vorticity):
    psi = plane().streamfunction({"vorticity": jnp.asarray(vorticity)})
    return np.array([-np.mean(psi * vorticity) / 2, np.mean(np.square(vorticity)) / 2])


def test_advection_conserves_energy_and_enstrophy():
    """To the error of RK4, which falls with the fifth power of the step; the plane turns them."""
    start = turbulence()
    before, changes = energy_and_enstrophy(start), []
    for dt in (0.1, 0.05):
        after = energy_and_enstrophy(end(plane(dt, beta=1.5), start, 1.0))
        changes.append(np.abs(after / before - 1))
    assert np.all(changes[1] < 1e-5), changes
    assert np.all(changes[0] / changes[1] > 20), changes
    assert np.std(end(plane(0.05, beta=1.5), start, 1.0) - start) > 0.3 * np.std(start)


def test_rossby_wave_is_exact():
    """cos(kx + ly - ωt), ω = -β k/(k² + l²), and its decay, at any step."""
    k, l = 2.0, 2 * 4 / 3  # noqa: E741
    square = k**2 + l**2
    wave = lambda t: np.cos(k * X + 2 * Y + 1.5 * k / square * t)  # noqa: E731
    model = plane(0.7, beta=1.5, drag=0.1, viscosity=0.02, hyperviscosity=0.003)
    rate = 0.1 + 0.02 * square + 0.003 * square**2
    there = end(model, wave(0.0), 2.1)
    np.testing.assert_allclose(there, np.exp(-2.1 * rate) * wave(2.1), atol=1e-14)


def test_forcing_and_drag_come_to_balance():
    """ζ = A/r cos(2πy/L_y) is at rest, and from rest (1 - e^(-rt)) of it, to fourth order."""
    balance = np.cos(Y) * 0.6 / 0.3
    errors = []
    for dt in (0.2, 0.1):
        model = plane(dt, drag=0.3, forcing=0.6)
        there = end(model, np.zeros((12, 16)), 1.0)
        errors.append(np.max(np.abs(there - (1 - np.exp(-0.3)) * balance)))
    assert abs(np.log2(errors[0] / errors[1]) - 4) < 0.1, errors


def test_converges_with_order_four():
    run = lambda dt: end(plane(dt, beta=1.0, viscosity=0.05), turbulence(), 0.8)  # noqa: E731
    *coarse, fine = (run(dt) for dt in (0.1, 0.05, 0.00625))
    errors = [float(jnp.max(jnp.abs(each - fine))) for each in coarse]
    assert abs(np.log2(errors[0] / errors[1]) - 4) < 0.4, errors


def test_unresolved_waves_are_removed():
    short = np.cos(6 * X) + np.cos(4 * Y)
    there = end(plane(), turbulence() + short, 0.1)
    np.testing.assert_allclose(there, end(plane(), turbulence(), 0.1), atol=1e-13)


def test_streamfunction_is_that_of_the_vorticity():
    psi = plane().streamfunction({"vorticity": jnp.asarray(np.cos(3 * X) + 0.5)})
    np.testing.assert_allclose(psi, -np.cos(3 * X) / 9, atol=1e-15)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BarotropicVorticity(nx=3), "BarotropicVorticity: nx must"),
        (lambda: BarotropicVorticity(ny=8.0), "BarotropicVorticity: ny must"),
        (lambda: BarotropicVorticity(ny=12, bands=4), "bands must .* from 1 to 3 for ny = 12"),
        (lambda: BarotropicVorticity(dx=0.0), "BarotropicVorticity: dx must be positive"),
        (lambda: BarotropicVorticity(dt=-1.0), "BarotropicVorticity: dt must be positive"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
