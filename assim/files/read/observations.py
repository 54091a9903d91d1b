"""Observations of one instrument from a file, and the fate of every row."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from assim.arguments import hint
from assim.files.errors import DataError, NothingToUseError, naming
from assim.files.missing import why_missing
from assim.files.names import (
    BACKGROUND,
    BOUNDS,
    DOMAIN,
    FLAGS,
    MISSING,
    OPERATOR_FAILED,
    WEIGHTLESS,
    WINDOW,
)
from assim.files.read import notes
from assim.files.read.cells import MEAN, POINT, contradiction
from assim.files.read.dimensions import Select
from assim.files.read.flags import NOT_ACCEPTED, Accepted
from assim.files.read.grouping import Frame, SortedTable, superobbed, thinned
from assim.files.read.quality import (
    QualityControl,
    Uncertainty,
    check_far,
    fails_background_check,
    in_units,
)
from assim.files.read.tables import ObservedTable, open_observations
from assim.files.read.windows import TOLERANCE, read_window
from assim.files.sources import Source
from assim.files.times import date_text
from assim.problem.arrays import Labels
from assim.problem.bias import BiasCorrection
from assim.problem.covariance import AbstractCovariance
from assim.problem.interpolation import reach
from assim.problem.likelihood import AbstractLikelihood, Gaussian
from assim.problem.model import AbstractDynamics
from assim.problem.observation import ErrorScale, Observations
from assim.problem.operator import AbstractOperator, PointSample, TimeMean
from assim.problem.points import Points
from assim.problem.window import Window

_MANY = 1 / 3  # of the values: so many outside the window may be a mistake in their times


@dataclass(frozen=True)
class Instrument:
    """Observations with the table they came from and the fate of each of its rows.

    Args:
        table: what the file holds, and the rows made by superobbing, n rows.
        observations: the rows used, in the table's order.
        flags: effective quality flag of every row, shape (n,); used where 0.
        within: rows in the window and on the grid, with a value or without, shape (n,).
        readable: these rows, for what the model says of them; errors unknown, missing values 0.
        quality: what was asked of them.
    """

    table: ObservedTable
    observations: Observations
    flags: np.ndarray
    within: np.ndarray
    readable: Observations
    quality: QualityControl

    @property
    def used(self) -> np.ndarray:
        """Which rows are used, shape (n,)."""
        return self.flags == 0

    def rejected(self) -> dict[str, int]:
        """Rows not used, by reason."""
        return _counts(self.flags)

    def naming(self, number: int) -> str:
        """Row and date of a value, of its number among those used."""
        row, table = int(np.flatnonzero(self.used)[number]), self.table
        more = " with its means" if self.quality.averages else ""
        return f"row {row} (from 0) of {table.source}{more}, {table.times.text(row)}"

    def check_background(self, innovation: np.ndarray, stdev: np.ndarray) -> "Instrument":
        """The instrument without values whose innovation exceeds the threshold asked for.

        Innovations y - H(x^b) and their standard deviations √(HBHᵀ + R), as
        `assim.finding.innovation_stdev` gives them, are those of the values used, shape (m,).

        Raises:
            DataError: no value is left.
        """
        threshold = self.quality.threshold
        if threshold is None:
            return self
        failed = fails_background_check(innovation, stdev, threshold)
        if not failed.any():
            return self
        if failed.all():
            raise DataError(
                f"{self.table.where}: all {failed.size} values fail the background check, "
                f"|y - H(x^b)| <= {threshold:g} standard deviations; look at the background, its "
                f"covariance and the units, or ask for a higher threshold"
            )
        flags = self.flags.copy()
        flags[np.flatnonzero(self.used)[failed]] = BACKGROUND
        return replace(self, observations=self.observations.subset(~failed), flags=flags)


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
    correlated: bool = True,
    bias: BiasCorrection | None = None,
    quality: QualityControl | None = None,
    clock: str | None = None,
    select: Select | None = None,
    accept: Accepted = None,
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
            `<variable>_covariance` or `<variable>_stddev` where neither it nor `covariance` is
            given.
        likelihood: Gaussian where not given.
        scale: an estimated factor on the errors, which are 1 where neither the file nor `stdev`
            gives them.
        name: name in results; the variable's where not given.
        covariance: R of the values used, in place of `stdev`.
        correlated: False leaves the covariances in the file out, and keeps the variances.
        bias: a correction added to what the operator predicts; its columns of numbers have one
            entry a row of the file.
        quality: bounds, thinning and superobbing. The background check needs a problem: see
            `Instrument.check_background`.
        clock: the variable that is the time; that of the standard name `time` where not given.
        select: what to take along dimensions that the model does not know, as
            `{"realization": 0}` or `{"realization": "mean"}`.
        accept: values or meanings of the file's quality flags with which values are used; 0 where
            not given.

    Raises:
        DataError: the file, or a variable in it, cannot be used.
    """
    if window is None:
        window = read_window(source, model, clock=clock, select=select, accept=accept)
    return to_instrument(
        open_observations(source, variable, model.labels(), clock, select, accept),
        model,
        window,
        operator,
        name=name,
        uncertainty=Uncertainty(stdev, covariance, correlated, likelihood or Gaussian(), scale),
        bias=bias,
        quality=quality,
    ).observations


