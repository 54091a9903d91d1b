"""The engine beside compiled C and NumPy, as ratios from one run: `make bench`.

    python -m tests.benchmarks.bench [--out out/bench.json] [--only GROUP ...]

Every key of `out/bench.json` is one number: `_vs_` a ratio of times, `_s` seconds, `_mb` megabytes.
Ratios are of the fastest of several rounds in which both take turns, so that what else the machine
does meets both. C is `tests/benchmarks/c`, with adjoints by hand, compiled by `cc -O3
-march=native`; NumPy is the same adjoint written with whole arrays. All on one thread, in double
precision.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 "
    + os.environ.get("XLA_FLAGS", "")
)

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

import assim
from assim.models import Lorenz96, ShallowWater
from assim.solve.cost import cost
from assim.solve.minimise.compiled import minimise_compiled
from tests.benchmarks.basin import CONSTANTS, basin
from tests.benchmarks.basin import DT as WATER_DT

jax.config.update("jax_enable_x64", True)

SOURCES = Path(__file__).parent / "c"
B_STDEV, FORCING, DT = 0.3, 8.0, 0.05
Run = Callable[[], Any]


# ---- timing --------------------------------------------------------------------------------------


def seconds(run: Run, calls: int) -> float:
    """Of one call, the mean of several in a row."""
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls


def ratios(first: Run, *others: Run, rounds: int = 11) -> list[float]:
    """Time of the first over that of each of the others: of each its fastest of rounds in turn."""
    every = [first, *others]
    for run in every:
        run()
    calls = [max(1, int(0.05 / seconds(run, 1))) for run in every]
    times = [[seconds(run, n) for run, n in zip(every, calls, strict=True)] for _ in range(rounds)]
    own, *rest = (min(column) for column in zip(*times, strict=True))
    return [own / other for other in rest]


# ---- C -------------------------------------------------------------------------------------------


@cache
def library(name: str) -> ctypes.CDLL:
    """A file of `c/`, compiled."""
    path = Path(tempfile.mkdtemp()) / f"{name}.so"
    flags = ["-O3", "-march=native", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, str(SOURCES / f"{name}.c"), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


def pointer(a: np.ndarray) -> ctypes.c_void_p:
    """To the values of a contiguous array in double precision."""
    assert a.flags.c_contiguous and a.dtype == float
    return ctypes.c_void_p(a.ctypes.data)


def c_twin(
    background: np.ndarray, observed: np.ndarray, start: np.ndarray
) -> tuple[float, np.ndarray]:
    """J and its gradient."""
    function = library("lorenz96").twin
    function.restype = ctypes.c_double
    slope, (steps, n) = np.empty_like(start), observed.shape
    numbers = (ctypes.c_int(n), ctypes.c_int(steps), *map(ctypes.c_double, (DT, FORCING)))
    arrays = [pointer(a) for a in (background, observed, start, slope)]
    return function(*numbers, ctypes.c_double(B_STDEV**2), *arrays), slope


def c_forecast(x: np.ndarray, steps: int) -> np.ndarray:
    """The state so many steps later."""
    end = np.array(x)
    numbers = (ctypes.c_int(x.size), ctypes.c_int(steps), *map(ctypes.c_double, (DT, FORCING)))
    library("lorenz96").forecast(*numbers, pointer(end))
    return end


# ---- NumPy ---------------------------------------------------------------------------------------


def tendency(x: np.ndarray) -> np.ndarray:
    """Lorenz-96."""
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + FORCING


def adjoint(x: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Jᵀa of the tendency."""
    ahead = np.roll(x, -1) - np.roll(x, 2)
    return (
        np.roll(a * np.roll(x, 1), 1) - np.roll(a * np.roll(x, 1), -2) + np.roll(a * ahead, -1) - a
    )


