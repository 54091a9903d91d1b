"""Ensembles that outlive the process which drew them, so that a rerun need not draw them again."""

import abc
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from assim.solve.minimise.checkpoints import AbstractCheckpoint as AbstractCheckpoint
from assim.solve.minimise.checkpoints import AbstractCheckpoints
from assim.solve.minimise.checkpoints import Kept as Kept
from assim.solve.posterior.ensemble import Ensemble, Trust

_COUNTS = ("gradients", "evaluations", "chains", "effective_size", "judged")


class Drawn(NamedTuple):
    """What a method has drawn, in arrays, numbers and words alone.

    Args:
        chi: members, shape (N, n).
        weights: shape (N,).
        numbers: of the ensemble and `seconds`, what it took.
        certificates: by name.
        trust: in a word.
        advice: in a sentence or two.
    """

    chi: np.ndarray
    weights: np.ndarray
    numbers: dict[str, float]
    certificates: dict[str, float]
    trust: str
    advice: str


class AbstractStore(AbstractCheckpoints):
    """Where what each method of one problem has drawn is kept until all of them are done.

    The outer loops before, too.
    """

    @abc.abstractmethod
    def load(self, name: str) -> Drawn | None:
        """What the method of this name drew of the same problem before; None where it has not."""

    @abc.abstractmethod
    def save(self, name: str, drawn: Drawn) -> None:
        """Keep what it has drawn; never raises, as what is drawn must not be lost for that."""


def to_keep(ensemble: Ensemble, seconds: float) -> Drawn:
    """An ensemble that took so long, to be kept."""
    numbers = {name: float(getattr(ensemble, name)) for name in (*_COUNTS, "log_evidence")}
    return Drawn(
        np.asarray(ensemble.members),
        np.asarray(ensemble.weights),
        {**numbers, "seconds": seconds},
        dict(ensemble.certificates),
        str(ensemble.trust),
        ensemble.advice,
    )


def kept_ensemble(drawn: Drawn) -> Ensemble:
    """The ensemble that was kept."""
    numbers = drawn.numbers
    return Ensemble(
        jnp.asarray(drawn.chi),
        jnp.asarray(drawn.weights),
        Trust[drawn.trust.upper()],
        drawn.advice,
        drawn.certificates,
        int(numbers["gradients"]),
        int(numbers["evaluations"]),
        numbers["log_evidence"],
        int(numbers["chains"]),
        numbers["effective_size"],
        bool(numbers["judged"]),
    )
