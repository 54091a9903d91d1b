"""What the errors of observed values are taken to be: given by the caller, or by the file."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assim.files.errors import DataError
from assim.files.tables import ObservationTable
from assim.files.units import check_units, squared
from assim.problem.covariance import AbstractCovariance, Dense
from assim.problem.likelihood import AbstractLikelihood, LogNormal, Poisson
from assim.problem.observation import ErrorScale


@dataclass(frozen=True)
class Uncertainty:
    """Errors of one instrument as its user gives them; what is None is left to the file.

    Args:
        stdev: standard deviation, a number or one a row of the file.
        covariance: R of the values used.
        correlated: whether covariances between rows of the file count.
        likelihood: how values scatter; Gaussian where None.
        scale: an estimated factor.
    """

    stdev: np.ndarray | float | None = None
    covariance: AbstractCovariance | None = None
    correlated: bool = True
    likelihood: AbstractLikelihood | None = None
    scale: ErrorScale | None = None

    def check_units(self, table: ObservationTable) -> None:
        """Raise DataError where the file's errors have other units than the values need."""
        if self.stdev is not None or self.covariance is not None:
            return
        units = stdev_units(table.units, self.likelihood)
        if table.covariance is not None:
            where = f"{table.where}_covariance"
            check_units(where, table.covariance_units, squared(units))
        elif table.stdev_units is not None:
            check_units(f"{table.where}_stddev", table.stdev_units, units)

    def of(self, table: ObservationTable, used: np.ndarray) -> dict[str, Any]:
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

    def column(self, table: ObservationTable, used: np.ndarray) -> np.ndarray:
        """Standard deviation of every row, positive where used, shape (n,).

        Those given, else the file's, else one where that makes sense.

        Raises:
            DataError: they are not positive, do not fit the rows, or there are none.
        """
        name = f"{table.where}_stddev"
        if self.stdev is not None:
            found, name = self._given(table), f"{table.where}: stdev"
        elif table.covariance is not None:
            found, name = (
                np.sqrt(np.maximum(np.diag(table.covariance), 0)),
                f"{name[:-7]}_covariance",
            )
        elif table.stdev is not None:
            found = table.stdev
        elif self.scale is not None or isinstance(self.likelihood, Poisson):
            found = np.ones(table.rows)
        else:
            raise DataError(
                f"{table.where}: expected the standard deviation of the observation errors, there "
                f"is no variable '{table.variable}_stddev'; add it to the file, give stdev=..., "
                f"or let it be estimated with scale=..."
            )
        _check_positive(name, found, used)
        return found

    def _given(self, table: ObservationTable) -> np.ndarray:
        stdev = np.asarray(self.stdev, float)
        if stdev.shape not in ((), (table.rows,)):
            raise DataError(
                f"{table.where}: expected one stdev, or one for each of the {table.rows} rows, "
                f"got an array of shape {stdev.shape}"
            )
        return np.broadcast_to(stdev, table.rows)


def stdev_units(units: str, likelihood: AbstractLikelihood | None) -> str:
    """Units of the standard deviations: those of the values, or "1" for log-normal errors."""
    return "1" if isinstance(likelihood, LogNormal) else units


def _check_positive(name: str, stdev: np.ndarray, used: np.ndarray) -> None:
    bad = np.flatnonzero(used & ~((stdev > 0) & np.isfinite(stdev)))
    if bad.size:
        raise DataError(
            f"{name}: expected positive, finite standard deviations, got {bad.size} that are "
            f"not, the first ({stdev[bad[0]]:g}) at index {bad[0]}; correct them, flag these "
            f"rows, or set the values themselves missing"
        )


def _dense(table: ObservationTable, matrix: np.ndarray) -> Dense:
    where = f"{table.where}_covariance"
    if not np.isfinite(matrix).all():
        raise DataError(
            f"{where}: expected finite numbers between rows that are used, got "
            f"{np.sum(~np.isfinite(matrix))} that are not; flag these rows"
        )
    try:
        return Dense((matrix + matrix.T) / 2)
    except ValueError as problem:
        raise DataError(f"{where}, of the {len(matrix)} rows used: {problem}") from problem
