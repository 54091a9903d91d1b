"""Tolerances of an integration follow the size of each field, in a problem and in a forecast."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    AbstractIntegrator,
    AbstractODE,
    Adaptive,
    Array,
    FixedStep,
    Label,
    Labels,
    Observations,
    Params,
    Points,
    State,
    Window,
    strong_constraint,
)
from assim.analysis.forecast import forecast
from assim.findings.tolerance import coarse_tolerances
from assim.problem.covariance import Diagonal
from assim.problem.departure import Problem
from assim.problem.in_units import of_size
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal, Normal
from assim.run.check import _derivatives, _tolerances

EDGES = np.linspace(0.0, 10.0, 6)


class Tracer(AbstractODE):
    """A carrier that relaxes to 1, and a tracer of any amplitude that oscillates."""

    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)
    parameters: Params = eqx.field(default_factory=lambda: {"w": jnp.asarray(2.0)})

    def labels(self) -> Labels:
        state = {"c": Label((), "1"), "u": Label((), "m"), "v": Label((), "m s-1")}
        return Labels(state, {"w": Label((), "s-1")})

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        return {"c": 1.0 - x["c"], "u": x["v"], "v": -(theta["w"] ** 2) * x["u"]}


def posed(size: float, integrator: AbstractIntegrator) -> Problem:
    model = Tracer(integrator)
    seen = Observations("u", [size], Points.at([2.0]), PointSample("u"), 0.1 * size, units="m")
    start = {"c": 1.0, "u": size, "v": jnp.zeros(())}
    spread = {"u": Diagonal(0.2 * size), "v": Diagonal(0.2 * size)}
    given = (model, Window.at(model, EDGES), start, spread, seen, {"w": Normal(2.0, 0.02)})
    return strong_constraint(*given)


@pytest.mark.parametrize("integrator, size", [
    pytest.param(Adaptive(), 1e-9, id="forward-1e-9"),
    pytest.param(Adaptive(), 1e9, id="forward-1e9"),
    pytest.param(Adaptive(max_columns=0), 1e-9, id="backward-1e-9"),
    pytest.param(Adaptive(max_columns=0), 1e9, id="backward-1e9", marks=pytest.mark.slow),
    pytest.param(FixedStep(0.005, "Kvaerno5"), 1e-9, id="implicit-1e-9"),
    pytest.param(FixedStep(0.005, "Kvaerno5"), 1e9, id="implicit-1e9", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_tracer_of_any_size(integrator, size):
    """u = a cos wt and its derivatives, beside a field of size 1."""
    problem = posed(size, integrator)
    chi = jnp.zeros(3)
    u = eqx.filter_jit(lambda p, chi: p.trajectory(chi).states["u"])
    slopes = eqx.filter_jit(jax.jacfwd(lambda chi, p: p.trajectory(chi).states["u"]))(chi, problem)
    np.testing.assert_allclose(u(problem, chi) / size, np.cos(2 * EDGES), atol=1e-7)
    exact = [0.2 * np.cos(2 * EDGES), 0.1 * np.sin(2 * EDGES), -0.02 * EDGES * np.sin(2 * EDGES)]
    np.testing.assert_allclose(slopes.T / size, exact, atol=1e-7)


def test_a_forecast_of_a_small_tracer():
    model, ones = Tracer(), np.ones(2)
    state = {"c": ones, "u": 1e-9 * ones, "v": np.zeros(2)}
    ahead = forecast(model, state, {}, Window.at(model, EDGES))
    u = ahead.members["u"]
    np.testing.assert_allclose(u[0] / 1e-9, np.cos(2 * EDGES), atol=1e-2)
    ahead = forecast(model, {**state, "v": np.array([1e-10, 0])}, {}, Window.at(model, EDGES))
    np.testing.assert_allclose(ahead.members["u"][1] / 1e-9, np.cos(2 * EDGES), atol=1e-7)


def test_a_prior_says_the_size_and_zeros_take_that_of_their_unit():
    model = of_size(
        Tracer(), lambda: {"c": jnp.zeros(3), "u": jnp.asarray([-4e-6, 1e-9]), "v": 1e3}
    )
    assert {n: float(v) for n, v in model.integrator.units.items()} == {
        "c": 2.0**-13,
        "u": 2.0**-18,
        "v": 1024.0,
    }
    window = Window.at(Tracer(), EDGES)
    seen = Observations("u", [1.0], Points.at([2.0]), PointSample("u"), 0.1, units="m")
    fields = {"c": LogNormal(64.0, 1e-3), "u": 1.0, "v": 1.0}
    problem = strong_constraint(Tracer(), window, fields, observations=seen)
    assert float(problem.model.integrator.units["c"]) == 64.0


def test_an_explicit_tolerance_stays_and_is_named_where_it_is_too_large():
    problem = posed(1e-9, Adaptive(atol=1e-8))
    assert problem.model.integrator == Adaptive(atol=1e-8)
    checks = list(_tolerances(problem, jnp.zeros(3)))
    assert [check.name for check in checks] == ["tolerances"] * 2  # of u and of v
    assert checks[0].passed is False
    assert "atol = 1e-08 of the integrator, where u is about 1e-09" in checks[0].detail
    assert not list(_tolerances(posed(1e-9, Adaptive()), jnp.zeros(3)))
    assert not list(_tolerances(posed(1e3, Adaptive(atol=1e-8)), jnp.zeros(3)))


def test_a_field_of_zeros_that_becomes_smaller_than_taken_is_named():
    """A forced oscillator at rest, whose forcing alone says how far it moves."""
    window = Window.at(Tracer(), EDGES)
    seen = Observations("u", [1e-9], Points.at([2.0]), PointSample("u"), 1e-10, units="m")
    rest = {"c": 1.0, "u": jnp.zeros(()), "v": jnp.zeros(())}
    problem = strong_constraint(
        Tracer(), window, rest, observations=seen, parameters={"w": Normal(2.0, 1)}
    )
    assert not list(_tolerances(problem, jnp.zeros(1)))
    states = {"c": np.ones(6), "u": 1e-9 * np.sin(EDGES), "v": 1e-4 * np.ones(6)}
    (coarse,) = coarse_tolerances(problem.model, states)
    assert not coarse.above
    assert (
        "tolerances of the integrator are for u of about 0.00012, and it is about 9" in coarse.words
    )


def test_a_derivative_that_tolerances_spoil_says_so():
    problem = posed(1.0, Adaptive(rtol=1e-3))
    failed = [check for check in _derivatives(problem, 0.1 * jnp.ones(3)) if check.passed is False]
    assert failed
    assert all("smaller rtol" in check.detail for check in failed)
    exact = posed(1.0, Adaptive(rtol=1e-10))
    assert all(check.passed for check in _derivatives(exact, 0.1 * jnp.ones(3)))
