"""Model error: what is asked of its covariances, and where its jumps lie and are seen."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim import ModelError, Window
from assim.models import AdvectionDiffusion, Lorenz96
from assim.problem.covariance import Autoregressive, Diagonal, Spectral
from assim.problem.cycled import in_carried_coordinates
from assim.problem.departure import Problem
from assim.solve.minimise.loop import minimise

MODEL = Lorenz96(n=4)
WINDOW = Window.regular(MODEL, slots=3, steps=1)
LONG = Window.regular(MODEL, slots=4, steps=1)
START = jnp.asarray([8.0, 7.0, 9.0, 6.0])
TIMES = jnp.repeat(LONG.edges, 4)


def test_the_correlation_in_time_has_variance_1():
    """Otherwise it would multiply Q."""
    with pytest.raises(ValueError, match=r"in_time is a correlation.*variance must be 1"):
        ModelError(Diagonal(0.1), Autoregressive(0.2, 2.0)).on(MODEL, WINDOW)
    fitted = ModelError(Diagonal(0.1), Autoregressive(0.2)).on(MODEL, WINDOW)
    assert fitted.stdev(3)["x"] == pytest.approx(0.1)


def test_an_unknown_field_is_told():
    with pytest.raises(ValueError, match=r"no field 'xx'; did you mean 'x'"):
        ModelError({"xx": Diagonal(0.1)}).on(MODEL, WINDOW)


def posed(formulation: str = "forcing", **options) -> Problem:
    """All four sites observed at every edge of four slots, with jumps every two of them."""
    points = assim.Points.at(TIMES, {"site": jnp.tile(jnp.arange(4.0), 5)})
    values = 8 + np.sin(np.arange(20.0))
    observed = assim.Observations("x", values, points, assim.operator.PointSample("x"), stdev=0.3)
    error = ModelError(Diagonal(0.5), every=2, **options)
    given = (MODEL, LONG, {"x": START}, Diagonal(1.0), observed)
    return assim.weak_constraint(*given, model_error=error, formulation=formulation)


def stepped(state: jax.Array, slots: int) -> list[jax.Array]:
    """The states after each of so many slots."""
    states = [state]
    for _ in range(slots):
        states.append(MODEL.step({"x": states[-1]}, MODEL.parameters, jnp.zeros(()))["x"])
    return states[1:]


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("observed", ["before", "after"])
def test_what_observations_see_of_jumps(observed, at_end):
    """By stepping the model: the state before a jump, or after it, at the edge where it lies."""
    problem = posed(observed=observed, jump_at_end=at_end)
    assert problem.size() == 4 * (3 if at_end else 2)
    chi = 0.5 * jax.random.normal(jax.random.key(3), (problem.size(),))
    simulation = problem.simulate(chi)
    x0, eta = simulation.control.state["x"], simulation.control.model_error["x"]
    assert eta.shape == (2, 4)
    assert bool(jnp.all(eta[1] == 0)) is not at_end
    first = stepped(x0, 2)
    second = stepped(first[1] + eta[0], 2)
    before = jnp.stack([x0, *first, *second])
    after = before.at[2].add(eta[0]).at[4].add(eta[1])
    seen = after if observed == "after" else before
    np.testing.assert_allclose(simulation.predictions["x"], seen.ravel(), rtol=1e-13)
    np.testing.assert_allclose(simulation.trajectory.states["x"], after, rtol=1e-13)
    d = (problem.observations[0].values - seen.ravel()) / 0.3
    np.testing.assert_allclose(problem(chi).normalised, d, rtol=1e-9)


@pytest.mark.parametrize("options", [{"observed": "before"}, {"jump_at_end": False}])
def test_both_formulations_have_one_minimum(options):
    minimiser = assim.minimiser.GaussNewton(tolerance=1e-9)
    several = [posed(formulation, **options) for formulation in ("forcing", "state")]
    costs, trajectories = [], []
    for problem in several:
        solution = minimise(problem, minimiser, jnp.zeros((1, problem.size())))
        assert solution.status is assim.Status.CONVERGED
        costs.append(solution.cost)
        trajectories.append(problem.trajectory(solution.chi).states["x"])
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)
    np.testing.assert_allclose(*trajectories, rtol=1e-6)


def test_a_jump_at_the_end_that_nothing_sees_is_none():
    """Seen before their jumps, observations say nothing of the last one."""
    minimiser = assim.minimiser.GaussNewton(tolerance=1e-9)
    with_jump = posed(observed="before")
    without = posed(observed="before", jump_at_end=False)
    first, second = (
        minimise(problem, minimiser, jnp.zeros((1, problem.size())))
        for problem in (with_jump, without)
    )
    assert first.cost == pytest.approx(second.cost, rel=1e-12)
    assert float(jnp.abs(with_jump.model_error(first.chi)["x"][1]).max()) < 1e-9


def test_correlated_errors_without_a_jump_at_the_end():
    error = ModelError(Diagonal(0.5), Autoregressive(0.1), jump_at_end=False).on(MODEL, LONG)
    stdev = np.asarray(error.stdev(error.number(LONG))["x"])
    np.testing.assert_allclose(stdev, np.repeat([[0.5], [0.5], [0.5], [0.0]], 4, axis=1))
    white = {"x": jax.random.normal(jax.random.key(0), (3, 4))}
    np.testing.assert_allclose(error.whiten(error.sqrt(white))["x"], white["x"], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observed": "during"}, r"observed must be one of \('before', 'after'\), got 'during'"),
        ({"acts": "tendency", "observed": "before"}, r'observed="before" is for jumps'),
        ({"acts": "tendency", "jump_at_end": False}, "jump_at_end=False is for jumps"),
        ({"every": 3, "jump_at_end": False}, "one group of slots without a jump at its end"),
    ],
)
def test_jumps_that_there_are_not(options, message):
    with pytest.raises(ValueError, match=message):
        ModelError(Diagonal(0.1), **options).on(MODEL, WINDOW)


def test_a_cycle_has_a_jump_where_its_windows_meet():
    with pytest.raises(ValueError, match="leave out jump_at_end"):
        in_carried_coordinates(posed(jump_at_end=False))


def test_the_volume_of_a_model_that_takes_an_fft():
    """½ log |W + GᵀG| of state and model errors, G by single columns; and of several χ at once."""
    model = AdvectionDiffusion(n=8)
    window = Window.regular(model, slots=2, steps=1)
    points = assim.Points.at(jnp.repeat(window.edges, 8), {"x": jnp.tile(jnp.arange(8.0) / 8, 3)})
    seen = assim.Observations(
        "y", np.cos(np.arange(24.0)), points, assim.operator.PointSample("tracer"), stdev=0.5
    )
    scale = assim.ErrorScale("amplitude", assim.prior.LogNormal(0.5, 0.4))
    b = Spectral(1.0, 0.2)
    given = (model, window, {"tracer": jnp.zeros(8)}, b, seen)
    problem = assim.weak_constraint(*given, model_error=ModelError(b, scale=scale))
    several = 0.3 * jax.random.normal(jax.random.key(1), (3, problem.size()))
    volumes = eqx.filter_jit(eqx.filter_vmap(lambda p, chi: p(chi).volume, in_axes=(None, 0)))
    values = volumes(problem, several)
    column = eqx.filter_jit(lambda p, chi, v: jax.jvp(lambda c: p(c).normalised, (chi,), (v,))[1])
    of_scale = np.asarray(problem.control.split(jnp.arange(problem.size()))["scales"]["amplitude"])
    places = np.setdiff1d(np.arange(problem.size()), of_scale)
    for chi, value in zip(several, values, strict=True):
        g = np.stack([column(problem, chi, v) for v in np.eye(problem.size())[places]], axis=1)
        exact = np.linalg.slogdet(np.eye(places.size) + g.T @ g)[1] / 2
        np.testing.assert_allclose(value, exact, rtol=1e-10)
    slope = eqx.filter_jit(jax.grad(lambda chi: problem(chi).volume))(several[0])
    assert np.isfinite(slope).all() and np.abs(slope[of_scale]) > 0
