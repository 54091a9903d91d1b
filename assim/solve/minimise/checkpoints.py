"""States of a minimisation after its outer loops, to go on from where it was stopped."""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Kept(NamedTuple):
    """A minimisation after some outer loop.

    Args:
        stage: of a window that is lengthened, from 1.
        leaves: arrays of the minimiser's state, in the order of its tree.
        history: every loop of every first guess, shape (loops, starts, numbers of a loop).
    """

    stage: int
    leaves: list[np.ndarray]
    history: np.ndarray

    @classmethod
    def of(cls, stage: int, states: Any, history: list) -> "Kept":
        """What is kept of the states of all first guesses."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(states)]
        return cls(stage, leaves, np.asarray(history, float))

    def states(self, like: Any) -> Any | None:
        """The states, of the structure and shapes of others; None where they do not fit."""
        leaves, structure = jax.tree.flatten(like)
        forms = [(leaf.shape, leaf.dtype) for leaf in leaves]
        if forms != [(leaf.shape, leaf.dtype) for leaf in self.leaves]:
            return None
        return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in self.leaves])


class AbstractCheckpoint(abc.ABC):
    """Where the last loop of one minimisation is kept."""

    @abc.abstractmethod
    def last(self) -> Kept | None:
        """That of the same minimisation in an earlier run; None where there is none."""

    @abc.abstractmethod
    def keep(self, loop: Kept) -> None:
        """Keep it in place of the one before; never raises."""


class AbstractCheckpoints(abc.ABC):
    """Where the loops of all minimisations of one analysis are kept, which come in one order."""

    @abc.abstractmethod
    def begin(self) -> AbstractCheckpoint:
        """That of the next minimisation."""
