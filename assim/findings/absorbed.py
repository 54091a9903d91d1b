"""What an error scale that is estimated may have absorbed: data that the prior holds back.

Where a scale is estimated, departures are as large as it makes them, and χ² says nothing. What is
left still has a shape: departures along changes of the parameters that the prior does not allow.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when first used

from assim.findings.linearised import Linearised

_ROUNDS = 20  # of estimating scales and fitting in turn
_FEWEST = 2.0  # degrees of freedom that estimate a scale
_SINGULAR = 1e-10  # of the largest singular value of G


@dataclass(frozen=True)
class Conflict:
    """The prior of the controls against data whose error scales are estimated.

    T = min (|D⁻¹(y - Gχ)|² + χᵀWχ) - min |D⁻¹(y - Gχ)|², with D the scales by the second fit, in
    which no prior holds the controls back: a prior-data conflict (Evans & Moshonov 2006, Bayesian
    Analysis 1, 893-914) of unknown scale. T/k is at most F(k, ν) in a sound linear problem, k
    controls that have a prior and ν the fewest degrees of freedom that are left for a scale.

    Args:
        statistic: T.
        p_value: probability of a larger one.
        control: name of the control whose prior makes most of T.
        factors: by scale, its value in the second fit over its estimate.
    """

    statistic: float
    p_value: float
    control: str
    factors: dict[str, float]


def conflict(of: Linearised) -> Conflict | None:
    """The test; None where too few values are left to estimate a scale."""
    fit = _free(of)
    if fit is None:
        return None
    factors, degrees, free = fit
    stdev = np.array([factors.get(name, 1.0) for name in of.scale])
    flat = of.weight == 0
    number = np.linalg.matrix_rank(of.slope, _SINGULAR * np.linalg.norm(of.slope, 2))
    number -= np.linalg.matrix_rank(of.slope[:, flat]) if flat.any() else 0
    if number < 1:
        return None
    held = _least(of, stdev, of.weight)
    every = np.arange(len(of.controls))
    released = [_least(of, stdev, np.where(every == k, 0.0, of.weight)) for k in every]
    statistic = max(held - free, 0.0)
    p_value = float(scipy.special.fdtrc(number, degrees, statistic / number))
    return Conflict(statistic, p_value, of.controls[int(np.argmin(released))], factors)


def _least(of: Linearised, stdev: np.ndarray, weight: np.ndarray) -> float:
    """The least |D⁻¹(y - Gχ)|² + χᵀWχ."""
    matrix = np.concatenate([of.slope / stdev[:, None], np.diag(np.sqrt(weight))])
    values = np.concatenate([of.innovation / stdev, np.zeros(len(weight))])
    chi = np.linalg.lstsq(matrix, values, rcond=_SINGULAR)[0]
    return float(np.sum((values - matrix @ chi) ** 2))


def _free(of: Linearised) -> tuple[dict[str, float], float, float] | None:
    """Scales by the fit without a prior, in units of those estimated, ν, and its least squares."""
    groups = {str(name): of.scale == name for name in np.unique(of.scale) if name}
    if not groups:  # no value of an instrument whose scale is estimated counts
        return None
    factors = dict.fromkeys(groups, 1.0)
    for _ in range(_ROUNDS if len(np.unique(of.scale)) > 1 else 1):
        stdev = np.array([factors.get(name, 1.0) for name in of.scale])
        u, size, _ = np.linalg.svd(of.slope / stdev[:, None], full_matrices=False)
        u = u[:, size > _SINGULAR * size.max(initial=0.0)]
        scaled = of.innovation / stdev
        left, room = scaled - u @ (u.T @ scaled), 1 - np.sum(u**2, axis=1)
        degrees = {name: float(room[rows].sum()) for name, rows in groups.items()}
        squares = {name: float(left[rows] @ left[rows]) for name, rows in groups.items()}
        if min(degrees.values()) < _FEWEST or min(squares.values()) == 0:
            return None
        factors = {n: f * math.sqrt(squares[n] / degrees[n]) for n, f in factors.items()}
    stdev = np.array([factors.get(name, 1.0) for name in of.scale])
    return factors, min(degrees.values()), _least(of, stdev, np.zeros(len(of.weight)))
