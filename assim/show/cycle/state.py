"""The newest states of a cycle over time and space, from the files of its windows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from netCDF4 import Dataset

from assim.files.errors import ReportError
from assim.show import style
from assim.show.cycle.series import (
    field_axis,
    field_label,
    fields,
    forecast,
    series,
    size,
    times,
    times_label,
)
from assim.show.fields import FINEST, SITES, position_label, positions
from assim.show.finished import Run
from assim.show.page import Section
from assim.show.style import Picture

NEWEST = 200  # windows drawn
MOST = 2  # fields
PARTS = {"": "Analysis", "_stddev": "Standard deviation", "_increment": "Increment"}


class _Plane(NamedTuple):
    """One variable over windows and space: values of shape (windows, x)."""

    field: str
    part: str
    values: np.ndarray
    like: xr.DataArray


def draw_states(run: Run) -> Picture | None:
    """Analysis, standard deviation and increment of every 1-D field over time and space."""
    folders = _windows(run)
    planes = _planes(run, folders) if len(folders) > 1 else []
    if not planes:
        return None
    figure, axes = style.panels(len(planes), 1, 1.95)
    numbers = np.array(list(folders))
    when = times(run)[numbers]
    for plane, where in zip(planes, axes, strict=True):
        step = slice(None, None, -(-plane.values.shape[1] // FINEST))
        x, signed = positions(plane.like, -1)[step], plane.part != "_stddev"
        style.plane(figure, where, when, x, plane.values.T[step], signed)
        what = PARTS[plane.part]
        title = f"{what} of {field_label(run, plane.field)}" if plane.part == "" else what
        where.set_title(field_axis(run, title, plane.field))
        where.set_xlabel(times_label(run))
        where.set_ylabel(position_label(plane.like, -1))
        _mark(where, when[forecast(run)[numbers]])
    return style.picture(figure, _caption(run, numbers, planes))


def _caption(run: Run, numbers: np.ndarray, planes: list[_Plane]) -> str:
    parts = {plane.part for plane in planes}
    text = "Analysed state at the newest observations of "
    text += "every window" if numbers.size == size(run) else f"the newest {numbers.size} windows"
    others = [PARTS[part].lower() for part in PARTS if part and part in parts]
    text += f", over time and space, with its {' and '.join(others)}" * bool(others)
    if forecast(run)[numbers].any():
        text += "; triangles mark windows that were forecast and not analysed"
    return text + "."


def _mark(axes: style.Axes, when: np.ndarray) -> None:
    axes.plot(when, np.full(when.size, 1.02), "v", color=style.REJECTED, markersize=3.5,
              transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip


def _windows(run: Run) -> dict[int, Path]:
    """Files of the newest windows by their number; none of a cycle in memory."""
    folder = None if run.directory is None else run.directory / "windows"
    if folder is None or not series(run) or not folder.is_dir():
        return {}
    paths = {
        window: folder / f"{window:06d}" / "analysis.nc"
        for window in range(max(size(run) - NEWEST, 0), size(run))
    }
    return paths if all(path.is_file() for path in paths.values()) else {}


def _planes(run: Run, paths: dict[int, Path]) -> list[_Plane]:
    """Everything that is drawn, by field."""
    with xr.open_dataset(paths[max(paths)], decode_times=False) as file:
        newest = file.load()
    rows: dict[tuple[str, str], list[np.ndarray]] = {
        (name, part): []
        for name in [n for n in fields(run) if n in newest and _is_line(newest[n])][:MOST]
        for part in PARTS
    }
    for path in paths.values():
        with Dataset(str(path)) as file:  # of many small files, ten times as fast as xarray
            for (name, part), row in rows.items():
                row.append(_row(file, path, name + part, newest[name].shape))
    return [_Plane(name, part, np.stack(row), newest[name]) for (name, part), row in rows.items()]


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
