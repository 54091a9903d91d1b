"""Quasi-geostrophic flow: growth of baroclinic waves, Rossby waves, energy, and its orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import QuasiGeostrophic
from assim.problem.window import Window, integrate

GRAVITY = 9.81
LAYERS = {
    "coriolis": 0.9,
    "beta": 0.0,
    "reduced_gravity": 0.3,
    "upper_thickness": 1.0,
    "lower_thickness": 3.0,
    "upper_flow": 0.0,
    "lower_flow": 0.0,
    "drag": 0.0,
    "hyperviscosity": 0.0,
}
UPPER, LOWER = (0.9**2 / 0.3 / thickness for thickness in (1.0, 3.0))  # F_1, F_2
X, Y = np.meshgrid(2 * np.pi * np.arange(12) / 12, 2 * np.pi * np.arange(10) / 10)


def plane(dt=0.05, **parameters):
    """12 × 10 points: wavenumbers are whole numbers along x, and multiples of 6/5 along y."""
    given = {name: jnp.asarray(value) for name, value in {**LAYERS, **parameters}.items()}
    return QuasiGeostrophic(12, 10, 2 * np.pi / 12, dt, given)


def heights(upper, lower):
    """The state of two streamfunctions."""
    return {"ssh": jnp.asarray(upper * 0.9 / GRAVITY), "lower": jnp.asarray(lower * 0.9 / GRAVITY)}


def streamfunctions(x):
    return np.stack([x["ssh"], x["lower"]]) * GRAVITY / 0.9


def end(model, x, time):
    window = Window.at(model, [0.0, time])
    return jax.jit(lambda x: integrate(model, x, model.parameters, window).at_end())(x)


def smooth(seed=0):
    rng = np.random.default_rng(seed)
    modes = np.fft.rfft2(rng.normal(size=(2, 10, 12)))
    modes[:, :, 4:] = modes[:, 4:7] = 0
    return np.fft.irfft2(modes, (10, 12))


def grown(model, amplitudes, k, m, time):
    """Streamfunctions of the linear wave of complex amplitudes exp(i(kx + my)), about rest."""
    wave = np.exp(1j * (k * X + m * Y))
    start = heights(*(np.real(a * wave) for a in amplitudes))
    rest = jax.tree.map(jnp.zeros_like, start)
    return streamfunctions(jax.jvp(lambda x: end(model, x, time), (rest,), (start,))[1])


def test_a_baroclinic_wave_grows_as_the_linear_problem_has_it():
    """A dψ/dt = -ik(U A + Q_y) ψ + r κ² ψ_2 - ν₄ κ⁴ A ψ for q = A ψ: its fastest wave."""
    k, m = 1.0, 1
    square = k**2 + (m * 6 / 5) ** 2
    flow = np.array([3.0, 0.2])
    a = np.array([[-square - UPPER, UPPER], [LOWER, -square - LOWER]])
    gradient = 0.3 + np.array([UPPER, -LOWER]) * (flow[0] - flow[1])
    right = -1j * k * (np.diag(flow) @ a + np.diag(gradient)) - 1e-3 * square**2 * a
    right[1, 1] += 0.1 * square
    rates, vectors = np.linalg.eig(np.linalg.solve(a, right))
    rate, vector = rates[np.argmax(rates.real)], vectors[:, np.argmax(rates.real)]
    assert rate.real > 0.1  # it is unstable
    strong = {"beta": 0.3, "upper_flow": 3.0, "lower_flow": 0.2, "drag": 0.1}
    there = grown(plane(0.05, hyperviscosity=1e-3, **strong), vector, k, m, 1.0)
    wave = np.exp(rate + 1j * (k * X + m * Y))
    expected = np.stack([np.real(v * wave) for v in vector])
    np.testing.assert_allclose(there, expected, atol=1e-5 * np.max(np.abs(expected)))


def test_growth_of_equal_layers_is_phillips():
    """kU √((k_d² - k²)/(k_d² + k²)) for flows ± U, k_d² = 2F (Phillips 1954)."""
    k, u = 1.0, 0.8
    deep = 2 * 0.9**2 / 0.3
    rate = k * u * np.sqrt((deep - k**2) / (deep + k**2))
    equal = {"lower_thickness": 1.0, "upper_flow": u, "lower_flow": -u}
    # ψ_1 and ψ_2 of the growing wave differ in phase only: (σ + ikU) q_1 = -ik 2FU ψ_1.
    ratio = ((rate + 1j * k * u) * (k**2 + deep / 2) - 1j * k * deep * u) / (
        (rate + 1j * k * u) * deep / 2
    )
    there = grown(plane(0.05, **equal), (1.0, ratio), k, 0, 2.0)
    expected = np.exp(2 * rate) * np.real(np.stack([np.exp(1j * X), ratio * np.exp(1j * X)]))
    assert abs(abs(ratio) - 1) < 1e-12
    np.testing.assert_allclose(there, expected, atol=1e-5 * np.exp(2 * rate))


@pytest.mark.parametrize(
    ("upper", "lower", "stretching"),
    [(1.0, 1.0, 0.0), (3.0, -1.0, UPPER + LOWER)],
    ids=["barotropic", "baroclinic"],
)
def test_rossby_waves_travel_as_they_must(upper, lower, stretching):
    """ω = -β k/(κ² + 0 or F_1 + F_2), at any amplitude, and hyperviscous decay."""
    square = 2.0**2 + 1.2**2
    turn = 2.0 * 1.5 / (square + stretching)
    there = end(
        plane(0.05, beta=1.5, hyperviscosity=0.01),
        heights(upper * np.cos(2 * X + Y), lower * np.cos(2 * X + Y)),
        1.0,
    )
    wave = np.exp(-0.01 * square**2) * np.cos(2 * X + Y + turn)
    np.testing.assert_allclose(
        streamfunctions(there), np.stack([upper * wave, lower * wave]), atol=1e-6
    )


def energy(psi):
    """½ of the mean of H_1 |∇ψ_1|² + H_2 |∇ψ_2|² + f²/g' (ψ_1 - ψ_2)²."""
    along_x = np.fft.fftfreq(12, 1 / 12)[None, None, :]
    along_y = np.fft.fftfreq(10, 1 / 12)[None, :, None]
    modes = np.fft.fft2(psi)
    slopes = [np.fft.ifft2(1j * wave * modes).real for wave in (along_x, along_y)]
    kinetic = np.mean(slopes[0] ** 2 + slopes[1] ** 2, axis=(1, 2)) @ [1.0, 3.0]
    return (kinetic + UPPER * np.mean((psi[0] - psi[1]) ** 2)) / 2


