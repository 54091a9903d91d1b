"""What files hold, as `assim.files.write` lays them out: names and dimensions, checked once.

Whoever draws may rely on it. What is optional here is what the writer leaves out: all of a file
that the case does not keep, and what needs a posterior, a truth or a finding that was not asked.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from assim.files.errors import ReportError
from assim.files.names import Ancillary

TIMES = ("time", "t")
SUFFIXES = (
    *Ancillary,
    *("_mean", "_increment", "_background", "_prior", "_model_error", "_model_error_prior_stddev"),
)
_COMPARED = (
    *(Ancillary.QC, Ancillary.HOFX_BACKGROUND, Ancillary.HOFX_ANALYSIS),
    *(Ancillary.OMBG, Ancillary.OMAN, Ancillary.EFFECTIVE_QC),
)
_PREDICTED = (
    *(Ancillary.PREDICTIVE_Q05, Ancillary.PREDICTIVE_Q50, Ancillary.PREDICTIVE_Q95),
    Ancillary.PREDICTIVE_PIT,
)
_OPTIONAL = (
    *(Ancillary.STDEV, Ancillary.HOFX_ANALYSIS_STDEV),
    *(Ancillary.INFLUENCE, Ancillary.IMPACT),
)
_WINDOW, _REALIZATION = "window", "realization"
SPREAD, NUMBER = "_spread_analysis", "_obs_number"
_KINDS = ("background", "analysis", "smoother")
_INNOVATIONS = (
    *("number", "mean", "innovation_rms", "expected_rms", "stated_error", "stated_background"),
    *("error_variance_ratio", "background_variance_ratio"),
)
_SERIES = ("cost", "chi_squared", "signal", "number", "inflation")
_WAY_OUT = "it is of another version of assim, or was changed: run the case again"


# ---- JSON ----------------------------------------------------------------------------------------


class Entry(dict[str, Any]):
    """A JSON object of which `[key]` is an error that names the file where the key is missing."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        super().__init__(content)
        self.where = where

    def __missing__(self, key: str) -> Any:
        there = ", ".join(self) or "nothing"
        raise ReportError(f"{self.where}: expected {key!r}, got {there}; {_WAY_OUT}")


def entry(content: Mapping[str, Any], where: str) -> Entry:
    """An object with those inside it; `where` it stands: the file, then the keys to it."""
    return Entry(
        {str(key): _value(item, f"{where}: {key}") for key, item in content.items()}, where
    )


def _value(item: Any, where: str) -> Any:
    if isinstance(item, Mapping):
        return entry(item, where)
    return [_value(part, where) for part in item] if isinstance(item, list) else item


_OF_WINDOW: dict[str, type | tuple[type, ...]] = {
    **{"status": str, "advice": str, "cost": dict, "gradient_norm": (float, int, type(None))},
    **{"seconds": dict, "posterior": (dict, type(None)), "chosen": (str, type(None))},
    **{
        "choice": str,
        "quantities": dict,
        "observations": dict,
        "minima": list,
        "starts": int,
        "failed_starts": int,
    },
}
_OF_CYCLE: dict[str, type | tuple[type, ...]] = {
    **{"status": str, "statuses": dict, "windows": int, "burn_in": int},
    **{"spread": (float, int, type(None)), "spread_by_field": dict},
    **{"chi_squared": (float, int, type(None)), "quantities": dict},
}


def is_cycle(summary: Mapping[str, Any]) -> bool:
    """Whether a summary is that of windows in sequence."""
    return "windows" in summary


def check_summary(summary: Entry) -> Entry:
    """The summary, with the keys that are always written.

    Raises:
        ReportError: one is missing, or of another type.
    """
    for key, kind in (_OF_CYCLE if is_cycle(summary) else _OF_WINDOW).items():
        value = summary[key]
        if not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
            raise ReportError(
                f"{summary.where}: {key}: expected {names}, got {type(value).__name__}; {_WAY_OUT}"
            )
    return summary


# ---- NetCDF --------------------------------------------------------------------------------------


