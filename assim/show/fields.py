"""Fields in space: over time and space, and at the start of the window."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.finished import Run, instants, position, time_label, with_units, words
from assim.show.layout import TIMES, field_names, time_of
from assim.show.observed import Observed, observed
from assim.show.style import Picture

MOST = 3
SITES = 4  # a field of more points is drawn over time and space, one of fewer site by site
FINEST = 800  # points along an axis of a picture: more cannot be seen

Panel = tuple[str, xr.DataArray, bool]  # title, values, whether the sign matters


def sites(field: xr.DataArray) -> list[dict[str, int]]:
    """Places of the series of a field over time: of a scalar one, of a large one none."""
    if field.ndim == 1:
        return [{}]
    small = field.ndim == 2 and field.shape[1] <= SITES
    return [{str(field.dims[1]): k} for k in range(field.shape[1])] if small else []


def site_label(file: xr.Dataset, name: str, place: dict[str, int]) -> str:
    """What a field is called, and where."""
    return words(file[name]) + "".join(f", {d} = {position(file, d, k)}" for d, k in place.items())


# ---- over time and space -------------------------------------------------------------------------


def draw_hovmoeller(run: Run) -> Picture | None:
    """Analysis, standard deviation and (in a twin) error of every field over time and space."""
    file = run.file("trajectory")
    names = [name for name in field_names(file) if not sites(file[name])][:MOST]
    if not names:
        return None
    rows = [_hovmoeller_panels(run, file, name) for name in names]
    figure, axes = style.panels(sum(map(len, rows)), 1, 1.9)
    for name, row in zip(names, rows, strict=True):
        here, axes = axes[: len(row)], axes[len(row) :]
        for panel, where in zip(row, here, strict=True):
            title, values, signed = panel
            when, x = instants(values[values.dims[0]]), positions(values, -1)
            style.plane(figure, where, when, x, values.values.T, signed)
            across = position_label(values, -1)
            where.set(title=title, xlabel=time_label(time_of(file)), ylabel=across)
        mine = [variable for variable in observed(run) if variable.name == name]
        _mark_observations(here[0], mine, row[0][1])
    cut = sorted({str(dim) for name in names for dim in file[name].dims[1:-1]})
    text = "Analysis over time and space; dots: observations used, crosses: rejected."
    text += f" Cut through the middle of {', '.join(cut)}." * bool(cut)
    return style.picture(figure, text)


def _hovmoeller_panels(run: Run, file: xr.Dataset, name: str) -> list[Panel]:
    plane = _middle(file[name])
    units = file[name].attrs.get("units")
    panels: list[Panel] = [(with_units(words(file[name]), units), plane, True)]
    if name + "_stddev" in file and float(file[name + "_stddev"].max()) > 0:
        stdev = _middle(file[name + "_stddev"])
        panels.append((with_units("Standard deviation", units), stdev, False))
    truth = run.file("truth")
    if name in truth and truth[name].shape == file[name].shape:
        error = plane.copy(data=plane.values - _middle(truth[name]).values)
        panels.append((with_units("Analysis − truth", units), error, True))
    return panels


def _middle(variable: xr.DataArray) -> xr.DataArray:
    """(time, x): the middle of every dimension between, thinned to what can be seen."""
    between = {dim: variable.sizes[dim] // 2 for dim in variable.dims[1:-1]}
    plane = variable.isel(between)
    step = {dim: slice(None, None, -(-size // FINEST)) for dim, size in plane.sizes.items()}
    return plane.isel(step).load()


def positions(values: xr.DataArray, axis: int) -> np.ndarray:
    """Coordinates along an axis; numbers of its points where there are none."""
    dim = values.dims[axis]
    if dim in values.coords and np.issubdtype(values[dim].dtype, np.number):
        return np.asarray(values[dim].values)
    return np.arange(values.shape[axis])


def position_label(values: xr.DataArray, axis: int) -> str:
    """Label of an axis in space."""
    dim = values.dims[axis]
    if dim not in values.coords:
        return str(dim)
    return with_units(words(values[dim]), values[dim].attrs.get("units"))


def _mark_observations(axes: style.Axes, variables: list[Observed], plane: xr.DataArray) -> None:
    for variable in variables:
        place = variable.places.get(str(plane.dims[-1]))
        if place is None or plane.ndim != 2:
            continue
        time, used = instants(variable.time), variable.used
        size = 1.6 if used.sum() < 1500 else 0.7
        axes.plot(time[used], place[used], ".", color="black", markersize=size)
        crosses: dict[str, Any] = {"color": "black", "markersize": 4, "markeredgewidth": 1}
        axes.plot(time[variable.rejected], place[variable.rejected], "x", **crosses)


# ---- at the start --------------------------------------------------------------------------------


def draw_initial_state(run: Run) -> Picture | None:
    """Background and analysis of every field at the start: profiles, or maps with increments."""
    file = run.file("analysis")
    fields = {name: _at_start(file[name]) for name in field_names(file)}
    lines = [n for n, v in fields.items() if v.ndim == 1 and v.size > 1][:MOST]
    caption = "State at the start of the window, with bands that hold 90 % of its uncertainty."
    if lines:
        return style.draw_each(lines, MOST, partial(_draw_profiles, run), caption, "", 2.3, 1)
    maps = [n for n, v in fields.items() if v.ndim == 2 and min(v.shape) > 1][:MOST]
    return _draw_maps(file, maps) if maps else None


def _at_start(variable: xr.DataArray) -> xr.DataArray:
    """The field without its time and without dimensions of one point."""
    start = {name: 0 for name in TIMES if name in variable.dims}
    return variable.isel(start).squeeze(drop=True)


def _draw_profiles(run: Run, axes: style.Axes, name: str) -> None:
    looks = (("background", style.BACKGROUND, "--"), ("analysis", style.ANALYSIS, "-"))
    for stage, colour, dash in looks:
        file = run.file(stage)
        if name not in file:
            continue
        start = _at_start(file[name])
        where, value = positions(start, 0), np.asarray(start.values)
        axes.plot(where, value, dash, color=colour, label=stage)
        if name + "_stddev" in file:
            half = style.NINETY * np.asarray(_at_start(file[name + "_stddev"]).values)
            style.band(axes, where, value - half, value + half, 0.2, color=colour)
    if name in run.file("truth"):
        true = _at_start(run.file("truth")[name])
        axes.plot(positions(true, 0), true, color=style.TRUTH, linestyle=style.TRUTH_DASH, zorder=4,
                  label="truth")  # fmt: skip
    field = run.file("analysis")[name]
    axes.set(title=words(field), xlabel=position_label(_at_start(field), 0))
    axes.set_ylabel(with_units(name, field.attrs.get("units")))
    axes.margins(x=0.02)


def _draw_maps(file: xr.Dataset, names: list[str]) -> Picture:
    rows = [_map_panels(file, name) for name in names]
    columns = max(len(row) for row in rows)
    figure, axes = style.panels(columns * len(rows), columns, 2.5)
    for number, row in enumerate(rows):
        here = axes[number * columns : (number + 1) * columns]
        for panel, where in zip(row, here, strict=False):
            title, values, signed = panel
            x, y = positions(values, 1), positions(values, 0)
            style.plane(figure, where, x, y, values.values, signed)
            labels = [position_label(values, axis) for axis in (1, 0)]
            where.set(title=title, xlabel=labels[0], ylabel=labels[1])
        for where in here[len(row) :]:
            where.remove()
    caption = "State at the start of the window: analysis, increment, and posterior uncertainty."
    return style.picture(figure, caption)


def _map_panels(file: xr.Dataset, name: str) -> list[Panel]:
    units = file[name].attrs.get("units")
    title = with_units(words(file[name]), units)
    panels: list[Panel] = [(title, _at_start(file[name]), True)]
    parts = (("_increment", "Increment", True), ("_stddev", "Standard deviation", False))
    for end, text, signed in parts:
        if name + end in file:
            panels.append((with_units(text, units), _at_start(file[name + end]), signed))
    return panels
