"""The analysed trajectory as a fan with observations, over space, at the start; model error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.fields import draw_hovmoeller, draw_initial_state, site_label, sites
from assim.show.finished import Run, instants, with_units, words
from assim.show.layout import field_names, time_of
from assim.show.observed import Observed, observed
from assim.show.page import Section, table
from assim.show.style import Picture

MOST = 6
FEW = 60  # slot edges below which each is marked


@dataclass(frozen=True)
class Series:
    """One panel: a scalar in time, the same of the background, and of the truth where it is known.

    Bands lie about `mean`, which an ensemble has, else about `value`.
    """

    name: str
    label: str
    units: str
    time: xr.DataArray
    value: np.ndarray
    background: np.ndarray
    stdev: np.ndarray | None
    observed: tuple[Observed, ...]
    mean: np.ndarray | None = None
    truth: tuple[np.ndarray, np.ndarray] | None = None  # its times, and values
    positive: bool = False
    at_edges: bool = True  # else at the times of readings

    @property
    def marked(self) -> bool:
        """Whether slot edges are few, so that lines between them may miss a peak."""
        return self.at_edges and self.value.size < FEW


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
    """One panel a field, or a site of a small field, up to six."""
    everything = [*series_of(run), *of_no_field(run)]
    return style.draw_each(everything, MOST, _draw_series, _caption, "series", 2.3)


def _caption(shown: Sequence[Series]) -> str:
    text = "Analysed trajectory"
    if any(series.stdev is not None for series in shown):
        text += " with bands that hold 50 % and 90 % of its posterior uncertainty"
        text += " about its mean" * any(series.mean is not None for series in shown)
        positive = any(series.positive for series in shown)
        text += " (log-normal bands for positive quantities)" * positive
    text += ", and the observations." if any(series.observed for series in shown) else "."
    if any(o.stdev is not None for series in shown for o in series.observed):
        text += " Bars: one standard deviation of observation error."
    if any(series.marked for series in shown):
        text += (
            " Drawn at slot edges, which are marked: between them lines are straight, and a peak "
            "may be missing."
        )
    return text


# ---- what is drawn -------------------------------------------------------------------------------


def series_of(run: Run) -> list[Series]:
    """Every scalar series of the trajectory: scalar fields, and sites of small fields."""
    file = run.file("trajectory")
    places = ((name, place) for name in field_names(file) for place in sites(file[name]))
    return [_series(run, file, name, place) for name, place in places]


def of_no_field(run: Run) -> list[Series]:
    """Observed quantities that are no field of the model: what the analysis predicts of each."""
    if "trajectory" not in run.files:
        return []
    fields = field_names(run.file("trajectory"))
    others = (variable for variable in observed(run) if variable.name not in fields)
    return [_of_no_field(variable) for variable in others if _once_a_time(variable)]


def _once_a_time(variable: Observed) -> bool:
    when = variable.time.values[variable.used]
    return when.size > 1 and np.unique(when).size == when.size


def _of_no_field(variable: Observed) -> Series:
    rows = np.flatnonzero(variable.used)
    used = variable.chosen(rows[np.argsort(variable.time.values[rows])])
    return Series(
        *(used.name, used.label, used.units, used.time, used.analysis, used.background),
        stdev=used.analysis_stdev,
        observed=(variable,),
        at_edges=False,
    )


def _series(run: Run, file: xr.Dataset, name: str, place: dict[str, int]) -> Series:
    stdev = _at(file, name + "_stddev", place)
    return Series(
        name=name,
        label=site_label(file, name, place),
        units=str(file[name].attrs.get("units", "1")),
        time=time_of(file),
        value=_at(file, name, place),
        background=_at(file, f"{name}_background", place),
        stdev=None if stdev is None or not np.nanmax(stdev, initial=0.0) > 0 else stdev,
        observed=tuple(_at_site(o, file, place) for o in observed(run) if o.name == name),
        mean=_at(file, name + "_mean", place),
        truth=_truth(run, name, place),
        positive=is_positive(run, file, name),
    )


def _at(file: xr.Dataset, name: str, place: dict[str, int]) -> Any:
    """A series; None where the file does not have it."""
    if name not in file:
        return None
    return np.asarray(file[name].isel(place, missing_dims="ignore").values, dtype=float)


def _truth(run: Run, name: str, place: dict[str, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """True times and values; None where the truth is not known over time."""
    file = run.file("truth")
    value = _at(file, name, place)
    if value is None or value.shape != time_of(file).shape or value.size < 2:
        return None
    return instants(time_of(file)), value


def _at_site(variable: Observed, file: xr.Dataset, place: dict[str, int]) -> Observed:
    """The observations of one site; all of them where the file does not have places."""
    for dim, index in place.items():
        positions = variable.places.get(dim)
        if positions is None or dim not in file.variables:
            continue
        sites = np.asarray(file[dim].values)
        if np.issubdtype(sites.dtype, np.number):
            nearest = np.abs(positions[:, None] - sites[None, :]).argmin(axis=1)
            here = nearest == index
        else:
            here = positions == sites[index]
        variable = variable.chosen(here)
    return variable


def is_positive(run: Run, file: xr.Dataset, name: str) -> bool:
    """Whether a field cannot be negative.

    The file says so (`valid_min`), or all draws of its initial value, prior and posterior, and
    its whole trajectory are positive. A field that only happens to be positive is not one.
    """
    if float(file[name].attrs.get("valid_min", -1.0)) >= 0:
        return bool((file[name] > 0).all())
    draws = run.file("posterior")
    if name not in draws or name + "_prior" not in draws:
        return False
    every = (draws[name], draws[name + "_prior"], file[name])
    return draws.sizes.get("realization", 0) >= 50 and all(bool((v > 0).all()) for v in every)


# ---- how it is drawn -----------------------------------------------------------------------------


def band_of(series: Series, z: float) -> tuple[np.ndarray, np.ndarray]:
    """The ±z band of N(m, s²) about the mean of a series, about its value where it has none.

    Of what is positive that of a log-normal. One of median m and standard deviation s has
    s² = m² u (u − 1) with u = exp(σ²), so u = (1 + √(1 + 4 s²/m²)) / 2; one of mean m has the
    median m/√(1 + s²/m²).
    """
    assert series.stdev is not None
    middle = series.value if series.mean is None else series.mean
    if not series.positive:
        return middle - z * series.stdev, middle + z * series.stdev
    if series.mean is not None:
        middle = series.mean / np.sqrt(1 + (series.stdev / series.mean) ** 2)
    sigma = np.sqrt(np.log(0.5 * (1 + np.sqrt(1 + 4 * (series.stdev / middle) ** 2))))
    return middle * np.exp(-z * sigma), middle * np.exp(z * sigma)


def _draw_series(axes: style.Axes, series: Series) -> None:
    time = instants(series.time)
    if series.stdev is not None:
        for z, alpha, label in ((style.NINETY, 0.18, "90 % band"), (style.HALF, 0.32, "50 % band")):
            style.band(axes, time, *band_of(series, z), alpha, label)
    axes.plot(
        time, series.background, "--", color=style.BACKGROUND, linewidth=1.1, label="background"
    )
    if series.truth is not None:
        axes.plot(*series.truth, color=style.TRUTH, ls=style.TRUTH_DASH, zorder=4, label="truth")
    mark: dict[str, Any] = {"marker": "o", "markersize": 2.2} if series.marked else {}
    axes.plot(time, series.value, color=style.ANALYSIS, label="analysis", **mark)
    for observations in series.observed:
        draw_observations(axes, observations)
    _keep_in_view(axes, series)
    axes.set_title(style.wrapped(series.label))
    style.over_time(axes, series.time, with_units(series.name, series.units))


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
    rejected = ~used & ~variable.passive & np.isfinite(variable.value)
    if rejected.any():
        axes.plot(
            time[rejected], variable.value[rejected], "x", color=style.REJECTED, markersize=5.5,
            markeredgewidth=1.4, label="rejected observation",
        )  # fmt: skip


def _keep_in_view(axes: style.Axes, series: Series) -> None:
    """Limits from analysis, used observations and truth: a wild background may leave the panel."""
    parts = [series.value, *(o.value[o.used] for o in series.observed)]
    bars = [(o.value[o.used], o.bars()) for o in series.observed]
    parts += [end for v, b in bars if b is not None for end in (v - b[0], v + b[1])]
    parts += [] if series.truth is None else [series.truth[1]]
    parts += [] if series.stdev is None else band_of(series, style.NINETY)
    values = _finite(parts)
    if not values.size:
        return
    low, high = values.min(), values.max()
    room = 0.75 * (high - low)
    others = [*(o.value[~o.used] for o in series.observed), series.background]
    extra = _finite([*others, np.array([low, high])])
    low, high = max(extra.min(), low - room), min(extra.max(), high + room)
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(0 if series.positive and low < 0.3 * high else low - margin, high + margin)


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