def test_without_shear_and_friction_energy_is_conserved():
    """To the error of RK4, which falls with the fifth power of the step."""
    start, before = heights(*(3 * smooth())), energy(3 * smooth())
    changes = [
        abs(energy(streamfunctions(end(plane(dt, beta=1.0), start, 1.0))) / before - 1)
        for dt in (0.05, 0.025)
    ]
    assert changes[1] < 1e-4 and changes[0] / changes[1] > 20, changes


def test_converges_with_order_four():
    start = heights(*smooth())
    strong = {"beta": 1.0, "upper_flow": 1.0, "drag": 0.2, "hyperviscosity": 0.01}
    *coarse, fine = (end(plane(dt, **strong), start, 0.4) for dt in (0.05, 0.025, 0.003125))
    errors = [np.max(np.abs(streamfunctions(each) - streamfunctions(fine))) for each in coarse]
    assert abs(np.log2(errors[0] / errors[1]) - 4) < 0.4, errors


def test_means_stay():
    psi = smooth() + np.array([1.0, -2.0])[:, None, None]
    there = streamfunctions(end(plane(beta=1.0, upper_flow=1.0, drag=0.2), heights(*psi), 0.5))
    np.testing.assert_allclose(there.mean(axis=(1, 2)), psi.mean(axis=(1, 2)), rtol=1e-12)


def test_potential_vorticity_is_that_of_the_equations():
    psi = np.cos(3 * X), np.sin(2 * Y) + 1
    model = plane()
    upper, lower = model.potential_vorticity(heights(*psi), model.parameters)
    expected = -9 * psi[0] - UPPER * (psi[0] - psi[1])
    np.testing.assert_allclose(upper, expected, atol=1e-12)
    expected = -((2 * 1.2) ** 2) * np.sin(2 * Y) + LOWER * (psi[0] - psi[1])
    np.testing.assert_allclose(lower, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: QuasiGeostrophic(nx=3), "QuasiGeostrophic: nx must"),
        (lambda: QuasiGeostrophic(ny=8.0), "QuasiGeostrophic: ny must"),
        (lambda: QuasiGeostrophic(dx=0.0), "QuasiGeostrophic: dx must be positive"),
        (lambda: QuasiGeostrophic(dt=-1.0), "QuasiGeostrophic: dt must be positive"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
