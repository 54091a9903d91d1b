"""Observations of a cycle in batches, one for each shift of its windows."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.cycle.plan import Plan
from assim.problem.arrays import Labels
from assim.problem.cycled import Rows
from assim.problem.observation import Observations

Array = jax.Array

SLACK = 1e-9  # of a batch: rounding of times
WITHIN = 1e-6  # of a window: by which a value may lie outside, as `check_fit` has it


def batch_numbers(times: np.ndarray, edges: np.ndarray, shift: int) -> np.ndarray:
    """Which batch every time belongs to: batch k ends at slot edge (k + 1)·shift, included."""
    ends = np.asarray(edges)[::shift]
    slack = SLACK * np.ptp(ends) / (len(ends) - 1)
    return np.clip(np.searchsorted(ends, np.asarray(times) - slack) - 1, 0, None)


class Grouped(NamedTuple):
    """Rows by the batch that each belongs to, so that those of one are found without a search.

    Args:
        order: numbers of the rows, those of one batch together and ascending.
        numbers: batches of these.
    """

    order: np.ndarray
    numbers: np.ndarray

    @staticmethod
    def by(numbers: np.ndarray) -> "Grouped":
        """Of rows whose batches are given."""
        order = np.argsort(numbers, kind="stable")
        return Grouped(order, numbers[order])

    def of(self, first: int, last: int | None = None) -> np.ndarray:
        """Rows of one batch, or of all from the first to before the last."""
        ends = (first, first + 1 if last is None else last)
        return self.order[slice(*np.searchsorted(self.numbers, ends))]


def room(rows: int) -> int:
    """A number of rows that many windows share: the next of 1, 2, 3, 4, 6, 8, 12, 16, 24, …

    It depends on the number alone, so that what is computed of a window does not depend on the
    windows before it.
    """
    power = 1 << max(0, int(rows - 1).bit_length())
    return 3 * power // 4 if power >= 4 and 4 * rows <= 3 * power else power


def placed(observations: Observations, labels: Labels) -> Observations:
    """The instrument with the positions that its operator asks for, and no others.

    Files may give more, and not the same in every window.
    """
    given = observations.points.coordinates
    places = {dim: given[dim] for dim in observations.operator.dims(labels)}
    return eqx.tree_at(lambda o: o.points.coordinates, observations, places)


def check_begun(observations: Observations, edges: np.ndarray, plan: Plan) -> None:
    """Refuse values that begin before a window which has them: H sees nothing there."""
    o = observations
    numbers = batch_numbers(np.asarray(o.points.ends), edges, plan.shift)
    first = edges[np.asarray(plan.earliest(jnp.asarray(numbers)))]
    begin = np.min([np.asarray(times) for times in o.read_times()], axis=0)
    early = (begin < first - WITHIN * plan.slots * (edges[1] - edges[0])) & o.counted()
    if early.any():
        n, at = int(early.sum()), int(np.argmax(early))
        raise ValueError(
            f"Cycle: {n} of {o.values.size} values of {o.name!r} begin before the window that has "
            f"them, the first at {begin[at]:g}, its window at {first[at]:g}; give windows that "
            'reach so far back (Plan.slots, with overlap "newest"), or leave these values out '
            "(Observations.subset)"
        )


def in_batches(observations: Observations, edges: np.ndarray, shift: int) -> Rows:
    """All observations of an instrument, over all slot edges of a cycle, in batches of one size.

    Returns:
        rows with a leading dimension of batches.

    Raises:
        ValueError: correlated errors, which cannot be filled up to one size.
    """
    windows = (len(edges) - 1) // shift
    numbers = batch_numbers(np.asarray(observations.points.ends), edges, shift)
    numbers = np.minimum(numbers, windows - 1)  # the last values may be off by rounding
    counts = np.bincount(numbers, minlength=windows)
    size = max(1, int(counts.max(initial=1)))
    if not observations.covariance.independent():
        raise ValueError(
            f"{observations.name}: the errors of a cycle's observations must be independent, got "
            f"{type(observations.covariance).__name__}"
        )
    everything = jax.tree.map(np.asarray, Rows.of(observations))
    index, grouped = np.zeros((windows, size), int), Grouped.by(numbers)
    for number in range(windows):
        own = grouped.of(number)
        index[number, : own.size] = own
        index[number, own.size :] = own[0] if own.size else 0
    stacked = jax.tree.map(lambda column: jnp.asarray(column[index]), everything)
    counted = np.arange(size)[None] < counts[:, None]
    return eqx.tree_at(lambda r: r.weight, stacked, stacked.weight * counted)


def newest(rows: tuple[Rows, ...], edges: Array, slot: Array) -> tuple[Array, ...]:
    """Which values of every instrument are later than a slot edge, as weights 1 and 0.

    Those of no weight, which only fill up the shape of a window, are not counted.
    """
    after, every = edges[slot] + SLACK * (edges[1] - edges[0]), slot == 0
    return tuple(
        jnp.where((instrument.weight > 0) & (every | (instrument.points.ends > after)), 1.0, 0.0)
        for instrument in rows
    )


def joined(several: Sequence[Rows]) -> Rows:
    """The rows of several batches as one."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *several)
