"""J on lines through its minimum: valleys where no first guess may have been, and far tails."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.together import log_density

Array = jax.Array

FEW = 20  # controls up to which all are looked along, and of more controls those that are
REACH, STEP = 6.0, 0.5  # along each, either way, in prior standard deviations
MOST = 4  # valleys that are looked into
AWAY = np.arange(-REACH, REACH + STEP / 2, STEP)


@runtime_checkable
class Parted(DepartureFunction, Protocol):
    """A departure function that knows which entries of χ stand for something by themselves."""

    def apart(self) -> np.ndarray:
        """Entries of χ that are parameters, error scales, biases or of fields of few values."""


def looked_along(problem: DepartureFunction) -> np.ndarray:
    """Entries of χ along which J is looked at: all up to 20, else the first 20 that stand apart."""
    if problem.size() <= FEW:
        return np.arange(problem.size())
    return problem.apart()[:FEW] if isinstance(problem, Parted) else np.arange(0)


class Lines(NamedTuple):
    """What J is on lines through its minimum.

    Args:
        valleys: where it descends again, shape (k, n).
        entries: of χ along which it was looked at, shape (e,).
        along: J - J(χ*) there at `AWAY`, shape (e, points).
    """

    valleys: np.ndarray
    entries: np.ndarray
    along: np.ndarray


def on_lines(gaussian: Gaussian) -> Array:
    """Points on lines through χ* along eigenvectors of A and along entries of χ.

    Shape (2n, points, n), points at `AWAY`; no lines above 20 controls, of which there are some
    along entries alone (`along_some`).
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
    lower = _lower(costs)
    lowest = np.argsort(costs[lower], kind="stable")
    candidates = points[lower][lowest]
    _, first = np.unique(candidates.round(6), axis=0, return_index=True)
    return candidates[np.sort(first)[:MOST]]


def _lower(costs: np.ndarray) -> np.ndarray:
    """Whether J is lower than at both neighbours on a line, but for χ* in its middle."""
    inside, lower = costs[:, 1:-1], np.zeros(costs.shape, bool)
    lower[:, 1:-1] = (inside < costs[:, :-2]) & (inside < costs[:, 2:])
    lower[:, costs.shape[1] // 2] = False
    return lower


def lines(points: np.ndarray, costs: np.ndarray) -> Lines:
    """From J on lines as of `on_lines`: along eigenvectors, then along every entry."""
    n = points.shape[-1]
    return Lines(valleys(points, costs), np.arange(n), _above(costs[n:]))


def along_some(problem: DepartureFunction, chi: Array) -> Lines:
    """J on lines along the entries of more controls than 20 that stand apart, line by line."""
    entries, here = looked_along(problem), np.asarray(chi)
    if not entries.size:
        return Lines(np.zeros((0, here.size)), entries, np.zeros((0, AWAY.size)))
    costs = np.stack([-np.asarray(_densities(problem, chi, jnp.asarray(k))) for k in entries])
    low = _lower(costs)
    rows, at = (index[np.argsort(costs[low], kind="stable")][:MOST] for index in np.nonzero(low))
    points = np.repeat(here[None], rows.size, axis=0)
    points[np.arange(rows.size), entries[rows]] += AWAY[at]
    return Lines(points, entries, _above(costs))


@program
def _densities(problem: DepartureFunction, chi: Array, entry: Array) -> Array:
    away = jnp.asarray(AWAY, chi.dtype)
    return log_density(problem, jnp.repeat(chi[None], away.size, axis=0).at[:, entry].add(away))


def _above(costs: np.ndarray) -> np.ndarray:
    """J - J(χ*) from J on lines, shape (lines, points)."""
    above: np.ndarray = costs - costs[:, AWAY.size // 2][:, None]
    return above
