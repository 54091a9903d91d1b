"""The analysed trajectory as a fan with the observations on it, over space, and at the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.fields import draw_hovmoeller, draw_initial_state, site_label, sites
from assim.show.finished import Run, instants, with_units
from assim.show.layout import field_names, time_of
from assim.show.observed import Observed, observed
from assim.show.page import Section, table
from assim.show.style import Picture

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
    return Series(
        name=name,
        label=site_label(file, name, place),
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
    file = run.file("truth")
    value = _at_place(file, name, place)
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
    axes.plot(*series.background, "--", color=style.BACKGROUND, linewidth=1.1, label="background")
    if series.truth is not None:
        axes.plot(*series.truth, color=style.TRUTH, ls=style.TRUTH_DASH, zorder=4, label="truth")
    axes.plot(time, series.value, color=style.ANALYSIS, label="analysis")
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
