"""feedback.nc: every observation with what the background and the analysis say of it.

One row an observation, on the dimension `obs`. Instruments that share their rows (the same
file, times and places) share them here; the rows of further files follow, and the flag variable
`instrument` says which file a row comes from. A value that does not exist for a row is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from assim.analysis.analyse import Analysis
from assim.files.ancillary import Ancillary, Column
from assim.files.names import MISSING, PASSIVE, variable_name
from assim.files.names import time_name as clock_name
from assim.files.netcdf import axis_attributes, flag_attributes, time_variable
from assim.files.read.observations import Instrument
from assim.files.read.tables import ObservedTable
from assim.files.read.uncertainty import error_attributes, stdev_units
from assim.files.write.encode import row_columns
from assim.problem.arrays import Array, Coordinate, Labels, Params, Trajectory
from assim.problem.departure import Simulation
from assim.problem.observation import Observations
from assim.problem.window import Window


def feedback_dataset(instruments: Sequence[Instrument], analysis: Analysis) -> xr.Dataset:
    """Observations with predictions, departures and effective quality flags.

    For each instrument v: `v`, `v_stddev`, `v_qc`, `v_hofx_background`, `v_hofx_analysis`,
    `v_ombg`, `v_oman` and `v_effective_qc`, and where a bias is corrected `v_bias_background` and
    `v_bias_analysis`, which the predictions include. Predictions exist for every value in the
    window and on the grid, used or not.
    """
    labels, window = analysis.problem.model.labels(), analysis.problem.window
    scales = analysis.analysis.control.scales
    return point_table(
        instruments, labels, window, lambda instrument: _compared(instrument, analysis), scales
    )


def observations_dataset(
    instruments: Sequence[Instrument], labels: Labels, window: Window
) -> xr.Dataset:
    """Only the observations, `v`, `v_stddev` and `v_qc`, in the layout of observations.nc."""
    return point_table(instruments, labels, window, lambda instrument: [])


def point_table(
    instruments: Sequence[Instrument],
    labels: Labels,
    window: Window,
    more: Callable[[Instrument], list[Column]],
    scales: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Observations in the layout of observations.nc, with further columns of every instrument.

    Args:
        instruments: the instruments.
        labels: the model's.
        window: the window.
        more: columns of an instrument beside its values, their errors and flags.
        scales: estimated factors on errors, by name.
    """
    blocks = _blocks(instruments)
    tables = [block[0].table for block in blocks]
    starts = np.concatenate([[0], np.cumsum([table.rows for table in tables])]).astype(int)
    places = _coordinates(tables, labels, window)
    bounds = _bounds(tables, labels, window, places)
    content: dict[str, xr.Variable] = {}
    for start, block in zip(starts, blocks, strict=False):
        for instrument in block:
            columns = [*_observed(instrument), *more(instrument)]
            content |= _variables(instrument, columns, int(start), int(starts[-1]))
            content[variable_name(instrument.observations.name)].attrs |= _errors(
                instrument, scales or {}
            )
    if len(blocks) > 1:
        content["instrument"] = _origin(blocks, starts)
    dataset = xr.Dataset({**places, **content, **bounds}, attrs={"featureType": "point"})
    for name, variable in dataset.variables.items():
        about = name in content and name != "instrument"
        variable.encoding["coordinates"] = " ".join(places) if about else None
    return dataset.set_coords(list(places))


def _blocks(instruments: Sequence[Instrument]) -> list[list[Instrument]]:
    """Instruments that share their rows, together."""
    blocks: list[list[Instrument]] = []
    for instrument in instruments:
        for block in blocks:
            if _same_rows(block[0].table, instrument.table):
                block.append(instrument)
                break
        else:
            blocks.append([instrument])
    return blocks


def _same_rows(first: ObservedTable, second: ObservedTable) -> bool:
    return (
        first.source == second.source
        and np.array_equal(first.times.numbers, second.times.numbers)
        and first.times.epoch == second.times.epoch
        and first.coordinates.keys() == second.coordinates.keys()
        and all(
            np.array_equal(first.coordinates[d], second.coordinates[d]) for d in first.coordinates
        )
    )


