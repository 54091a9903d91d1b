"""What the errors of observed values are taken to be: given by the caller, or by the file."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assim.files.errors import DataError, naming
from assim.files.read.tables import ObservedTable
from assim.files.units import check_units, squared
from assim.problem.covariance import AbstractCovariance, Dense
from assim.problem.likelihood import AbstractLikelihood, Gaussian
from assim.problem.observation import ErrorScale


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

    def check_units(self, table: ObservedTable) -> None:
        """Raise DataError where the file's errors have other units than the values need."""
        if self.stdev is not None or self.covariance is not None:
            return
        units = stdev_units(table.units, self.likelihood)
        if table.covariance is not None:
            where = f"{table.where}_covariance"
            check_units(where, table.covariance_units, squared(units))
        elif table.stdev_units is not None:
            check_units(f"{table.where}_stddev", table.stdev_units, units)

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
        name = f"{table.where}_stddev"
        if self.stdev is not None:
            stdev, name = self._given(table), f"{table.where}: stdev"
        elif table.covariance is not None:
            stdev = np.sqrt(np.maximum(np.diag(table.covariance), 0))
            name = f"{table.where}_covariance"
        elif table.stdev is not None:
            stdev = table.stdev
        elif self.scale is not None or not self.likelihood.uses_covariance:
            stdev = np.ones(table.rows)
        else:
            raise DataError(
                f"{table.where}: expected the standard deviation of the observation errors, there "
                f"is no variable '{table.variable}_stddev'; add it to the file, give stdev=..., "
                f"or let it be estimated with scale=..."
            )
        _check_positive(name, stdev, used)
        return stdev

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
    likelihood: AbstractLikelihood, scale: ErrorScale | None = None, value: float | None = None
) -> dict[str, str | float]:
    """What an observed variable's attributes say of its errors.

    `likelihood` and `errors_of`, "value" or "logarithm"; where a factor on the errors is estimated
    also `error_scale`, its name, and `error_scale_value` where that is one number.
    """
    attributes: dict[str, str | float] = {
        "likelihood": type(likelihood).__name__,
        "errors_of": "logarithm" if likelihood.logarithmic else "value",
    }
    if scale is not None:
        attributes["error_scale"] = scale.name
        if value is not None:
            attributes["error_scale_value"] = value
    return attributes


def _check_positive(name: str, stdev: np.ndarray, used: np.ndarray) -> None:
    bad = np.flatnonzero(used & ~((stdev > 0) & np.isfinite(stdev)))
    if bad.size:
        raise DataError(
            f"{name}: expected positive, finite standard deviations, got {bad.size} that are "
            f"not, the first ({stdev[bad[0]]:g}) at index {bad[0]}; correct them, flag these "
            f"rows, or set the values themselves missing"
        )


def _dense(table: ObservedTable, matrix: np.ndarray) -> Dense:
    where = f"{table.where}_covariance"
    if not np.isfinite(matrix).all():
        raise DataError(
            f"{where}: expected finite numbers between rows that are used, got "
            f"{np.sum(~np.isfinite(matrix))} that are not; flag these rows"
        )
    with naming(f"{where}, of the {len(matrix)} rows used"):
        return Dense((matrix + matrix.T) / 2)
