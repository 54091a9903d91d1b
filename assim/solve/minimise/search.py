"""How many first guesses: more of them while they disagree, or while the data do not fit."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from assim.solve.minimise.loop import Array, Solution, among_lowest, grouped_minima
from assim.solve.minimise.status import Status

Fits = Callable[[Solution], bool]

SMALL = 64  # entries of χ up to which several first guesses are tried in any case
TOGETHER = 4  # of a small problem; one after the other of a larger one
MOST, MOST_OF_LARGE = 64, 8
MET = 3  # first guesses that must have led to the lowest minimum
AGREED = 16  # first guesses after which a bad fit of one minimum alone is no reason for more
HOPELESS = 8  # after which there are no more where none has settled


def most_first_guesses(n: int) -> int:
    """How many first guesses there may be with n controls."""
    return MOST if n <= SMALL else MOST_OF_LARGE


def first_batch(guesses: Array, fits: Fits | None) -> Array:
    """The first guesses that are minimised in any case: all of them where `fits` is None."""
    return guesses if fits is None else guesses[: _together(guesses)]


def next_batch(
    guesses: Array,
    solution: Solution,
    fits: Fits | None,
    report: Callable[[str], None] | None = None,
) -> Array | None:
    """Further first guesses, until the lowest minimum has been met again and again; then None.

    Up to 64 controls four first guesses are minimised together, then four more while fewer than
    three have led to the lowest minimum or while the data do not fit there; at most 64. Of larger
    problems the first alone, and more, one by one and at most 8, only where it settled nowhere or
    the data do not fit; none where it ran out of loops, as the next would. There are no more where
    8 have not settled anywhere, and none after 16 that all met one minimum.

    Args:
        guesses: χ in the order in which they are tried, shape (most, n).
        solution: from those that were tried.
        fits: whether the data agree with the problem at a minimum, or whether that is not known;
            None for no more than the first batch.
        report: is told why there are more, and at last how many there were.
    """
    if fits is None:
        return None
    tried, together = solution.starts, _together(guesses)
    if tried >= len(guesses) or not _wants_more(solution, fits, together):
        if report is not None and tried > together:
            report(f"{tried} first guesses, lowest cost {solution.cost:.8g}")
        return None
    if report is not None and tried == together:
        report("More first guesses follow: " + _why(solution))
    return guesses[tried : tried + together]


def into_valleys(guesses: Array, solution: Solution, valleys: np.ndarray) -> list[Array]:
    """First guesses in other valleys than that of the lowest minimum, in turn; none without any.

    As many as are minimised together, so that nothing is compiled: up to 64 controls all at once,
    and others that were not tried yet fill up, or where all were, the last of them again.

    Args:
        guesses: χ in the order in which they are tried, shape (most, n).
        solution: from those that were tried.
        valleys: points of J's valleys on lines through the minimum, shape (k, n).
    """
    together = _together(guesses)
    others = guesses[min(solution.starts, len(guesses) - together) :]
    batches = [jnp.asarray(valleys[i : i + together]) for i in range(0, len(valleys), together)]
    return [jnp.concatenate([batch, others])[:together] for batch in batches]


def _together(guesses: Array) -> int:
    return TOGETHER if guesses.shape[1] <= SMALL else 1


def _wants_more(solution: Solution, fits: Fits, together: int) -> bool:
    if together == 1 and solution.status is Status.OUT_OF_LOOPS:
        return False
    if not solution.minima:
        return solution.starts - solution.failed_starts < HOPELESS
    if together == 1:
        return not (_settled(solution) and fits(solution))
    if _led_to_the_lowest(solution) < MET:
        return True
    agree = solution.starts >= AGREED and len(solution.minima) == 1
    return not agree and not fits(solution)


def _settled(solution: Solution) -> bool:
    return solution.status is Status.CONVERGED


def _led_to_the_lowest(solution: Solution) -> int:
    """First guesses that ended in the minimum that is returned; 0 where that has not settled."""
    return solution.minima[0].starts if _settled(solution) and solution.minima else 0


def _why(solution: Solution) -> str:
    if not _settled(solution):
        return "the lowest has not settled."
    if _led_to_the_lowest(solution) < min(MET, solution.starts):
        return f"{_led_to_the_lowest(solution)} of {solution.starts} met the lowest minimum."
    return "the data do not fit at the lowest minimum."


def both(first: Solution, second: Solution) -> Solution:
    """Two solutions of one problem from different first guesses as one."""
    lowest = among_lowest(np.array([first.cost, second.cost]))
    tied = [one for one, is_low in zip((first, second), lowest, strict=True) if is_low]
    lower = min(tied, key=lambda solution: not _settled(solution))  # the first that has settled
    return dataclasses.replace(
        lower,
        minima=grouped_minima((*first.minima, *second.minima), lower.chi),
        ends=first.ends + second.ends,
    )
