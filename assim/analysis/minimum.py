"""From which first guesses an analysis starts, and the Gaussian about the minimum it reaches."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax

from assim.analysis.evaluation import RARE, chi_squared_p_value, evaluate
from assim.problem.departure import Problem
from assim.solve.minimise.guess import first_guesses
from assim.solve.minimise.loop import AbstractMinimiser, Minimum, Solution, grouped_minima
from assim.solve.minimise.search import (
    Fits,
    both,
    first_batch,
    into_valleys,
    most_first_guesses,
    next_batch,
)
from assim.solve.minimise.status import Status
from assim.solve.posterior.about_members import laplace_of
from assim.solve.posterior.ensemble import Report
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.modes import mass_elsewhere
from assim.solve.posterior.valleys import Lines

Array = jax.Array


def checked_minimiser(minimiser: object) -> AbstractMinimiser:
    """The minimiser; ValueError where it is none."""
    if not isinstance(minimiser, AbstractMinimiser):
        raise ValueError(
            "analyse: the second argument is a minimiser, such as GaussNewton(), got "
            f"{minimiser!r}; give a posterior by its name, posterior=..."
        )
    return minimiser


class Search(NamedTuple):
    """First guesses of one analysis.

    Args:
        guesses: all that may be tried, in their order.
        fits: whether the data fit at a minimum; None where nothing asks for more of them.
        report: is told why more are tried.
    """

    guesses: Array
    fits: Fits | None
    report: Report | None

    def first(self) -> Array:
        """Those that are tried in any case."""
        return first_batch(self.guesses, self.fits)

    def more(self, solution: Solution) -> Array | None:
        """Those to try next after what was reached, or None."""
        return next_batch(self.guesses, solution, self.fits, self.report)

    def into(self, solution: Solution, lines: Lines | None) -> list[Array]:
        """Those in valleys on lines through the minimum, whatever the number of first guesses."""
        return [] if lines is None else into_valleys(self.guesses, solution, lines.valleys)

    def sought(self, solution: Solution, lines: Lines | None) -> str:
        """Where other minima were sought, a sentence; "" where along every control."""
        n = self.guesses.shape[1]
        looked = 0 if lines is None else len(lines.entries)
        if looked == n:
            return ""
        starts = "1 first guess" if solution.starts == 1 else f"{solution.starts} first guesses"
        along = f"and along {looked} of {n} controls" if looked else "and along no control"
        return f"Other minima were sought from {starts} {along}."


def search_of(
    problem: Problem,
    starts: int | None,
    first_guess: Array | None,
    key: Array,
    report: Report | None,
) -> Search:
    """First guesses as `analyse` takes them; a number of `starts` is that many, and no more."""
    most = most_first_guesses(problem.size()) if starts is None else starts
    guesses = first_guesses(problem.size(), most, key, first_guess)
    return Search(guesses, None if starts is not None else partial(_fits, problem), report)


def _fits(problem: Problem, solution: Solution) -> bool:
    """Whether χ² in all is not larger at the minimum than is likely, or not known to be."""
    p_value = chi_squared_p_value(problem, 2 * float(evaluate(problem, solution.chi).squares))
    return not p_value < RARE


def about_minimum(
    problem: Problem,
    minimiser: AbstractMinimiser,
    solution: Solution,
    settings: Laplace,
    key: Array,
    search: Search,
    solve: Callable[[Array], Solution],
) -> tuple[Solution, LaplacePosterior]:
    """The Laplace approximation, by the Hessian that the minimiser has formed if it has.

    Where J descends again on a line through the minimum, `solve` goes on from there: the solution
    has what was met, and where that is lower the approximation is about it.
    """
    fitted = _about(problem, minimiser, solution, settings, key)
    reached, lines = solution, fitted.lines
    for further in search.into(solution, lines):
        solution = both(solution, solve(further))
    if solution.chi is not reached.chi:
        fitted = _about(problem, minimiser, solution, settings, key)
    own = Minimum(float(solution.cost), 0, solution.chi)
    distinct = grouped_minima((own, *solution.minima), solution.chi)
    minima = [(minimum.cost, minimum.chi) for minimum in distinct]
    about = partial(laplace_of, minimiser=minimiser)
    share, others = mass_elsewhere(problem, minima, settings, key, fitted, about)
    sought = search.sought(solution, lines)
    return solution, dataclasses.replace(fitted, elsewhere=share, others=others, sought=sought)


def _about(
    problem: Problem,
    minimiser: AbstractMinimiser,
    solution: Solution,
    settings: Laplace,
    key: Array,
) -> LaplacePosterior:
    settled = solution.status is Status.CONVERGED
    exact = minimiser.exact_hessian(solution.state) if settled else None
    return laplace_of(problem, solution.chi, settings, key, minimiser, exact)