def _coordinates(
    tables: list[ObservedTable], labels: Labels, window: Window
) -> dict[str, xr.Variable]:
    """Time and position of every row; a position is missing where its file has none."""
    unit, clock = labels.time_unit, clock_name(labels.time_unit)
    times = np.concatenate([t.times.to_model(unit, window.reference) for t in tables])
    coordinates = {clock: xr.Variable(*time_variable(times, unit, window.reference, "obs"))}
    axes, grid = dict(labels.coordinates), labels.curvilinear
    if grid is not None:
        pairs = zip(grid.names, grid.units, strict=True)
        axes |= {name: Coordinate(np.zeros(1), units) for name, units in pairs}
    for dim, axis in axes.items():
        if any(dim in table.coordinates for table in tables):
            column = np.concatenate(
                [table.coordinates.get(dim, np.full(table.rows, np.nan)) for table in tables]
            )
            coordinates[dim] = xr.Variable("obs", column, axis_attributes(axis, dim))
    return coordinates


def _bounds(
    tables: list[ObservedTable],
    labels: Labels,
    window: Window,
    places: dict[str, xr.Variable],
) -> dict[str, xr.Variable]:
    """Intervals of the values, where any table has them; readings have intervals of no length."""
    if all(table.starts is None for table in tables):
        return {}
    unit, reference = labels.time_unit, window.reference
    sides = [
        np.concatenate([(side(t) or t.times).to_model(unit, reference) for t in tables])
        for side in (lambda table: table.starts, lambda table: table.ends)
    ]
    clock = clock_name(unit)
    places[clock].attrs["bounds"] = f"{clock}_bnds"
    columns = [time_variable(side, unit, reference, "obs")[1] for side in sides]
    return {f"{clock}_bnds": xr.Variable(("obs", "nv"), np.stack(columns, axis=1))}


def _observed(instrument: Instrument) -> list[Column]:
    """Values, standard deviations of their errors, and the flags they came with."""
    table, what = instrument.table, instrument.table.long_name
    columns = [
        Column(None, table.values, what, table.units),
        Column(Ancillary.QC, table.qc, f"quality flag of {what} in its file", "1"),
    ]
    if (stdev := _stdev(instrument)) is not None:
        units = stdev_units(table.units, instrument.observations.likelihood)
        words = f"standard deviation of the errors of {what}"
        columns.append(Column(Ancillary.STDEV, stdev, words, units))
    return columns


