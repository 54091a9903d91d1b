"""The analysed trajectory as a fan with observations, over space, at the start; model error."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.fields import draw_hovmoeller, draw_initial_state, sites
from assim.show.finished import Run, instants, with_units, words
from assim.show.layout import time_of
from assim.show.observed import Observed
from assim.show.page import Section, table
from assim.show.series import Series, band_of, of_no_field, series_of
from assim.show.style import Picture

MOST = 6
_WIDE = 5  # times: how much values of log-normal errors vary where their axis is a log one


def twin(run: Run) -> list[str]:
    """Distance from the truth against the spread that was predicted, in a twin."""
    errors, spreads = run.summary.get("rmse"), run.summary.get("spread", {})
    if errors is None:
        return []
    rows = [
        (name, error["background"], error["analysis"], spreads.get(name))
        for name, error in errors.items()
    ]
    return [table(("Twin", "RMSE of the background", "RMSE of the analysis", "spread"), rows)]


def draw_trajectory(run: Run) -> Picture | None:
    """One panel an instrument, a field, or a site of a small field, up to six."""
    everything = [*series_of(run), *of_no_field(run)]
    return style.draw_each(everything, MOST, draw_series, _caption, "series", 2.3, style.wide)


def _caption(shown: Sequence[Series]) -> str:
    text = "Analysed trajectory, and the observations." if _observed(shown) else "Trajectory."
    if any(series.predicted for series in shown):
        text += (
            " Blue: what is predicted of an instrument's readings, with the band that holds 90 % "
            "of its posterior uncertainty; grey: 90 % of new readings, errors included."
        )
    if any(series.stdev is not None for series in shown):
        text += " Of fields bands hold 50 % and 90 % of their posterior uncertainty"
        text += " about the mean" * any(series.mean is not None for series in shown)
        positive = any(s.positive for s in shown if s.stdev is not None)
        text += " (log-normal bands for positive quantities)" * positive + "."
    if any(o.stdev is not None for series in shown for o in series.observed):
        text += " Bars: one standard deviation of observation error."
    if any(series.marked for series in shown):
        text += (
            " Drawn at slot edges, which are marked: between them lines are straight, and a peak "
            "may be missing."
        )
    return text


def _observed(shown: Sequence[Series]) -> bool:
    return any(series.observed for series in shown)


# ---- how it is drawn -----------------------------------------------------------------------------


def draw_series(axes: style.Axes, series: Series) -> None:
    """Bands, background, truth, observations and the analysis above them."""
    time = instants(series.time)
    draw_bands(axes, series)
    if series.background is not None:
        look: dict[str, Any] = {"color": style.BACKGROUND, "linewidth": 1.1, "label": "background"}
        axes.plot(time, series.background, "--", **look)
    if series.truth is not None:
        axes.plot(*series.truth, color=style.TRUTH, ls=style.TRUTH_DASH, zorder=4, label="truth")
    mark: dict[str, Any] = {"marker": "o", "markersize": 2.2} if series.marked else {}
    for observations in series.observed:
        draw_observations(axes, observations)
    axes.plot(time, series.value, color=style.ANALYSIS, zorder=5, label="analysis", **mark)
    keep_in_view(axes, [series])
    axes.set_title(style.wrapped(series.label))
    style.over_time(axes, series.time, with_units(series.name, series.units))


def draw_bands(axes: style.Axes, series: Series) -> None:
    """Where new readings would lie, and what they would be without errors, or a field's spread."""
    time = instants(series.time)
    if series.readings is not None:
        grey = {"color": style.BACKGROUND}
        style.band(axes, time, *series.readings, 0.25, "90 % of new readings", **grey)
    if series.predicted is not None:
        style.band(axes, time, *series.predicted, 0.32, "90 % band")
    if series.stdev is not None:
        for z, alpha, label in ((style.NINETY, 0.18, "90 % band"), (style.HALF, 0.32, "50 % band")):
            style.band(axes, time, *band_of(series, z), alpha, label)


