"""New data of a linear problem that does not change in time: by its map, and by minimising.

    python -m tests.benchmarks.time_invariant [--n 1000] [--slots 100] [--places 20]

Both find the same minimum of the same J; the map's own time is told, too.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

import assim
from assim.analysis.time_invariant import TimeInvariant
from assim.models import AdvectionDiffusion
from assim.run.terminal.runtime import configure

_Value = TypeVar("_Value")


def posed(n: int, slots: int, places: int) -> assim.Problem:
    """A tracer on a ring, read at the same places at the end of every slot; a fixed start."""
    model = AdvectionDiffusion(n=n, dt=0.01)
    window = assim.Window.regular(model, slots=slots, steps=2)
    where = (np.arange(places) + 0.37) / places
    when, where = (a.ravel() for a in np.meshgrid(window.edges[1:], where, indexing="ij"))
    points = assim.Points.at(jnp.asarray(when), {"x": jnp.asarray(where)})
    values = np.random.default_rng(0).normal(size=when.size)
    operator = assim.operator.PointSample("tracer")
    readings = assim.Observations("c", values, points, operator, stdev=0.5)
    error = assim.ModelError(assim.covariance.Diagonal(0.1))
    fixed = {"tracer": np.zeros(n)}
    return assim.weak_constraint(model, window, fixed, {}, readings, model_error=error)


def timed(make: Callable[[], _Value]) -> tuple[float, _Value]:
    """Seconds, and what is made."""
    begin = time.perf_counter()
    value = jax.block_until_ready(make())
    return time.perf_counter() - begin, value


def main() -> None:
    """Print the seconds of both, and how far apart their minima are."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("n", 1000), ("slots", 100), ("places", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    configure()
    problem = posed(given.n, given.slots, given.places)
    built, found = timed(lambda: TimeInvariant.of(problem))
    minimise = lambda: assim.analyse(problem, posterior=None, starts=1).solution.chi  # noqa: E731
    answer = lambda: found.posterior().mean()  # noqa: E731
    (_, expected), (_, chi) = timed(minimise), timed(answer)
    again, now = timed(minimise)[0], min(timed(answer)[0] for _ in range(5))
    away = float(jnp.max(jnp.abs(chi - expected)))
    print(f"{problem.size():,} controls, {found.order.size:,} values: map {built:.1f} s")
    print(
        f"new data: {1e3 * now:.1f} ms by the map, {again:.2f} s by minimising: {again / now:.0f}"
    )
    print(f"largest difference of χ*: {away:.1e}")


if __name__ == "__main__":
    main()