def stages(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """States at which RK4 takes the tendency, and the tendencies."""
    k1 = tendency(x)
    x2 = x + DT / 2 * k1
    k2 = tendency(x2)
    x3 = x + DT / 2 * k2
    k3 = tendency(x3)
    return x2, x3, x + DT * k3, k1, k2, k3


def numpy_forecast(x: np.ndarray, steps: int) -> np.ndarray:
    """The state so many steps later."""
    for _ in range(steps):
        *_, x4, k1, k2, k3 = stages(x)
        x = x + DT / 6 * (k1 + 2 * (k2 + k3) + tendency(x4))
    return x


def numpy_twin(
    background: np.ndarray, observed: np.ndarray, start: np.ndarray
) -> tuple[float, np.ndarray]:
    """J and its gradient."""
    path = [start]
    for _ in observed:
        path.append(numpy_forecast(path[-1], 1))
    j, slope = 0.0, np.zeros_like(start)
    for x, after, y in zip(path[-2::-1], path[:0:-1], observed[::-1], strict=True):
        departure = after - y
        j += departure @ departure / 2
        slope = slope + departure
        x2, x3, x4, *_ = stages(x)
        y4 = adjoint(x4, DT / 6 * slope)
        y3 = adjoint(x3, DT / 3 * slope + DT * y4)
        y2 = adjoint(x2, DT / 3 * slope + DT / 2 * y3)
        y1 = adjoint(x, DT / 6 * slope + DT / 2 * y2)
        slope = slope + y1 + y2 + y3 + y4
    away = (start - background) / B_STDEV**2
    return j + (start - background) @ away / 2, slope + away


# ---- Lorenz-96: a gradient, and a twin of many windows -------------------------------------------


def truth(n: int, steps: int, seed: int = 0) -> np.ndarray:
    """States at every step, on the attractor, shape (steps + 1, n)."""
    model = Lorenz96(n=n, dt=DT)
    x = FORCING + np.random.default_rng(seed).standard_normal(n)
    window = assim.Window.regular(model, slots=200 + steps)
    run = jax.jit(lambda x: model.states({"x": x}, model.parameters, window.edges, 1)["x"])
    return np.ascontiguousarray(run(jnp.asarray(x))[200:])


def posed(background: np.ndarray, observed: np.ndarray) -> assim.Problem:
    """All sites observed at the end of every step, R = I, B = B_STDEV² I."""
    steps, n = observed.shape
    model = Lorenz96(n=n, dt=DT)
    window = assim.Window.regular(model, slots=steps)
    times = np.repeat(np.asarray(window.edges[1:]), n)
    points = assim.Points.at(times, {"site": np.tile(np.arange(float(n)), steps)})
    instrument = assim.Observations(
        "x", observed.ravel(), points, assim.operator.PointSample("x"), stdev=1.0
    )
    return assim.strong_constraint(
        model,
        window,
        background={"x": jnp.asarray(background)},
        covariance=assim.covariance.Diagonal(B_STDEV),
        observations=instrument,
    )


def twin_data(n: int, steps: int, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """A first background, and observations of shape (windows, steps, n)."""
    rng, states = np.random.default_rng(1), truth(n, steps * windows)
    observed = states[1:] + rng.standard_normal((steps * windows, n))
    background = states[0] + B_STDEV * rng.standard_normal(n)
    return background, observed.reshape(windows, steps, n)


def gradients() -> Iterator[tuple[str, float]]:
    """A gradient through the engine against C, ten steps."""
    for n in (40, 1000, 100_000):
        background, (observed,) = twin_data(n, 10, 1)
        problem = posed(background, observed)
        compiled = jax.jit(jax.value_and_grad(partial(cost, problem)))
        chi = jnp.asarray(np.random.default_rng(2).standard_normal(n))
        start = background + B_STDEV * np.asarray(chi)
        (j, slope), (expected, by_c) = compiled(chi), c_twin(background, observed, start)
        np.testing.assert_allclose(j, expected, rtol=1e-12)
        np.testing.assert_allclose(slope, B_STDEV * by_c, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(by_c, numpy_twin(background, observed, start)[1], rtol=1e-8)
        ours = lambda compiled=compiled, chi=chi: jax.block_until_ready(compiled(chi))  # noqa: E731
        theirs = partial(c_twin, background, observed, start)
        (ratio,) = ratios(ours, theirs)
        yield f"gradient_vs_c_n{n}", ratio


def ours(steps: int, background: np.ndarray, observed: np.ndarray) -> Run:
    """All windows minimised in one program, each from the forecast of the last: J of each."""
    problem = posed(background, observed[0])
    minimiser = assim.minimiser.GaussNewton()

    def window(background: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
        where = lambda p: (p.control.state["x"], p.observations[0].values)  # noqa: E731
        own = eqx.tree_at(where, problem, (background, values.ravel()))
        minimum = minimise_compiled(own, minimiser, jnp.zeros(background.size))
        return own.trajectory(minimum.chi).states["x"][-1], minimum.cost

    compiled = jax.jit(lambda background, observed: jax.lax.scan(window, background, observed)[1])
    given = jnp.asarray(background), jnp.asarray(observed)
    return lambda: jax.block_until_ready(compiled(*given))


def theirs(
    twin: Callable, forecast: Callable, background: np.ndarray, observed: np.ndarray
) -> list[float]:
    """The same with SciPy's L-BFGS-B, which has J and its gradient from `twin`."""
    costs = []
    for values in observed:
        options = {"ftol": 1e-15, "gtol": 1e-6, "maxiter": 1000}
        function = partial(twin, background, np.ascontiguousarray(values))
        found = minimize(function, background, jac=True, method="L-BFGS-B", options=options)
        costs.append(float(found.fun))
        background = forecast(found.x, len(values))
    return costs


def twins() -> Iterator[tuple[str, float]]:
    """A hundred windows of 4, 10 and 20 steps, n = 40."""
    for steps in (4, 10, 20):
        background, observed = twin_data(40, steps, 100)
        run = ours(steps, background, observed)
        by_c, by_numpy = (
            partial(theirs, *pair, background, observed)
            for pair in ((c_twin, c_forecast), (numpy_twin, numpy_forecast))
        )
        difference = np.max(np.abs(np.asarray(run()) / np.asarray(by_c()) - 1))
        yield f"twin_cost_difference_w{steps}", float(difference)
        (against_c,) = ratios(run, by_c, rounds=5)
        yield f"twin_vs_c_w{steps}", against_c
        (against_numpy,) = ratios(run, by_numpy, rounds=1)  # of a minute
        yield f"twin_vs_numpy_w{steps}", against_numpy


# ---- shallow water -------------------------------------------------------------------------------


STEPS = 20


def water(n: int) -> tuple[ShallowWater, assim.Window, dict[str, jax.Array]]:
    """The model, a window of two slots, and a hill of water on a flow."""
    parameters = {name: jnp.asarray(value) for name, value in CONSTANTS.items()}
    model = ShallowWater(nx=n, ny=n, dt=WATER_DT, parameters=parameters)
    x, y = np.meshgrid(*2 * [(np.arange(n) + 0.5) / n])
    start = {
        "h": 100 + 2 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.01),
        "u": 0.1 * np.sin(2 * np.pi * y),
        "v": 0.05 * np.cos(2 * np.pi * x),
    }
    window = assim.Window.regular(model, slots=2, steps=STEPS // 2)
    return model, window, {name: jnp.asarray(value) for name, value in start.items()}


def c_water(n: int, start: np.ndarray, with_gradient: bool) -> np.ndarray:
    """The state after `STEPS` steps, or the gradient of half its squares."""
    model = basin(n)
    end, gradient = np.empty_like(start), np.empty_like(start)
    run = partial(
        library("shallow_water").shallow_water, ctypes.byref(model), pointer(start), STEPS
    )
    run(pointer(end), None)
    if not with_gradient:
        return end
    run(pointer(end), pointer(gradient))
    return gradient


def shallow_water(n: int = 128) -> Iterator[tuple[str, float]]:
    """Forward and gradient against C and each other, and how long the gradient compiles."""
    model, window, start = water(n)
    names = ("h", "u", "v")

    def end(start: dict[str, jax.Array]) -> jax.Array:
        states = model.states(start, model.parameters, window.edges, window.steps)
        return jnp.stack([states[name][-1] for name in names])

    forward = jax.jit(end)
    begin = time.perf_counter()
    backward = jax.jit(jax.grad(lambda x: jnp.sum(end(x) ** 2) / 2)).lower(start).compile()
    compiling = time.perf_counter() - begin
    plain = np.stack([np.asarray(start[name]) for name in names])
    by_c, gradient_by_c = (partial(c_water, n, plain, wanted) for wanted in (False, True))
    np.testing.assert_allclose(forward(start), by_c(), rtol=1e-10, atol=1e-10)
    slope = np.stack([backward(start)[name] for name in names])
    np.testing.assert_allclose(slope, gradient_by_c(), rtol=1e-8, atol=1e-8)
    run = lambda: jax.block_until_ready(forward(start))  # noqa: E731
    gradient = lambda: jax.block_until_ready(backward(start))  # noqa: E731
    against_c, of_gradient = ratios(gradient, gradient_by_c, run)
    yield f"sw_forward_vs_c_{n}", ratios(run, by_c)[0]
    yield f"sw_gradient_vs_c_{n}", against_c
    yield f"sw_gradient_vs_forward_{n}", of_gradient
    yield f"sw_compile_s_{n}", compiling


# ---- the first call, and memory ------------------------------------------------------------------

FIRST_CALL = """
import time
begin = time.perf_counter()
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", {cache!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
import equinox as eqx
import assim
from tests.benchmarks.bench import posed, twin_data
background, (observed,) = twin_data(40, 4, 1)
problem = posed(background, observed)
loaded = time.perf_counter()
assim.analyse(problem, posterior=None)
print(time.perf_counter() - loaded)
"""


def first_call() -> Iterator[tuple[str, float]]:
    """Seconds of the first analysis of a process, of the twin's window, after all is imported."""
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "warm"):
            program = [sys.executable, "-c", FIRST_CALL.format(cache=cache)]
            done = subprocess.run(program, check=True, capture_output=True, text=True)
            yield f"first_call_{name}_s", float(done.stdout)


def peak() -> Iterator[tuple[str, float]]:
    """Workspace of a gradient over 10,000 steps of 100,000 sites, as the compiler plans it."""
    n, steps = 100_000, 10_000
    model = Lorenz96(n=n, dt=DT)
    window = assim.Window.regular(model, slots=1, steps=steps)

    def end(x: jax.Array) -> jax.Array:
        states = model.states({"x": x}, model.parameters, window.edges, window.steps)
        return jnp.sum(states["x"][-1] ** 2)

    plan: Any = jax.jit(jax.grad(end)).lower(jnp.zeros(n)).compile().memory_analysis()
    yield f"peak_mb_{steps}_steps", plan.temp_size_in_bytes / 1e6


GROUPS = {
    "gradient": gradients,
    "twin": twins,
    "sw": shallow_water,
    "first_call": first_call,
    "peak": peak,
}


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"))
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    given = parser.parse_args()
    table = {}
    for group in given.only:
        for key, value in GROUPS[group]():
            table[key] = value
            print(f"{key:<30} {value:10.4g}", flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
