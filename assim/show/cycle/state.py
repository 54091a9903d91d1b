"""The newest states of a cycle over time and space, from the files of its windows."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr
from netCDF4 import Dataset

from assim.files.errors import ReportError
from assim.show import style
from assim.show.cycle.series import field_axis, field_label, fields, forecast, series, size, times
from assim.show.fields import FINEST, SITES, position_label, positions
from assim.show.finished import Run, time_label
from assim.show.layout import time_of
from assim.show.page import Section
from assim.show.style import Picture

NEWEST = 200  # windows drawn
MOST = 2  # fields
PARTS = {"": "Analysis", "_stddev": "Standard deviation", "_increment": "Increment"}


Planes = dict[tuple[str, str], np.ndarray]  # by field and part, values of shape (windows, x)


def draw_states(run: Run) -> Picture | None:
    """Analysis, standard deviation and increment of every 1-D field over time and space."""
    paths = _windows(run)
    if len(paths) < 2:
        return None
    with xr.open_dataset(paths[max(paths)], decode_times=False) as file:
        newest = file.load()
    planes = _planes(run, paths, newest)
    if not planes:
        return None
    figure, axes = style.panels(len(planes), 1, 1.95)
    numbers = np.array(list(paths))
    when, clock = times(run)[numbers], time_label(time_of(series(run)))
    for ((name, part), values), where in zip(planes.items(), axes, strict=True):
        step = slice(None, None, -(-values.shape[1] // FINEST))
        x, signed = positions(newest[name], -1)[step], part != "_stddev"
        style.plane(figure, where, when, x, values.T[step], signed)
        title = f"{PARTS[part]} of {field_label(run, name)}" if part == "" else PARTS[part]
        across = position_label(newest[name], -1)
        where.set(title=field_axis(run, title, name), xlabel=clock, ylabel=across)
        missed = when[forecast(run)[numbers]]
        where.plot(missed, np.full(missed.size, 1.02), "v", color=style.REJECTED, markersize=3.5,
                   transform=where.get_xaxis_transform(), clip_on=False)  # fmt: skip
    return style.picture(figure, _caption(run, numbers))


def _caption(run: Run, numbers: np.ndarray) -> str:
    text = "Analysed state at the newest observations of "
    text += "every window" if numbers.size == size(run) else f"the newest {numbers.size} windows"
    text += ", over time and space, with its standard deviation and increment"
    if forecast(run)[numbers].any():
        text += "; triangles mark windows that were forecast and not analysed"
    return text + "."


def _windows(run: Run) -> dict[int, Path]:
    """Files of the newest windows by their number; none of a cycle in memory."""
    if run.directory is None or not series(run):
        return {}
    paths = {
        window: run.directory / "windows" / f"{window:06d}" / "analysis.nc"
        for window in range(max(size(run) - NEWEST, 0), size(run))
    }
    return paths if all(path.is_file() for path in paths.values()) else {}


def _planes(run: Run, paths: dict[int, Path], newest: xr.Dataset) -> Planes:
    """Everything that is drawn, by field."""
    names = [name for name in fields(run) if name in newest and _is_line(newest[name])][:MOST]
    rows: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in product(names, PARTS)}
    for path in paths.values():
        with Dataset(str(path)) as file:  # of many small files, ten times as fast as xarray
            for (name, part), row in rows.items():
                row.append(_row(file, path, name + part, newest[name].shape))
    return {key: np.stack(row) for key, row in rows.items()}


def _row(file: Dataset, path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A field of one window.

    Raises:
        ReportError: the file does not have it, or of another shape.
    """
    own = file[name].shape if name in file.variables else "none of this name"
    if own != shape:
        raise ReportError(
            f"{path}: {name}: expected the shape {shape} that the newest window has, got {own}; it "
            "was changed: run the cycle again"
        )
    return np.asarray(np.ma.filled(file[name][0].astype(float), np.nan))


def _is_line(variable: xr.DataArray) -> bool:
    return variable.ndim == 2 and variable.shape[0] == 1 and variable.shape[1] > SITES


STATE = Section("State", pictures={"hovmoeller": draw_states})