def to_instrument(
    table: ObservedTable,
    model: AbstractDynamics,
    window: Window,
    operator: AbstractOperator | None = None,
    *,
    name: str | None = None,
    uncertainty: Uncertainty | None = None,
    bias: BiasCorrection | None = None,
    quality: QualityControl | None = None,
) -> Instrument:
    """Observations that can be used, and the quality flag of every row of the table.

    Flags of the file are kept; missing values get 10, values out of bounds 12, off the model's
    grid 13, outside the window 14, without a predictor of the bias 15, left out by thinning 16,
    with an error so large that they tell nothing 17, averaged 31. Arguments are those of
    `read_observations`.

    Raises:
        NothingToUseError: no row left.
        DataError: units, positions, intervals or errors that do not fit.
    """
    labels, uncertainty = model.labels(), uncertainty or Uncertainty()
    operator, said = _operator(table, labels, operator)
    frame = Frame(labels, window, operator, quality or QualityControl())
    _check_places(table, operator, labels)
    table = uncertainty.in_units(in_units(table, operator.units(labels), type(operator).__name__))
    if bias is not None and (problem := bias.check(table.rows)) is not None:
        raise DataError(f"{table.where}: {problem}")
    flags, within = _flags(table, frame, bias)
    weightless = uncertainty.weightless(table, flags == 0)
    flags[weightless] = WEIGHTLESS
    told = (*table.notes, *_outside(table, frame, flags), *notes.rounded(table, frame))
    told += (*notes.left_out(table, weightless), *notes.set_aside(table, uncertainty), *said)
    told += tuple(notes.across_ends(table, frame))
    rows = SortedTable(replace(table, notes=told), flags, within, uncertainty, bias)
    rows = thinned(superobbed(rows, frame), frame)
    _check_some_left(rows, frame)
    chosen, called = rows.flags == 0, name or table.variable
    fate = f"the values to use, {chosen.sum()} of {chosen.size}, do not fit"
    with naming(f"{table.where}: {fate}"):
        errors: dict[str, Any] = {"likelihood": uncertainty.likelihood, "scale": uncertainty.scale}
        errors |= rows.uncertainty.of(rows.table, chosen)
        check_far(rows.table, chosen, rows.uncertainty, frame.quality)
        observations = _made(rows, chosen, called, frame, errors)
        readable = _made(rows, rows.within, called, frame, {})
    twice = notes.repeated(rows.table, chosen, independent=observations.covariance.independent())
    odd = notes.filled(rows.table, chosen, frame.quality)
    odd += notes.filled_predictors(table.where, rows.bias, chosen)
    table = replace(rows.table, notes=(*rows.table.notes, *odd, *twice))
    return Instrument(table, observations, rows.flags, rows.within, readable, frame.quality)


