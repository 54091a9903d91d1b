"""What is found of an analysis beyond its posterior, where it is asked for."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from assim.problem.observation import Observations
from assim.solve.sloppy import Directions, Profile


class Predicted(NamedTuple):
    """Quantiles of predictive draws of one instrument, each of shape (m,), and ranks in them.

    Args:
        q05: 5 per cent quantile of new readings at the same places, errors included.
        q50: median.
        q95: 95 per cent quantile.
        pit: probability integral transform of what was observed: uniform where the posterior
            and the errors are right and the reading was held back.
    """

    q05: np.ndarray
    q50: np.ndarray
    q95: np.ndarray
    pit: np.ndarray


@dataclass(frozen=True)
class PredictiveCheck:
    """How the readings of one instrument compare with their predictive distribution.

    Args:
        observations: the instrument.
        held_back: whether its readings were not assimilated, so that scores are honest.
        predicted: quantiles and ranks, by reading.
        coverage: share of readings within the central 50 and 90 per cent intervals.
        band: of the share, 99 per cent of binomial numbers lie in, likewise.
        crps: mean continuous ranked probability score, in the unit of the readings.
        crps_prior: the same of the prior; NaN where it has none.
        log_score: mean log density of a reading, in nats; NaN where errors are correlated.
    """

    observations: Observations
    held_back: bool
    predicted: Predicted
    coverage: tuple[float, float]
    band: tuple[tuple[float, float], tuple[float, float]]
    crps: float
    crps_prior: float
    log_score: float


@dataclass(frozen=True)
class Sloppy:
    """Stiff and sloppy directions of an analysis.

    Args:
        directions: of all estimated scalars, the rest of χ integrated out.
        profile: of J along the sloppiest of them, where asked for.
    """

    directions: Directions
    profile: Profile | None = None
