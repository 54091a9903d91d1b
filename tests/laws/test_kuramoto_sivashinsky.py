"""Kuramoto–Sivashinsky: order in time, growth of small waves, the mean, and its coefficients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import KuramotoSivashinsky
from assim.models.kuramoto_sivashinsky import _phi
from assim.problem.window import Window, integrate

MODEL = KuramotoSivashinsky(16, 0.1, 20.0)
CHAOTIC = np.random.default_rng(0).normal(size=16)


def end(model, u, time):
    window = Window.at(model, [0.0, time])
    run = lambda u: integrate(model, {"u": u}, model.parameters, window).at_end()["u"]  # noqa: E731
    return jax.jit(run)(jnp.asarray(u))


def test_converges_with_order_four():
    *coarse, fine = (
        end(KuramotoSivashinsky(16, dt, 20.0), CHAOTIC, 0.8) for dt in (0.1, 0.05, 0.00625)
    )
    errors = [float(jnp.max(jnp.abs(each - fine))) for each in coarse]
    assert abs(np.log2(errors[0] / errors[1]) - 4) < 0.3, errors


@pytest.mark.parametrize("speed", [0.0, 0.7])
def test_small_waves_grow_and_travel(speed):
    """About u = c, cos kx becomes exp((k² - k⁴) t) cos k(x - ct): for c = 0 at any step."""
    model = KuramotoSivashinsky(16, 0.01 if speed else 2.0, 20.0)
    x = model.labels().coordinates["x"].values
    mean = jnp.full(16, speed)
    for index in (1, 3, 5):
        k = 2 * np.pi * index / 20.0
        wave = jnp.asarray(np.cos(k * x))
        grown = jax.jvp(lambda u: end(model, u, 2.0), (mean,), (wave,))[1]
        expected = np.exp(2 * (k**2 - k**4)) * np.cos(k * (x - 2 * speed))
        np.testing.assert_allclose(grown, expected, atol=1e-7 if speed else 1e-13)


def test_the_mean_is_conserved():
    there = end(MODEL, CHAOTIC, 20.0)
    assert abs(np.mean(there) - np.mean(CHAOTIC)) < 1e-14
    assert np.std(there) > 0.3  # it has not died out


def test_advection_of_resolved_waves_is_not_aliased():
    """-u ∂u/∂x of one wave is one of half its length: gone where that is beyond two thirds."""
    x = np.arange(16) * 2 * np.pi / 16
    for index in (1, 2, 3, 5, 7):
        modes = MODEL._advection(jnp.fft.rfft(jnp.asarray(np.cos(index * x))))
        k = index * 2 * np.pi / 20.0
        expected = k / 2 * np.sin(2 * index * x) if 2 * index < 16 / 3 else 0 * x
        np.testing.assert_allclose(jnp.fft.irfft(modes, 16), expected, atol=1e-14)


def test_coefficients_are_those_of_contour_integrals():
    """φ(z) is the mean of φ over a circle about z, far from 0: Kassam & Trefethen (2005)."""
    z = np.concatenate([-np.logspace(-12, 2, 80), [0.0, 1e-7, 0.3, 0.999, 1.001, 2.0]])
    circle = 2 * np.exp(1j * np.pi * (np.arange(64) + 0.5) / 32)
    about = z[:, None] + circle
    phi1 = (np.exp(about) - 1) / about
    phi2 = (phi1 - 1) / about
    for phi, value in zip((phi1, phi2, (phi2 - 0.5) / about), _phi(jnp.asarray(z)), strict=True):
        np.testing.assert_allclose(value, phi.mean(axis=1).real, rtol=3e-13)


def test_coefficients_have_derivatives_everywhere():
    """φ₁' = φ₁ - φ₂ and φ₂' = φ₂ - 2 φ₃: at 0, about the change of formula, and far off."""
    z = jnp.asarray([-50.0, -1.0, -0.999, 0.0, 0.999, 1.0])
    (phi1, phi2, phi3), (slope1, slope2, _) = jax.jvp(_phi, (z,), (jnp.ones_like(z),))
    np.testing.assert_allclose(slope1, phi1 - phi2, rtol=1e-13)
    np.testing.assert_allclose(slope2, phi2 - 2 * phi3, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KuramotoSivashinsky(n=3), "KuramotoSivashinsky: n must"),
        (lambda: KuramotoSivashinsky(dt=0.0), "KuramotoSivashinsky: dt must be positive"),
        (lambda: KuramotoSivashinsky(length=0.0), "KuramotoSivashinsky: length must be positive"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