def _made(
    rows: SortedTable, chosen: np.ndarray, name: str, frame: Frame, errors: dict[str, Any]
) -> Observations:
    """The chosen rows, with these errors and likelihood."""
    table, bias = rows.table, rows.bias
    if bias is not None:
        bias = bias.replaced({name: column[chosen] for name, column in bias.columns().items()})
    times, starts, ends = (
        jnp.asarray(frame.times(stamps or table.times)[chosen])
        for stamps in (table.times, table.starts, table.ends)
    )
    places = {dim: jnp.asarray(place[chosen]) for dim, place in table.coordinates.items()}
    points = Points(times, starts, ends, places, frame.window.reference)
    values = table.values[chosen]
    values = np.where(np.isfinite(values), values, 0.0)  # which no prediction depends on
    return Observations(
        name, values, points, frame.operator, units=table.units, bias=bias, **errors
    )


def _outside(table: ObservedTable, frame: Frame, flags: np.ndarray) -> list[str]:
    """A note where many of the values that could be used lie outside the window."""
    outside, used = int(np.sum((flags == WINDOW) & (table.qc == 0))), int(np.sum(flags == 0))
    if not used or outside <= _MANY * (outside + used):
        return []
    return [
        f"{table.where}: {outside} of {outside + used} values that could be used lie outside the "
        f"window: {next(_spans(table, frame))}; if they are meant to lie within, look at the "
        "reference date, the unit and the time zone of the times"
    ]


def _operator(
    table: ObservedTable, labels: Labels, given: AbstractOperator | None
) -> tuple[AbstractOperator, list[str]]:
    """The one given, else what reads a field as its file says; and a note where that is odd."""
    if given is not None:
        return given, contradiction(table.where, table.method, given)
    if table.variable not in labels.state:
        raise DataError(
            f"{table.where}: expected a field of the model, got {table.variable!r}; "
            f"{hint(table.variable, labels.state)} (or give an operator)"
        )
    if table.method == MEAN and table.starts is not None:
        return TimeMean(table.variable), [
            f"{table.where}: read as means over the intervals of its times, as cell_methods says "
            '"time: mean" (operator TimeMean; PointSample reads values at their times)'
        ]
    if table.method in ("", POINT):
        return PointSample(table.variable), []
    way = "name the intervals by the attribute `bounds` of the time, and " * (table.starts is None)
    return PointSample(table.variable), [
        f"{table.where}: read as values at their times, though cell_methods says "
        f'"time: {table.method}"; {way}give the operator that predicts them, '
        "such as TimeMean or TimeIntegral; operator PointSample says that this is meant"
    ]


def _check_places(table: ObservedTable, operator: AbstractOperator, labels: Labels) -> None:
    """Raise DataError where the table lacks what the operator asks for."""
    kind = type(operator).__name__
    try:
        operator.units(labels)
        dims = operator.dims(labels)
    except KeyError as error:
        field = str(error.args[0])
        raise DataError(
            f"{table.where}: its operator {kind} asks for the field {field!r}, which the model "
            f"lacks; {hint(field, labels.state)}"
        ) from error
    for dim in dims:
        if dim not in table.coordinates:
            raise DataError(
                f"{table.where}: {kind} needs the position of every value along {dim!r}, the "
                f"file has {', '.join(table.coordinates) or 'no coordinates'}; add a variable "
                f"{dim!r} on the dimension of the values"
            )
    if operator.needs_intervals() and table.starts is None:
        raise DataError(
            f"{table.where}: {kind} needs the interval that every value covers; add a variable "
            f"'time_bnds' (..., 2) and the attribute `bounds = 'time_bnds'` to the time"
        )


