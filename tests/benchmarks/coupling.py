"""A C step in the engine's scan beside the same step called from C: ratios from one run.

    python -m tests.benchmarks.coupling [--rounds 11]

Lorenz-96 (`tests/couple/c/lorenz96.c`), `cc -O3 -march=native`, the same functions on both sides,
one thread, every state or every tenth stored. Ratios are of the fastest of several rounds in turn.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import assim
from assim.models import Lorenz96
from tests.benchmarks import bench  # which sets one thread, and double precision
from tests.couple.compiled import LORENZ96, Ring, chaotic

FORCING, MEMBERS = 8.0, 64
STEPS = {40: 1000, 100_000: 20}
EVERY = 10  # steps a slot where not every state is stored


def model(n: int, ring: Ring, thread_safe: bool = True) -> assim.foreign.CModel:
    """Lorenz-96 in C."""
    given = {**LORENZ96, "context": ctypes.addressof(ring), "thread_safe": thread_safe}
    name = bench.library("steps")._name
    return assim.foreign.CModel(name, Lorenz96(n=n).labels(), 0.05, {"F": FORCING}, **given)


def beside_c(n: int, rounds: int) -> Iterator[tuple[str, float]]:
    """Forward and gradient of one size, and the model in JAX."""
    steps, ring, functions = STEPS[n], Ring(n, 0.05), bench.library("steps")
    ours, theirs = model(n, ring), Lorenz96(n=n)
    start, forcing = chaotic(n), ctypes.c_double(FORCING)
    path, space = np.empty((steps + 1, n)), np.empty((3, n))
    path[0] = start
    by_c = partial(functions.trajectory, ctypes.byref(ring), steps, forcing, bench.pointer(path))
    seldom_by_c = partial(
        functions.sparse_trajectory,
        *(ctypes.byref(ring), steps // EVERY, EVERY, forcing),
        *(bench.pointer(path), bench.pointer(space)),
    )
    gradient_by_c = partial(
        functions.gradient,
        *(ctypes.byref(ring), steps, forcing, bench.pointer(path)),
        *(bench.pointer(space[0]), bench.pointer(space[1])),
    )

    def states(own, every, x):
        window = assim.Window.regular(own, slots=steps // every, steps=every)
        return own.states({"x": x}, {"F": jnp.asarray(FORCING)}, window.edges, every)["x"]

    def run(function):
        compiled, x = jax.jit(function), jnp.asarray(start)
        return lambda: jax.block_until_ready(compiled(x))

    forward, in_jax = (run(partial(states, own, 1)) for own in (ours, theirs))
    backward = run(jax.grad(lambda x: jnp.sum(states(ours, 1, x)[1:] ** 2) / 2))
    by_c()
    np.testing.assert_allclose(forward()[:100], path[:100], rtol=1e-6)
    gradient_by_c()
    if n > 1000:  # fewer steps: there the runs have not parted by chaos
        np.testing.assert_allclose(backward(), space[0], rtol=1e-9, atol=1e-9)
    against_c, against_jax = bench.ratios(forward, by_c, in_jax, rounds=rounds)
    yield f"forward_vs_c_n{n}", against_c
    yield f"forward_vs_jax_n{n}", against_jax
    seldom = bench.ratios(run(partial(states, ours, EVERY)), seldom_by_c, rounds=rounds)
    yield f"forward_vs_c_n{n}_every_{EVERY}", seldom[0]
    yield f"gradient_vs_c_n{n}", bench.ratios(backward, gradient_by_c, rounds=rounds)[0]


def together(n: int = 10_000, steps: int = 20) -> None:
    """Print the time of members in threads over that of the same one after another."""
    times = []
    for thread_safe in (False, True):
        ring = Ring(n, 0.05)
        own = model(n, ring, thread_safe)
        window = assim.Window.regular(own, slots=1, steps=steps)
        end = lambda x, own=own, edges=window.edges: own.states(  # noqa: E731
            {"x": x}, own.parameters, edges, steps
        )["x"][-1]
        compiled = jax.jit(jax.vmap(end))
        x = jnp.stack([jnp.asarray(chaotic(n, seed)) for seed in range(MEMBERS)])
        jax.block_until_ready(compiled(x))
        own_times = []
        for _ in range(5):
            begin = time.perf_counter()
            jax.block_until_ready(compiled(x))
            own_times.append(time.perf_counter() - begin)
        times.append(min(own_times))
    print(times[1] / times[0])


def members() -> float:
    """`together`, in a process whose XLA has every core."""
    program = "from tests.benchmarks.coupling import together; together()"
    environment = {**os.environ, "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=true"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Print every ratio, and all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    table = {}
    for n in STEPS:
        for key, value in beside_c(n, rounds):
            table[key] = value
            print(f"{key:<30} {value:10.4g}", flush=True)
    table[f"{MEMBERS}_members_threads_vs_one"] = members()
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
