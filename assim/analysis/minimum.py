"""The minimum of an analysis, from as many first guesses as it asks for."""

from collections.abc import Callable
from functools import partial

import jax

from assim.analysis.evaluation import RARE, chi_squared_p_value, evaluate
from assim.analysis.failures import FIRST_GUESSES, Failures, stopping
from assim.problem.departure import Problem
from assim.solve.minimise.guess import first_guesses
from assim.solve.minimise.loop import Solution
from assim.solve.minimise.search import Fits, both, first_batch, most_first_guesses, next_batch
from assim.solve.posterior.ensemble import Report

Array = jax.Array


def minimum(
    solve: Callable[[Array], Solution],
    problem: Problem,
    starts: int | None,
    first_guess: Array | None,
    key: Array,
    failures: Failures,
    report: Report | None,
) -> Solution:
    """The lowest minimum that `solve` reaches from first guesses as `analyse` takes them.

    With a number of `starts` there are so many, and nothing asks for more of them. What goes wrong
    with those beyond the first batch is a failure, and leaves what was reached before.
    """
    most = most_first_guesses(problem.size()) if starts is None else starts
    guesses = first_guesses(problem.size(), most, key, first_guess)
    fits: Fits | None = None if starts is not None else partial(_fits, problem)
    solution = solve(first_batch(guesses, fits))
    with stopping(failures, FIRST_GUESSES):
        while (more := next_batch(guesses, solution, fits, report)) is not None:
            solution = both(solution, solve(more))
    return solution


def _fits(problem: Problem, solution: Solution) -> bool:
    """Whether χ² in all is not larger at the minimum than is likely, or not known to be."""
    p_value = chi_squared_p_value(problem, 2 * float(evaluate(problem, solution.chi).squares))
    return not p_value < RARE
