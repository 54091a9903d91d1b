"""The analysed trajectory as a fan, with the observations on it."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from assim.show import style
from assim.show.finished import (
    TIMES,
    Run,
    field_names,
    instants,
    time_label,
    time_of,
    with_units,
    words,
)
from assim.show.observed import Observed, observed
from assim.show.style import Picture

MOST = 6
SITES = 4  # a field of more points is drawn over time and space instead
HALF, NINETY = 0.6745, 1.6449  # quantiles of N(0,1): bands that hold 50 % and 90 %


@dataclass(frozen=True)
class Series:
    """One panel: a scalar in time, and the same of background and truth where they are known.

    Bands lie about `mean`, which an ensemble has, else about `value`.
    """

    name: str
    label: str
    units: str
    time: xr.DataArray
    value: np.ndarray
    mean: np.ndarray | None
    stdev: np.ndarray | None
    background: tuple[np.ndarray, np.ndarray] | None
    truth: tuple[np.ndarray, np.ndarray] | None
    positive: bool
    observed: tuple[Observed, ...]


def draw_trajectory(run: Run) -> Picture | None:
    """One panel a field, or a site of a small field, up to six."""
    everything = [*series_of(run), *orphans(run)]
    shown = everything[:MOST]
    if not shown:
        return None
    columns = 1 if len(shown) <= 3 else 2
    figure, axes = style.panels(len(shown), columns, 2.3, top=0.3)
    for one, where in zip(shown, axes, strict=True):
        _draw_series(where, one)
    style.legend(figure, axes)
    return style.picture("trajectory", figure, _caption(everything, shown))


def _caption(everything: list[Series], shown: list[Series]) -> str:
    text = "Analysed trajectory"
    if any(one.stdev is not None for one in shown):
        text += " with bands that hold 50 % and 90 % of its posterior uncertainty"
        text += " about its mean" * any(one.mean is not None for one in shown)
        text += " (log-normal bands for positive quantities)" * any(o.positive for o in shown)
    text += "." if not any(one.observed for one in shown) else ", and the observations."
    if any(o.stdev is not None for one in shown for o in one.observed):
        text += " Bars: one standard deviation of observation error."
    left_out = len(everything) - len(shown)
    return text + f" {left_out} further series are not drawn." * (left_out > 0)


# ---- what is drawn -------------------------------------------------------------------------------


def series_of(run: Run) -> list[Series]:
    """Every scalar series of the trajectory: scalar fields, and sites of small fields."""
    file = run.files.get("trajectory")
    time = None if file is None else time_of(file)
    if file is None or time is None or time.ndim != 1:
        return []
    found: list[Series] = []
    for name in field_names(file):
        dims, sizes = file[name].dims, file[name].shape
        if dims[:1] == time.dims and len(dims) == 1:
            found.append(_series(run, file, name, {}))
        elif dims[:1] == time.dims and len(dims) == 2 and sizes[1] <= SITES:
            places = range(sizes[1])
            found += [_series(run, file, name, {str(dims[1]): place}) for place in places]
    return found


def orphans(run: Run) -> list[Series]:
    """Observed quantities that are no field of the model: what the analysis says of each."""
    file = run.files.get("trajectory")
    if file is None:
        return []
    fields = set(field_names(file))
    return [
        _orphan(one)
        for one in observed(run)
        if one.name not in fields and one.analysis is not None and _once_a_time(one)
    ]


def _once_a_time(one: Observed) -> bool:
    when = one.time.values[one.used]
    return when.size > 1 and np.unique(when).size == when.size


def _orphan(one: Observed) -> Series:
    rows = np.flatnonzero(one.used)
    rows = rows[np.argsort(one.time.values[rows])]
    assert one.analysis is not None
    before = None if one.background is None else (instants(one.time[rows]), one.background[rows])
    stdev = None if one.analysis_stdev is None else one.analysis_stdev[rows]
    return Series(
        name=one.name,
        label=one.label,
        units=one.units,
        time=one.time[rows],
        value=one.analysis[rows],
        mean=None,
        stdev=stdev,
        background=before,
        truth=None,
        positive=False,
        observed=(one,),
    )


def _series(run: Run, file: xr.Dataset, name: str, place: dict[str, int]) -> Series:
    time = time_of(file)
    value, stdev = _at_place(file, name, place), _at_place(file, name + "_stddev", place)
    assert time is not None and value is not None
    stdev = None if stdev is None or not np.nanmax(stdev, initial=0.0) > 0 else stdev
    before = _at_place(file, name + "_background", place)
    label = words(file[name]) + "".join(f", {d} = {position(file, d, i)}" for d, i in place.items())
    return Series(
        name=name,
        label=label,
        units=str(file[name].attrs.get("units", "1")),
        time=time,
        value=value,
        mean=_at_place(file, name + "_mean", place),
        stdev=stdev,
        background=None if before is None else (instants(time), before),
        truth=_truth(run, name, place),
        positive=is_positive(run, file, name),
        observed=tuple(_at(one, file, place) for one in observed(run) if one.name == name),
    )


def _at_place(file: xr.Dataset, name: str, place: dict[str, int]) -> np.ndarray | None:
    if name not in file:
        return None
    there = {dim: index for dim, index in place.items() if dim in file[name].dims}
    return np.asarray(file[name].isel(there).values, dtype=float)


def _truth(run: Run, name: str, place: dict[str, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """True times and values; None where the truth is not known over time."""
    file = run.files.get("truth")
    time = None if file is None else time_of(file)
    if file is None or time is None:
        return None
    value = _at_place(file, name, place)
    if value is None or value.shape != time.shape or value.size < 2:
        return None
    return instants(time), value


def position(file: xr.Dataset, dim: str, index: int) -> str:
    """Where an entry along a dimension is, with its units."""
    if dim not in file.variables:
        return str(index)
    value = file[dim].values[index]
    units = str(file[dim].attrs.get("units", "1"))
    text = f"{value:g}" if np.issubdtype(file[dim].dtype, np.number) else str(value)
    return text if units in {"1", ""} else f"{text} {units}"


def _at(one: Observed, file: xr.Dataset, place: dict[str, int]) -> Observed:
    """The observations of one site; all of them where the file does not tell places."""
    for dim, index in place.items():
        positions = one.places.get(dim)
        if positions is None or dim not in file.variables:
            continue
        sites = np.asarray(file[dim].values)
        if np.issubdtype(sites.dtype, np.number):
            nearest = np.abs(positions[:, None] - sites[None, :]).argmin(axis=1)
            here = nearest == index
        else:
            here = positions == sites[index]
        one = one.chosen(here)
    return one


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


def band_of(one: Series, z: float) -> tuple[np.ndarray, np.ndarray]:
    """The band of a series, about its mean where it has one.

    A log-normal of mean m and standard deviation s has the median m/√(1 + s²/m²).
    """
    assert one.stdev is not None
    if one.mean is None:
        return band(one.value, one.stdev, z, one.positive)
    middle = one.mean
    if one.positive:
        middle = one.mean / np.sqrt(1 + (one.stdev / one.mean) ** 2)
    return band(middle, one.stdev, z, one.positive)


def _draw_series(axes: Axes, one: Series) -> None:
    time = instants(one.time)
    if one.stdev is not None:
        for z, alpha, label in ((NINETY, 0.18, "90 % band"), (HALF, 0.32, "50 % band")):
            low, high = band_of(one, z)
            axes.fill_between(
                time, low, high, color=style.ANALYSIS, alpha=alpha, linewidth=0, label=label
            )
    if one.background is not None:
        axes.plot(*one.background, "--", color=style.BACKGROUND, linewidth=1.1, label="background")
    if one.truth is not None:
        axes.plot(*one.truth, color=style.TRUTH, ls=style.TRUTH_DASH, zorder=4, label="truth")
    axes.plot(time, one.value, color=style.ANALYSIS, label="analysis")
    for observations in one.observed:
        draw_observations(axes, observations)
    _keep_in_view(axes, one)
    axes.set_ylabel(with_units(one.name, one.units))
    axes.set_title(style.wrapped(one.label))
    axes.set_xlabel(time_label(one.time))
    axes.margins(x=0.02)


def draw_observations(axes: Axes, one: Observed) -> None:
    """Used observations as dots with error bars, passive ones open, rejected ones as crosses."""
    time, used = instants(one.time), one.used
    passive = one.passive & np.isfinite(one.value)
    if passive.any():
        axes.plot(
            time[passive], one.value[passive], "o", color=style.INK, markerfacecolor="white",
            markersize=3.6, markeredgewidth=0.9, zorder=3, label="observation not used",
        )  # fmt: skip
    if used.any():
        axes.errorbar(
            time[used],
            one.value[used],
            yerr=one.bars(),
            fmt="o",
            color=style.INK,
            markersize=3,
            elinewidth=0.7,
            label="observation",
        )
    rejected = ~used & ~one.passive & np.isfinite(one.value)
    if rejected.any():
        axes.plot(
            time[rejected], one.value[rejected], "x", color=style.REJECTED, markersize=5.5,
            markeredgewidth=1.4, label="rejected observation",
        )  # fmt: skip


def _keep_in_view(axes: Axes, one: Series) -> None:
    """Limits from analysis, used observations and truth: a wild background may leave the panel."""
    parts = [one.value, *(o.value[o.used] for o in one.observed)]
    bars = [(o.value[o.used], o.bars()) for o in one.observed]
    parts += [end for v, b in bars if b is not None for end in (v - b[0], v + b[1])]
    if one.truth is not None:
        parts.append(one.truth[1])
    if one.stdev is not None:
        parts += band_of(one, NINETY)
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, high = values.min(), values.max()
    room = 0.75 * (high - low)
    others = [o.value[~o.used] for o in one.observed]
    others += [] if one.background is None else [one.background[1]]
    extra = np.concatenate([*others, np.array([low, high])])
    extra = extra[np.isfinite(extra)]
    low, high = max(extra.min(), low - room), min(extra.max(), high + room)
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(0 if one.positive and low < 0.3 * high else low - margin, high + margin)


def leads_in_time(variable: xr.DataArray) -> bool:
    """Whether the first dimension of a variable is time."""
    return variable.dims[:1] in {(name,) for name in TIMES}
