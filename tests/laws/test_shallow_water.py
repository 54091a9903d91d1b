"""Shallow water against what it conserves, its waves and balances, and its equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import ShallowWater
from assim.problem.window import Window, integrate

STILL = {
    "gravity": 1.0,
    "coriolis": 0.0,
    "beta": 0.0,
    "drag": 0.0,
    "viscosity": 0.0,
    "wind_stress": 0.0,
}
BOTH = pytest.mark.parametrize("closed", [False, True], ids=["periodic", "closed"])


def model_of(nx, ny, length=1.0, dt=1e-3, closed=False, **parameters):
    theta = {name: jnp.asarray(value) for name, value in (STILL | parameters).items()}
    closed_x, closed_y = (closed, closed) if isinstance(closed, bool) else closed
    return ShallowWater(nx, ny, length / nx, dt, closed_x, closed_y, theta)


def run(model, x, steps):
    window = Window.regular(model, 1, steps)
    return jax.jit(lambda x: integrate(model, x, model.parameters, window))(x).at_end()


def tendency(model, x):
    """By one step that is too short for the second derivative to be seen."""
    y = jax.jit(lambda x: model.step(x, model.parameters, jnp.zeros(())))(x)
    return {name: (y[name] - x[name]) / model.dt for name in x}


def places(model, field):
    """x and y of the points of a field, shape (ny, nx) each."""
    labels = model.labels()
    y, x = (np.asarray(axis.values) for axis in labels.axes(field))
    return np.meshgrid(x, y)


def vortices(model, length=1.0):
    """A flow that keeps to walls: u vanishes at x = 0 and L/2, v at y = 0 and L/2."""
    k = 2 * np.pi / length

    def thickness(x, y):
        return 1 + 0.1 * jnp.cos(k * x) * jnp.cos(k * y)

    def along_x(x, y):
        return 0.2 * jnp.sin(k * x) * jnp.cos(k * y)

    def along_y(x, y):
        return -0.3 * jnp.cos(k * x) * jnp.sin(k * y)

    functions = {"h": thickness, "u": along_x, "v": along_y}
    return functions, {n: jnp.asarray(f(*places(model, n))) for n, f in functions.items()}


def energy(model, x):
    g, h = model.parameters["gravity"], x["h"]
    east, north = jnp.roll(x["u"], -1, 1), jnp.roll(x["v"], -1, 0)
    kinetic = (x["u"] ** 2 + east**2 + x["v"] ** 2 + north**2) / 4
    return float(jnp.sum(h * kinetic + g * h**2 / 2))


# ---- what is conserved ---------------------------------------------------------------------------


@BOTH
def test_mass_is_conserved(closed):
    model = model_of(12, 12, 0.5 if closed else 1.0, 0.01, closed, coriolis=3.0, viscosity=0.01)
    x = vortices(model)[1]
    np.testing.assert_allclose(jnp.sum(run(model, x, 50)["h"]), jnp.sum(x["h"]), rtol=1e-14)


@BOTH
def test_energy_is_conserved_but_for_the_step(closed):
    changes = []
    for steps in (10, 20, 40):
        model = model_of(8, 8, 0.5 if closed else 1.0, 0.3 / steps, closed, coriolis=3.0, beta=1.0)
        x = vortices(model)[1]
        changes.append(abs(energy(model, run(model, x, steps)) / energy(model, x) - 1))
    orders = np.log2(np.divide(changes[:-1], changes[1:]))
    assert np.all(orders > 3.9), changes
    assert changes[-1] < 1e-7


def test_drag_and_viscosity_take_energy():
    for name in ("drag", "viscosity"):
        model = model_of(8, 8, dt=0.01, **{name: 0.1})
        x = vortices(model)[1]
        assert energy(model, run(model, x, 10)) < energy(model, x) * (1 - 1e-5)


# ---- the equations -------------------------------------------------------------------------------


def exact(functions, theta, length, x, y, middle):
    """The right-hand side, with derivatives of the functions themselves, at one point."""
    h, u, v = (functions[name] for name in ("h", "u", "v"))

    def head(x, y):
        return theta["gravity"] * h(x, y) + (u(x, y) ** 2 + v(x, y) ** 2) / 2

    def laplacian(f):
        second = jax.grad(jax.grad(f, 0), 0)(x, y) + jax.grad(jax.grad(f, 1), 1)(x, y)
        return theta["viscosity"] * second - theta["drag"] * f(x, y)

    spin = jax.grad(v, 0)(x, y) - jax.grad(u, 1)(x, y)
    turn = theta["coriolis"] + theta["beta"] * (y - middle) + spin
    wind = -theta["wind_stress"] * jnp.cos(2 * jnp.pi * y / length) / (1000 * h(x, y))
    return {
        "h": -jax.grad(lambda x, y: h(x, y) * u(x, y), 0)(x, y)
        - jax.grad(lambda x, y: h(x, y) * v(x, y), 1)(x, y),
        "u": turn * v(x, y) - jax.grad(head, 0)(x, y) + laplacian(u) + wind,
        "v": -turn * u(x, y) - jax.grad(head, 1)(x, y) + laplacian(v),
    }


@BOTH
def test_equations_are_met_with_order_two(closed):
    """Every term on, and at walls as in the middle; β in a closed domain, which has no seam."""
    errors, length = [], 0.5 if closed else 1.0
    everything = {
        "coriolis": 3.0,
        "beta": 2.0 if closed else 0.0,
        "drag": 0.2,
        "viscosity": 0.05,
        "wind_stress": 500.0,
    }
    for n in (16, 32):
        model = model_of(n, n, length, 1e-7, closed, **everything)
        functions, x = vortices(model)
        found, worst = tendency(model, x), {}
        for name in x:
            at = [jnp.asarray(a).ravel() for a in places(model, name)]
            right = jax.vmap(
                lambda x, y, f=functions, m=model: exact(f, m.parameters, length, x, y, length / 2)
            )(*at)[name].reshape(x[name].shape)
            inner = jnp.asarray(np.asarray(places(model, name)).min(axis=0) > 0) | (not closed)
            moved = jnp.abs(found[name] - right) * inner  # on a wall itself nothing moves
            worst[name] = float(jnp.max(moved))
        errors.append(worst)
    for name in errors[0]:
        assert abs(np.log2(errors[0][name] / errors[1][name]) - 2) < 0.2, (name, errors)


def test_a_layer_at_rest_stays():
    model = model_of(5, 4, 1.0, 0.1, True, coriolis=2.0, beta=1.0, drag=0.1, viscosity=0.1)
    rest = {"h": jnp.full((4, 5), 1.3), "u": jnp.zeros((4, 5)), "v": jnp.zeros((4, 5))}
    for name, value in run(model, rest, 5).items():
        np.testing.assert_array_equal(value, rest[name])


def test_a_geostrophic_jet_stays_but_for_order_two():
    """f u = -g ∂h/∂y along y: nothing moves but v, by the error of the differences."""
    pushes = []
    for n in (16, 32):
        model = model_of(4, n, 4.0 / n, 1e-7, coriolis=5.0)
        k = 2 * np.pi
        x = {
            "h": jnp.asarray(1 + 0.1 * np.cos(k * places(model, "h")[1])),
            "u": jnp.asarray(0.1 * k / 5.0 * np.sin(k * places(model, "u")[1])),
            "v": jnp.zeros((n, 4)),
        }
        pushed = tendency(model, x)
        assert max(float(jnp.max(jnp.abs(pushed[name]))) for name in ("h", "u")) < 1e-7
        pushes.append(float(jnp.max(jnp.abs(pushed["v"]))))
    assert abs(np.log2(pushes[0] / pushes[1]) - 2) < 0.1, pushes
    assert pushes[1] < 0.01 * 0.1 * 2 * np.pi  # of what either force does alone


@pytest.mark.parametrize("axis", ["x", "y"])
def test_gravity_waves_run_at_the_root_of_g_h(axis):
    """A long wave of a millionth: h' = cos k(x - c t), u' = (c/H) h', c = √(g H)."""
    errors, depth, small = [], 4.0, 1e-6
    for n in (16, 32):
        size, velocity = ((n, 3), "u") if axis == "x" else ((3, n), "v")
        model = model_of(*size, 1.0 if axis == "x" else 3.0 / n, 1 / 2000)

        def wave(name, t, model=model):
            x = places(model, name)[0 if axis == "x" else 1]
            return small * jnp.asarray(np.cos(2 * np.pi * (x - 2.0 * t)))

        start = {name: jnp.zeros((model.ny, model.nx)) for name in ("u", "v")}
        start |= {"h": depth + wave("h", 0.0), velocity: 2.0 / depth * wave(velocity, 0.0)}
        end = run(model, start, 400)
        errors.append(float(jnp.max(jnp.abs(end["h"] - depth - wave("h", 0.2)))) / small)
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.1, errors


