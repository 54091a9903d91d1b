"""What an analysis says of the statistics that were assumed, for files and summaries."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from assim.analysis.analyse import Analysis
from assim.files.ancillary import Ancillary

_OWN_UNIT = "in the unit of the instrument's errors"
_COLUMNS = {
    "count": ("count", "number of values used, as their weights count them"),
    "cost": ("cost", "half the sum of squared departures at the analysis"),
    "cost_expected": ("expected", "its expectation"),
    "cost_expected_stddev": (
        "expected_stdev",
        "largest standard deviation of the cost about its expectation",
    ),
    "degrees_of_freedom": ("signal", "degrees of freedom for signal"),
    "mean_influence": ("mean_influence", "mean influence of a value"),
    "error_stddev": (
        "error_stdev",
        f"standard deviation of the errors as assumed, {_OWN_UNIT}",
    ),
    "error_stddev_ratio": (
        "error_ratio",
        "standard deviation of the errors as estimated from departures, over that assumed",
    ),
    "error_variance_ratio": (
        "error_variance_ratio",
        "variance of the errors as estimated from departures, which may be negative, over that "
        "assumed",
    ),
    "background_stddev": (
        "background_stdev",
        f"standard deviation of the background of the values as assumed, {_OWN_UNIT}",
    ),
    "background_stddev_ratio": (
        "background_ratio",
        "standard deviation of the background as estimated from departures, over that assumed",
    ),
    "background_variance_ratio": (
        "background_variance_ratio",
        "variance of the background as estimated from departures, which may be negative, over that "
        "assumed",
    ),
    "nonlinearity": (
        "nonlinearity",
        "departure of innovations from those of the tangent linear, over the change of departures "
        "by the analysis",
    ),
}  # of a `Fit`, by the name of the column: its attribute and what it is


class RowColumn(NamedTuple):
    """One number for every value used of an instrument."""

    suffix: Ancillary
    values: np.ndarray
    what: str
    dimensionless: bool


def row_columns(analysis: Analysis, name: str) -> list[RowColumn]:
    """Posterior standard deviation, influence and impact of the values of one instrument."""
    columns = []
    if analysis.diagnostics is not None and name in analysis.diagnostics.instruments:
        one = analysis.diagnostics.instruments[name]
        spread = "standard deviation of the analysis of"
        suffix = Ancillary.HOFX_ANALYSIS_STDEV
        columns.append(RowColumn(suffix, one.predicted_stdev, spread, False))
        what = "influence on the analysis of"
        columns.append(RowColumn(Ancillary.INFLUENCE, one.influence, what, True))
    if analysis.impact is not None and name in analysis.impact.observations:
        impact = np.asarray(analysis.impact.observations[name])
        what = "impact on the forecast of"
        columns.append(RowColumn(Ancillary.IMPACT, impact, what, True))
    return columns


def consistency_variables(analysis: Analysis) -> dict[str, xr.Variable]:
    """Expected costs, χ², and a row an instrument on the dimension `instrument`."""
    found = analysis.diagnostics
    if found is None:
        return {}
    content = {name: v for name, v in _totals(analysis) if math.isfinite(float(v))}
    names = list(found.instruments)
    flags = np.arange(len(names), dtype=np.int32)
    content["instrument"] = xr.Variable(
        "instrument",
        flags,
        {
            "long_name": "instrument",
            "flag_values": flags,
            "flag_meanings": " ".join("_".join(name.split()) for name in names),
        },
    )
    for column, (long_name, values) in _by_instrument(analysis).items():
        array = np.asarray(values)
        whole = array.dtype.kind in "iu"
        content[f"instrument_{column}"] = xr.Variable(
            "instrument",
            array.astype(np.int32 if whole else float),
            {"units": "1", "long_name": long_name},
        )
    return content


def _totals(analysis: Analysis) -> Iterator[tuple[str, xr.Variable]]:
    found, impact = analysis.diagnostics, analysis.impact
    assert found is not None
    for term, one in found.terms.items():
        words = term.replace("_", " ")
        yield f"cost_{term}_expected", _number(one.expected, f"expected cost: {words}")
        what = f"largest standard deviation of the expected cost: {words}"
        yield f"cost_{term}_expected_stddev", _number(one.expected_stdev, what)
    what = "sum of squares of the cost at the analysis"
    yield "chi_squared", _number(found.chi_squared, what)
    yield "chi_squared_expected", _number(found.degrees, f"expected {what}")
    what = "probability of a larger sum of squares where the statistics assumed are right"
    yield "chi_squared_p_value", _number(found.p_value, what)
    signal = sum(one.signal for one in found.instruments.values())
    yield "degrees_of_freedom", _number(signal, "degrees of freedom for signal")
    if impact is not None:
        for place, value in (("background", impact.background), ("analysis", impact.analysis)):
            what = f"measure of the forecast from the {place}"
            yield f"forecast_measure_{place}", _number(value, what)


def _by_instrument(analysis: Analysis) -> dict[str, tuple[str, list[Any]]]:
    """Long name and values of every column."""
    found, impact = analysis.diagnostics, analysis.impact
    assert found is not None
    fits = found.instruments.values()
    columns: dict[str, tuple[str, list[Any]]] = {
        name: (long_name, [getattr(one, attribute) for one in fits])
        for name, (attribute, long_name) in _COLUMNS.items()
    }
    if impact is not None:
        totals = [float(np.sum(impact.observations[name])) for name in found.instruments]
        columns["impact"] = ("sum of the impacts of values on the forecast", totals)
    return columns


def consistency_summary(analysis: Analysis) -> dict[str, Any] | None:
    """The same for `summary.json`; None without a posterior."""
    found = analysis.diagnostics
    if found is None:
        return None
    columns = _by_instrument(analysis)
    content: dict[str, Any] = {
        "chi_squared": found.chi_squared,
        "chi_squared_expected": found.degrees,
        "p_value": found.p_value,
        "degrees_of_freedom": sum(one.signal for one in found.instruments.values()),
        "terms": {
            name: {"cost": one.cost, "expected": one.expected, "stddev": one.expected_stdev}
            for name, one in found.terms.items()
        },
        "instruments": {
            name: {column: values[k] for column, (_, values) in columns.items()}
            for k, name in enumerate(found.instruments)
        },
    }
    if analysis.impact is not None:
        content["forecast"] = {
            "background": analysis.impact.background,
            "analysis": analysis.impact.analysis,
            "impact": analysis.impact.total(),
        }
    return content


def quantity_summary(quantity: Any) -> dict[str, Any]:
    """A quantity without what does not apply to it."""
    content = dict(vars(quantity))
    optional: Mapping[str, Any] = {"long_name": "", "draws": None, "prior": None}
    for name, empty in optional.items():
        if content[name] == empty:
            del content[name]
    if quantity.prior is not None:
        content["prior"] = dict(zip(("q05", "q50", "q95"), quantity.prior, strict=True))
    return content


def _number(value: float, long_name: str) -> xr.Variable:
    return xr.Variable((), value, {"units": "1", "long_name": long_name})
