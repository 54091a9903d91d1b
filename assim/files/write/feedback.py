"""feedback.nc: every observation with what the background and the analysis say of it.

One row an observation, on the dimension `obs`. Instruments that share their rows (the same
file, times and places) share them here; the rows of further files follow, and the flag variable
`instrument` says which file a row comes from. A value that does not exist for a row is missing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from assim.analysis.analyse import Analysis
from assim.analysis.finding import Variable, flagged
from assim.devices import program
from assim.files.names import MISSING, PASSIVE, Ancillary, Column, time_name, variable_name
from assim.files.netcdf import axes_of_readings, axis_attributes, flag_attributes, time_variable
from assim.files.read.observations import Instrument
from assim.files.read.quality import error_attributes, stdev_units
from assim.files.read.tables import ObservedTable
from assim.files.write.encode import encoded, row_columns
from assim.problem.arrays import Array, Labels
from assim.problem.departure import Simulation
from assim.problem.observation import Observations
from assim.problem.window import Window

_Columns = tuple[Instrument, list[Column]]


def feedback_dataset(instruments: Sequence[Instrument], analysis: Analysis) -> xr.Dataset:
    """Observations with predictions, departures and effective quality flags.

    For each instrument v: `v`, `v_stddev`, `v_qc`, `v_hofx_background`, `v_hofx_analysis`,
    `v_ombg`, `v_oman` and `v_effective_qc`, and where a bias is corrected `v_bias_background` and
    `v_bias_analysis`, which the predictions include. Predictions exist for every row in the
    window and on the grid, used or not, with a value or without.
    """
    columns = [(instrument, _compared(instrument, analysis)) for instrument in instruments]
    labels, window = analysis.problem.model.labels(), analysis.problem.window
    return point_table(columns, labels, window, analysis.analysis.control.scales)


def point_table(
    instruments: Sequence[_Columns],
    labels: Labels,
    window: Window,
    scales: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Observations in the layout of observations.nc.

    Every instrument comes with its columns beside its values, their errors and flags; `scales` are
    estimated factors on errors, by name.
    """
    blocks = _blocks(instruments)
    tables = [block[0][0].table for block in blocks]
    starts = np.concatenate([[0], np.cumsum([table.rows for table in tables])]).astype(int)
    places = _coordinates(tables, labels, window)
    bounds = _bounds(tables, labels, window, places)
    content: dict[str, xr.Variable] = {}
    for start, block in zip(starts, blocks, strict=False):
        for instrument, more in block:
            o, columns = instrument.observations, [*_observed(instrument), *more]
            content |= _variables(variable_name(o.name), columns, int(start), int(starts[-1]))
            errors = error_attributes(o.likelihood, o.scale, scales)
            content[variable_name(o.name)].attrs |= errors
    if len(blocks) > 1:
        content |= encoded({"instrument": _origin(blocks, starts)})
    dataset = xr.Dataset({**places, **content, **bounds}, attrs={"featureType": "point"})
    for name, variable in dataset.variables.items():
        about = name in content and name != "instrument"
        variable.encoding["coordinates"] = " ".join(places) if about else None
    return dataset.set_coords(list(places))


def _blocks(instruments: Sequence[_Columns]) -> list[list[_Columns]]:
    """Instruments that share their rows, together."""
    blocks: list[list[_Columns]] = []
    for pair in instruments:
        block = next((b for b in blocks if _same_rows(b[0][0].table, pair[0].table)), None)
        if block is None:
            blocks.append([pair])
        else:
            block.append(pair)
    return blocks


def _same_rows(first: ObservedTable, second: ObservedTable) -> bool:
    places = second.coordinates
    return (
        first.source == second.source
        and np.array_equal(first.times.numbers, second.times.numbers)
        and first.times.epoch == second.times.epoch
        and first.coordinates.keys() == places.keys()
        and all(np.array_equal(first.coordinates[d], column) for d, column in places.items())
    )


def _coordinates(
    tables: list[ObservedTable], labels: Labels, window: Window
) -> dict[str, xr.Variable]:
    """Time and position of every row; a position is missing where its file has none."""
    unit, clock = labels.time_unit, time_name(labels.time_unit)
    times = np.concatenate([t.times.to_model(unit, window.reference) for t in tables])
    coordinates = {clock: xr.Variable(*time_variable(times, unit, window.reference, "obs"))}
    for dim, axis in axes_of_readings(labels).items():
        if any(dim in table.coordinates for table in tables):
            columns = [t.coordinates.get(dim, np.full(t.rows, np.nan)) for t in tables]
            words = axis_attributes(axis, dim)
            coordinates[dim] = xr.Variable("obs", np.concatenate(columns), words)
    return coordinates


def _bounds(
    tables: list[ObservedTable], labels: Labels, window: Window, places: dict[str, xr.Variable]
) -> dict[str, xr.Variable]:
    """Intervals of the values, where any table has them; readings have intervals of no length."""
    if all(table.starts is None for table in tables):
        return {}
    unit, reference = labels.time_unit, window.reference
    pairs = [(table.starts or table.times, table.ends or table.times) for table in tables]
    sides = [
        np.concatenate([stamps.to_model(unit, reference) for stamps in side])
        for side in zip(*pairs, strict=True)
    ]
    clock = time_name(unit)
    places[clock].attrs["bounds"] = f"{clock}_bnds"
    columns = [time_variable(side, unit, reference, "obs")[1] for side in sides]
    return {f"{clock}_bnds": xr.Variable(("obs", "nv"), np.stack(columns, axis=1))}


