"""How many first guesses the default asks for, and whether it finds the lowest minimum."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Observations, Points, Problem, Window, analyse, likelihood, strong_constraint
from assim.models import LotkaVolterra
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import minimise
from assim.solve.minimise.search import MET, both, most_first_guesses, next_batch
from assim.solve.minimise.status import Status
from tests.solve.linear import driven

TIMES, STDEV = np.linspace(0.0, 18.9, 10), 0.1
MEDIANS = {"alpha": 0.8825, "beta": 0.049787, "gamma": 0.8825, "delta": 0.049787}
PUBLISHED = {  # observation 10 of Lueckmann et al. (2021), AISTATS 130, 343-351
    "hare": (
        28.15226,
        3.86297,
        2.6171,
        31.54924,
        3.161694,
        2.950295,
        39.532528,
        2.550034,
        3.316563,
        34.538105,
    ),
    "lynx": (
        0.9566,
        101.18919,
        5.695987,
        1.057522,
        85.45027,
        5.117533,
        1.149858,
        85.82457,
        3.794359,
        1.116819,
    ),
}


@functools.cache
def posed(fields: tuple[tuple[str, tuple[float, ...]], ...]) -> Problem:
    """Predator and prey over two to four periods of their cycle, four unknown parameters."""
    model, points = LotkaVolterra(), Points.at(jnp.asarray(TIMES))
    observed = [
        Observations(name, np.asarray(values), points, PointSample(name), STDEV,
                     likelihood.LogNormal(), units="1000")
        for name, values in fields
    ]  # fmt: skip
    start = {"hare": jnp.asarray(30.0), "lynx": jnp.asarray(1.0)}
    priors = {name: LogNormal(median, 0.5) for name, median in MEDIANS.items()}
    window = Window.at(model, TIMES)
    return strong_constraint(model, window, start, None, observed, priors)


def counted(values) -> Problem:
    return posed(tuple((name, tuple(map(float, v))) for name, v in values.items()))


@functools.cache
def _simulate():
    problem = counted(PUBLISHED)
    return jax.jit(lambda chi: problem.simulate(chi).predictions)


def drawn(seed):
    """Values simulated from the prior."""
    rng = np.random.default_rng(seed)
    while True:
        predicted = _simulate()(jnp.asarray(rng.normal(size=4)))
        arrays = {name: np.asarray(v) for name, v in predicted.items()}
        noise = {name: np.exp(STDEV * rng.normal(size=TIMES.size)) for name in arrays}
        if all(np.isfinite(v).all() and (v > 0).all() for v in arrays.values()):
            return {name: v * noise[name] for name, v in arrays.items()}


def lowest(problem, seed):
    """The lowest minimum of 64 first guesses by default, and of all of them."""
    default = analyse(problem, posterior=None, seed=seed).solution
    every = analyse(problem, posterior=None, starts=64, seed=seed + 1000).solution
    return default, every


def test_the_published_data_are_fitted():
    default = analyse(counted(PUBLISHED), posterior=None).solution
    assert default.cost == pytest.approx(5.385, abs=1e-3)
    assert default.minima[0].starts >= MET
    assert default.starts <= 32
    assert len(default.ends) == default.starts


@pytest.mark.slow
def test_the_lowest_minimum_of_64_is_found_by_default():
    missed = {}
    for seed in range(100):
        default, every = lowest(counted(drawn(seed)), seed)
        if default.cost > every.cost + 1e-3:
            missed[seed] = (default.cost, every.cost, default.starts)
    assert not missed


def test_a_linear_problem_takes_four():
    solution = analyse(driven().problem, posterior=None).solution
    assert solution.starts == 4
    assert [minimum.starts for minimum in solution.minima] == [4]
    costs = [end.cost for end in solution.ends]
    np.testing.assert_allclose(costs, solution.cost, rtol=1e-9)


def test_starts_that_are_given_are_kept():
    assert analyse(driven().problem, posterior=None, starts=2).solution.starts == 2


def test_a_large_problem_takes_one():
    assert most_first_guesses(64) == 64
    assert most_first_guesses(65) == 8


@pytest.mark.parametrize(
    ("status", "more"),
    [(Status.OUT_OF_LOOPS, None), (Status.STAGNATED, 1), (Status.CONVERGED, 1)],
    ids=str,
)
def test_a_large_problem_that_is_out_of_loops_takes_no_other(status, more):
    problem = driven().problem
    few = minimise(problem, GaussNewton(), jnp.zeros((1, problem.size())))
    solution = dataclasses.replace(few, status=status, minima=few.minima * (more is not None))
    guesses = next_batch(jnp.zeros((8, 65)), solution, lambda _: False)
    assert (guesses is None) if more is None else (guesses.shape == (more, 65))


def test_two_solutions_as_one():
    problem = driven().problem
    guesses = jax.random.normal(jax.random.key(0), (5, problem.size()))
    first = minimise(problem, GaussNewton(), guesses[:2])
    second = minimise(problem, GaussNewton(), guesses[2:])
    together = both(first, second)
    assert together.starts == 5
    assert [minimum.starts for minimum in together.minima] == [5]
    assert together.cost == pytest.approx(min(first.cost, second.cost), rel=1e-12)


def test_of_equal_costs_the_settled_one_is_kept():
    """A first guess out of loops that is lower by rounding makes the solution no worse."""
    problem = driven().problem
    guess = jax.random.normal(jax.random.key(1), (1, problem.size()))
    settled = minimise(problem, GaussNewton(), guess)
    cost = settled.cost - 1e-13
    stopped = dataclasses.replace(settled, cost=cost, status=Status.OUT_OF_LOOPS, minima=())
    for pair in ((settled, stopped), (stopped, settled)):
        assert both(*pair).status is Status.CONVERGED
    failed = dataclasses.replace(settled, cost=float("nan"), status=Status.NON_FINITE, minima=())
    assert both(failed, settled).status is Status.CONVERGED
