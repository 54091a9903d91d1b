"""How the windows of a cycle lie in time, and which observations each of them sees."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import check_settings
from assim.problem.cycled import Rows
from assim.problem.window import Window

Array = jax.Array

OVERLAP = ("newest", "several")


class Move(NamedTuple):
    """Where a window stands in its cycle, in slots from its start.

    Args:
        newest: slot edge of the newest observations, at which the analysis is judged.
        shift: slots by which the next window starts later; 0 while the first ones fill up.
    """

    newest: Array
    shift: Array


class Plan(eqx.Module):
    """Windows of `slots` slots, each `shift` slots after the one before.

    Observations come in batches, those of `shift` slots each; window k brings batch k, at its
    newest end. Where windows overlap, a batch enters when it is newest and never again (fixed-lag
    smoothing), or enters every window that covers it with a power of its likelihood that adds up
    to one (multiple data assimilation: Bocquet & Sakov 2014, QJRMS 140, 1521). The first windows
    stay at the start until as many batches have come as a window holds.

    Args:
        slots: of a window.
        shift: slots from one window to the next; `slots` for windows that do not overlap.
        overlap: "newest" or "several".
    """

    slots: int = eqx.field(static=True)
    shift: int = eqx.field(static=True)
    overlap: str = eqx.field(default="newest", static=True)

    def __check_init__(self) -> None:
        if not 1 <= self.shift <= self.slots or self.slots % self.shift:
            raise ValueError(
                f"Plan: windows of {self.slots} slots must be whole multiples of the shift, got "
                f"{self.shift}"
            )
        check_settings(self, overlap=OVERLAP)

    @property
    def batches(self) -> int:
        """Batches that a window covers."""
        return self.slots // self.shift

    @property
    def seen(self) -> int:
        """Batches that a window's observations have room for."""
        return self.batches if self.overlap == "several" else 1

    def first_slot(self, window: Array | int) -> Array:
        """Where window k starts, in slots from the cycle's start."""
        return jnp.maximum(0, window + 1 - self.batches) * self.shift

    def earliest(self, batch: Array | int) -> Array:
        """Where values of batch k may begin, in slots: with the last window that has them."""
        return self.first_slot(batch + self.seen - 1)

    def move(self, window: Array | int) -> Move:
        """Where window k stands."""
        filled = jnp.minimum(window + 1, self.batches)
        return Move(filled * self.shift, jnp.where(filled == self.batches, self.shift, 0))

    def whole(self, first: Window, windows: int) -> Window:
        """The stretch of time that so many windows cover: the slots of the first, repeated.

        Raises:
            ValueError: the first window has other slots than the plan says.
        """
        self.check(first)
        edges = np.asarray(first.edges)
        length = (edges[-1] - edges[0]) / self.slots
        last = int(self.first_slot(windows - 1)) + self.slots
        later = edges[0] + length * np.arange(self.slots + 1, last + 1)
        return Window(jnp.asarray(np.concatenate([edges, later])), first.steps, first.reference)

    def check(self, first: Window) -> None:
        """Refuse a window of other slots, by a ValueError."""
        if first.slots != self.slots:
            raise ValueError(
                f"Plan: windows have {self.slots} slots each, but the window of the problem has "
                f"{first.slots}; give both the same"
            )

    def newest(self, edges: Array, windows: int) -> np.ndarray:
        """Time of the newest observations of the first so many windows."""
        return np.asarray(edges)[self.shift * (1 + np.arange(windows))]

    def stretch(self, series: Any, window: Array | int) -> Any:
        """What window k has of series over all slot edges of the cycle, a tree of arrays."""
        first = self.first_slot(window)
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, self.slots + 1), series
        )

    def weights(self, window: Array | int) -> Array:
        """Power of the likelihood of every batch seen, oldest first, shape (seen,)."""
        numbers = window - jnp.arange(self.seen)[::-1]
        return jnp.where(numbers >= 0, 1 / self.seen, 0.0)

    def rows(self, batches: tuple[Rows, ...], window: Array | int) -> tuple[Rows, ...]:
        """The observations of window k, from all batches with a leading dimension of them."""
        numbers = jnp.maximum(window - jnp.arange(self.seen)[::-1], 0)
        weights = self.weights(window)

        def of(instrument: Rows) -> Rows:
            cut = jax.tree.map(lambda leaf: leaf[numbers], instrument)
            cut = eqx.tree_at(lambda r: r.weight, cut, cut.weight * weights[:, None])
            return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), cut)

        return tuple(of(instrument) for instrument in batches)
