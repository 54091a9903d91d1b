"""What each model and integrator must do: orders of convergence, invariants, closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import AdvectionDiffusion, Lorenz63, Lorenz96, LotkaVolterra, SIRWaterborne
from assim.problem.integrator import Adaptive, FixedStep
from assim.problem.model import rk4_step
from assim.problem.window import Window, integrate


def end(model, x, edges):
    window = Window.at(model, edges)
    run = jax.jit(lambda x: integrate(model, x, model.parameters, window))
    return run({name: jnp.asarray(value) for name, value in x.items()})


def order(errors, factor=2.0):
    return np.log(errors[0] / errors[-1]) / np.log(factor) / (len(errors) - 1)


# ---- steps ---------------------------------------------------------------------------------------


def test_rk4_converges_with_order_four():
    """dx/dt = -t x², x(0) = 1: x = 1/(1 + t²/2)."""
    errors = []
    for steps in (16, 32, 64):
        dt, x = 2.0 / steps, {"x": jnp.ones(())}
        for i in range(steps):
            x = rk4_step(lambda x, theta, t: {"x": -t * x["x"] ** 2}, x, {}, i * dt, dt)
        errors.append(abs(float(x["x"]) - 1 / 3))
    assert abs(order(errors) - 4) < 0.2


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (lambda dt: Lorenz63(dt=dt), {"x": 1.5, "y": -1.5, "z": 25.5}),
        (lambda dt: Lorenz96(n=6, dt=dt), {"x": 3.0 + np.sin(np.arange(6.0))}),
    ],
    ids=["lorenz63", "lorenz96"],
)
def test_lorenz_converges_with_order_four(model, x):
    steps = (0.02, 0.01, 0.005, 0.0003125)
    *coarse, fine = (end(model(dt), x, [0.0, 0.4]).at_end() for dt in steps)
    errors = [max(float(jnp.max(jnp.abs(one[n] - fine[n]))) for n in fine) for one in coarse]
    assert abs(order(errors) - 4) < 0.4, errors


# ---- Lorenz --------------------------------------------------------------------------------------


def test_lorenz96_tendency():
    """Against the equation written with rolls, and at rest at x = F."""
    x = jnp.sin(jnp.arange(7.0)) * 3
    rolled = (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8.0
    dt = 1e-6
    model = Lorenz96(n=7, dt=dt)
    step = model.step({"x": x}, model.parameters, 0.0)["x"]
    np.testing.assert_allclose((step - x) / dt, rolled, atol=1e-3)
    rest = model.step({"x": jnp.full(7, 8.0)}, model.parameters, 0.0)["x"]
    np.testing.assert_allclose(rest, 8.0, rtol=1e-15)


def test_lorenz63_fixed_points():
    c = np.sqrt(8 / 3 * 27)
    model = Lorenz63()
    for x in ({"x": 0.0, "y": 0.0, "z": 0.0}, {"x": c, "y": c, "z": 27.0}):
        there = model.step({n: jnp.asarray(v) for n, v in x.items()}, model.parameters, 0.0)
        assert all(abs(there[name] - x[name]) < 1e-13 for name in x)


# ---- conservation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "integrator",
    [Adaptive(), Adaptive("Kvaerno5"), FixedStep(0.02)],
    ids=["tsit5", "kvaerno5", "fixed"],
)
def test_lotka_volterra_invariant(integrator):
    model = LotkaVolterra(integrator)
    there = end(model, {"hare": 30.0, "lynx": 4.0}, [0.0, 3.0, 7.1, 20.0]).states
    h, l, p = there["hare"], there["lynx"], model.parameters  # noqa: E741
    invariant = p["delta"] * h - p["gamma"] * jnp.log(h) + p["beta"] * l - p["alpha"] * jnp.log(l)
    np.testing.assert_allclose(invariant, invariant[0], rtol=2e-5)


def test_sir_conserves_persons():
    there = end(SIRWaterborne(), {"S": 1e4, "I": 0.0, "R": 0.0, "B": 1e4}, [0.0, 7.0, 60.0]).states
    persons = there["S"] + there["I"] + there["R"]
    np.testing.assert_allclose(persons, 1e4, rtol=1e-12)
    assert np.all(np.diff(there["S"]) < 0)
    assert np.all(np.diff(there["R"]) > 0)


# ---- advection and diffusion ---------------------------------------------------------------------


def matrix(model):
    step = jax.jit(lambda c: model.step({"tracer": c}, model.parameters, 0.0)["tracer"])
    return np.stack([step(e) for e in jnp.eye(model.n)], axis=1)


@pytest.mark.parametrize("n", [8, 9])
def test_advection_diffusion_is_linear_and_conserves(n):
    model = AdvectionDiffusion(n=n)
    dense = matrix(model)
    c = jnp.asarray(np.random.default_rng(0).normal(size=n))
    step = model.step({"tracer": c}, model.parameters, 0.0)["tracer"]
    np.testing.assert_allclose(step, dense @ c, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(dense.sum(axis=0), 1.0, rtol=1e-13)  # mass
    np.testing.assert_allclose(dense.sum(axis=1), 1.0, rtol=1e-13)  # a constant stays
    assert np.max(np.abs(np.linalg.eigvals(dense))) <= 1 + 1e-13  # stable


def test_advection_diffusion_is_exact():
    """cos k(x - ut) exp(-νk²t), at any step."""
    model = AdvectionDiffusion(n=16, dt=0.37, length=2.0)
    x, k, t = model.labels().coordinates["x"].values, 2 * np.pi * 3 / 2.0, 5 * 0.37
    there = end(model, {"tracer": np.cos(k * x)}, [0.0, t]).at_end()["tracer"]
    np.testing.assert_allclose(there, np.exp(-0.01 * k**2 * t) * np.cos(k * (x - t)), atol=1e-13)


# ---- integrators ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "expected", "steps"),
    [("Tsit5", 5, (0.04, 0.02, 0.01)), ("Heun", 2, (0.02, 0.01, 0.005))],
)
def test_fixed_steps_converge_with_the_order_of_the_solver(solver, expected, steps):
    x, edges = {"hare": 30.0, "lynx": 4.0}, [0.0, 0.8, 2.0]
    exact = end(LotkaVolterra(FixedStep(0.01, "Dopri8")), x, edges).at_end()
    ends = (end(LotkaVolterra(FixedStep(dt, solver)), x, edges).at_end() for dt in steps)
    errors = [max(float(abs(one[n] - exact[n])) for n in exact) for one in ends]
    assert order(errors) > expected - 0.5, errors  # Tsit5 has a small leading term: more at first


def test_fixed_steps_fit_the_slot():
    integrator = FixedStep(0.1)
    assert [integrator.slot_steps(length) for length in (0.05, 0.1, 0.3, 0.31)] == [1, 1, 3, 4]


def test_every_way_finds_the_same_solution():
    x, edges = {"hare": 30.0, "lynx": 4.0}, [0.0, 0.4, 1.3]
    ways = [
        Adaptive(rtol=1e-10, atol=1e-10),
        Adaptive("Tsit5", 1e-10, 1e-10, 256, max_columns=0),
        Adaptive("Kvaerno5", 1e-10, 1e-10),
    ]
    first, *others = (end(LotkaVolterra(way), x, edges).states for way in ways)
    for other in others:
        for name in first:
            np.testing.assert_allclose(other[name], first[name], rtol=1e-7)


def test_running_out_of_steps_is_not_finite():
    """A status, not an exception: the value is NaN, and so is J."""
    for columns in (64, 0):
        model = LotkaVolterra(Adaptive(max_steps=4, max_columns=columns))
        there = end(model, {"hare": 30.0, "lynx": 4.0}, [0.0, 10.0, 20.0]).at_end()
        assert np.isnan(there["hare"])


def test_stiff_problem():
    """Rates that differ by 10⁵: Kvaerno5 needs few steps where Tsit5 runs out of them."""
    x, edges = {"S": 1e4, "I": 0.0, "R": 0.0, "B": 1e4}, [0.0, 30.0]
    theta = {"beta": 1.0, "gamma": 0.2, "xi": 1e5, "delta": 1e4, "kappa": 1e6}
    ends = [
        end(SIRWaterborne(Adaptive(solver, 1e-6, 1e-6, max_steps=500), theta), x, edges).at_end()
        for solver in ("Kvaerno5", "Tsit5")
    ]
    assert np.isfinite(ends[0]["S"])
    assert np.isnan(ends[1]["S"])


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Lorenz96(n=3), "Lorenz96: n must"),
        (lambda: Lorenz96(n=40.0), "Lorenz96: n must"),
        (lambda: Lorenz96(dt=0.0), "Lorenz96: dt must be positive"),
        (lambda: Lorenz63(dt=-0.1), "Lorenz63: dt must be positive"),
        (lambda: AdvectionDiffusion(n=2), "AdvectionDiffusion: n must"),
        (lambda: AdvectionDiffusion(dt=0.0), "AdvectionDiffusion: dt must be positive"),
        (lambda: AdvectionDiffusion(length=0.0), "AdvectionDiffusion: length must be positive"),
        (lambda: Adaptive("Tsit6"), "no diffrax solver is called 'Tsit6'"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
