"""The analysed trajectory as a fan with the observations on it, over space, and at the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.fields import SITES, draw_hovmoeller, draw_initial_state
from assim.show.finished import Run, instants, position, time_label, with_units, words
from assim.show.layout import field_names, time_of
from assim.show.observed import Observed, observed
from assim.show.page import table
from assim.show.section import Section
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6


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
    mean: np.ndarray | None
    stdev: np.ndarray | None
    background: tuple[np.ndarray, np.ndarray]
    truth: tuple[np.ndarray, np.ndarray] | None
    positive: bool
    observed: tuple[Observed, ...]


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
    shown = everything[:MOST]
    if not shown:
        return None
    columns = style.columns_over_time(len(shown))
    figure, axes = style.panels(len(shown), columns, 2.3, top=0.3)
    for series, where in zip(shown, axes, strict=True):
        _draw_series(where, series)
    style.legend(figure, axes)
    caption = _caption(shown) + style.left_out(len(everything) - len(shown), "series")
    return style.picture(figure, caption)


def _caption(shown: list[Series]) -> str:
    text = "Analysed trajectory"
    if any(one.stdev is not None for one in shown):
        text += " with bands that hold 50 % and 90 % of its posterior uncertainty"
        text += " about its mean" * any(one.mean is not None for one in shown)
        text += " (log-normal bands for positive quantities)" * any(o.positive for o in shown)
    text += "." if not any(one.observed for one in shown) else ", and the observations."
    if any(o.stdev is not None for one in shown for o in one.observed):
        text += " Bars: one standard deviation of observation error."
    return text


# ---- what is drawn -------------------------------------------------------------------------------


def series_of(run: Run) -> list[Series]:
    """Every scalar series of the trajectory: scalar fields, and sites of small fields."""
    file = run.files.get("trajectory")
    if file is None:
        return []
    series: list[Series] = []
    for name in field_names(file):
        dims, shape = file[name].dims, file[name].shape
        if len(dims) == 1:
            series.append(_series(run, file, name, {}))
        elif len(dims) == 2 and shape[1] <= SITES:
            series += [_series(run, file, name, {str(dims[1]): k}) for k in range(shape[1])]
    return series


def of_no_field(run: Run) -> list[Series]:
    """Observed quantities that are no field of the model: what the analysis predicts of each."""
    file = run.files.get("trajectory")
    if file is None:
        return []
    fields = set(field_names(file))
    return [
        _of_no_field(variable)
        for variable in observed(run)
        if variable.name not in fields and _once_a_time(variable)
    ]


def _once_a_time(variable: Observed) -> bool:
    when = variable.time.values[variable.used]
    return when.size > 1 and np.unique(when).size == when.size


def _of_no_field(variable: Observed) -> Series:
    rows = np.flatnonzero(variable.used)
    rows = rows[np.argsort(variable.time.values[rows])]
    stdev = variable.analysis_stdev
    return Series(
        name=variable.name,
        label=variable.label,
        units=variable.units,
        time=variable.time[rows],
        value=variable.analysis[rows],
        mean=None,
        stdev=None if stdev is None else stdev[rows],
        background=(instants(variable.time[rows]), variable.background[rows]),
        truth=None,
        positive=False,
        observed=(variable,),
    )


def _series(run: Run, file: xr.Dataset, name: str, place: dict[str, int]) -> Series:
    time, stdev = time_of(file), _at_place(file, name + "_stddev", place)
    stdev = None if stdev is None or not np.nanmax(stdev, initial=0.0) > 0 else stdev
    label = words(file[name]) + "".join(f", {d} = {position(file, d, i)}" for d, i in place.items())
    return Series(
        name=name,
        label=label,
        units=str(file[name].attrs.get("units", "1")),
        time=time,
        value=_at(file[name], place),
        mean=_at_place(file, name + "_mean", place),
        stdev=stdev,
        background=(instants(time), _at(file[f"{name}_background"], place)),
        truth=_truth(run, name, place),
        positive=is_positive(run, file, name),
        observed=tuple(_at_site(o, file, place) for o in observed(run) if o.name == name),
    )


def _at_place(file: xr.Dataset, name: str, place: dict[str, int]) -> np.ndarray | None:
    return _at(file[name], place) if name in file else None


def _at(variable: xr.DataArray, place: dict[str, int]) -> np.ndarray:
    return np.asarray(variable.isel(place, missing_dims="ignore").values, dtype=float)


def _truth(run: Run, name: str, place: dict[str, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """True times and values; None where the truth is not known over time."""
    file = run.files.get("truth")
    if file is None:
        return None
    time, value = time_of(file), _at_place(file, name, place)
    if value is None or value.shape != time.shape or value.size < 2:
        return None
    return instants(time), value


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
    draws = run.files.get("posterior")
    if draws is None or name not in draws or name + "_prior" not in draws:
        return False
    every = (draws[name], draws[name + "_prior"], file[name])
    return draws.sizes.get("realization", 0) >= 50 and all(bool((v > 0).all()) for v in every)


# ---- how it is drawn -----------------------------------------------------------------------------


def band(
    value: np.ndarray, stdev: np.ndarray, z: float, positive: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The ±z band of N(value, stdev²), or of the log-normal of that median and stdev.

    A log-normal of median m and standard deviation s has s² = m² u (u − 1) with u = exp(σ²), so
    u = (1 + √(1 + 4 s²/m²)) / 2.
    """
    if not positive:
        return value - z * stdev, value + z * stdev
    sigma = np.sqrt(np.log(0.5 * (1 + np.sqrt(1 + 4 * (stdev / value) ** 2))))
    return value * np.exp(-z * sigma), value * np.exp(z * sigma)


