"""Covariances of some of the rows of an instrument."""

import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.covariance.dense import Dense
from assim.problem.covariance.root import AbstractCovariance

FORMED = 5000  # rows up to which a matrix of them is formed


def of_rows(covariance: AbstractCovariance, keep: np.ndarray) -> AbstractCovariance:
    """The rows and columns of R that are kept, to be fitted anew to their times.

    Covariances that have a form for them keep it (`AbstractCovariance.rows`); of others the
    matrix is formed.

    Args:
        covariance: R, fitted to all rows.
        keep: which to keep, booleans of shape (m,).

    Raises:
        ValueError: a covariance of more than 5,000 rows, whose matrix would be formed.
    """
    if np.all(keep):
        return covariance
    own = covariance.rows(keep)
    return _formed(covariance, keep) if own is None else own


def _formed(covariance: AbstractCovariance, keep: np.ndarray) -> Dense:
    if keep.size > FORMED:
        raise ValueError(
            f"subset: some rows of a {type(covariance).__name__} covariance of {keep.size} take a "
            f"matrix of them, which is formed up to {FORMED}; use Autoregressive, LowRank or "
            f"Blocks, or drop the rows before giving the covariance"
        )
    columns = np.asarray(jax.vmap(covariance.sqrt)(jnp.eye(covariance.size())), np.float64)
    return Dense(columns[:, keep].T @ columns[:, keep])
