"""Transport of a tracer against exact puffs and plumes, and its budget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad_vec

from assim.models import Transport
from assim.problem.forcing import Forcing
from assim.problem.window import Window, integrate

CALM = {"diffusivity": 0.0}


def run(model, x, steps):
    window = Window.regular(model, 1, steps)
    return jax.jit(lambda x: integrate(model, x, model.parameters, window))(x).at_end()


def clean(model):
    return {name: jnp.zeros(shape) for name, shape in model.labels().shapes().items()}


def places(model):
    axes = model.labels().axes("concentration")
    return np.meshgrid(*(np.asarray(axis.values) for axis in axes), indexing="ij")


def puff(model, centre, variance):
    """A Gaussian of mass one in a layer of thickness dz."""
    y, x = places(model)
    square = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    return np.exp(-square / (2 * variance)) / (2 * np.pi * variance * model.dz)


def mass(model, x):
    return float(jnp.sum(x["concentration"]) * model.dx**2 * model.dz)


# ---- a single layer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta", "expected"),
    [({"wind_x": 1.0, "diffusivity": 0.0}, 3), ({"wind_x": 0.0, "diffusivity": 0.005}, 2)],
    ids=["advection", "diffusion"],
)
@pytest.mark.parametrize("along", ["x", "y"])
def test_orders_in_space(theta, expected, along):
    """A front across the wind, in a domain that is four cells wide; dt follows the cells."""
    errors = []
    for n in (50, 100):
        nx, ny = (n, 4) if along == "x" else (4, n)
        given = {"diffusivity": theta["diffusivity"], f"wind_{along}": theta["wind_x"]}
        dt = 0.4 / n if theta["wind_x"] else 20.0 / n**2
        model = Transport(nx, ny, dx=1 / n, dz=1.0, dt=dt, width=1.0, parameters=given)
        at, t = places(model)[1 if along == "x" else 0], 0.08
        variance = 0.08**2

        def exact(t, at=at, variance=variance):
            wide = variance + 2 * theta["diffusivity"] * t
            distance = at - 0.45 - theta["wind_x"] * t
            return jnp.asarray(np.exp(-(distance**2) / (2 * wide)) / np.sqrt(wide))

        end = run(model, clean(model) | {"concentration": exact(0.0)}, round(t / dt))
        errors.append(float(jnp.max(jnp.abs(end["concentration"] - exact(t)))))
    assert abs(np.log2(errors[0] / errors[1]) - expected) < 0.15, errors


def test_a_puff_is_carried_spreads_and_decays():
    """In a wind that turns, from (0.3, 0.3) by ∫ (u, v) dt, where u is linear in time."""
    theta = {"diffusivity": 0.004, "decay": 1.5, "wind_y": 0.6, "wind_x": 0.2}
    turning = Forcing([0.0, 1.0], [0.0, 1.0], "m s-1")
    model = Transport(64, 64, 1, 1 / 64, 2.0, 0.01, 1.0, wind_x=turning, parameters=theta)
    start = clean(model) | {"concentration": jnp.asarray(puff(model, (0.3, 0.3), 0.004))}
    t = 0.5
    end = run(model, start, 50)["concentration"]
    centre = (0.3 + 0.2 * t + t**2 / 2, 0.3 + 0.6 * t)
    exact = np.exp(-1.5 * t) * puff(model, centre, 0.004 + 2 * 0.004 * t)
    assert np.max(np.abs(end - exact)) < 0.01 * np.max(exact)


def test_a_plume_of_a_release():
    """Puffs of all ages: ∫ Q exp(-λτ) N(x; x_s + uτ, width² + 2 K τ) dτ."""
    theta = {"diffusivity": 0.005, "decay": 0.3, "wind_x": 1.0}
    theta |= {"release_rate": 3.0, "release_x": 0.23, "release_y": 0.52}
    model = Transport(60, 60, 1, 1 / 60, 2.0, 0.005, 0.03, parameters=theta)
    t = 0.3

    def aged(age):
        centre = (0.23 + age, 0.52)
        return 3.0 * np.exp(-0.3 * age) * puff(model, centre, 0.03**2 + 2 * 0.005 * age)

    exact, _ = quad_vec(aged, 0.0, t, epsabs=1e-6)
    end = run(model, clean(model), 60)
    error = np.abs(np.asarray(end["concentration"]) - exact)
    assert np.max(error) < 0.01 * np.max(exact)
    assert abs(mass(model, end) - 3.0 * (1 - np.exp(-0.3 * t)) / 0.3) < 1e-9


def test_undershoots_are_small_where_a_plume_is_resolved():
    """A footprint of 1.5 cells in a wind without diffusion."""
    theta = CALM | {"wind_x": 1.0, "wind_y": 0.5}
    theta |= {"release_rate": 1.0, "release_x": 6.0, "release_y": 8.0}
    model = Transport(40, 24, 1, 1.0, 1.0, 0.5, 1.5, parameters=theta)
    c = run(model, clean(model), 40)["concentration"]
    assert -0.03 * jnp.max(c) < jnp.min(c)


# ---- mass ----------------------------------------------------------------------------------------


def test_mass_is_what_was_there_and_what_was_emitted():
    theta = {"diffusivity": 0.002, "wind_x": 0.5, "wind_y": -0.3}
    theta |= {"release_rate": 3.0, "release_x": 0.4, "release_y": 0.6}
    model = Transport(40, 40, 1, 1 / 40, 2.0, 0.01, 2 / 40, parameters=theta)
    emission = np.zeros((40, 40))
    emission[20:22, 18:20] = 100.0
    c = jnp.asarray(puff(model, (0.4, 0.6), 0.001))
    start = {"concentration": c, "emission": jnp.asarray(emission)}
    expected = mass(model, start) + (3.0 + 400.0 / 40**2) * 0.08
    assert abs(mass(model, run(model, start, 8)) - expected) < 1e-13


def test_decay_and_deposition_are_exponential():
    theta = CALM | {"decay": 0.7, "deposition": 0.6}
    model = Transport(4, 4, 1, 1.0, 2.0, 0.01, parameters=theta)
    end = run(model, {"concentration": jnp.ones((4, 4)), "emission": jnp.zeros((4, 4))}, 100)
    np.testing.assert_allclose(end["concentration"], np.exp(-0.7 - 0.6 / 2.0), rtol=1e-9)


@pytest.mark.parametrize("wind", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
def test_what_leaves_does_not_come_back(wind):
    theta = {"diffusivity": 0.05, "wind_x": wind[0], "wind_y": wind[1]}
    model = Transport(12, 12, 1, 1.0, 1.0, 0.5, parameters=theta)
    x, left = clean(model) | {"concentration": jnp.ones((12, 12))}, [144.0]
    for _ in range(4):
        x = run(model, x, 8)
        left.append(mass(model, x))
    assert np.all(np.diff(left) < 0)
    assert left[1] == pytest.approx(144.0 * (1 - 4 / 12), rel=0.01)
    assert abs(left[-1]) < 0.5


def test_a_release_outside_emits_nothing():
    theta = {"release_rate": 1.0, "release_x": -50.0, "release_y": 5.0}
    model = Transport(8, 8, 1, 1.0, 1.0, 0.01, 1.0, parameters=theta)
    assert abs(mass(model, run(model, clean(model), 5))) < 1e-15


def test_a_release_lasts_as_long_as_its_series_says():
    theta = CALM | {"release_rate": 2.0, "release_x": 6.0, "release_y": 6.0}
    burst = Forcing([0.0, 0.2, 0.3, 1.0], [0.0, 1.0, 0.0], "1", "steps")
    model = Transport(12, 12, 1, 1.0, 1.0, 0.1, 1.0, release=burst, parameters=theta)
    before, after = (mass(model, run(model, clean(model), steps)) for steps in (1, 6))
    assert before == 0
    assert after == pytest.approx(2.0 * 0.1, rel=2e-8)


def test_a_rate_that_changes_is_linear_between_its_times():
    """Mass is its integral: 0.3 s at 1 kg/s, up to 3 within 0.2 s, which then lasts."""
    theta = CALM | {"release_x": 6.0, "release_y": 6.0}
    theta |= {"release_rate_0": 1.0, "release_rate_1": 3.0}
    model = Transport(12, 12, 1, 1.0, 1.0, 0.1, 1.0, release_times=[0.3, 0.5], parameters=theta)
    assert "release_rate" not in model.parameters
    emitted = [mass(model, run(model, clean(model), steps)) for steps in (3, 5, 7)]
    np.testing.assert_allclose(emitted, [0.3, 0.3 + 0.4, 0.3 + 0.4 + 0.6], rtol=2e-8)


def test_fields_enter_linearly():
    theta = {"wind_x": 0.7, "decay": 0.1, "deposition": 0.2}
    model = Transport(6, 5, 3, 1.0, 0.7, 0.02, parameters=theta)
    rng = np.random.default_rng(0)
    shapes = model.labels().shapes().items()
    a, b = ({name: jnp.asarray(rng.normal(size=s)) for name, s in shapes} for _ in range(2))
    both = {name: 2 * a[name] - b[name] for name in a}
    ends = [run(model, x, 3)["concentration"] for x in (a, b, both)]
    np.testing.assert_allclose(ends[2], 2 * ends[0] - ends[1], rtol=1e-12, atol=1e-13)


# ---- levels --------------------------------------------------------------------------------------


def test_vertical_diffusion_converges_with_order_two():
    """cos(πz/H) exp(-K (π/H)² t), between a ground and a top that nothing passes."""
    errors = []
    for nz in (8, 16):
        theta = CALM | {"vertical_diffusivity": 0.3}
        model = Transport(4, 4, nz, 1.0, 1 / nz, 0.002, parameters=theta)
        mode = jnp.asarray(np.cos(np.pi * places(model)[0]))
        end = run(model, clean(model) | {"concentration": 1 + mode}, 100)["concentration"]
        exact = 1 + mode * np.exp(-0.3 * np.pi**2 * 0.2)
        errors.append(float(jnp.max(jnp.abs(end - exact))))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.1, errors


def test_deposition_is_the_flux_to_the_ground():
    """Slowest mode: cos(k (H - z)) exp(-K k² t) with K k tan(k H) = w; of first order in dz."""
    errors = []
    for nz in (16, 32):
        k, diffusivity = 0.8, 0.5
        theta = CALM | {"vertical_diffusivity": diffusivity}
        theta |= {"deposition": diffusivity * k * np.tan(k)}
        model = Transport(4, 4, nz, 1.0, 1 / nz, 5e-4, parameters=theta)
        mode = jnp.asarray(np.cos(k * (1 - places(model)[0])))
        end = run(model, clean(model) | {"concentration": mode}, 100)["concentration"]
        exact = mode * np.exp(-diffusivity * k**2 * 0.05)
        errors.append(float(jnp.max(jnp.abs(end - exact))))
    assert 0.7 < np.log2(errors[0] / errors[1]) < 1.3, errors
    assert errors[1] < 0.01


def test_wind_grows_with_height():
    theta = CALM | {"wind_x": 2.0, "shear": 0.25, "vertical_diffusivity": 0.0}
    model = Transport(60, 4, 3, 10.0, 40.0, 1.0, parameters=theta)
    z, _, x = places(model)
    start = clean(model) | {"concentration": jnp.asarray(np.exp(-(((x - 150) / 40) ** 2) / 2))}
    end = np.asarray(run(model, start, 60)["concentration"])
    moved = np.sum(end * x, axis=(1, 2)) / np.sum(end, axis=(1, 2)) - 150
    np.testing.assert_allclose(moved, 60 * 2.0 * (z[:, 0, 0] / 10) ** 0.25, rtol=1e-4)


def test_sources_are_at_their_heights():
    theta = CALM | {"vertical_diffusivity": 0.0}
    theta |= {"release_rate": 2.0, "release_x": 10.0, "release_y": 10.0, "release_z": 45.0}
    model = Transport(20, 20, 6, 1.0, 10.0, 0.1, 1.0, parameters=theta)
    ground = clean(model) | {"emission": jnp.full((20, 20), 0.5)}
    there = np.asarray(run(model, ground, 10)["concentration"]).sum(axis=(1, 2)) * 10.0
    height = 10.0 * (np.arange(6) + 0.5)
    assert there.sum() == pytest.approx(2.0 + 0.5 * 400, rel=1e-9)
    there[0] -= 0.5 * 400
    np.testing.assert_allclose(np.sum(there * height) / there.sum(), 45.0, atol=3.0)
    assert np.argmax(there) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nx": 3}, "Transport: nx must be a whole number of at least 4, got 3"),
        ({"nz": 0}, "Transport: nz must be a whole number of at least 1, got 0"),
        ({"dz": 0.0}, "Transport: dz must be positive"),
        ({"width": 99.0}, "Transport: width must be at least dx = 100, got 99.0"),
        ({"parameters": {"shear": 0.1}}, "no parameter 'shear'; there are wind_x"),
        ({"release_times": [0.0, 0.0]}, "Transport: release_times must increase, got"),
        (
            {"release_times": [0.0], "parameters": {"release_rate": 0.1}},
            "no parameter 'release_rate'; there are .*release_rate_0",
        ),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        Transport(**arguments)
