"""The spring-block with rate-and-state friction against published figures and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from assim.models import RateAndState
from assim.problem.forcing import Forcing
from assim.problem.integrator import Adaptive
from assim.problem.window import Window, integrate

LAWS, FORMS = ("ageing", "slip"), ("regularised", "classical")
TIMES = np.linspace(0.0, 15.0, 1000)  # s
START = {"friction": 0.6, "log_theta": np.log(10.0)}


def run(model, times, start=START, theta=None):
    window = Window.at(model, times)
    x = {name: jnp.asarray(value) for name, value in start.items()}
    solve = jax.jit(lambda theta: integrate(model, x, theta, window).states)
    return solve(model.parameters if theta is None else theta)


def rates(model, x, t=0.0):
    found = model.tendency({n: jnp.asarray(v) for n, v in x.items()}, model.parameters, t)
    return {name: float(value) for name, value in found.items()}


def steady(model, velocity):
    """μ = μ0 + (a - b) ln(v/v0), θ = Dc/v."""
    p = {name: float(value) for name, value in model.parameters.items()}
    friction = p["mu_0"] + (p["a"] - p["b"]) * np.log(velocity / p["v_0"])
    return {"friction": friction, "log_theta": np.log(p["D_c"] / velocity)}


# ---- the published step --------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_published_step_and_its_linearised_posterior(form):
    """Peak, end, log-sds of a, b and D_c, correlation and condition number (DiaBayes' example)."""
    model = RateAndState(form=form)
    window = Window.at(model, TIMES)
    x = {name: jnp.asarray(value) for name, value in START.items()}

    def friction(log_factors):
        moved = {
            name: model.parameters[name] * jnp.exp(log_factors[i])
            for i, name in enumerate(("a", "b", "D_c"))
        }
        return integrate(model, x, {**model.parameters, **moved}, window).states["friction"]

    value, jacobian = jax.jit(lambda z: (friction(z), jax.jacfwd(friction)(z)))(jnp.zeros(3))
    assert abs(value.max() - 0.616155) <= 5e-7
    assert abs(value[-1] - 0.602288) <= 5e-7
    information = np.asarray(jacobian.T @ jacobian) / 1e-6  # readings with noise of 1e-3
    covariance = np.linalg.inv(information + np.eye(3) / 0.1**2)
    stdev = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(stdev, [0.00426, 0.00529, 0.00909], rtol=2e-3)
    assert abs(covariance[0, 1] / stdev[0] / stdev[1] - 0.942) <= 5e-4
    assert abs(np.linalg.cond(information) - 88) <= 0.5


# ---- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("form", FORMS)
def test_steady_sliding(law, form):
    model = RateAndState(law=law, form=form, parameters={"load_velocity_0": 3e-6})
    found = rates(model, steady(model, 3e-6))
    assert abs(found["friction"]) < 1e-12 * 1e3 * 3e-6
    assert abs(found["log_theta"]) < 1e-12


@pytest.mark.parametrize("law", LAWS)
def test_stiffness_at_which_sliding_loses_its_stability(law):
    """At k = (b - a)/Dc small motions oscillate with ω = (v/Dc) √(b/a - 1) (Ruina 1983)."""
    v, given = 1e-5, {"a": 0.006, "k": 300.0}
    model = RateAndState(law=law, parameters=given)
    rest = {n: jnp.asarray(x) for n, x in steady(model, v).items()}
    jacobian = jax.jacfwd(lambda x: model.tendency(x, model.parameters, 0.0))(rest)
    matrix = np.array([[jacobian[i][j] for j in rest] for i in rest])
    omega = v / 1e-5 * np.sqrt(0.009 / 0.006 - 1)
    np.testing.assert_allclose(np.linalg.eigvals(matrix).imag, [omega, -omega], rtol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvals(matrix).real, 0.0, atol=1e-9)


@pytest.mark.parametrize("law", LAWS)
def test_stiffness_at_which_sliding_with_inertia_loses_its_stability(law):
    """k = (b - a)/Dc (1 + m v²/(a Dc)) (Rice & Ruina 1983, J. Appl. Mech. 50, 343-349)."""
    v, lag, a = 1e-5, 0.3, 0.006  # m = k lag²
    k = 300.0 / (1 - 300.0 * lag**2 * v**2 / (a * 1e-5))
    given = {"a": a, "k": k, "period": 2 * np.pi * lag}
    model = RateAndState(law=law, inertia=True, parameters=given)
    start = {**steady(model, v), "log_velocity": np.log(v)}
    rest = {n: jnp.asarray(x) for n, x in start.items()}
    jacobian = jax.jacfwd(lambda x: model.tendency(x, model.parameters, 0.0))(rest)
    matrix = np.array([[jacobian[i][j] for j in rest] for i in rest])
    growth = np.sort(np.linalg.eigvals(matrix).real)
    assert growth[0] < -1
    np.testing.assert_allclose(growth[1:], 0.0, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_velocity_and_strength_are_inverse(form):
    """Where slip has the velocity at which strength is the spring's pull, inertia does nothing."""
    at_once = RateAndState(form=form)
    slow = RateAndState(form=form, inertia=True)
    for friction in (0.001, 0.05, 0.61):
        x = {"friction": friction, "log_theta": np.log(10.0) if friction > 0.5 else -60.0}
        velocity = 1e-5 - rates(at_once, x)["friction"] / 1e3
        excess = rates(slow, {**x, "log_velocity": np.log(velocity)})["log_velocity"]
        mass = 1e3 * (0.01 / (2 * np.pi)) ** 2
        assert abs(excess * mass * velocity) < 1e-13, friction


def test_forms_agree_where_friction_is_large_and_the_regularised_rests():
    x = {"friction": 0.61, "log_theta": 0.0}
    regularised, classical = (rates(RateAndState(form=form), x) for form in FORMS)
    assert regularised == pytest.approx(classical, rel=1e-14)
    for law in LAWS:
        model = RateAndState(law=law)
        free = rates(model, {"friction": 0.0, "log_theta": 1.0})
        assert free["friction"] == pytest.approx(1e3 * 1e-5, rel=1e-15)
        assert free["log_theta"] == pytest.approx(np.exp(-1.0) if law == "ageing" else 0.0)
        ahead, behind = (rates(model, {"friction": m, "log_theta": -60.0}) for m in (0.02, -0.02))
        assert ahead["friction"] - 0.01 == pytest.approx(0.01 - behind["friction"], rel=1e-9)
        assert ahead["log_theta"] == pytest.approx(behind["log_theta"], rel=1e-9)


# ---- the load point ------------------------------------------------------------------------------

STEP_TIMES, VELOCITIES = [2.0, 5.0, 8.0], [1e-6, 1e-5, 1e-4, 3e-6]


def independent(law, velocities=VELOCITIES, step_times=STEP_TIMES, end=12.0):
    """Friction every half second by scipy, in θ itself, with the classical strength."""

    def tendency(t, x, load):
        del t
        v = 1e-6 * np.exp((x[0] - 0.6 - 0.009 * np.log(x[1] * 1e-6 / 1e-5)) / 0.01)
        ratio = v * x[1] / 1e-5
        return [1e3 * (load - v), 1 - ratio if law == "ageing" else -ratio * np.log(ratio)]

    state, start, found = [0.6, 10.0], 0.0, [0.6]
    for load, stop in zip(velocities, [*step_times, end], strict=True):
        times = np.arange(start + 0.5, stop + 0.1, 0.5)
        settings = {"method": "DOP853", "t_eval": times, "rtol": 1e-11, "atol": 1e-13}
        piece = solve_ivp(tendency, (start, stop), state, args=(load,), **settings)
        found += list(piece.y[0])
        state, start = piece.y[:, -1], stop
    return np.array(found)


@pytest.mark.parametrize("law", LAWS)
def test_several_sudden_steps(law):
    given = {f"load_velocity_{j}": v for j, v in enumerate(VELOCITIES)}
    model = RateAndState(step_times=STEP_TIMES, law=law, parameters=given)
    found = run(model, np.arange(0.0, 12.1, 0.5))["friction"]
    np.testing.assert_allclose(found, independent(law), atol=2e-7)


def test_a_time_series_is_a_history_like_any_other():
    """Steps of a file, in µm/s, with the factor as a parameter."""
    series = Forcing([0.0, *STEP_TIMES, 12.0], np.array(VELOCITIES) * 1e6, "m s-1", "steps")
    model = RateAndState(series, parameters={"load_scale": 1e-6})
    assert "load_velocity_0" not in model.parameters
    found = run(model, np.arange(0.0, 12.1, 0.5))["friction"]
    np.testing.assert_allclose(found, independent("ageing"), atol=2e-7)


def test_a_rise_makes_the_time_of_a_step_a_parameter():
    given = {"load_velocity_0": 1e-6, "load_velocity_1": 1e-5}
    model = RateAndState(
        step_times=[2.0], rise=0.1, parameters=given, integrator=Adaptive(rtol=1e-10)
    )
    times = np.arange(0.0, 6.1, 0.5)
    window, x = Window.at(model, times), {n: jnp.asarray(v) for n, v in START.items()}

    def friction(time):
        theta = {**model.parameters, "step_time_1": time}
        return integrate(model, x, theta, window).states["friction"]

    value, slope = jax.jit(lambda t: jax.jvp(friction, (t,), (jnp.ones(()),)))(jnp.asarray(2.0))
    moved = [jax.jit(friction)(2.0 + shift) for shift in (1e-3, -1e-3)]
    np.testing.assert_allclose(slope, (moved[0] - moved[1]) / 2e-3, atol=2e-5 * np.abs(slope).max())
    assert np.abs(slope).max() > 1e-3
    sudden = independent("ageing", [1e-6, 1e-5], [2.0], 6.0)
    np.testing.assert_allclose(value, sudden, atol=2e-4)  # (rise/12)·dμ/dt and less


# ---- inertia -------------------------------------------------------------------------------------


def test_inertia_vanishes_with_the_square_of_the_period_and_needs_a_stiff_solver():
    times = np.linspace(0.0, 15.0, 31)
    at_once = run(RateAndState(), times)["friction"]
    start = {**START, "log_velocity": np.log(1e-6)}
    model = RateAndState(inertia=True, integrator=Adaptive("Kvaerno5", rtol=1e-9, atol=1e-9))
    periods = [0.4, 0.2, 0.1]
    solve = jax.jit(
        lambda period: integrate(
            model,
            {n: jnp.asarray(v) for n, v in start.items()},
            {**model.parameters, "period": period},
            Window.at(model, times),
        ).states["friction"]
    )
    errors = [float(jnp.max(jnp.abs(solve(period) - at_once))) for period in periods]
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4.0, rtol=0.02)
    assert np.all(np.isfinite(solve(0.01)))
    explicit = RateAndState(inertia=True, integrator=Adaptive("Tsit5"))
    assert np.isnan(run(explicit, times, start)["friction"][-1])  # more than 4096 steps


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"law": "Dieterich"}, "law must be one of"),
        ({"form": "plain"}, "form must be one of"),
        ({"step_times": [2.0, 1.0]}, "step_times must increase"),
        ({"step_times": [1.0, 1.2], "rise": 0.5}, "by rise = 0.5 at least"),
        ({"rise": -1.0}, "rise must not be negative"),
        ({"load": Forcing.constant(1.0), "step_times": [1.0]}, "not both"),
        ({"parameters": {"period": 1.0}}, "no parameter 'period'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        RateAndState(**arguments)
