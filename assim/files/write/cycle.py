"""The windows of a cycle as series over time, and in a few numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.measures import BINS, LEVELS, STATUSES, Errors, Innovations, Measures
from assim.analysis.finding import Variable
from assim.files.names import STDEV, time_name
from assim.files.netcdf import attributes, strict, time_variable
from assim.files.write.encode import encoded
from assim.problem.arrays import Label, Labels

WINDOW = "window"
_PLACES = {
    "background": "of the background of",
    "analysis": "of the analysis of",
    "smoother": "at the window's start of the analysis of",
}
_SCALARS = {
    "cost": "cost at the analysis",
    "chi_squared": "twice the cost by the number of observations",
    "signal": "degrees of freedom for signal",
    "number": "observations, as their weights count them",
    "inflation": "factor on the carried standard deviations",
    "gradient_norm": "norm of the gradient at the last linearisation",
    "failed_members": "members that are left out, as they are not finite",
}
_INNOVATIONS = {
    "number": "number of observations of",
    "mean": "mean innovation of",
    "innovation_rms": "root mean square innovation of",
    "expected_rms": "root mean square innovation that the covariances expect of",
    "desroziers_error": "error stdev of observations by Desroziers of",
    "stated_error": "error stdev of observations as stated of",
    "error_variance_ratio": "error variance of observations by Desroziers, which may be negative, "
    "over that stated of",
    "desroziers_background": "stdev of the background by Desroziers of",
    "stated_background": "stdev of the background as stated of",
    "background_variance_ratio": "variance of the background by Desroziers, which may be negative, "
    "over that stated of",
}
_DIMENSIONLESS = ("number", "error_variance_ratio", "background_variance_ratio")


def cycle_dataset(cycle: Cycle, edges: Any, measures: Measures | list[Measures]) -> xr.Dataset:
    """Series over the windows of a cycle, at the time of the newest observations of each.

    Args:
        cycle: the cycle.
        edges: its slot edges.
        measures: of all windows, with a leading dimension of them, as `Cycle.scan` gives them; or a
            list of those that `Cycle.window` gives.
    """
    if isinstance(measures, list):
        stacked: Measures = jax.tree.map(lambda *several: np.stack(several), *measures)
        return cycle_dataset(cycle, edges, stacked)
    problem, windows = cycle.problem, np.asarray(measures.cost).size
    labels, reference = problem.model.labels(), problem.window.reference
    times = cycle.plan.newest(edges, windows)
    clock = time_name(labels.time_unit)
    content = _of_fields(measures, labels) | _of_scalars(measures, labels)
    for name, words in _SCALARS.items():
        content[name] = Variable((WINDOW,), getattr(measures, name), words)
    meanings = {
        "flag_values": np.array(list(STATUSES), np.int32),
        "flag_meanings": " ".join(STATUSES.values()),
    }
    ended = np.asarray(measures.status, np.int32)
    content["status"] = Variable((WINDOW,), ended, "how the minimisation ended", None, meanings)
    for o, innovations in zip(problem.observations, measures.innovations, strict=True):
        content |= _of_instrument(o.name, o.units, innovations)
    stamps = time_variable(np.asarray(times), labels.time_unit, reference, WINDOW)
    places = {
        WINDOW: (WINDOW, np.arange(len(times)), {"long_name": "number of the window"}),
        clock: stamps,
        "level": ("level", np.asarray(LEVELS), {"units": "1", "long_name": "probability"}),
        "bin": ("bin", (np.arange(BINS) + 0.5) / BINS, {"units": "1", "long_name": "rank"}),
    }
    return xr.Dataset(encoded(content), places)


def _of_fields(measures: Measures, labels: Labels) -> dict[str, Variable]:
    """Errors, spreads and coverage of every field."""
    content: dict[str, Variable] = {}
    kinds: dict[str, tuple[str, Any]] = {"spread": ("root mean variance", measures.spreads)}
    if measures.errors is not None:
        kinds = {"rmse": ("root mean square error", measures.errors), **kinds}
    for key, (words, of) in kinds.items():
        for kind, place in _PLACES.items():
            for name, values in getattr(of, kind).items():
                what = f"{words} {place}"
                content[f"{name}_{key}_{kind}"] = _along(values, name, labels.state[name], what)
    for name, values in measures.errors.inside.items() if measures.errors is not None else ():
        what = f"share of {name} inside the intervals"
        content[f"{name}_inside"] = Variable((WINDOW, "level"), values, what)
    return content


def _of_scalars(measures: Measures, labels: Labels) -> dict[str, Variable]:
    """What is estimated and has no dimensions, with its standard deviation."""
    content: dict[str, Variable] = {}
    for name, value in measures.scalars.items():
        label = labels.parameters.get(name, Label())
        if np.ndim(value) == 1:
            spread = measures.scalars_stdev[name]
            content[name] = _along(value, name, label)
            content[f"{name}{STDEV}"] = _along(spread, name, label, "standard deviation of")
    return content


def _along(values: Any, name: str, label: Label, what: str = "") -> Variable:
    """A series over the windows of what a label is of."""
    return Variable((WINDOW,), values, attributes(name, label, what)["long_name"], label.units)


def _of_instrument(name: str, unit: str, innovations: Innovations) -> dict[str, Variable]:
    """Series of one instrument; NaN where a window has none of its observations."""
    sums = {key: np.asarray(value) for key, value in innovations._asdict().items()}
    number = np.where(sums["number"] > 0, sums["number"], np.nan)
    root = lambda total: np.sqrt(np.maximum(total / number, 0.0))  # noqa: E731
    signed = lambda total: np.sqrt(np.where(total >= 0, total, np.nan) / number)  # noqa: E731
    values = {
        "number": sums["number"],
        "mean": sums["mean"] / number,
        "innovation_rms": root(sums["square"]),
        "expected_rms": root(sums["expected"]),
        "desroziers_error": signed(sums["observation"]),
        "stated_error": root(sums["stated"]),
        "desroziers_background": signed(sums["background"]),
        "stated_background": root(sums["expected"] - sums["stated"]),
        **_variance_ratios(sums),
    }
    content: dict[str, Variable] = {}
    for key, series in values.items():
        words, units = f"{_INNOVATIONS[key]} {name}", "1" if key in _DIMENSIONLESS else unit
        content[f"{name}_obs_{key}"] = Variable((WINDOW,), series, words, units)
    words = f"innovations of {name} by their probability below"
    content[f"{name}_obs_ranks"] = Variable((WINDOW, "bin"), sums["ranks"], words)
    return content


def _variance_ratios(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Desroziers' estimates of variances over those stated, with their sign."""
    pairs = {
        "error": (sums["observation"], sums["stated"]),
        "background": (sums["background"], sums["expected"] - sums["stated"]),
    }
    return {
        f"{key}_variance_ratio": estimated / np.where(stated > 0, stated, np.nan)
        for key, (estimated, stated) in pairs.items()
    }


