"""Model error over time, with its posterior band and the spread that was assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.fields import SITES
from assim.show.finished import Run, instants, time_label, with_units, words
from assim.show.layout import time_of
from assim.show.section import Section
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6


def draw_model_error(run: Run) -> Picture | None:
    """One panel a series of model error: scalar fields, and sites of small ones."""
    file = run.files.get("trajectory")
    if file is None:
        return None
    everything = [panel for name in _names(file) for panel in _panels(file, name)]
    shown = everything[:MOST]
    if not shown:
        return None
    columns = style.columns_over_time(len(shown))
    figure, axes = style.panels(len(shown), columns, 1.9, top=0.3)
    for (name, place, title), where in zip(shown, axes, strict=True):
        _draw(where, file, name, place)
        where.set_title(style.wrapped(title))
    style.legend(figure, axes)
    caption = (
        "Model error, with the band that holds 90 % of its posterior uncertainty; dashed: 90 % of "
        "what was assumed of it before the observations."
    )
    return style.picture(figure, caption + style.left_out(len(everything) - len(shown), "series"))


def _names(file: xr.Dataset) -> list[str]:
    return [str(name) for name in file.data_vars if str(name).endswith("_model_error")]


def _panels(file: xr.Dataset, name: str) -> list[tuple[str, dict[str, int], str]]:
    """Name, place and title of every series of a field; a large field gets that at its middle."""
    dims, title = file[name].dims[1:], words(file[name]).capitalize()
    if not dims:
        return [(name, {}, title)]
    if len(dims) == 1 and file[name].shape[1] <= SITES:
        dim = str(dims[0])
        return [(name, {dim: k}, f"{title}, {dim} {k}") for k in range(file[name].shape[1])]
    place = {str(dim): file.sizes[dim] // 2 for dim in dims}
    where = ", ".join(f"{dim} {k}" for dim, k in place.items())
    return [(name, place, f"{title}, {where}")]


def _draw(axes: Axes, file: xr.Dataset, name: str, place: dict[str, int]) -> None:
    time = time_of(file)
    when, variable = instants(time), file[name]

    def series(ending: str) -> np.ndarray | None:
        field = file.get(name + ending)
        return None if field is None else _from_start(field.isel(place).values)

    value, stdev, prior = series(""), series("_stddev"), series("_prior_stddev")
    assert value is not None
    if stdev is not None:
        low, high = value - style.NINETY * stdev, value + style.NINETY * stdev
        axes.fill_between(
            when, low, high, step="pre", color=style.ANALYSIS, alpha=0.22, linewidth=0,
            label="90 % band",
        )  # fmt: skip
    axes.step(when, value, where="pre", color=style.ANALYSIS, label="model error")
    if prior is not None:
        look: dict[str, Any] = {
            "color": style.BACKGROUND,
            "linestyle": "--",
            "linewidth": 1.0,
            "where": "pre",
        }
        axes.step(when, style.NINETY * prior, label="90 % before", **look)
        axes.step(when, -style.NINETY * prior, **look)
    axes.axhline(0, color=style.INK, linewidth=0.7)
    axes.set_ylabel(with_units("η", variable.attrs.get("units")))
    axes.set_xlabel(time_label(time))
    axes.margins(x=0.02)


def _from_start(values: np.ndarray) -> np.ndarray:
    """A series whose first edge, at which no model error acts, shows the first one that does."""
    values = np.array(values, dtype=float)
    if values.size > 1 and np.isnan(values[0]):
        values[0] = values[1]
    return values


SECTION = Section("Model error", pictures={"model_error": draw_model_error})
