"""Scalars in time: what every instrument reads, and the fields of the trajectory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import xarray as xr

from assim.show.fields import site_label, sites
from assim.show.finished import Run, instants, position, words
from assim.show.layout import field_names, time_of
from assim.show.observed import Observed, observed

FEW = 60  # slot edges below which each is marked
_SAME = 1e-6  # relative distance of series, and of places, that are the same
Band = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Series:
    """One panel: a scalar in time, the same of the background, and of the truth where it is known.

    Bands of standard deviations lie about `mean`, which an ensemble has, else about `value`.

    Args:
        predicted: 5 % and 95 % quantiles of what an instrument would read without errors.
        readings: the same of new readings, errors included.
    """

    name: str
    label: str
    units: str
    time: xr.DataArray
    value: np.ndarray
    background: np.ndarray | None
    stdev: np.ndarray | None
    observed: tuple[Observed, ...]
    mean: np.ndarray | None = None
    truth: tuple[np.ndarray, np.ndarray] | None = None  # its times, and values
    positive: bool = False
    at_edges: bool = True  # else at the times of readings
    predicted: Band | None = None
    readings: Band | None = None
    where: str = ""  # that of several places, as words behind what it is called

    @property
    def marked(self) -> bool:
        """Whether slot edges are few, so that lines between them may miss a peak."""
        return self.at_edges and self.value.size < FEW


def series_of(run: Run) -> list[Series]:
    """What instruments read, the place of each with most readings first; then all other fields.

    A scalar field, or a site of a small one, that an instrument reads as it is, is drawn once.
    """
    file = run.file("trajectory")
    places = ((name, place) for name in field_names(file) for place in sites(file[name]))
    fields = [_series(run, file, name, place) for name, place in places]
    read = [_with_truth(series, fields) for series in _observables(run, file)]
    return [*read, *(field for field in fields if not any(same(field, r) for r in read))]


def _observables(run: Run, file: xr.Dataset) -> list[Series]:
    """The observable of every instrument at every slot edge, at each of its places."""
    by_instrument = [_observables_of(file, variable) for variable in _with_series(run, file)]
    return [series for row in zip_longest(*by_instrument) for series in row if series is not None]


def _with_series(run: Run, file: xr.Dataset) -> list[Observed]:
    return [variable for variable in observed(run) if f"{variable.name}_hofx_analysis" in file]


def _observables_of(file: xr.Dataset, variable: Observed) -> list[Series]:
    name = variable.name
    along = f"{name}_place"
    several = along in file[f"{name}_hofx_analysis"].dims
    places = range(file.sizes[along]) if several else [None]
    everything = [_observable(file, variable, place) for place in places]
    return sorted(everything, key=lambda series: -int(series.observed[0].used.sum()))


def _observable(file: xr.Dataset, variable: Observed, place: int | None) -> Series:
    name, at = variable.name, at_place(variable.name, place)

    def values(ending: str) -> Any:
        return _at(file, f"{name}{ending}", at)

    def band(ending: str) -> Band | None:
        low, high = values(f"{ending}_q05"), values(f"{ending}_q95")
        return None if low is None or high is None else (low, high)

    where = place_label(file, name, place)
    return Series(
        name=name,
        label=variable.label + where,
        units=variable.units,
        time=time_of(file),
        value=values("_hofx_analysis"),
        background=values("_hofx_background"),
        stdev=None,
        observed=(rows_at(file, variable, place),),
        positive=variable.logarithmic,
        predicted=band("_hofx"),
        readings=band("_reading"),
        where=where,
    )


def at_place(name: str, place: int | None) -> dict[str, int]:
    """The index of a place of an instrument, of which there is one alone where it is None."""
    return {} if place is None else {f"{name}_place": place}


def place_label(file: xr.Dataset, name: str, place: int | None) -> str:
    """Where a place of an instrument is, to be put behind its name; "" where it is alone."""
    if place is None:
        return ""
    along, prefix = f"{name}_place", f"{name}_"
    positions = [str(v) for v in file.coords if file[v].dims == (along,)]
    return "".join(
        f", {axis.removeprefix(prefix)} = {position(file, axis, place)}" for axis in positions
    )


def rows_at(file: xr.Dataset, variable: Observed, place: int | None) -> Observed:
    """The readings of an instrument at one of its places, as its file of series numbers them."""
    here = np.ones(variable.value.shape, bool)
    for dim, column in variable.places.items():
        positions = f"{variable.name}_{dim}"
        if place is not None and positions in file.variables:
            here &= np.isclose(column, float(file[positions].values[place]), _SAME)
    return variable.chosen(here)


def same(one: Series, other: Series) -> bool:
    """Whether two have the same values, and say so of the same quantity."""
    return one.units == other.units and np.allclose(
        one.value, other.value, _SAME, 0.0, equal_nan=True
    )


def _with_truth(series: Series, fields: Iterable[Series]) -> Series:
    """The same, with what is known of the field that it reads as it is."""
    field = next((field for field in fields if same(field, series)), None)
    if field is None:
        return series
    return replace(series, truth=field.truth, positive=series.positive or field.positive)


def of_no_field(run: Run) -> list[Series]:
    """Quantities that are no field and have no series: what the analysis predicts of readings."""
    if "trajectory" not in run.files:
        return []
    file = run.file("trajectory")
    shown = {*field_names(file), *(variable.name for variable in _with_series(run, file))}
    others = (variable for variable in observed(run) if variable.name not in shown)
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
        where=site_label(file, name, place).removeprefix(words(file[name])),
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
