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
    """Bytes of working memory of ∇J, as XLA plans them."""
    model = Lorenz96(n=n, dt=0.001)
    window = Window.regular(model, slots, steps)
    end = Points.at(np.full(2, window.edges[-1]), {"site": np.array([0.0, 5.0])})
    observations = Observations("x", np.zeros(2), end, PointSample("x"))
    problem = strong_constraint(model, window, {"x": np.zeros(n)}, Diagonal(1.0), observations)
    gradient = jax.jit(jax.grad(lambda chi: cost(problem, chi)))
    plan = gradient.lower(jnp.zeros(n)).compile().memory_analysis()
    return plan.temp_size_in_bytes / (8 * n)  # in states


@pytest.fixture(scope="module")
def memory():
    sizes = [(16, 16), (64, 64), (16, 64), (64, 16)]
    return {size: gradient_memory(*size) for size in sizes}


def test_memory_grows_with_slots_plus_steps(memory, capsys):
    """a + b·slots + c·steps states; storing every step would take their product."""
    with capsys.disabled():
        print("\nstates held by a gradient:", {k: round(v, 1) for k, v in memory.items()})
    assert memory[64, 64] / memory[16, 16] < 4.5
    slots, steps = (np.array([size[i] for size in memory]) for i in (0, 1))
    design = np.stack([np.ones(slots.size), slots, steps], axis=1)
    states = np.array(list(memory.values()))
    fit, *_ = np.linalg.lstsq(design, states, rcond=None)
    np.testing.assert_allclose(design @ fit, states, rtol=0.05)
    assert memory[64, 64] < 64 * 64 / 4


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
