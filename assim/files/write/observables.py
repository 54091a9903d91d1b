"""What instruments would read at every time of a file, as variables beside its fields."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.names import OBSERVABLE, QUANTILES, STDEV, time_name, variable_name
from assim.files.netcdf import axes_of_readings, axis_attributes
from assim.findings.observables import Series
from assim.problem.arrays import Labels

_KINDS = {"_hofx": "what is predicted of", "_reading": "new readings, errors included, of"}
_PARTS = {
    "mean": ("_mean", "mean of"),
    "stdev": (STDEV, "standard deviation of"),
    **{key: (f"_{key}", words) for key, words in QUANTILES.items()},
}


def with_observables(
    dataset: xr.Dataset, series: Mapping[str, Series], labels: Labels
) -> xr.Dataset:
    """The observables of instruments beside fields at the same times.

    Of each instrument v, `v_hofx_background` and `v_hofx_analysis`; with a posterior, moments and
    quantiles of what it would read without errors, `v_hofx_mean`, `_stddev`, `_q05`, `_q50` and
    `_q95`, and of new readings, `v_reading_mean` and so on. Dimensions are time and, where it reads
    at several places, `v_place`, along which its positions are `v_<dim>`.

    Args:
        dataset: fields at the times of the series.
        series: the observables, by instrument.
        labels: the model's.

    Raises:
        DataError: a variable of the dataset has the name of one of them.
    """
    content: dict[str, xr.Variable] = {}
    for name, own in series.items():
        content |= _of_instrument(name, own, labels)
    if both := sorted(content.keys() & {str(name) for name in dataset.variables}):
        raise DataError(
            f"a field of the model and a series of an instrument are both called {both[0]}; give "
            "the instrument another name"
        )
    places = [name for name, variable in content.items() if OBSERVABLE not in variable.attrs]
    return dataset.assign(content).set_coords(places)


def _of_instrument(name: str, series: Series, labels: Labels) -> dict[str, xr.Variable]:
    seen, called = series.observable, variable_name(name)
    several = seen.rows.shape[1] > 1
    along = f"{called}_place"
    notes = {"comment": " ".join(seen.notes)} if seen.notes else {}

    def variable(values: np.ndarray, what: str, more: Mapping[str, Any] = {}) -> xr.Variable:
        dims = (time_name(labels.time_unit), *([along] if several else []))
        words = {"units": seen.observations.units, "long_name": f"{what} {name}"}
        return xr.Variable(
            dims, values if several else values[:, 0], {**words, OBSERVABLE: name, **more, **notes}
        )

    content = {f"{called}_hofx_{of}": variable(v, f"{of} of") for of, v in series.of.items()}
    for kind, moments in (("_hofx", series.predicted), ("_reading", series.readings)):
        for part, (suffix, what) in _PARTS.items() if moments is not None else ():
            values, words = getattr(moments, part), f"{what} {_KINDS[kind]}"
            content[f"{called}{kind}{suffix}"] = variable(values, words, {"draws": series.draws})
    axes = axes_of_readings(labels)
    for dim, positions in seen.places.items():
        dims, values = ([along], positions) if several else ([], positions[0])
        content[f"{called}_{dim}"] = xr.Variable(dims, values, axis_attributes(axes[dim], dim))
    return content