# ---- ends ----------------------------------------------------------------------------------------


def test_a_periodic_flow_that_is_moved_moves_alike():
    model = model_of(8, 6, dt=0.01, coriolis=3.0, drag=0.1, viscosity=0.01)
    x = vortices(model)[1]
    moved = {name: jnp.roll(value, (2, -3), (0, 1)) for name, value in x.items()}
    there = run(model, moved, 10)
    for name, value in run(model, x, 10).items():
        np.testing.assert_allclose(there[name], jnp.roll(value, (2, -3), (0, 1)), atol=1e-14)


def mirrored(name, value):
    """The flow and its image behind a wall in x, of a scalar or v; u changes sign."""
    if name != "u":
        return jnp.concatenate([value, value[:, ::-1]], 1)
    return jnp.concatenate([value, jnp.zeros((value.shape[0], 1)), -value[:, :0:-1]], 1)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_wall_is_a_mirror(axis):
    """Without rotation: a closed domain is half of a periodic one of twice its size."""

    def turned(x):
        if axis == "x":
            return x
        return {"h": x["h"].T, "u": x["v"].T, "v": x["u"].T}

    wave = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 6)))
    x = {"h": 2 + 0.2 * wave[0], "u": 0.2 * wave[1].at[:, 0].set(0.0), "v": 0.2 * wave[2]}
    double = {name: mirrored(name, value) for name, value in x.items()}
    (nx, ny), walls = ((6, 5), (True, False)) if axis == "x" else ((5, 6), (False, True))
    half = model_of(nx, ny, nx, 0.1, walls, viscosity=0.1)
    nx, ny = (12, 5) if axis == "x" else (5, 12)
    whole = model_of(nx, ny, nx, 0.1, viscosity=0.1)
    ends = turned(run(half, turned(x), 8)), turned(run(whole, turned(double), 8))
    for name, value in ends[1].items():
        np.testing.assert_allclose(mirrored(name, ends[0][name]), value, atol=1e-14)


