"""J on lines through its minimum: valleys where no first guess may have been, and far tails."""

import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.posterior.gaussian import Gaussian

Array = jax.Array

FEW = 20  # controls up to which lines are looked along
REACH, STEP = 6.0, 0.5  # along each, either way, in prior standard deviations
MOST = 4  # valleys that are looked into
AWAY = np.arange(-REACH, REACH + STEP / 2, STEP)


def on_lines(gaussian: Gaussian) -> Array:
    """Points on lines through χ* along eigenvectors of A and along entries of χ.

    Shape (2n, points, n), points at `AWAY`; no lines above 20 controls.
    """
    n = gaussian.chi.shape[0]
    if n > FEW:
        return jnp.zeros((0, AWAY.size, n))
    directions = jnp.concatenate([gaussian.eigenvectors.T, jnp.eye(n)])
    away = jnp.asarray(AWAY, gaussian.chi.dtype)
    return gaussian.chi[None, None] + away[None, :, None] * directions[:, None]


def valleys(points: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Points lower than both neighbours on their line, but for χ* itself, the lowest four.

    Args:
        points: as from `on_lines`, shape (lines, points, n).
        costs: J there, +∞ where it is not finite, shape (lines, points).
    """
    inside = costs[:, 1:-1]
    lower = (inside < costs[:, :-2]) & (inside < costs[:, 2:])
    lower[:, inside.shape[1] // 2] = False
    lowest = np.argsort(inside[lower], kind="stable")
    candidates = points[:, 1:-1][lower][lowest]
    _, first = np.unique(candidates.round(6), axis=0, return_index=True)
    return candidates[np.sort(first)[:MOST]]


def along_entries(costs: np.ndarray) -> np.ndarray | None:
    """J - J(χ*) along every entry of χ, shape (n, points), from J on all lines; None of none."""
    along = costs[len(costs) // 2 :]
    return along - along[:, AWAY.size // 2][:, None] if len(along) else None
