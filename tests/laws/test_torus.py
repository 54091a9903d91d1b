"""Heat and particles in a torus against Bessel modes, steady states, heat pulses and budgets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import iv, j0, jn_zeros, kv

from assim.models import Torus
from assim.problem.forcing import Forcing
from assim.problem.window import Window, integrate

A = 0.5  # minor radius, m
KILOJOULES = 1.602176634  # 10¹⁹ keV
WORDS = {"n": "density", "T": "temperature"}


def alike(knots=5, **values):
    """Profiles that are the same at every knot."""
    return {f"{name}_{j}": value for name, value in values.items() for j in range(knots)}


def run(model, x, steps):
    window = Window.regular(model, steps)
    x = {name: jnp.asarray(value) for name, value in x.items()}
    return jax.jit(lambda x: integrate(model, x, model.parameters, window))(x).states


def radii(model):
    return np.asarray(model.labels().coordinates["r"].values)


def flat(model):
    """Density and temperature as they are at the edge."""
    return {n: jnp.full(model.n, model.parameters[f"edge_{w}"]) for n, w in WORDS.items()}


# ---- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["n", "T"])
def test_bessel_modes_decay_exactly_but_for_order_two(field):
    """J0(α r/a) exp(-K (α/a)² t), with K = D, and K = 2/3 χ at a uniform density."""
    errors, alpha = [], float(jn_zeros(0, 2)[1])
    rate = (1.3 if field == "n" else 2 / 3 * 1.7) * (alpha / A) ** 2
    for n in (16, 32):
        model = Torus(n, A, dt=0.1 / rate / n, parameters=alike(D=1.3, chi=1.7))
        mode = j0(alpha * radii(model) / A)
        start = flat(model)
        end = run(model, start | {field: start[field] + 0.05 * mode}, n)
        exact = start[field] + 0.05 * mode * np.exp(-0.1)
        errors.append(float(jnp.max(jnp.abs(end[field][-1] - exact))))
        other = "T" if field == "n" else "n"
        moved = jnp.max(jnp.abs(end[other][-1] - start[other]))
        assert (moved < 1e-14) if field == "T" else (moved > 1e-4)  # particles carry heat
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.2, errors


@pytest.mark.parametrize(("implicitness", "expected"), [(0.5, 2), (1.0, 1)])
def test_orders_in_time(implicitness, expected):
    """Both equations, coupled, against steps that are sixteen times shorter."""
    ends = []
    for steps in (8, 16, 128):
        sources = {"heating": Forcing([0.0, 1.0], [1.0, 3.0], "MW")}
        sources["fuelling"] = Forcing([0.0, 1.0], [50.0, 20.0], "1e19 s-1")
        model = Torus(12, A, dt=0.04 / steps, implicitness=implicitness, **sources)
        shape = 1 - (radii(model) / A) ** 2
        start = {"n": 1.0 + 2 * shape, "T": 0.1 + shape**2}
        ends.append({name: value[-1] for name, value in run(model, start, steps).items()})
    for name in ("n", "T"):
        errors = [float(jnp.max(jnp.abs(end[name] - ends[-1][name]))) for end in ends[:-1]]
        assert abs(np.log2(errors[0] / errors[1]) - expected) < 0.25, (name, errors)


def test_a_pinch_holds_a_peaked_density():
    """Γ = 0 where V = -v r/a: n = n_a exp(v (a² - r²)/(2 D a))."""
    errors = []
    for n in (16, 32):
        theta = alike(2, D=0.8) | {"V_0": 0.0, "V_1": -4.0, "edge_density": 1.5}
        model = Torus(n, A, dt=1.0, knots=[0.0, 1.0], implicitness=1.0, parameters=theta)
        exact = 1.5 * np.exp(4.0 * (A**2 - radii(model) ** 2) / (2 * 0.8 * A))
        errors.append(float(jnp.max(jnp.abs(run(model, flat(model), 20)["n"][-1] - exact))))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.2, errors


def hot(r, model, width, chi):
    """∫ from r to a of q/(n χ), r q = ∫ P r dr; 10¹⁹ keV is 1.6 kJ."""
    power = 2e3 / KILOJOULES / (4 * np.pi**2 * model.major_radius)

    def slope(r):
        within = np.expm1(-((r / width) ** 2) / 2) / np.expm1(-((A / width) ** 2) / 2)
        return power * within / (r * model.parameters["edge_density"] * chi(r))

    return quad(slope, r, A, points=[0.6 * A])[0]


def test_heating_holds_a_steady_profile():
    """-r n χ ∂T/∂r = ∫ P r dr, and χ between knots has the logarithm between those of the knots."""
    errors, width = [], 0.1
    chi = lambda r: np.exp(np.interp(r / A, [0.0, 0.6, 1.0], np.log([0.5, 1.5, 4.0])))  # noqa: E731
    for n in (20, 40):
        theta = {"chi_0": 0.5, "chi_1": 1.5, "chi_2": 4.0, "edge_density": 3.0}
        theta |= {"heating_width": width}
        power = Forcing.constant(2.0, "MW")
        arguments = {"knots": [0.0, 0.6, 1.0], "implicitness": 1.0, "heating": power}
        model = Torus(n, A, dt=1.0, parameters=theta, **arguments)
        exact = 0.1 + np.array([hot(r, model, width, chi) for r in radii(model)])
        errors.append(float(jnp.max(jnp.abs(run(model, flat(model), 20)["T"][-1] - exact))))
        assert errors[-1] < 0.02 * exact[0]
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.3, errors


def test_a_modulated_source_makes_heat_pulses():
    """Outside it T̃ = K0(kr) I0(ka) - I0(kr) K0(ka), k² = 3/2 iω/χ: an amplitude and a phase."""
    period, steps, chi = 0.05, 40, 1.4
    dt = period / steps
    middles = dt * (np.arange(16 * steps) + 0.5)
    power = Forcing(
        np.array([0.0, *middles, 1.0]),
        1 + np.array([0.0, *np.sin(2 * np.pi * middles / period), 0.0]),
    )
    theta = alike(chi=chi) | {"heating_width": 0.04}
    model = Torus(80, A, dt=dt, heating=power, parameters=theta)
    states = run(model, flat(model), 16 * steps)["T"][-steps:]
    wave = jnp.exp(-2j * jnp.pi * jnp.arange(steps) / steps)
    found = np.asarray(wave @ (states + 0j))
    r, k = radii(model), np.sqrt(1.5j * 2 * np.pi / period / chi)
    exact = kv(0, k * r) * iv(0, k * A) - iv(0, k * r) * kv(0, k * A)
    near, *others = [30, 40, 50, 60, 70]  # from four widths on
    for i in others:
        ratio = found[i] / found[near] / (exact[i] / exact[near])
        assert abs(ratio - 1) < 0.01, (i, ratio)


# ---- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("implicitness", [0.5, 0.8])
def test_budgets_are_met_to_rounding(implicitness):
    """What is born and absorbed, less what passes the edge: -D ∂n/∂r + V n, and q."""
    theta = {f"V_{j}": -1.5 * j for j in range(5)} | {f"D_{j}": 0.4 + 0.3 * j for j in range(5)}
    sources = {"heating": Forcing.constant(2.0), "fuelling": Forcing.constant(30.0)}
    model = Torus(15, A, dt=2e-3, implicitness=implicitness, parameters=theta, **sources)
    shape = 1 - (radii(model) / A) ** 2
    states = run(model, {"n": 1.2 + shape, "T": 0.2 + shape}, 30)
    n, T = (np.asarray(states[name]) for name in ("n", "T"))
    p = {name: float(value) for name, value in model.parameters.items()}
    half = A / 15 / 2
    particles = -p["D_4"] * (p["edge_density"] - n[:, -1]) / half + p["V_4"] * p["edge_density"]
    heat = -p["edge_density"] * p["chi_4"] * (p["edge_temperature"] - T[:, -1]) / half
    heat = heat + 2.5 * p["edge_temperature"] * particles
    volume = 4 * np.pi**2 * model.major_radius * np.diff(np.linspace(0, A, 16) ** 2) / 2
    surface = 4 * np.pi**2 * model.major_radius * A
    born = np.diff(n @ volume) / model.dt
    warmed = np.diff(1.5 * (n * T) @ volume) / model.dt
    for change, flux, source in (
        (born, particles, 30.0),
        (warmed, heat, 2e3 / KILOJOULES),
    ):
        passed = implicitness * flux[1:] + (1 - implicitness) * flux[:-1]
        np.testing.assert_allclose(change, source - surface * passed, rtol=0, atol=1e-10 * source)


def test_batches_of_steps_are_steps():
    model = Torus(8, A)
    many = 1 + 0.3 * jnp.sin(jnp.arange(24.0)).reshape(3, 8)
    step = jax.jit(lambda x: model.step(x, model.parameters, 0.0))
    together = jax.jit(jax.vmap(step))({"n": many, "T": many})
    for i in range(3):
        alone = step({"n": many[i], "T": many[i]})
        for name in alone:
            np.testing.assert_allclose(together[name][i], alone[name], rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 2}, "Torus: n must be a whole number of at least 3, got 2"),
        ({"dt": 0.0}, "Torus: dt must be positive"),
        ({"knots": [0.0, 0.5, 0.5]}, "Torus: knots must increase"),
        ({"implicitness": 0.4}, "Torus: implicitness must be from 0.5 to 1, got 0.4"),
        ({"parameters": {"chi_5": 1.0}}, "no parameter 'chi_5'; there are chi_0, chi_1"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        Torus(**arguments)
