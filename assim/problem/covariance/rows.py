"""Covariances of some of the rows of an instrument."""

import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.covariance.autoregressive import Autoregressive
from assim.problem.covariance.blocks import Blocks
from assim.problem.covariance.dense import Dense
from assim.problem.covariance.diagonal import Diagonal
from assim.problem.covariance.low_rank import LowRank
from assim.problem.covariance.root import AbstractCovariance

FORMED = 5000  # rows up to which a matrix of them is formed


def of_rows(covariance: AbstractCovariance, keep: np.ndarray) -> AbstractCovariance:
    """The rows and columns of R that are kept, to be fitted anew to their times.

    Diagonal, autoregressive and low-rank ones keep their form, block by block; others become
    `Dense`.

    Args:
        covariance: R, fitted to all rows.
        keep: which to keep, booleans of shape (m,).

    Raises:
        ValueError: another covariance of more than 5,000 rows, whose matrix would be formed.
    """
    if np.all(keep):
        return covariance
    if isinstance(covariance, Diagonal):
        return Diagonal(covariance.stdev[keep])
    if isinstance(covariance, Autoregressive):
        return Autoregressive(covariance.time, covariance.stdev[keep])
    if isinstance(covariance, LowRank) and covariance.stdev is not None:
        return LowRank(covariance.vectors[:, keep], covariance.values, covariance.stdev[keep])
    if isinstance(covariance, Blocks):
        kept = np.split(keep, np.cumsum(covariance.lengths)[:-1])
        pairs = [(p, k) for p, k in zip(covariance.parts, kept, strict=True) if k.any()]
        parts = tuple(of_rows(p, k) for p, k in pairs)
        return Blocks(parts, tuple(int(k.sum()) for _, k in pairs))
    return _formed(covariance, keep)


def _formed(covariance: AbstractCovariance, keep: np.ndarray) -> Dense:
    if isinstance(covariance, Dense):
        factor = np.asarray(covariance.factor, np.float64)[keep]
        return Dense(factor @ factor.T)
    if keep.size > FORMED:
        raise ValueError(
            f"subset: some rows of a {type(covariance).__name__} covariance of {keep.size} take a "
            f"matrix of them, which is formed up to {FORMED}; use Autoregressive, LowRank or "
            f"Blocks, or drop the rows before giving the covariance"
        )
    columns = np.asarray(jax.vmap(covariance.sqrt)(jnp.eye(covariance.size())), np.float64)
    return Dense(columns[:, keep].T @ columns[:, keep])
