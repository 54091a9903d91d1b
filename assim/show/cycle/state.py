"""The newest states of a cycle over time and space, from the files of its windows."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from netCDF4 import Dataset

from assim.show import style
from assim.show.cycle.series import field_axis, field_label, fields, forecast, series, size, times
from assim.show.cycle.series import times_label as time_label
from assim.show.fields import FINEST, colours, position_label, positions
from assim.show.finished import Run
from assim.show.style import Picture
from assim.show.trajectory import SITES

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
    for one, where in zip(planes, axes, strict=True):
        step = slice(None, None, -(-one.values.shape[1] // FINEST))
        mesh = where.pcolormesh(
            when,
            positions(one.like, -1)[step],
            one.values.T[step],
            shading="nearest",
            rasterized=True,
            **colours(one.values, one.part != "_stddev"),
        )
        style.colour_bar(figure, where, mesh)
        what = PARTS[one.part]
        title = f"{what} of {field_label(run, one.field)}" if one.part == "" else what
        where.set_title(field_axis(run, title, one.field))
        where.set_xlabel(time_label(run))
        where.set_ylabel(position_label(one.like, -1))
        _mark(where, when[forecast(run)[numbers]])
    return style.picture("hovmoeller", figure, _caption(run, numbers, planes))


def _caption(run: Run, numbers: np.ndarray, planes: list[_Plane]) -> str:
    parts = {one.part for one in planes}
    text = "Analysed state at the newest observations of "
    text += "every window" if numbers.size == size(run) else f"the newest {numbers.size} windows"
    others = [PARTS[part].lower() for part in PARTS if part and part in parts]
    text += f", over time and space, with its {' and '.join(others)}" * bool(others)
    if forecast(run)[numbers].any():
        text += "; triangles mark windows that were forecast and not analysed"
    return text + "."


def _mark(axes: Axes, when: np.ndarray) -> None:
    axes.plot(when, np.full(when.size, 1.02), "v", color=style.REJECTED, markersize=3.5,
              transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip


def _windows(run: Run) -> dict[int, Path]:
    """Files of the newest windows by their number; none of them where one is missing."""
    if series(run) is None:
        return {}
    paths = {
        number: run.directory / "windows" / f"{number:06d}" / "analysis.nc"
        for number in range(max(size(run) - NEWEST, 0), size(run))
    }
    return paths if all(path.is_file() for path in paths.values()) else {}


def _planes(run: Run, paths: dict[int, Path]) -> list[_Plane]:
    """Everything that is drawn, by field; files that are not alike are left out altogether."""
    with xr.open_dataset(paths[max(paths)], decode_times=False) as file:
        newest = file.load()
    names = [
        (name, part)
        for name in [n for n in fields(run) if n in newest and _is_line(newest[n])][:MOST]
        for part in PARTS
        if name + part in newest
    ]
    rows: dict[tuple[str, str], list[np.ndarray]] = {name: [] for name in names}
    try:
        for path in paths.values():
            with Dataset(str(path)) as file:  # of many small files, ten times as fast as xarray
                for (name, part), row in rows.items():
                    row.append(np.ma.filled(file[name + part][0].astype(float), np.nan))
        return [
            _Plane(name, part, np.stack(row), newest[name]) for (name, part), row in rows.items()
        ]
    except (OSError, ValueError, IndexError):
        return []


def _is_line(variable: xr.DataArray) -> bool:
    return variable.ndim == 2 and variable.shape[0] == 1 and variable.shape[1] > SITES