def _observed(instrument: Instrument) -> list[Column]:
    """Values, standard deviations of their errors, and the flags they came with."""
    table, what = instrument.table, instrument.table.long_name
    columns = [
        Column(None, table.values, what, table.units),
        Column(Ancillary.QC, table.qc, f"whether {what} is accepted by its quality flag", "1"),
    ]
    observations = instrument.observations
    if observations.likelihood.uses_covariance:  # those of the file where a row is not used
        stdev = np.full(table.rows, np.nan) if table.stdev is None else table.stdev.copy()
        stdev[instrument.used] = np.sqrt(np.asarray(observations.covariance.variance()))
        units = stdev_units(table.units, observations.likelihood)
        words = f"standard deviation of the errors of {what}"
        columns.append(Column(Ancillary.STDEV, stdev, words, units))
    return columns


def _compared(instrument: Instrument, analysis: Analysis) -> list[Column]:
    """What the background and the analysis predict, departures from them, and flags as used."""
    name, simulations = instrument.observations.name, (analysis.background, analysis.analysis)
    findings = row_columns(analysis.findings, name, int(instrument.used.sum()))
    return [
        *_corrections(instrument, analysis),
        *_departures(instrument, *(_predicted(instrument, s) for s in simulations)),
        *(used_column(instrument, c.suffix, c.values, c.what, c.dimensionless) for c in findings),
        flags_column(instrument, name in analysis.analysis.predictions),
    ]


def _departures(instrument: Instrument, before: np.ndarray, after: np.ndarray) -> list[Column]:
    """What background and analysis predict of every row, and departures from it."""
    table = instrument.table
    values, what, units = table.values, table.long_name, table.units
    return [
        Column(Ancillary.HOFX_BACKGROUND, before, f"background of {what}", units),
        Column(Ancillary.HOFX_ANALYSIS, after, f"analysis of {what}", units),
        Column(Ancillary.OMBG, values - before, f"{what} less its background", units),
        Column(Ancillary.OMAN, values - after, f"{what} less its analysis", units),
    ]


def flags_column(instrument: Instrument, assimilated: bool = True) -> Column:
    """Flags as used; where values are not assimilated, those that would be used are passive."""
    flags = instrument.flags
    if not assimilated:
        flags = np.where(instrument.used, np.asarray(PASSIVE, flags.dtype), flags)
    what = f"quality flag of {instrument.table.long_name} as used"
    return Column(Ancillary.EFFECTIVE_QC, flags, what, "1")


def _variables(name: str, columns: list[Column], start: int, rows: int) -> dict[str, xr.Variable]:
    """Columns of one instrument, whose rows begin at `start` of `rows`."""
    content = {}
    for column in columns:
        values, words = column.values, {"units": column.units, "long_name": column.long_name}
        flags = values.dtype.kind == "i"
        whole = np.full(rows, MISSING, np.int32) if flags else np.full(rows, np.nan)
        whole[start : start + values.size] = values
        attrs = flag_attributes(column.long_name) if flags else words
        content[f"{name}{column.suffix or ''}"] = xr.Variable("obs", whole, attrs)
    content[name].attrs["ancillary_variables"] = " ".join(a for a in content if a != name)
    return content


def _predicted(instrument: Instrument, simulation: Simulation) -> np.ndarray:
    """H of a simulation for every row that can be read; those used as the analysis had them."""
    used, within = instrument.used, instrument.within
    whole = np.full(used.shape, np.nan)
    known = simulation.predictions.get(instrument.observations.name)
    if known is None or np.any(within & ~used):
        biases = simulation.control.biases
        whole[within] = np.asarray(_predict(instrument.readable, simulation.seen, biases))
    if known is not None:
        whole[used] = np.asarray(known)
    return whole


def _corrections(instrument: Instrument, analysis: Analysis) -> list[Column]:
    """The corrections of a bias that predictions include, where there is one."""
    if instrument.readable.bias is None:
        return []
    table, columns = instrument.table, []
    for suffix, name, simulation in (
        (Ancillary.BIAS_BACKGROUND, "background", analysis.background),
        (Ancillary.BIAS_ANALYSIS, "analysis", analysis.analysis),
    ):
        biases = simulation.control.biases
        correction = _correct(instrument.readable, simulation.seen, biases)
        words = f"bias correction of {table.long_name} in the {name}"
        columns.append(Column(suffix, _spread(correction, instrument.within), words, table.units))
    return columns


_predict = program(Observations.predict)
_correct = program(Observations.correction)


def _spread(values: Array | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values of some rows, NaN elsewhere."""
    whole = np.full(rows.shape, np.nan)
    whole[rows] = np.asarray(values)
    return whole


def _origin(blocks: list[list[_Columns]], starts: np.ndarray) -> Variable:
    """Which file every row comes from, called by its instrument if it holds only one."""
    names = []
    for (instrument, _), *others in blocks:
        name = Path(instrument.table.source).stem if others else instrument.observations.name
        names.append(variable_name(name))
    if len(set(names)) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    rows = np.repeat(np.arange(len(blocks)), np.diff(starts))
    return flagged(("obs",), rows, "where the observation comes from", names)


def used_column(
    instrument: Instrument,
    suffix: str,
    values: np.ndarray,
    words: str,
    dimensionless: bool = False,
) -> Column:
    """A column of the rows that were used, NaN of the others, in the unit of the values."""
    table, whole = instrument.table, _spread(values, instrument.used)
    return Column(
        suffix, whole, f"{words} {table.long_name}", "1" if dimensionless else table.units
    )


def compared_columns(
    instrument: Instrument, background: np.ndarray, analysis: np.ndarray
) -> list[Column]:
    """What background and analysis predict of the rows that were used, and departures from it."""
    before, after = (_spread(values, instrument.used) for values in (background, analysis))
    return _departures(instrument, before, after)
