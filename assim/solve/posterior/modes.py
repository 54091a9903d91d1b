"""How much of the posterior lies about other minima of J than the lowest."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import ELSEWHERE, LaplacePosterior

Array = jax.Array

SQUARE = 0.03  # of a variance that other minima may add
NEGLIGIBLE, MOST = 30.0, 8  # nats above the lowest minimum, and how many others are looked at


class Elsewhere(NamedTuple):
    """Other minima than the lowest, and the share of the mass about them.

    Args:
        share: of all of them together.
        chi: of those without which moments are wrong, shape (k, n): by their share, or by that
            times the square of their distance in standard deviations.
    """

    share: float
    chi: np.ndarray


def mass_elsewhere(
    problem: DepartureFunction,
    minima: Sequence[tuple[float, Array]],
    settings: Laplace,
    key: Array,
    known: LaplacePosterior | None = None,
    about: Callable[..., LaplacePosterior] = laplace,
) -> Elsewhere:
    """Share of the mass about other minima than the first, m_k ∝ exp(v - J(χ_k)) |A_k|^(-1/2).

    Laplace's integral about each: an order of magnitude where they are not Gaussian.

    Args:
        problem: the departure function.
        minima: J and χ of distinct minima, that which is reported first, the others by J.
        settings: of the Hessian.
        key: of random draws.
        known: the Laplace posterior about one of them, which is not computed again.
        about: what makes the others, of the arguments of `laplace`.
    """
    near = [chi for cost, chi in minima[: MOST + 1] if cost < minima[0][0] + NEGLIGIBLE]
    if len(near) < 2:
        return Elsewhere(0.0, np.zeros((0, problem.size())))
    bare = settings.without_certificate()
    each = [
        known
        if known is not None and np.array_equal(known.chi, chi)
        else about(problem, chi, bare, key)
        for chi in near
    ]
    gaussians = [posterior.gaussian for posterior in each]
    logs = np.array([posterior.log_mass for posterior in each])
    mass = np.where(np.isfinite(logs), np.exp(logs - np.max(logs[np.isfinite(logs)])), 0.0)
    share = mass / mass.sum()
    others = [
        np.asarray(chi)
        for chi, part in zip(near[1:], share[1:], strict=True)
        if part > ELSEWHERE or part * _distance(gaussians[0], chi - near[0]) ** 2 > SQUARE
    ]
    return Elsewhere(float(1 - share[0]), np.reshape(others, (len(others), problem.size())))


def _distance(gaussian: Gaussian, away: Array) -> float:
    """√(δᵀAδ): in standard deviations, the most that any linear function of χ is away."""
    along = gaussian.eigenvectors.T @ away
    return float(jnp.sqrt(jnp.maximum(away @ away + gaussian.eigenvalues @ along**2, 0.0)))
