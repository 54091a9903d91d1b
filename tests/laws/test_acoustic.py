"""Acoustic waves against plane waves, their energy, and what a larger domain would have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import Acoustic
from assim.problem.window import Window, integrate

THETA = {"density": 1.3, "amplitude": 2.0, "frequency": 10.0}


def model_of(*arguments, edge=0, **named):
    theta = {name: jnp.asarray(value) for name, value in (THETA | named.pop("theta", {})).items()}
    return Acoustic(*arguments, edge=edge, parameters=theta, **named)


def run(model, x, steps):
    window = Window.regular(model, steps)
    return jax.jit(lambda x: integrate(model, x, model.parameters, window))(x).states


def still(model, speed=1.0):
    x = {name: jnp.zeros(shape) for name, shape in model.labels().shapes().items()}
    return x | {"speed": jnp.full((model.ny, model.nx), speed)}


def places(model, field):
    y, x = (np.asarray(axis.values) for axis in model.labels().axes(field))
    return np.meshgrid(x, y)


# ---- inside --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(("kx", "ky"), [(1, 0), (0, 1), (1, -2)])
def test_plane_waves_converge_with_the_order(kx, ky, order):
    """p = cos(k·x - ω t), ρ c (u, v) = p k/|k|, ω = c |k|; velocities half a step before.

    In time leapfrog is of second order: steps shrink as dx to half the order.
    """
    errors, c = [], 1.7
    for n in (16, 32):
        steps = 2 * n ** (order // 2) // (1 if order == 2 else 4)
        model = model_of(n, n, 1 / n, 0.8 / steps / c, order=order)
        k = 2 * np.pi * np.array([kx, ky])

        def wave(name, t, model=model, k=k):
            x, y = places(model, name)
            return jnp.asarray(np.cos(k[0] * x + k[1] * y - c * np.hypot(*k) * t))

        velocity = k / np.hypot(*k) / (THETA["density"] * c)
        start = still(model, c) | {
            "p": wave("p", 0.0),
            "u": velocity[0] * wave("u", -model.dt / 2),
            "v": velocity[1] * wave("v", -model.dt / 2),
        }
        end = run(model, start, steps)
        errors.append(float(jnp.max(jnp.abs(end["p"][-1] - wave("p", steps * model.dt)))))
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.15, errors


@pytest.mark.parametrize("order", [2, 4])
def test_energy_is_conserved_to_rounding(order):
    """½ p²/(ρ c²) + ½ ρ u⁻ u⁺ of any field, with any wave speed."""
    model = model_of(9, 7, 1.0, 0.15, order=order)
    noise = jnp.asarray(np.random.default_rng(0).normal(size=(4, 7, 9)))
    start = {"p": noise[0], "u": noise[1], "v": noise[2], "speed": 2 + 0.3 * noise[3]}
    states = run(model, start, 200)
    density = THETA["density"]
    potential = states["p"][:-1] ** 2 / (2 * density * states["speed"][:-1] ** 2)
    kinetic = sum(density / 2 * states[n][:-1] * states[n][1:] for n in ("u", "v"))
    energy = np.asarray(jnp.sum(potential + kinetic, (1, 2)))
    np.testing.assert_allclose(energy, energy[0], rtol=1e-12)
    assert np.std(np.asarray(jnp.sum(potential, (1, 2)))) > 0.01 * energy[0]
    np.testing.assert_array_equal(states["speed"][-1], start["speed"])


def test_a_wave_passes_into_another_medium_by_its_impedance():
    """Head on, p is reflected by (c2 - c1)/(c2 + c1) where ρ is the same."""
    model = model_of(200, 4, 1.0, 0.2)
    x = places(model, "p")[0]
    first, second = 1.0, 2.0
    pulse = lambda x: np.exp(-(((x - 40) / 6) ** 2))  # noqa: E731
    start = still(model) | {
        "p": jnp.asarray(pulse(x)),
        "u": jnp.asarray(pulse(places(model, "u")[0] + 0.1)) / (THETA["density"] * first),
        "speed": jnp.asarray(np.where(x < 80, first, second)),
    }
    p = np.asarray(run(model, start, 350)["p"][-1][0])
    ratio = (second - first) / (second + first)
    assert p[:80].max() == pytest.approx(ratio, rel=0.02)
    assert p[80:].max() == pytest.approx(1 + ratio, rel=0.02)


def test_a_shot_is_heard_when_sound_has_come():
    """The mean across a ring of length L, as in one dimension: A w(t - t_k - r/c)/(2 c L)."""
    model = model_of(160, 4, 1.0, 0.25, [[80.5, 2.0, 40.0]], theta={"frequency": 0.03})
    p = np.asarray(run(model, still(model), 440)["p"])[:, :, 100].mean(axis=1)
    a = (np.pi * 0.03 * (0.25 * np.arange(441) - 40.0 - 20.0)) ** 2
    expected = THETA["amplitude"] / (2 * 4.0) * (1 - 2 * a) * np.exp(-a)
    assert np.max(np.abs(p - expected)) < 0.03 * np.max(expected)


def test_shots_add_up():
    shots = [[3.0, 4.0, 1.0], [7.5, 2.0, 2.0]]
    models = [model_of(10, 8, 1.0, 0.2, given) for given in (shots, shots[:1], shots[1:], [])]
    both, first, second, none = (run(m, still(m), 20)["p"][-1] for m in models)
    np.testing.assert_allclose(both, first + second, atol=1e-14)
    np.testing.assert_array_equal(none, 0.0)


# ---- edges ---------------------------------------------------------------------------------------


def test_an_absorbing_edge_takes_a_plane_wave():
    """Ten cells a wavelength, head on: below one per cent comes back, or round the ring."""
    layers = model_of(100, 100, 1.0, 0.4, edge=15, reference_speed=1.0)
    x = places(layers, "p")[0]
    packet = lambda x: np.exp(-(((x - 50) / 10) ** 2)) * np.cos(2 * np.pi * x / 10)  # noqa: E731
    start = still(layers) | {
        "p": jnp.asarray(packet(x)),
        "u": jnp.asarray(packet(places(layers, "u")[0] + 0.2)) / THETA["density"],
    }
    row = np.abs(np.asarray(run(layers, start, 300)["p"])[:, 50])
    assert row[75, 75:85].max() > 0.8  # it has come to the layer
    assert row[200:, 15:85].max() < 0.01


def test_absorbing_edges_are_as_good_as_a_larger_domain():
    """A shot heard at all distances and angles from the edges, within 1 % of its maximum."""
    theta = {"frequency": 0.1}
    small, large = (
        model_of(n, n, 1.0, 0.4, [[at, at + 8.0, 12.0]], edge=e, reference_speed=1.0, theta=theta)
        for n, at, e in ((60, 22.5, 15), (200, 92.5, 0))
    )
    inside = slice(15, 45)
    p = run(small, still(small), 200)["p"][:, inside, inside]
    exact = run(large, still(large), 200)["p"][:, 85:115, 85:115]
    error = jnp.max(jnp.abs(p - exact), (1, 2))
    assert float(jnp.max(error)) < 0.01 * float(jnp.max(jnp.abs(exact))), error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nx": 3}, "Acoustic: nx must be a whole number of at least 4, got 3"),
        ({"dt": 0.0}, "Acoustic: dt must be positive"),
        ({"order": 3}, "Acoustic: order must be 2 or 4, got 3"),
        ({"nx": 20, "edge": 10}, "Acoustic: edge must be from 0 to less than half"),
        ({"shots": [[1.0, 2.0]]}, "Acoustic: a shot must be three numbers"),
        ({"shots": [[1.0, 900.0, 0.0]]}, "with x and y inside the domain"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        Acoustic(**arguments)