def cycle_summary(
    measures: Measures, labels: Labels, burn_in: int, instruments: Sequence[str] = ()
) -> dict[str, Any]:
    """Means over the windows after the burn-in, as strict JSON.

    `rmse_analysis` and `spread` are means over time, at the newest observations, of the root mean
    square over all entries of all fields where these have one unit; by field besides.
    `instruments` has Desroziers' variances over those stated, negative ones too.
    """
    windows = int(np.asarray(measures.cost).size)
    burn_in = min(burn_in, windows - 1)  # of a cycle that has only begun
    counted: Measures = jax.tree.map(lambda series: np.asarray(series)[burn_in:], measures)
    content: dict[str, Any] = {
        "windows": windows,
        "burn_in": burn_in,
        "observations": float(np.sum(measures.number)),
    }
    sizes = {name: int(np.prod(labels.shape(name))) for name in labels.state}
    alike = len({label.units for label in labels.state.values()}) == 1

    def over_time(fields: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
        each = {name: float(np.mean(series)) for name, series in fields.items()}
        total = sum(sizes[name] * series**2 for name, series in fields.items())
        number = sum(sizes[name] for name in fields)
        return (float(np.mean(np.sqrt(total / number))) if alike else None), each

    errors = counted.errors
    kinds = {} if errors is None else {f"rmse_{kind}": getattr(errors, kind) for kind in _PLACES}
    for key, kind in (("", "analysis"), ("_background", "background"), ("_smoother", "smoother")):
        kinds[f"spread{key}"] = getattr(counted.spreads, kind)
    for key, fields in kinds.items():
        content[key], content[f"{key}_by_field"] = over_time(fields)
    if errors is not None:
        content["coverage"] = _coverage(errors)
    for name in ("chi_squared", "inflation", "signal"):
        series = getattr(counted, name)
        known = series[np.isfinite(series)]
        content[name] = float(np.mean(known)) if known.size else None
    content["quantities"] = {
        name: {"mean": values[-1], "stddev": counted.scalars_stdev[name][-1]}
        for name, values in counted.scalars.items()
    }
    summed = jax.tree.map(lambda series: np.sum(series, axis=0), counted.innovations)
    pairs = zip(instruments, summed, strict=False)
    content["instruments"] = {name: _variance_ratios(sums._asdict()) for name, sums in pairs}
    return strict(content)


def _coverage(errors: Errors) -> dict[str, float]:
    """How often the truth is inside each interval, by its probability in per cent."""
    return {
        f"{100 * level:.0f}": float(np.mean([field[:, i] for field in errors.inside.values()]))
        for i, level in enumerate(LEVELS)
    }
