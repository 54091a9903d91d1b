"""Observations of one instrument from a file, and the fate of every row."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from assim.files.errors import DataError, nearest
from assim.files.schema import DOMAIN, FLAGS, MISSING
from assim.files.sources import Source
from assim.files.tables import ObservationTable, open_observations
from assim.files.times import date_text
from assim.files.units import check_units
from assim.files.windows import TOLERANCE, read_window
from assim.problem.arrays import Labels
from assim.problem.bias import BiasCorrection
from assim.problem.covariance import AbstractCovariance
from assim.problem.likelihood import AbstractLikelihood, LogNormal, Poisson
from assim.problem.model import AbstractDynamics
from assim.problem.observation import ErrorScale, Observations
from assim.problem.operator import (
    AbstractOperator,
    Points,
    PointSample,
    TimeDifference,
    TimeIntegral,
    TimeMean,
)
from assim.problem.window import Window

_INTERVALS = (TimeIntegral, TimeMean, TimeDifference)


@dataclass(frozen=True)
class Instrument:
    """Observations with the table they came from and the fate of each of its rows.

    Args:
        table: what the file holds, n rows.
        observations: the rows used, in file order.
        flags: effective quality flag of every row, shape (n,); used where 0.
    """

    table: ObservationTable
    observations: Observations
    flags: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """Which rows are used, shape (n,)."""
        return self.flags == 0

    def rejected(self, window: Window, labels: Labels) -> dict[str, int]:
        """Rows not used, by reason; "window" counts those outside the window."""
        outside = _outside(self.table, window, labels, self.observations.operator)
        return _counts(self.flags, outside)


def read_observations(
    source: Source,
    model: AbstractDynamics,
    window: Window | None = None,
    variable: str | None = None,
    operator: AbstractOperator | None = None,
    stdev: np.ndarray | float | None = None,
    likelihood: AbstractLikelihood | None = None,
    scale: ErrorScale | None = None,
    name: str | None = None,
    *,
    covariance: AbstractCovariance | None = None,
    bias: BiasCorrection | None = None,
) -> Observations:
    """Observations of one variable of a file.

    Args:
        source: path of a NetCDF file, or a Dataset.
        model: whose coordinates, units and time unit they must match.
        window: what they must lie in; `read_window(source, model)` where not given.
        variable: name of the observed variable; None for the only one in the file.
        operator: H; the field of the variable's name at the values' times and places where not
            given.
        stdev: standard deviation of the errors, a number or one a row; the file's
            `<variable>_stddev` where neither it nor `covariance` is given.
        likelihood: Gaussian where not given.
        scale: an estimated factor on the errors, which are 1 where neither the file nor `stdev`
            gives them.
        name: name in results; the variable's where not given.
        covariance: R of the values used, in place of `stdev`.
        bias: a correction added to what the operator predicts; its columns of numbers have one
            entry a row of the file.

    Raises:
        DataError: the file, or a variable in it, cannot be used.
    """
    if window is None:
        window = read_window(source, model)
    table = open_observations(source, variable, model.labels())
    return to_observations(
        table,
        model,
        window,
        operator,
        stdev,
        likelihood,
        scale,
        name,
        covariance=covariance,
        bias=bias,
    )[0]


def to_observations(
    table: ObservationTable,
    model: AbstractDynamics,
    window: Window,
    operator: AbstractOperator | None = None,
    stdev: np.ndarray | float | None = None,
    likelihood: AbstractLikelihood | None = None,
    scale: ErrorScale | None = None,
    name: str | None = None,
    *,
    covariance: AbstractCovariance | None = None,
    bias: BiasCorrection | None = None,
) -> tuple[Observations, np.ndarray]:
    """Observations that can be used, and the quality flag of every row of the table.

    Flags of the file are kept; missing values get 10; values outside the window or the model's
    domain get 13. Arguments are those of `read_observations`.

    Raises:
        DataError: units, positions, intervals or errors that do not fit, or no row left.
    """
    labels = model.labels()
    operator = _default_operator(table, labels) if operator is None else operator
    _check_units(table, operator, labels)
    if stdev is None and covariance is None and table.stdev_units is not None:
        units = stdev_units(table.units, likelihood)
        check_units(f"{table.where}_stddev", table.stdev_units, units)
    flags = _flags(table, window, labels, operator)
    used = flags == 0
    _check_some_left(table, flags, window, labels, operator)
    try:
        observations = Observations(
            name or table.variable,
            table.values[used],
            _points(table, window, labels, used),
            operator,
            None if covariance is not None else _stdev(table, used, stdev, likelihood, scale),
            likelihood,
            scale,
            table.units,
            covariance=covariance,
            bias=None if bias is None else _cut(bias, used),
        )
    except DataError:
        raise
    except ValueError as problem:
        raise DataError(
            f"{table.where}: the {used.sum()} of {table.rows} values to use do not fit: {problem}"
        ) from problem
    return observations, flags


def stdev_units(units: str, likelihood: AbstractLikelihood | None) -> str:
    """Units of the standard deviations: those of the values, or "1" for log-normal errors."""
    return "1" if isinstance(likelihood, LogNormal) else units


def _default_operator(table: ObservationTable, labels: Labels) -> AbstractOperator:
    if table.variable not in labels.state:
        raise DataError(
            f"{table.where}: expected a field of the model, got {table.variable!r}; "
            f"{nearest(table.variable, labels.state)} (or give an operator)"
        )
    return PointSample(table.variable)


def _check_units(table: ObservationTable, operator: AbstractOperator, labels: Labels) -> None:
    kind = type(operator).__name__
    try:
        units, dims = operator.units(labels), operator.dims(labels)
    except KeyError as error:
        field = str(error.args[0])
        raise DataError(
            f"{table.where}: its operator {kind} asks for the field {field!r}, which the model "
            f"lacks; {nearest(field, labels.state)}"
        ) from error
    if units is not None:
        check_units(f"{table.where} (read by {kind})", table.units, units)
    for dim in dims:
        if dim not in table.coordinates:
            raise DataError(
                f"{table.where}: {kind} needs the position of every value along {dim!r}, the "
                f"file has {', '.join(table.coordinates) or 'no coordinates'}; add a variable "
                f"{dim!r} on the dimension of the values"
            )
    if isinstance(operator, _INTERVALS) and table.starts is None:
        raise DataError(
            f"{table.where}: {kind} needs the interval that every value covers; add a variable "
            f"'time_bnds' (..., 2) and the attribute `bounds = 'time_bnds'` to the time"
        )


def _flags(
    table: ObservationTable, window: Window, labels: Labels, operator: AbstractOperator
) -> np.ndarray:
    flags = table.qc.copy()
    outside = _outside(table, window, labels, operator)
    for dim in operator.dims(labels):
        axis, place = labels.coordinates[dim], table.coordinates[dim]
        outside |= ~np.isfinite(place)
        if axis.period is None:
            values = np.asarray(axis.values, float)
            slack = TOLERANCE * np.ptp(values)
            outside |= (place < values[0] - slack) | (place > values[-1] + slack)
    flags[(flags == 0) & ~np.isfinite(table.values)] = MISSING
    flags[(flags == 0) & outside] = DOMAIN
    return flags


def _outside(
    table: ObservationTable, window: Window, labels: Labels, operator: AbstractOperator
) -> np.ndarray:
    """Rows whose time, or interval where the operator may look at it, leaves the window."""
    edges = np.asarray(window.edges)
    slack = TOLERANCE * np.ptp(edges)
    times = [table.times]
    if table.starts and table.ends and not isinstance(operator, PointSample):
        times = [table.starts, table.ends]
    outside = np.zeros(table.rows, bool)
    for stamp in times:
        moment = stamp.to_model(labels.time_unit, window.reference)
        outside |= (moment < edges[0] - slack) | (moment > edges[-1] + slack)
    return outside


def _counts(flags: np.ndarray, outside: np.ndarray) -> dict[str, int]:
    counts = {
        FLAGS.get(int(code), f"flag_{code}"): int(np.sum(flags == code))
        for code in np.unique(flags[flags != 0])
    }
    late = int(np.sum((flags == DOMAIN) & outside))
    if late:
        counts["domain"] -= late
        counts["window"] = late
    return {reason: count for reason, count in counts.items() if count}


def _check_some_left(
    table: ObservationTable,
    flags: np.ndarray,
    window: Window,
    labels: Labels,
    operator: AbstractOperator,
) -> None:
    if np.any(flags == 0):
        return
    counts = _counts(flags, _outside(table, window, labels, operator))
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "no rows"
    unit, reference = labels.time_unit, window.reference
    first, last = (date_text(float(window.edges[i]), unit, reference) for i in (0, -1))
    raise DataError(
        f"{table.where}: expected at least one value to use, got none of {table.rows}: {reasons}; "
        f"the window runs from {first} to {last}"
    )


def _points(table: ObservationTable, window: Window, labels: Labels, used: np.ndarray) -> Points:
    times, starts, ends = (
        jnp.asarray((stamp or table.times).to_model(labels.time_unit, window.reference)[used])
        for stamp in (table.times, table.starts, table.ends)
    )
    places = {dim: jnp.asarray(place[used]) for dim, place in table.coordinates.items()}
    return Points(times, starts, ends, places, window.reference)


def _cut(bias: BiasCorrection, used: np.ndarray) -> BiasCorrection:
    """The correction with its columns of numbers cut to the rows used."""
    columns = {
        name: p if isinstance(p, AbstractOperator) or p.shape != used.shape else p[used]
        for name, p in bias.predictors.items()
    }
    return BiasCorrection(bias.priors, columns)


def _stdev(
    table: ObservationTable,
    used: np.ndarray,
    given: np.ndarray | float | None,
    likelihood: AbstractLikelihood | None,
    scale: ErrorScale | None,
) -> np.ndarray | float:
    """Errors of the rows used: those given, else the file's, else one where that makes sense."""
    if given is not None:
        stdev = np.asarray(given, float)
        return stdev[used] if stdev.shape == used.shape else stdev
    if table.stdev is not None:
        return _positive(table, table.stdev, used)
    if scale is not None or isinstance(likelihood, Poisson):
        return 1.0
    raise DataError(
        f"{table.where}: expected the standard deviation of the observation errors, there is no "
        f"variable '{table.variable}_stddev'; add it to the file, give stdev=..., or let it be "
        f"estimated with scale=..."
    )


def _positive(table: ObservationTable, stdev: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The file's standard deviations of the rows used, which must be positive."""
    bad = np.flatnonzero(used & ~((stdev > 0) & np.isfinite(stdev)))
    if bad.size:
        raise DataError(
            f"{table.where}_stddev: expected positive, finite standard deviations, got "
            f"{bad.size} that are not, the first ({stdev[bad[0]]:g}) at index {bad[0]}; correct "
            f"them, flag these rows, or set the values themselves missing"
        )
    return stdev[used]