def field_names(file: xr.Dataset, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """The variables that are not another one's stddev, increment, departure, …"""
    names = {str(name) for name in file.data_vars}

    def ancillary(name: str) -> bool:
        return any(name.endswith(end) and name.removesuffix(end) in names for end in suffixes)

    return [name for name in map(str, file.data_vars) if not ancillary(name)]


def time_of(file: xr.Dataset) -> xr.DataArray:
    """The time of a trajectory, of observations or of windows.

    Raises:
        ReportError: the file has none.
    """
    for name in TIMES:
        if name in file.variables:
            return file[name]
    raise _error(file, "time", "a time, `time` or `t`", "none")


def variable(file: xr.Dataset, name: str, dims: tuple[str, ...]) -> xr.DataArray:
    """A variable of these dimensions; `...` stands for any that follow.

    Raises:
        ReportError: it is missing, or has others.
    """
    if name not in file.variables:
        raise _error(file, name, f"a variable on {_spelt(dims)}", "none of this name")
    own = file[name].dims
    if own != dims and not (dims[-1:] == ("...",) and own[: len(dims) - 1] == dims[:-1]):
        raise _error(file, name, f"the dimensions {_spelt(dims)}", _spelt(map(str, own)))
    return file[name]


def check_file(name: str, file: xr.Dataset, summary: Mapping[str, Any]) -> None:
    """Whether the Dataset of this name is as it is written.

    Raises:
        ReportError: it is not; the message names the file and the variable.
    """
    stage = name.split("_")[0]
    if stage in {"background", "analysis"}:
        _check_state(file)
    elif stage == "trajectory":
        _check_trajectory(file)
    elif stage == "posterior":
        _check_posterior(file)
    elif stage == "feedback":
        _check_feedback(file)
    elif stage == "diagnostics":
        _check_series(file, summary) if is_cycle(summary) else _check_diagnostics(file)


def _check_state(file: xr.Dataset) -> None:
    """Fields with a leading time of one; parameters without."""
    clock = str(time_of(file).name)
    variable(file, clock, (clock,))
    _check_ancillary(file, ("_stddev", "_increment"))


def _check_trajectory(file: xr.Dataset) -> None:
    """Fields over time, each with its background, and what a posterior says of them."""
    clock = str(time_of(file).name)
    variable(file, clock, (clock,))
    for name in field_names(file):
        variable(file, name, (clock, "..."))
        dims = tuple(map(str, file[name].dims))
        variable(file, f"{name}_background", dims)
    _check_ancillary(file, ("_stddev", "_mean", "_model_error", "_model_error_stddev"))


def _check_ancillary(file: xr.Dataset, suffixes: Iterable[str]) -> None:
    """What is said about a field has its dimensions."""
    for name in field_names(file):
        for about in (f"{name}{end}" for end in suffixes):
            if about in file and file[about].ndim:
                variable(file, about, tuple(map(str, file[name].dims)))


def _check_posterior(file: xr.Dataset) -> None:
    """Members with their weights, and draws from the prior."""
    variable(file, "weight", (_REALIZATION,))
    for name in map(str, file.data_vars):
        if file[name].dims[:1] != ("prior_realization",) or not name.endswith("_prior"):
            variable(file, name, (_REALIZATION, "..."))


def instruments_in(file: xr.Dataset) -> list[str]:
    """The observed variables of a feedback file: those that are not said about another."""
    others = {"instrument", f"{time_of(file).name}_bnds"}
    for about in file.data_vars.values():
        others |= set(str(about.attrs.get("ancillary_variables", "")).split())
    return [name for name in field_names(file) if name not in others]


def _check_feedback(file: xr.Dataset) -> None:
    """A row an observation: values, what is predicted of them, departures and flags."""
    variable(file, str(time_of(file).name), ("obs",))
    for name in instruments_in(file):
        predicted = any(f"{name}{end}" in file for end in _PREDICTED)
        for end in ("", *_COMPARED, *(_PREDICTED if predicted else ())):
            variable(file, f"{name}{end}", ("obs",))
        for end in _OPTIONAL:
            if f"{name}{end}" in file:
                variable(file, f"{name}{end}", ("obs",))


def _check_diagnostics(file: xr.Dataset) -> None:
    """Loops where there was one; the spectrum of Laplace; directions and a profile."""
    groups: tuple[tuple[bool, tuple[str, ...], tuple[str, ...]], ...] = (
        ("loop" in file.dims, ("loop",), ("loop", "cost", "gradient_norm")),
        ("mode" in file.dims, ("mode",), ("hessian_eigenvalue",)),
        ("direction" in file.dims, ("direction",), ("direction_eigenvalue", "direction_prior")),
        ("direction" in file.dims, ("coordinate", "direction"), ("direction_component",)),
        ("direction" in file.dims, ("coordinate",), ("coordinate",)),
        (
            "profile" in file.dims,
            ("profile",),
            ("profile_distance", "profile_rise", "profile_quadratic", "profile_converged"),
        ),
        ("profile" in file.dims, (), ("profile_direction",)),
    )
    for there, dims, names in groups:
        for name in names if there else ():
            variable(file, name, dims)


def _check_series(file: xr.Dataset, summary: Mapping[str, Any]) -> None:
    """Series over the windows of a cycle: of the method, of fields and of instruments."""
    if (length := file.sizes.get(_WINDOW, 0)) != summary["windows"]:
        raise _error(file, _WINDOW, f"{summary['windows']} windows as in summary.json", str(length))
    names = [str(name) for name in file.data_vars]
    known = any("_rmse_" in name for name in names)  # of a truth
    needed = ["window", str(time_of(file).name), *_SERIES]
    for field in _ending(names, SPREAD):
        kinds = ("spread", "rmse") if known else ("spread",)
        needed += [f"{field}_{what}_{kind}" for what in kinds for kind in _KINDS]
        if known:
            variable(file, f"{field}_inside", (_WINDOW, "level"))
    for name in _ending(names, NUMBER):
        needed += [f"{name}_obs_{what}" for what in _INNOVATIONS]
        variable(file, f"{name}_obs_ranks", (_WINDOW, "bin"))
    needed += [name.removesuffix("_stddev") for name in names if name.endswith("_stddev")]
    for name in needed:
        variable(file, name, (_WINDOW,))


def _ending(names: Iterable[str], end: str) -> list[str]:
    return [name.removesuffix(end) for name in names if name.endswith(end)]


def _spelt(dims: Iterable[str]) -> str:
    return f"({', '.join(dims)})"


def _error(file: xr.Dataset, name: str, expected: str, got: str) -> ReportError:
    where = file.encoding.get("source", "a Dataset in memory")
    return ReportError(f"{where}: {name}: expected {expected}, got {got}; {_WAY_OUT}")