def draw_observations(axes: style.Axes, variable: Observed) -> None:
    """Used observations as dots with error bars, passive ones open, rejected ones as crosses."""
    time, used = instants(variable.time), variable.used
    passive = variable.passive & np.isfinite(variable.value)
    if passive.any():
        axes.plot(
            time[passive], variable.value[passive], "o", color=style.INK, markerfacecolor="white",
            markersize=3.6, markeredgewidth=0.9, zorder=3, label="observation not used",
        )  # fmt: skip
    if used.any():
        axes.errorbar(
            time[used], variable.value[used], variable.bars(), fmt="o", color=style.INK,
            markersize=3, elinewidth=0.7, label="observation",
        )  # fmt: skip
    rejected = variable.rejected
    if rejected.any():
        axes.plot(
            time[rejected], variable.value[rejected], "x", color=style.REJECTED, markersize=5.5,
            markeredgewidth=1.4, label="rejected observation",
        )  # fmt: skip


def keep_in_view(
    axes: style.Axes, several: Sequence[Series], later: Sequence[Observed] = ()
) -> None:
    """Limits from analysis, used observations and truth: a wild background may leave the panel."""
    observed = [*later, *(o for series in several for o in series.observed)]
    bars = [(o.value[o.used], o.bars()) for o in observed]
    parts = [value for value, _ in bars]
    parts += [end for v, b in bars if b is not None for end in (v - b[0], v + b[1])]
    for series in several:
        parts += [series.value, *([] if series.truth is None else [series.truth[1]])]
        parts += [] if series.stdev is None else band_of(series, style.NINETY)
        parts += [line for band in (series.predicted, series.readings) if band for line in band]
    values = _finite(parts)
    if not values.size:
        return
    low, high = values.min(), values.max()
    others = [o.value[o.passive | o.rejected] for o in observed]
    others += [series.background for series in several if series.background is not None]
    if low > 0 and high > _WIDE * low and any(o.logarithmic for o in observed):
        extra = _finite([*(other[other > 0] for other in others), np.array([low, high])])
        room = (high / low) ** 0.75
        style.log_scale(axes.yaxis, max(extra.min(), low / room), min(extra.max(), high * room))
        return
    room = 0.75 * (high - low)
    extra = _finite([*others, np.array([low, high])])
    low, high = max(extra.min(), low - room), min(extra.max(), high + room)
    margin = 0.06 * (high - low) or 0.5
    positive = any(series.positive for series in several)
    axes.set_ylim(0 if positive and low < 0.3 * high else low - margin, high + margin)


def _finite(parts: list[np.ndarray]) -> np.ndarray:
    values: np.ndarray = np.concatenate(parts)
    return values[np.isfinite(values)]


# ---- model error ---------------------------------------------------------------------------------


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
    return style.draw_each(
        everything, MOST, partial(_draw_model_error, file), caption, "series", 1.9
    )


def _panels(file: xr.Dataset, name: str) -> list[Panel]:
    """Name, place and title of every series of a field; a large field gets that at its middle."""
    title, middle = words(file[name]).capitalize(), file[name].dims[1:]
    places = sites(file[name]) or [{str(dim): file.sizes[dim] // 2 for dim in middle}]
    where = (", ".join([title, *(f"{dim} {k}" for dim, k in place.items())]) for place in places)
    return [(name, place, text) for place, text in zip(places, where, strict=True)]


def _draw_model_error(file: xr.Dataset, axes: style.Axes, panel: Panel) -> None:
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


TRAJECTORY = Section(
    "Trajectory",
    twin,
    {
        "trajectory": draw_trajectory,
        "hovmoeller": draw_hovmoeller,
        "initial_state": draw_initial_state,
    },
    "the directory holds no trajectory.nc with a field over time.",
)
MODEL_ERROR = Section("Model error", pictures={"model_error": draw_model_error})
