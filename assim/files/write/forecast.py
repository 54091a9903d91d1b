"""Forecasts: forecast.nc, what is said of them in JSON, and the draws that they start from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from assim.analysis.forecast import Forecast
from assim.files.errors import DataError
from assim.files.names import QUANTILES, STDEV, Ancillary, Column, time_name
from assim.files.netcdf import attributes, write_json
from assim.files.read.observations import Instrument
from assim.files.read.states import nearest_times, read_trajectory, times_along
from assim.files.record import rewrite
from assim.files.sources import Source, name_of, opened, opened_file
from assim.files.times import NON_PHYSICAL, encode
from assim.files.write.encode import field_series
from assim.files.write.feedback import flags_column, point_table, used_column
from assim.findings.verification import FieldScores, Scores, VerifiedReadings
from assim.problem.arrays import Labels
from assim.problem.model import AbstractDynamics
from assim.problem.window import Window

REALIZATION = "realization"
STALE = "the analysis that this was made from has been made again since: forecast again"


def forecast_dataset(
    forecast: Forecast, *, members: bool = False, names: Iterable[str] | None = None
) -> xr.Dataset:
    """The ensemble mean of every field, or of those named, `<v>_stddev`, `_q05`, `_q50`, `_q95`.

    Dimensions are those of trajectory.nc, time first. The start is the scalar coordinate
    `forecast_reference_time`, and the time since then `forecast_period`. Members, where they are
    asked for, are `<v>_members`, on `realization` before time.
    """
    labels, window = forecast.labels, forecast.window
    columns = {
        "": ("forecast of", forecast.mean),
        STDEV: ("standard deviation of the forecast of", forecast.stdev),
        **{
            f"_{key}": (f"{words} the forecast of", forecast.quantiles[key])
            for key, words in QUANTILES.items()
        },
    }
    dataset = field_series(labels, window, columns, names).assign_coords(_times(window, labels))
    if not members:
        return dataset
    words = {"units": "1", "long_name": "member", "standard_name": REALIZATION}
    numbers = np.flatnonzero(forecast.finite).astype(np.int32)
    content = {}
    for name in [name for name in forecast.members if name in dataset]:
        dims = (REALIZATION, *dataset[name].dims)
        about = attributes(name, labels.state[name], "member of the forecast of")
        content[f"{name}_members"] = xr.Variable(dims, forecast.members[name], about)
    return dataset.assign(content).assign_coords({REALIZATION: (REALIZATION, numbers, words)})


def _times(window: Window, labels: Labels) -> dict[str, xr.Variable]:
    """The first slot edge, and what has passed since then."""
    begin, words = encode(np.asarray(window.edges)[0], labels.time_unit, window.reference)
    passed, units = lead_times(window, labels)
    start = {**words, "long_name": "start of the forecast"}
    period = {"units": units, "long_name": "time since the start of the forecast"}
    times = {
        "forecast_reference_time": xr.Variable((), begin, start),
        "forecast_period": xr.Variable(time_name(labels.time_unit), passed, period),
    }
    for name, variable in times.items() if labels.time_unit != NON_PHYSICAL else ():
        variable.attrs["standard_name"] = name
    return times


def lead_times(window: Window, labels: Labels) -> tuple[np.ndarray, str]:
    """Time since the first slot edge at every edge, and its unit."""
    numbers, words = encode(np.asarray(window.edges), labels.time_unit, window.reference)
    return numbers - numbers[0], words["units"].split(" since ")[0]


def forecast_feedback(
    instruments: Sequence[Instrument],
    rows: Sequence[VerifiedReadings],
    labels: Labels,
    window: Window,
) -> xr.Dataset:
    """Later observations in the layout of feedback.nc, with the forecast's statistics of them.

    `<v>_hofx_forecast` is the mean of H over the members, `_hofx_forecast_stddev` its spread;
    `_hofx_forecast_q05`, `_q50` and `_q95` are those of new readings, errors included, and
    `_hofx_forecast_crps` and `_rank` their score and the rank of what was observed.
    """
    pairs = zip(instruments, rows, strict=True)
    return point_table(
        [(instrument, _columns(instrument, verified)) for instrument, verified in pairs],
        labels,
        window,
    )


def _columns(instrument: Instrument, rows: VerifiedReadings) -> list[Column]:
    what, spread = "what is forecast of", "standard deviation of the forecast of"
    columns = [
        (Ancillary.HOFX_FORECAST, rows.mean, "forecast of"),
        (Ancillary.HOFX_FORECAST_STDEV, rows.stdev, spread),
        (Ancillary.HOFX_FORECAST_Q05, rows.low, f"{QUANTILES['q05']} {what}"),
        (Ancillary.HOFX_FORECAST_Q50, rows.median, f"{QUANTILES['q50']} {what}"),
        (Ancillary.HOFX_FORECAST_Q95, rows.high, f"{QUANTILES['q95']} {what}"),
        (Ancillary.HOFX_FORECAST_CRPS, rows.crps, "continuous ranked probability score of"),
    ]
    words = "rank among the members' readings of"
    return [
        *(used_column(instrument, *column) for column in columns),
        used_column(instrument, Ancillary.HOFX_FORECAST_RANK, rows.rank, words, True),
        flags_column(instrument),
    ]


def scores_summary(scores: Scores) -> dict[str, Any]:
    """Scores of several readings for JSON."""
    cover, content = scores.coverage, scores._asdict()
    return {
        "count": content.pop("number"),
        **content,
        "coverage": cover.covered,
        "coverage_band": [cover.low, cover.high],
        "coverage_level": cover.level,
    }


def readings_summary(
    total: Scores, by_slot: Mapping[int, Scores], leads: np.ndarray
) -> dict[str, Any]:
    """Scores of all readings of an instrument, and by lead time, for JSON."""
    slots = [{"lead": leads[slot], **scores_summary(of_slot)} for slot, of_slot in by_slot.items()]
    return {**scores_summary(total), "by_lead": slots}


def truth_summary(fields: Mapping[str, FieldScores], leads: np.ndarray) -> dict[str, Any]:
    """Scores of every field by lead time for JSON."""
    return {name: {"lead": leads, **scores._asdict()} for name, scores in fields.items()}


def mean_spread(forecast: Forecast) -> dict[str, np.ndarray]:
    """√ of the mean variance over the grid, of every field by lead time."""
    return {
        name: np.sqrt(np.mean(value.reshape(len(value), -1) ** 2, axis=1))
        for name, value in forecast.stdev.items()
    }


def read_members(source: Source, names: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Members of what was estimated, and their `weight`, leading dimension members.

    Of the names, which come with their dimensions, those that posterior.nc has.

    Raises:
        DataError: the file is not that of a posterior.
    """
    with opened(source) as dataset:
        members = {}
        for name, dims in {**names, "weight": ()}.items():
            if name not in dataset.variables or REALIZATION not in dataset[name].dims:
                continue
            array = dataset[name]
            if set(map(str, array.dims)) != {REALIZATION, *dims}:
                raise DataError(
                    f"{name_of(source)}: {name}: expected the dimensions "
                    f"{(REALIZATION, *dims)}, got {array.dims}"
                )
            members[name] = np.asarray(array.transpose(REALIZATION, *dims).values, float)
    if "weight" not in members:
        raise DataError(f"{name_of(source)}: expected members of a posterior, with a weight each")
    return members


