"""Quality control: which rows of an observation file are used, and which are averaged."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class QualityControl:
    """What is asked of the values of one instrument; what is None is not asked.

    Cells of time begin at the window's start, those of space at the grid's first point, and those
    of latitude at -90°. They are as long as said, round a ring to the nearest whole number of
    cells. Rows whose times differ share no cell unless a length of time is given, nor those
    whose positions differ unless a distance is. A distance of longitudes is in degrees of a great
    circle: cells of a band of latitudes span the more degrees the nearer the pole; where no
    distance of latitudes is given, they are those on the equator at all latitudes.

    Args:
        lower: smallest value accepted, in the units of the values.
        upper: largest value accepted.
        threshold: k of the background check, which rejects |y - H(x^b)| > k√(HBHᵀ + R).
        thin_time: length of the cells, in the model's unit of time, of which thinning keeps the
            row nearest to the centre.
        thin_distance: their width along every dimension, or by dimension, in its units.
        superob_time: length of the cells of which superobbing makes one row.
        superob_distance: their width.
        correlation: of the errors within a cell of superobbing.

    Raises:
        ValueError: lengths and threshold that are not positive, limits that exclude all, a
            correlation outside [0, 1], or both thinning and superobbing.
    """

    lower: float | None = None
    upper: float | None = None
    threshold: float | None = None
    thin_time: float | None = None
    thin_distance: float | Mapping[str, float] | None = None
    superob_time: float | None = None
    superob_distance: float | Mapping[str, float] | None = None
    correlation: float = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)[2:7]):
            given = getattr(self, name)
            lengths = given.values() if isinstance(given, Mapping) else [given]
            if any(length is not None and not length > 0 for length in lengths):
                raise ValueError(f"QualityControl: {name} must be positive, got {given}")
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ValueError(
                f"QualityControl: lower must be below upper, got {self.lower} and {self.upper}"
            )
        if not 0 <= self.correlation <= 1:
            raise ValueError(
                f"QualityControl: correlation must lie in [0, 1], got {self.correlation}"
            )
        if self.thins and self.averages:
            raise ValueError("QualityControl: give either lengths of thinning or of superobbing")

    @property
    def thins(self) -> bool:
        """Whether rows are thinned."""
        return self.thin_time is not None or self.thin_distance is not None

    @property
    def averages(self) -> bool:
        """Whether rows are averaged."""
        return self.superob_time is not None or self.superob_distance is not None

    def exceeded(self, values: np.ndarray) -> np.ndarray:
        """Which values lie outside the bounds."""
        lower = -np.inf if self.lower is None else self.lower
        upper = np.inf if self.upper is None else self.upper
        return (values < lower) | (values > upper)


def fails_background_check(
    innovation: np.ndarray, stdev: np.ndarray, threshold: float
) -> np.ndarray:
    """Which rows have |y - H(x^b)| > k√(HBHᵀ + R), shape (m,); one that is not finite fails."""
    return ~(np.abs(np.asarray(innovation)) <= threshold * np.asarray(stdev))