def _flags(
    table: ObservedTable, frame: Frame, bias: BiasCorrection | None
) -> tuple[np.ndarray, np.ndarray]:
    """Effective flags, and which rows lie in the window and on the grid."""
    flags, finite = table.qc.copy(), np.isfinite(table.values)
    late, off = _late(table, frame), _off_grid(table, frame)
    flags[(flags == 0) & ~finite] = MISSING
    flags[(flags == 0) & late] = WINDOW
    flags[(flags == 0) & off] = DOMAIN
    flags[(flags == 0) & frame.quality.exceeded(table.values)] = BOUNDS
    within = ~late & ~off
    if bias is not None:
        within &= bias.known(table.rows)
        flags[(flags == 0) & ~within] = OPERATOR_FAILED
    return flags, within


def _off_grid(table: ObservedTable, frame: Frame) -> np.ndarray:
    """Rows whose place cannot be read."""
    return np.any([np.zeros(table.rows, bool), *_off_axes(table, frame).values()], axis=0)


def _off_axes(table: ObservedTable, frame: Frame) -> dict[str, np.ndarray]:
    """By dimension, rows whose position along it cannot be read."""
    outside, axes = {}, frame.axes()
    for dim in axes:
        place, limits = table.coordinates[dim], reach(axes, dim)
        beyond = False if limits is None else _beyond(place, *limits)
        outside[dim] = ~np.isfinite(place) | beyond
    return outside


def _late(table: ObservedTable, frame: Frame) -> np.ndarray:
    """Rows whose time, or interval where the operator may look at it, leaves the window."""
    edges, times = np.asarray(frame.window.edges), [table.times]
    if table.starts and table.ends and frame.operator.reads_intervals():
        times = [table.starts, table.ends]
    return np.any([_beyond(frame.times(stamps), edges[0], edges[-1]) for stamps in times], axis=0)


def _beyond(position: np.ndarray, first: float, last: float) -> np.ndarray:
    """Which positions lie outside an interval, by more than rounding."""
    slack = TOLERANCE * (last - first)
    return (position < first - slack) | (position > last + slack)


def _counts(flags: np.ndarray) -> dict[str, int]:
    codes, counts = np.unique(flags[flags != 0], return_counts=True)
    return {
        FLAGS.get(int(code), f"flag_{code}"): int(count)
        for code, count in zip(codes, counts, strict=True)
    }


def _check_some_left(rows: SortedTable, frame: Frame) -> None:
    if np.any(rows.flags == 0):
        return
    reasons = [f"{count} {reason}" for reason, count in _counts(rows.flags).items()]
    missing = why_missing(rows.table.values[rows.flags == MISSING])
    reasons += [f"of which missing: {missing}"] * bool(missing)
    flagged = [note for note in rows.table.notes if NOT_ACCEPTED in note]
    flagged += notes.across_ends(rows.table, frame)
    raise NothingToUseError(
        f"{rows.table.where}: expected at least one value to use, got none of {rows.flags.size}: "
        f"{', '.join(reasons) or 'no rows'}; {'; '.join([*flagged, *_spans(rows.table, frame)])}"
    )


def _spans(table: ObservedTable, frame: Frame) -> Iterator[str]:
    """From where to where the file and the window run, and file and grid where a place is off."""
    edges, times = np.asarray(frame.window.edges), frame.times(table.times)
    window = f"the window {'runs ' * (not times.size)}from {_from_to(edges, frame)}"
    yield f"the times run from {_from_to(times, frame)}, {window}" if times.size else window
    for dim, outside in _off_axes(table, frame).items():
        limits, place = reach(frame.axes(), dim), table.coordinates[dim]
        if outside.any() and limits is not None and np.isfinite(place).any():
            here = f"{np.nanmin(place):g} to {np.nanmax(place):g}"
            yield f"{dim!r} runs from {here}, the model's from {limits[0]:g} to {limits[1]:g}"
        elif outside.any():
            yield f"{np.sum(outside)} positions along {dim!r} are missing"


def _from_to(times: np.ndarray, frame: Frame) -> str:
    unit, reference = frame.labels.time_unit, frame.window.reference
    return " to ".join(date_text(float(t), unit, reference) for t in (times.min(), times.max()))