def band_of(series: Series, z: float) -> tuple[np.ndarray, np.ndarray]:
    """The band of a series, about its mean where it has one.

    A log-normal of mean m and standard deviation s has the median m/√(1 + s²/m²).
    """
    assert series.stdev is not None
    if series.mean is None:
        return band(series.value, series.stdev, z, series.positive)
    middle = series.mean
    if series.positive:
        middle = series.mean / np.sqrt(1 + (series.stdev / series.mean) ** 2)
    return band(middle, series.stdev, z, series.positive)


def _draw_series(axes: Axes, series: Series) -> None:
    time = instants(series.time)
    if series.stdev is not None:
        for z, alpha, label in ((style.NINETY, 0.18, "90 % band"), (style.HALF, 0.32, "50 % band")):
            low, high = band_of(series, z)
            axes.fill_between(
                time, low, high, color=style.ANALYSIS, alpha=alpha, linewidth=0, label=label
            )
    axes.plot(*series.background, "--", color=style.BACKGROUND, linewidth=1.1, label="background")
    if series.truth is not None:
        axes.plot(*series.truth, color=style.TRUTH, ls=style.TRUTH_DASH, zorder=4, label="truth")
    axes.plot(time, series.value, color=style.ANALYSIS, label="analysis")
    for observations in series.observed:
        draw_observations(axes, observations)
    _keep_in_view(axes, series)
    axes.set_ylabel(with_units(series.name, series.units))
    axes.set_title(style.wrapped(series.label))
    axes.set_xlabel(time_label(series.time))
    axes.margins(x=0.02)


def draw_observations(axes: Axes, variable: Observed) -> None:
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
            time[used],
            variable.value[used],
            yerr=variable.bars(),
            fmt="o",
            color=style.INK,
            markersize=3,
            elinewidth=0.7,
            label="observation",
        )
    rejected = ~used & ~variable.passive & np.isfinite(variable.value)
    if rejected.any():
        axes.plot(
            time[rejected], variable.value[rejected], "x", color=style.REJECTED, markersize=5.5,
            markeredgewidth=1.4, label="rejected observation",
        )  # fmt: skip


def _keep_in_view(axes: Axes, series: Series) -> None:
    """Limits from analysis, used observations and truth: a wild background may leave the panel."""
    parts = [series.value, *(o.value[o.used] for o in series.observed)]
    bars = [(o.value[o.used], o.bars()) for o in series.observed]
    parts += [end for v, b in bars if b is not None for end in (v - b[0], v + b[1])]
    if series.truth is not None:
        parts.append(series.truth[1])
    if series.stdev is not None:
        parts += band_of(series, style.NINETY)
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, high = values.min(), values.max()
    room = 0.75 * (high - low)
    others = [*(o.value[~o.used] for o in series.observed), series.background[1]]
    extra = np.concatenate([*others, np.array([low, high])])
    extra = extra[np.isfinite(extra)]
    low, high = max(extra.min(), low - room), min(extra.max(), high + room)
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(0 if series.positive and low < 0.3 * high else low - margin, high + margin)


SECTION = Section(
    "Trajectory",
    twin,
    {
        "trajectory": draw_trajectory,
        "hovmoeller": draw_hovmoeller,
        "initial_state": draw_initial_state,
    },
    "the directory holds no trajectory.nc with a field over time.",
)
