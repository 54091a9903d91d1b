"""Model error over time, with its posterior band and the spread that was assumed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.fields import sites
from assim.show.finished import Run, instants, with_units, words
from assim.show.layout import time_of
from assim.show.page import Section
from assim.show.style import Picture

MOST = 6
Panel = tuple[str, dict[str, int], str]  # name, place, title


def draw_model_error(run: Run) -> Picture | None:
    """One panel a series of model error: scalar fields, and sites of small ones."""
    file = run.file("trajectory")
    names = [name for name in map(str, file.data_vars) if name.endswith("_model_error")]
    everything = [panel for name in names for panel in _panels(file, name)]
    caption = (
        "Model error, with the band that holds 90 % of its posterior uncertainty; dashed: 90 % of "
        "what was assumed of it before the observations."
    )
    return style.draw_each(everything, MOST, partial(_draw, file), caption, "series", 1.9)


def _panels(file: xr.Dataset, name: str) -> list[Panel]:
    """Name, place and title of every series of a field; a large field gets that at its middle."""
    title, middle = words(file[name]).capitalize(), file[name].dims[1:]
    places = sites(file[name]) or [{str(dim): file.sizes[dim] // 2 for dim in middle}]
    where = (", ".join([title, *(f"{dim} {k}" for dim, k in place.items())]) for place in places)
    return [(name, place, text) for place, text in zip(places, where, strict=True)]


def _draw(file: xr.Dataset, axes: style.Axes, panel: Panel) -> None:
    name, place, title = panel
    when = instants(time_of(file))

    def series(ending: str) -> np.ndarray | None:
        field = file.get(name + ending)
        return None if field is None else _from_start(field.isel(place).values)

    value, stdev, prior = series(""), series("_stddev"), series("_prior_stddev")
    assert value is not None
    if stdev is not None:
        half = style.NINETY * stdev
        style.band(axes, when, value - half, value + half, 0.22, "90 % band", step="pre")
    axes.step(when, value, where="pre", color=style.ANALYSIS, label="model error")
    if prior is not None:
        look: dict[str, Any] = {"color": style.BACKGROUND, "linestyle": "--", "linewidth": 1.0}
        axes.step(when, style.NINETY * prior, where="pre", label="90 % before", **look)
        axes.step(when, -style.NINETY * prior, where="pre", **look)
    axes.axhline(0, color=style.INK, linewidth=0.7)
    style.over_time(axes, time_of(file), with_units("η", file[name].attrs.get("units")))
    axes.set_title(style.wrapped(title))


def _from_start(values: np.ndarray) -> np.ndarray:
    """A series whose first edge, at which no model error acts, shows the first one that does."""
    values = np.array(values, dtype=float)
    if values.size > 1 and np.isnan(values[0]):
        values[0] = values[1]
    return values


MODEL_ERROR = Section("Model error", pictures={"model_error": draw_model_error})