def test_nothing_passes_a_wall():
    """A step reaches eight cells: round the end of a periodic domain, but not through a wall."""
    for closed in (False, True):
        model = model_of(20, 20, 20.0, 0.1, closed, coriolis=1.0, viscosity=0.1)
        x = vortices(model, 40.0)[1]
        bump = {n: jnp.zeros_like(v) for n, v in x.items()} | {"h": jnp.eye(20)[:1].T * jnp.eye(20)}
        step = jax.jit(
            lambda x, dx, model=model: jax.jvp(lambda x: run(model, x, 1), (x,), (dx,))[1]
        )
        change = step(x, bump)["h"]
        assert abs(change[0, 1]) > 1e-3
        for far in (change[-1, 0], change[0, -1]):
            assert far == 0 if closed else abs(far) > 1e-3


# ---- wind ----------------------------------------------------------------------------------------


def test_wind_turns_the_south_clockwise_and_the_north_the_other_way():
    """du/dt = τ/(ρ h) = 0.2/(1000 · 500): eastward in the middle, westward at the edges."""
    model = ShallowWater(16, 16, 50e3, 100.0, True, True)
    theta = model.parameters | {"wind_stress": jnp.asarray(0.2), "beta": jnp.asarray(2e-11)}
    model = ShallowWater(16, 16, 50e3, 100.0, True, True, theta)
    rest = {"h": jnp.full((16, 16), 500.0), "u": jnp.zeros((16, 16)), "v": jnp.zeros((16, 16))}
    u = run(model, rest, 1)["u"][:, 8]
    towards = -np.cos(2 * np.pi * (np.arange(16) + 0.5) / 16)
    np.testing.assert_allclose(u, 100.0 * 0.2 / 5e5 * towards, rtol=1e-3)
    later = run(model, rest, 400)
    turn = (jnp.roll(later["u"], 1, 0) - later["u"] + later["v"] - jnp.roll(later["v"], 1, 1))[
        1:, 1:
    ]
    assert np.mean(turn[:7]) < 0 < np.mean(turn[8:])
    thickness = np.mean(np.asarray(later["h"]), axis=1)
    assert np.mean(thickness[:8]) > 500.0 > np.mean(thickness[8:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nx": 2}, "ShallowWater: nx must be a whole number of at least 3, got 2"),
        ({"ny": 4.0}, "ShallowWater: ny must"),
        ({"dx": 0.0}, "ShallowWater: dx must be positive"),
        ({"dt": -1.0}, "ShallowWater: dt must be positive"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        ShallowWater(**arguments)
