"""Several covariances side by side."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Coordinate
from assim.problem.covariance.axis import values_of
from assim.problem.covariance.root import AbstractCovariance, Axes, check_invertible
from assim.problem.covariance.rows import of_rows


class Blocks(AbstractCovariance):
    """Block-diagonal C along the first dimension of a field.

    Errors of different blocks are independent: the series of one instrument, or the layers of a
    field. Each block covers `lengths[i]` consecutive entries, and has its own stretch of the axis:
    positions need to increase only within a block.

    Args:
        parts: one covariance a block.
        lengths: entries of the first dimension in each block.
    """

    parts: tuple[AbstractCovariance, ...] = eqx.field(converter=tuple)
    lengths: tuple[int, ...] = eqx.field(converter=tuple, static=True)

    def __check_init__(self) -> None:
        if len(self.parts) != len(self.lengths) or not self.parts:
            raise ValueError(
                f"Blocks: one length for each part is needed, got {len(self.parts)} parts and "
                f"{len(self.lengths)} lengths"
            )

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The same blocks on a field of this shape."""
        if not shape or sum(self.lengths) != shape[0]:
            raise ValueError(
                f"Blocks: lengths {self.lengths} do not add up to the first dimension of {shape}"
            )
        fitted = (
            part.on((length, *shape[1:]), stretch)
            for part, length, stretch in zip(
                self.parts, self.lengths, _stretches(axes, self.lengths), strict=True
            )
        )
        return type(self)(tuple(fitted), self.lengths)

    def size(self) -> int:
        """Sum of the parts' sizes."""
        return sum(part.size() for part in self.parts)

    def sqrt(self, w: Array) -> Array:
        """Each L_i on its stretch of w."""
        stretches = _split(w, [part.size() for part in self.parts])
        return jnp.concatenate(
            [part.sqrt(stretch) for part, stretch in zip(self.parts, stretches, strict=True)]
        )

    def no_inverse(self) -> str:
        """The first reason that a part has."""
        return next(filter(None, (part.no_inverse() for part in self.parts)), "")

    def whiten(self, field: Array) -> Array:
        """Each L_i⁻¹ on its block of the field."""
        check_invertible(self)
        blocks = _split(field, list(self.lengths))
        return jnp.concatenate(
            [part.whiten(block) for part, block in zip(self.parts, blocks, strict=True)]
        )

    def variance(self) -> Array:
        """Variances of the blocks, one after the other."""
        return jnp.concatenate([part.variance() for part in self.parts])

    def log_sqrt_determinant(self) -> Array:
        """Sum over the blocks."""
        check_invertible(self)
        return sum((part.log_sqrt_determinant() for part in self.parts), jnp.zeros(()))

    def independent_stdev(self) -> Array | None:
        """Those of the blocks, where all of them have some."""
        stdevs = [stdev for part in self.parts if (stdev := part.independent_stdev()) is not None]
        return jnp.concatenate(stdevs) if len(stdevs) == len(self.parts) else None

    def causal(self, times: Array) -> bool:
        """Where every block is."""
        stretches = _split(times, list(self.lengths))
        return all(part.causal(own) for part, own in zip(self.parts, stretches, strict=True))

    def rows(self, keep: np.ndarray) -> Self:
        """Those of each block, without the blocks of which none is left."""
        kept = np.split(keep, np.cumsum(self.lengths)[:-1])
        pairs = [(part, own) for part, own in zip(self.parts, kept, strict=True) if own.any()]
        parts = tuple(of_rows(part, own) for part, own in pairs)
        return type(self)(parts, tuple(int(own.sum()) for _, own in pairs))


def _stretches(axes: Axes, lengths: tuple[int, ...]) -> list[Axes]:
    """Axes of each block: a part of a periodic axis is bounded."""
    if not axes:
        return [() for _ in lengths]
    first = axes[0]
    parts = np.split(values_of(first), np.cumsum(lengths)[:-1])
    if isinstance(first, Coordinate):
        return [(Coordinate(part, first.units, first.long_name), *axes[1:]) for part in parts]
    return [(part, *axes[1:]) for part in parts]


def _split(values: Array, lengths: list[int]) -> list[Array]:
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    return [values[end - length : end] for end, length in zip(ends, lengths, strict=True)]