def attributes_of(source: Source) -> dict[str, Any]:
    """Global attributes of a file."""
    with opened(source) as dataset:
        return {str(name): value for name, value in dataset.attrs.items()}


def mark_stale(directory: Path) -> list[Path]:
    """Say in the forecasts of a directory that their analysis was made again since.

    Returns:
        the files that say so now.
    """
    changes = {
        "forecast.json": _mark_json,
        "forecast.nc": _mark_dataset,
        "forecast_feedback.nc": _mark_dataset,
    }
    return [directory / n for n, change in changes.items() if rewrite(directory, n, change)]


def _mark_json(path: Path) -> None:
    write_json({**json.loads(path.read_text(encoding="utf-8")), "stale": STALE}, path)


def _mark_dataset(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file.setncattr("assim_stale", STALE)


def true_states(
    source: Source | None, model: AbstractDynamics, window: Window
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Numbers of the slot edges at which a truth is known, and every field there.

    Raises:
        DataError: the file has none, or cannot be read.
    """
    if source is None:
        return np.zeros(0, int), {}
    edges = edges_within(source, model.labels(), window)
    truth = read_trajectory(source, model, np.asarray(window.edges)[edges], window.reference)
    return edges, {name: np.asarray(value) for name, value in truth.items()}


def edges_within(source: Source, labels: Labels, window: Window) -> np.ndarray:
    """Numbers of the window's slot edges at which a file has a state.

    Raises:
        DataError: the file has no times, or none of them is a slot edge.
    """
    edges = np.asarray(window.edges)
    with opened_file(source, labels) as file:
        _, stamps = times_along(file)
    own = np.atleast_1d(stamps.to_model(labels.time_unit, window.reference))
    spacing = stamps.spacing(labels.time_unit)
    numbers = np.flatnonzero(nearest_times(own, edges, spacing)[1])
    if not numbers.size:
        raise DataError(
            f"{name_of(source)}: expected states at times of the forecast, which are model times "
            f"{edges[0]:g} to {edges[-1]:g}; those of the file are {own.min():g} to {own.max():g}"
        )
    return numbers
