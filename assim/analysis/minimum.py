"""Which first guesses an analysis starts from, and whether its minimum asks for more of them."""

from functools import partial

import jax

from assim.analysis.evaluation import RARE, chi_squared_p_value, evaluate
from assim.problem.departure import Problem
from assim.solve.minimise.guess import first_guesses
from assim.solve.minimise.loop import Solution
from assim.solve.minimise.search import Fits, most_first_guesses

Array = jax.Array


def guesses_of(
    problem: Problem, starts: int | None, first_guess: Array | None, key: Array
) -> tuple[Array, Fits | None]:
    """First guesses as `analyse` takes them, and whether the data fit at a minimum.

    With a number of `starts` there are so many, and nothing asks for more of them.
    """
    most = most_first_guesses(problem.size()) if starts is None else starts
    guesses = first_guesses(problem.size(), most, key, first_guess)
    return guesses, None if starts is not None else partial(_fits, problem)


def _fits(problem: Problem, solution: Solution) -> bool:
    """Whether χ² in all is not larger at the minimum than is likely, or not known to be."""
    p_value = chi_squared_p_value(problem, 2 * float(evaluate(problem, solution.chi).squares))
    return not p_value < RARE
