"""One compilation serves all windows of the same sizes; slots bound the memory of a gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    AbstractModel,
    Array,
    Coordinate,
    Label,
    Labels,
    Observations,
    Params,
    Points,
    State,
    Status,
    Window,
    analyse,
    rk4_step,
    strong_constraint,
)
from assim.findings.calibration import calibrate
from assim.models import Lorenz96
from assim.problem import model as stepping
from assim.problem.covariance import Dense, Diagonal
from assim.problem.operator import PointSample
from assim.solve.cost import cost
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.posterior.chains.samplers import MCLMC, NUTS
from assim.solve.posterior.importance import Importance
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.randomise import Randomise
from assim.solve.posterior.svgd.svgd import SVGD
from assim.solve.posterior.tempering import Tempering
from assim.solve.posterior.variational import Variational

N, SLOTS, STEPS = 8, 5, 2
COMPILED = "/jax/core/compile/backend_compile_duration"


class Counted(AbstractModel):
    """Lorenz-96 that counts how often its step is traced."""

    parameters: Params = eqx.field(default_factory=lambda: {"F": jnp.asarray(8.0)})
    dt: float = eqx.field(default=0.05, static=True)

    traces = [0]  # noqa: RUF012 (a counter shared by all)

    def labels(self) -> Labels:
        site = Coordinate(np.arange(float(N)))
        return Labels({"x": Label(("site",))}, {"F": Label()}, {"site": site})

    def step(self, x: State, theta: Params, t: Array) -> State:
        self.traces[0] += 1

        def tendency(x: State, theta: Params, t: Array) -> State:
            u = x["x"]
            return {
                "x": (jnp.roll(u, -1) - jnp.roll(u, 2)) * jnp.roll(u, 1) - u + theta["F"] + 0 * t
            }

        return rk4_step(tendency, x, theta, t, self.dt)


def window_problem(seed, stretch=1.0):
    """Other data, backgrounds, covariances, times and defaults; the same sizes."""
    rng = np.random.default_rng(seed)
    model = Counted({"F": jnp.asarray(rng.uniform(7.5, 8.5))})
    window = Window.regular(model, SLOTS, STEPS, start=float(rng.uniform(0, 100)))
    times = rng.uniform(window.edges[0], window.edges[-1], 12)
    points = Points.at(times, {"site": rng.uniform(0, N - 1, 12)})
    r = rng.uniform(1, 2) * (np.eye(12) + 0.3)
    values = 3 + rng.normal(size=12)
    observations = Observations("x", values, points, PointSample("x"), covariance=Dense(r))
    b = Diagonal(stretch * rng.uniform(0.5, 1.5, N))
    return strong_constraint(model, window, {"x": 3 + rng.normal(size=N)}, b, observations)


@pytest.mark.parametrize(
    "minimiser",
    [GaussNewton(), pytest.param(NewtonCG(), marks=pytest.mark.slow)],
    ids=["gauss-newton", "newton-cg"],
)
def test_twenty_windows_compile_once(minimiser):
    compiled, seen = [], []
    listen = lambda event, seconds, **more: compiled.append(event)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for window in range(20):
            problem = window_problem(window)
            before, traces = compiled.count(COMPILED), Counted.traces[0]
            analysis = analyse(problem, minimiser, Laplace(certificate=500))
            seen.append((compiled.count(COMPILED) - before, Counted.traces[0] - traces))
            assert analysis.solution.status is Status.CONVERGED
            assert np.isfinite(analysis.log_evidence())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert seen[0][0] > 0  # the counter counts
    assert (
        len([window for window in seen[1:] if window != (0, 0)]) <= 1
    )  # the first to ask for more


def test_more_loops_do_not_trace_the_model_again():
    """How many outer loops a window takes does not matter."""
    loops = set()
    for number, stretch in enumerate((0.05, 1.0, 3.0)):
        problem = window_problem(100, stretch)
        traces = Counted.traces[0]
        loops.add(len(analyse(problem, posterior=Laplace(certificate=0)).solution.loops))
        assert number == 0 or Counted.traces[0] == traces
    assert len(loops) > 1


# ---- memory --------------------------------------------------------------------------------------


def gradient_memory(slots, steps, n=1000):
    """States that ∇J holds, as XLA plans its working memory."""
    jax.clear_caches()  # of what was traced under other limits
    model = Lorenz96(n=n, dt=0.001)
    window = Window.regular(model, slots, steps)
    end = Points.at(np.full(2, window.edges[-1]), {"site": np.array([0.0, 5.0])})
    observations = Observations("x", np.zeros(2), end, PointSample("x"))
    problem = strong_constraint(model, window, {"x": np.zeros(n)}, Diagonal(1.0), observations)
    gradient = jax.jit(jax.grad(lambda chi: cost(problem, chi)))
    plan = gradient.lower(jnp.zeros(n)).compile().memory_analysis()
    return plan.temp_size_in_bytes / (8 * n)  # in states


def test_memory_of_many_steps_grows_with_slots_and_the_root_of_steps(monkeypatch):
    """N + 2√M states and what a step holds; storing every step would take N M."""
    monkeypatch.setattr(stepping, "KEPT_STATES", 0)
    sizes = [(16, 16), (64, 64), (16, 256), (128, 16)]
    memory = {size: gradient_memory(*size) for size in sizes}
    for (slots, steps), states in memory.items():
        assert states < 4 * slots + 3 * np.sqrt(steps) + 30, memory


def test_little_is_kept_whole():
    """Up to 64 MiB the state of every step is kept, and up to 2 MiB what the steps hold."""
    assert 64 * 64 < gradient_memory(64, 64) < 1.1 * 64 * 64 + 100
    by_step = gradient_memory(16, 64, n=100)
    assert 16 * 64 < by_step < 1.1 * 16 * 64 + 200
    assert gradient_memory(2, 20, n=100) > 10 * 2 * 20


@pytest.mark.parametrize("limits", [(0, 2**26), (0, 0)], ids=["steps", "pieces"])
@pytest.mark.parametrize(("slots", "steps"), [(1, 7), (3, 1), (2, 11)])
def test_gradients_are_the_same_whatever_is_kept(slots, steps, limits, monkeypatch):
    lorenz = Lorenz96(n=40, dt=0.02)
    edges = Window.regular(lorenz, slots, steps).edges

    def squares(x):
        return jnp.sum(lorenz.states({"x": x}, lorenz.parameters, edges, steps)["x"][1:] ** 2)

    x = 8.0 + jnp.sin(jnp.arange(40.0))
    whole = jax.jit(jax.grad(squares))(x)
    monkeypatch.setattr(stepping, "KEPT_IN_STEPS", limits[0])
    monkeypatch.setattr(stepping, "KEPT_STATES", limits[1])
    np.testing.assert_allclose(jax.jit(jax.grad(lambda x: squares(x)))(x), whole, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        Laplace(certificate=200),
        NUTS(chains=2, warm_up=20, accuracy=0.5),
        MCLMC(chains=2, warm_up=20, accuracy=0.5),
        Importance(200),
        Tempering(particles=50, runs=2, moves=2),
        Randomise(members=4, together=4),
        Variational(steps=10, number=100),
        SVGD(particles=20, steps=5, polish=5),
    ],
    ids=lambda method: method.name(),
)
def test_one_compilation_serves_all_simulations_of_a_calibration(method):
    """The first one traces the model, the others do not."""
    traces = []
    calibrate(
        window_problem(0),
        method,
        3,
        jax.random.key(0),
        draws=19,
        starts=1,
        together=1,
        progress=lambda done, total: traces.append(Counted.traces[0]),
    )
    assert len(traces) == 3 and traces[0] == traces[-1]
