"""What is asked of the values of one instrument, and what their errors are taken to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from assim.files.errors import DataError, naming
from assim.files.missing import why_missing
from assim.files.read.far import FAR, far_values, far_words
from assim.files.read.tables import ObservedTable
from assim.files.units import conversion, squared
from assim.problem.covariance import AbstractCovariance, Dense
from assim.problem.likelihood import AbstractLikelihood, Gaussian
from assim.problem.observation import ErrorScale


@dataclass(frozen=True)
class QualityControl:
    """What is asked of the values of one instrument; what is None is not asked.

    Cells of time begin at the window's start, those of space at the grid's first point, and those
    of latitude at -90°. They are as long as said, round a ring to the nearest whole number of
    cells. Rows whose times differ share no cell unless a length of time is given, nor those
    whose positions differ unless a distance is; no mean mixes intervals that the operator reads.
    A distance of longitudes is in degrees of a great circle: cells of a band of latitudes span the
    more degrees the nearer the pole; where no distance of latitudes is given, they are those on
    the equator at all latitudes.

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
        for name in (each.name for each in fields(self)[2:7]):
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
        if self.correlation and not self.averages:
            raise ValueError(
                "QualityControl: correlation is of the errors within a cell of superobbing; give "
                "superob_time or superob_distance, or drop it"
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


def check_far(
    table: ObservedTable, used: np.ndarray, given: "Uncertainty", quality: QualityControl
) -> None:
    """Check that no value used is far from all others and its errors, and no error far too small.

    Values of which the case gives the bound on their side are taken as they are, and so are those
    of which logarithms are compared.

    Raises:
        DataError: some are far.
    """
    values, scale = table.values[used], 0.0
    if given.covariance is None:
        stdev = given.column(table, used)[used]
        scale = float(np.median(stdev))
        far = FAR * stdev < scale
        if far.any():
            what = far_words(stdev, far, "smaller than their median")
            raise DataError(f"{table.where}: standard deviations of the errors: {what}; correct it")
    stated = np.where(values > 0, quality.upper is not None, quality.lower is not None)
    far = far_values(values, scale) & ~stated
    if far.any() and not given.likelihood.logarithmic:
        first = values[far][0]
        bound = f"quality.{'upper' if first > 0 else 'lower'} = {2 * first:.0e}"
        raise DataError(
            f"{table.where}: {far_words(values, far)}; declare it missing in the file, as by "
            f"`missing_value` or `valid_range`, or say that it is right by a bound that lets it "
            f"in, as {bound} under [[observations]]"
        )


def in_units(table: ObservedTable, units: str | None, reader: str) -> ObservedTable:
    """The table with its values in the unit of what reads the model, and a note of that.

    Raises:
        DataError: they have another unit, which cannot be converted.
    """
    if units is None:
        return table
    got = table.units if table.units_given else None
    line = conversion(f"{table.where} (read by {reader})", got, units)
    if not line.words:
        return table
    own = f"{line.words}; what the case says of them, as error.stdev, is in {units!r}"
    values, notes = line.values(table.values), (*table.notes, own)
    return replace(table, values=values, units=units, notes=notes, conversion=line)


@dataclass(frozen=True)
class Uncertainty:
    """Errors of one instrument as its user gives them; what is None is left to the file.

    Args:
        stdev: standard deviation, a number or one a row of the file.
        covariance: R of the values used.
        correlated: whether covariances between rows of the file count.
        likelihood: how values scatter.
        scale: an estimated factor.
    """

    stdev: np.ndarray | float | None = None
    covariance: AbstractCovariance | None = None
    correlated: bool = True
    likelihood: AbstractLikelihood = field(default_factory=Gaussian)
    scale: ErrorScale | None = None

    def in_units(self, table: ObservedTable) -> ObservedTable:
        """The table with the file's errors in the unit that its values need.

        Raises:
            DataError: they have other units, which cannot be converted.
        """
        if self.stdev is not None or self.covariance is not None:
            return table
        units = stdev_units(table.units, self.likelihood)
        if table.covariance is not None:
            where, matrix = f"{table.where}_covariance", table.covariance
            given = (where, table.covariance_units, squared(units))
            line = conversion(*given, of_differences=True)
            line.tell()
            return replace(table, covariance=line.values(matrix))
        if table.stdev is None:
            return table
        given = (f"{table.where}_stddev", table.stdev_units, units)
        line = conversion(*given, of_differences=True)
        line.tell()
        return replace(table, stdev=line.values(table.stdev))

    def of(self, table: ObservedTable, used: np.ndarray) -> dict[str, Any]:
        """Errors of the rows used, as arguments of `Observations`.

        Raises:
            DataError: they cannot be used, or there are none.
        """
        if self.covariance is not None:
            return {"stdev": self.stdev, "covariance": self.covariance}
        matrix = table.covariance
        if self.stdev is None and matrix is not None and self.correlated:
            return {"covariance": _dense(table, matrix[np.ix_(used, used)])}
        return {"stdev": self.column(table, used)[used]}

    def column(self, table: ObservedTable, used: np.ndarray) -> np.ndarray:
        """Standard deviation of every row, positive where used, shape (n,).

        Those given, else the file's, else one where that makes sense.

        Raises:
            DataError: they are not positive, do not fit the rows, or there are none.
        """
        name, stdev = self._stated(table)
        _check_positive(name, stdev, used)
        return stdev

    def weightless(self, table: ObservedTable, used: np.ndarray) -> np.ndarray:
        """Which of the rows used have errors so large that they tell nothing, shape (n,).

        Infinite ones, and those `FAR` times the median of the finite ones.
        """
        if self.covariance is not None or not used.any():
            return np.zeros(table.rows, bool)
        stdev = self._stated(table)[1]
        finite = stdev[used & np.isfinite(stdev) & (stdev > 0)]
        scale = np.median(finite) if finite.size else np.inf
        return used & ((stdev == np.inf) | (stdev > FAR * scale))

    def _stated(self, table: ObservedTable) -> tuple[str, np.ndarray]:
        """What the standard deviations are called in messages, and those of every row."""
        if self.stdev is not None:
            return f"{table.where}: stdev", self._given(table)
        if table.covariance is not None:
            variances = np.maximum(np.diag(table.covariance), 0)
            return f"{table.where}_covariance", np.sqrt(variances)
        if table.stdev is not None:
            return f"{table.where}_stddev", table.stdev
        if self.scale is not None or not self.likelihood.uses_covariance:
            return f"{table.where}_stddev", np.ones(table.rows)
        raise DataError(
            f"{table.where}: expected the standard deviation of the observation errors, there "
            f"is no variable '{table.variable}_stddev'; add it to the file, give stdev=..., "
            f"or let it be estimated with scale=..."
        )

    def _given(self, table: ObservedTable) -> np.ndarray:
        stdev = np.asarray(self.stdev, float)
        if stdev.shape not in ((), (table.rows,)):
            raise DataError(
                f"{table.where}: expected one stdev, or one for each of the {table.rows} rows, "
                f"got an array of shape {stdev.shape}"
            )
        return np.broadcast_to(stdev, table.rows)


def stdev_units(units: str, likelihood: AbstractLikelihood) -> str:
    """Units of the standard deviations: those of the values, or "1" for errors of logarithms."""
    return "1" if likelihood.logarithmic else units


def error_attributes(
    likelihood: AbstractLikelihood,
    scale: ErrorScale | None = None,
    scales: Mapping[str, Any] | None = None,
) -> dict[str, str | float]:
    """What an observed variable's attributes say of its errors.

    `likelihood` and `errors_of`, "value" or "logarithm"; where a factor on the errors is estimated
    also `error_scale`, its name, and `error_scale_value` where it is among the scales known.
    """
    attributes: dict[str, str | float] = {
        "likelihood": type(likelihood).__name__,
        "errors_of": "logarithm" if likelihood.logarithmic else "value",
    }
    if scale is not None:
        attributes["error_scale"] = scale.name
        if scales and scale.name in scales:
            attributes["error_scale_value"] = float(scales[scale.name])
    return attributes


def _check_positive(name: str, stdev: np.ndarray, used: np.ndarray) -> None:
    bad = np.flatnonzero(used & ~((stdev > 0) & np.isfinite(stdev)))
    if bad.size:
        reasons = why_missing(stdev[bad])
        because = f" ({reasons})" if reasons else ""
        raise DataError(
            f"{name}: expected positive, finite standard deviations, got {bad.size} that are "
            f"not{because}, the first ({stdev[bad[0]]:g}) at index {bad[0]}; correct them, flag "
            f"these rows, or set the values themselves missing"
        )


def _dense(table: ObservedTable, matrix: np.ndarray) -> Dense:
    where = f"{table.where}_covariance"
    if not np.isfinite(matrix).all():
        raise DataError(
            f"{where}: expected finite numbers between rows that are used, got "
            f"{np.sum(~np.isfinite(matrix))} that are not ({why_missing(matrix)}); flag these rows"
        )
    with naming(f"{where}, of the {len(matrix)} rows used"):
        return Dense((matrix + matrix.T) / 2)
