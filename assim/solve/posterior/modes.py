"""How much of the posterior lies about other minima of J than the lowest."""

from collections.abc import Sequence

import jax
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.laplace import Laplace, laplace

Array = jax.Array

NEGLIGIBLE, MOST = 30.0, 8  # nats above the lowest minimum, and how many others are looked at


def mass_elsewhere(
    problem: DepartureFunction, minima: Sequence[tuple[float, Array]], settings: Laplace, key: Array
) -> float:
    """Share of the mass about other minima than the first, m_k ∝ exp(v - J(χ_k)) |A_k|^(-1/2).

    Laplace's integral about each: an order of magnitude where they are not Gaussian.

    Args:
        problem: the departure function.
        minima: J and χ of distinct minima, lowest first.
        settings: of the Hessian.
        key: of random draws.
    """
    near = [chi for cost, chi in minima[: MOST + 1] if cost < minima[0][0] + NEGLIGIBLE]
    if len(near) < 2:
        return 0.0
    bare = settings.without_certificate()
    logs = np.array([laplace(problem, chi, bare, key).log_mass for chi in near])
    mass = np.where(np.isfinite(logs), np.exp(logs - np.max(logs[np.isfinite(logs)])), 0.0)
    return float(1 - mass[0] / mass.sum())