def _compared(instrument: Instrument, analysis: Analysis) -> list[Column]:
    """What the background and the analysis predict, departures from them, and flags as used."""
    before, after = (
        _predicted(instrument, simulation)
        for simulation in (analysis.background, analysis.analysis)
    )
    words = f"quality flag of {instrument.table.long_name} as used"
    return [
        *_corrections(instrument, analysis),
        *_departures(instrument, before, after),
        *_diagnosed(instrument, analysis),
        Column(Ancillary.EFFECTIVE_QC, _flags(instrument, analysis), words, "1"),
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


def _flags(instrument: Instrument, analysis: Analysis) -> np.ndarray:
    """Flags as used: values that were held back are passive."""
    flags = instrument.flags
    held_back = instrument.observations.name not in analysis.analysis.predictions
    return (
        np.where(instrument.used, np.asarray(PASSIVE, flags.dtype), flags) if held_back else flags
    )


def _diagnosed(instrument: Instrument, analysis: Analysis) -> list[Column]:
    """Findings about every value used: spread of its prediction, influence, impact."""
    name = instrument.observations.name
    return [
        used_column(instrument, suffix, values, what, "1" if dimensionless else None)
        for suffix, values, what, dimensionless in row_columns(
            analysis.findings, name, int(instrument.used.sum())
        )
    ]


def _variables(
    instrument: Instrument, columns: list[Column], start: int, rows: int
) -> dict[str, xr.Variable]:
    """Columns of one instrument, whose rows begin at `start` of `rows`."""
    name = variable_name(instrument.observations.name)
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


def _errors(instrument: Instrument, scales: Mapping[str, Any]) -> dict[str, Any]:
    """What the attributes of an observed variable say of its errors."""
    observations = instrument.observations
    scale = observations.scale
    known = None if scale is None or scale.name not in scales else float(scales[scale.name])
    return error_attributes(observations.likelihood, scale, known)


def _predicted(instrument: Instrument, simulation: Simulation) -> np.ndarray:
    """H of a simulation for every row that can be read; those used as the analysis had them."""
    used, within = instrument.used, instrument.within
    whole = np.full(used.shape, np.nan)
    known = simulation.predictions.get(instrument.observations.name)
    if known is None or np.any(within & ~used):
        biases = simulation.control.biases
        whole[within] = np.asarray(_predict(instrument.readable, simulation.trajectory, biases))
    if known is not None:
        whole[used] = np.asarray(known)
    return whole


def _corrections(instrument: Instrument, analysis: Analysis) -> list[Column]:
    """The corrections of a bias that predictions include, where there is one."""
    if instrument.readable.bias is None:
        return []
    what, units = instrument.table.long_name, instrument.table.units
    columns = []
    for name, suffix, simulation in (
        ("background", Ancillary.BIAS_BACKGROUND, analysis.background),
        ("analysis", Ancillary.BIAS_ANALYSIS, analysis.analysis),
    ):
        biases = simulation.control.biases
        correction = _correct(instrument.readable, simulation.trajectory, biases)
        words = f"bias correction of {what} in the {name}"
        columns.append(Column(suffix, _spread(correction, instrument.within), words, units))
    return columns


@eqx.filter_jit
def _predict(observations: Observations, trajectory: Trajectory, biases: Params) -> Array:
    return observations.predict(trajectory, biases)


@eqx.filter_jit
def _correct(observations: Observations, trajectory: Trajectory, biases: Params) -> Array:
    return observations.correction(trajectory, biases)


def _spread(values: Array | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values of some rows, NaN elsewhere."""
    whole = np.full(rows.shape, np.nan)
    whole[rows] = np.asarray(values)
    return whole


def _stdev(instrument: Instrument) -> np.ndarray | None:
    """Standard deviations of the errors as used, else as in the file; None where not needed."""
    observations, table = instrument.observations, instrument.table
    if not observations.likelihood.uses_covariance:
        return None
    given = np.full(table.rows, np.nan) if table.stdev is None else table.stdev.copy()
    given[instrument.used] = np.sqrt(np.asarray(observations.covariance.variance()))
    return given


def _origin(blocks: list[list[Instrument]], starts: np.ndarray) -> xr.Variable:
    rows = np.diff(starts)
    names = [_block_name(block) for block in blocks]
    if len(set(names)) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    attrs = {
        "long_name": "where the observation comes from",
        "flag_values": np.arange(len(blocks), dtype=np.int32),
        "flag_meanings": " ".join(names),
    }
    return xr.Variable("obs", np.repeat(np.arange(len(blocks), dtype=np.int32), rows), attrs)


def _block_name(block: list[Instrument]) -> str:
    """The instrument's name, or the file's where it holds several."""
    if len(block) == 1:
        return variable_name(block[0].observations.name)
    return variable_name(Path(block[0].table.source).stem)


def used_column(
    instrument: Instrument, suffix: str, values: np.ndarray, words: str, units: str | None = None
) -> Column:
    """A column of the rows that were used, NaN of the others; in the unit of the values if none."""
    table = instrument.table
    whole = _spread(values, instrument.used)
    return Column(suffix, whole, f"{words} {table.long_name}", units or table.units)


def compared_columns(
    instrument: Instrument, background: np.ndarray, analysis: np.ndarray
) -> list[Column]:
    """What background and analysis predict of the rows that were used, and departures from it."""
    before, after = (_spread(values, instrument.used) for values in (background, analysis))
    return _departures(instrument, before, after)
