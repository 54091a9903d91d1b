"""What files hold, as `assim.files.write` lays them out: names and dimensions, checked once.

Whoever draws may rely on it. What is optional here is what the writer leaves out: all of a file
that the case does not keep, and what needs a posterior, a truth or a finding that was not asked.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from assim.files.errors import ReportError
from assim.files.names import OBSERVABLE, Ancillary

TIMES = ("time", "t")
SUFFIXES = (
    *Ancillary,
    *("_mean", "_increment", "_background", "_prior", "_model_error", "_model_error_prior_stddev"),
)
AHEAD = (*SUFFIXES, "_q05", "_q50", "_q95", "_members")  # of forecast.nc
_COMPARED = (
    *(Ancillary.QC, Ancillary.HOFX_BACKGROUND, Ancillary.HOFX_ANALYSIS),
    *(Ancillary.OMBG, Ancillary.OMAN, Ancillary.EFFECTIVE_QC),
)
_PREDICTED = tuple(end for end in Ancillary if end.startswith("_predictive_"))
_OPTIONAL = (
    *(Ancillary.STDEV, Ancillary.HOFX_ANALYSIS_STDEV),
    *(Ancillary.INFLUENCE, Ancillary.IMPACT),
)
WINDOW, _REALIZATION = "window", "realization"
SPREAD, NUMBER = "_spread_analysis", "_obs_number"
KINDS = ("background", "analysis", "smoother")
_INNOVATIONS = (
    *("number", "mean", "innovation_rms", "expected_rms", "stated_error", "stated_background"),
    *("error_variance_ratio", "background_variance_ratio"),
)
_SERIES = ("cost", "chi_squared", "signal", "number", "inflation")
_WAY_OUT = "it is of another version of assim, or was changed: run the case again"


# ---- JSON ----------------------------------------------------------------------------------------


class Entry(dict[str, Any]):
    """A JSON object of which `[key]` is an error that names the file where the key is missing.

    Args:
        content: the object; those inside it become entries, too.
        where: it stands: the file, then the keys to it.
    """

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        super().__init__((str(k), _value(v, f"{where}: {k}")) for k, v in content.items())
        self.where = where

    def __missing__(self, key: str) -> Any:
        there = ", ".join(self) or "nothing"
        raise ReportError(f"{self.where}: expected {key!r}, got {there}; {_WAY_OUT}")


def _value(item: Any, where: str) -> Any:
    if isinstance(item, Mapping):
        return Entry(item, where)
    return [_value(part, where) for part in item] if isinstance(item, list) else item


# keys that are always written, and the types that they may be of
_NUMBER = (float, int, None)
_OF_WINDOW: dict[str, tuple[type | None, ...]] = {
    "status": (str,),
    "advice": (str,),
    "choice": (str,),
    "cost": (dict,),
    "seconds": (dict,),
    "quantities": (dict,),
    "observations": (dict,),
    "gradient_norm": _NUMBER,
    "verdict": (str, None),
    "posterior": (dict, None),
    "chosen": (str, None),
    "minima": (list,),
    "starts": (int,),
    "failed_starts": (int,),
    "failures": (dict,),
    "notes": (list,),
}
_OF_CYCLE: dict[str, tuple[type | None, ...]] = {
    "status": (str,),
    "statuses": (dict,),
    "spread_by_field": (dict,),
    "quantities": (dict,),
    "windows": (int,),
    "burn_in": (int,),
    "spread": _NUMBER,
    "chi_squared": _NUMBER,
}


def is_cycle(summary: Mapping[str, Any]) -> bool:
    """Whether a summary is that of windows in sequence."""
    return "windows" in summary


def check_summary(summary: Entry) -> Entry:
    """The summary, with the keys that are always written.

    Raises:
        ReportError: one is missing, or of another type.
    """
    for key, kinds in (_OF_CYCLE if is_cycle(summary) else _OF_WINDOW).items():
        value = summary[key]
        if not isinstance(value, tuple(kind or type(None) for kind in kinds)):
            names = " or ".join(kind.__name__ if kind else "null" for kind in kinds)
            got = type(value).__name__
            raise ReportError(f"{summary.where}: {key}: expected {names}, got {got}; {_WAY_OUT}")
    return summary


# ---- NetCDF --------------------------------------------------------------------------------------


def field_names(file: xr.Dataset, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """The variables that are not another one's stddev, increment, departure, … or observables."""
    names = {str(name) for name in file.data_vars}
    chosen = [name for name in map(str, file.data_vars) if OBSERVABLE not in file[name].attrs]

    def ancillary(name: str) -> bool:
        return any(name.endswith(end) and name.removesuffix(end) in names for end in suffixes)

    return [name for name in chosen if not ancillary(name)]


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
    if name == "forecast":
        _check_ahead(file)
    elif name == "forecast_feedback":
        _check_later(file)
    elif stage in {"background", "analysis"}:
        _check_fields(file, ("_stddev", "_increment"))
    elif stage == "trajectory":
        _check_fields(file, ("_stddev", "_mean", "_model_error", "_model_error_stddev"))
        for field in field_names(file):  # each with its background, over time
            variable(file, field, (str(time_of(file).name), "..."))
            variable(file, f"{field}_background", tuple(map(str, file[field].dims)))
    elif stage == "posterior":
        variable(file, "weight", (_REALIZATION,))
        for member in map(str, file.data_vars):
            if file[member].dims[:1] != ("prior_realization",) or not member.endswith("_prior"):
                variable(file, member, (_REALIZATION, "..."))
    elif stage == "feedback":
        _check_feedback(file)
    elif stage == "diagnostics":
        _check_series(file, summary) if is_cycle(summary) else _check_diagnostics(file)


def _check_fields(file: xr.Dataset, suffixes: tuple[str, ...]) -> None:
    """A time, and fields: what is said about one has its dimensions."""
    clock = str(time_of(file).name)
    variable(file, clock, (clock,))
    for name in field_names(file):
        for about in (f"{name}{end}" for end in suffixes):
            if about in file and file[about].ndim:
                variable(file, about, tuple(map(str, file[name].dims)))


def instruments_in(file: xr.Dataset) -> list[str]:
    """The observed variables of a feedback file: those that are not said about another."""
    others = {"instrument", *(f"{time}_bnds" for time in TIMES)}
    for about in file.data_vars.values():
        others |= set(str(about.attrs.get("ancillary_variables", "")).split())
    return [name for name in field_names(file) if name not in others]


def _check_feedback(file: xr.Dataset) -> None:
    """A row an observation: values, what is predicted of them, departures and flags."""
    variable(file, str(time_of(file).name), ("obs",))
    for name in instruments_in(file):
        predicted = any(f"{name}{end}" in file for end in _PREDICTED)
        optional = [end for end in _OPTIONAL if f"{name}{end}" in file]
        for end in ("", *_COMPARED, *(_PREDICTED if predicted else ()), *optional):
            variable(file, f"{name}{end}", ("obs",))


_OF_FORECAST = ("from", "start", "end", "members", "warnings", "left_out", "lead_units")


def check_forecast(about: Entry) -> None:
    """Whether the content of forecast.json has the keys that are always written.

    Raises:
        ReportError: one is missing.
    """
    for key in _OF_FORECAST:
        about[key]  # which raises it


def _check_ahead(file: xr.Dataset) -> None:
    """Fields over time, with standard deviation and quantiles."""
    clock = str(time_of(file).name)
    variable(file, "forecast_period", (clock,))
    for name in field_names(file, AHEAD):
        variable(file, name, (clock, "..."))
        for end in ("_stddev", "_q05", "_q95"):
            variable(file, f"{name}{end}", tuple(map(str, file[name].dims)))


def _check_later(file: xr.Dataset) -> None:
    """A row a later observation: values, what was forecast of them, and flags."""
    variable(file, str(time_of(file).name), ("obs",))
    for name in instruments_in(file):
        for end in ("", Ancillary.HOFX_FORECAST, Ancillary.EFFECTIVE_QC):
            variable(file, f"{name}{end}", ("obs",))


def _check_diagnostics(file: xr.Dataset) -> None:
    """Loops where there was one; the spectrum of Laplace; directions and a profile."""
    profile = ("profile_distance", "profile_rise", "profile_quadratic", "profile_converged")
    groups: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (  # the last dimension decides
        (("loop",), ("loop", "cost", "gradient_norm")),
        (("mode",), ("hessian_eigenvalue",)),
        (("direction",), ("direction_eigenvalue", "direction_prior")),
        (("coordinate", "direction"), ("direction_component",)),
        (("profile",), profile),
    )
    for dims, names in groups:
        for name in names if dims[-1] in file.dims else ():
            variable(file, name, dims)
    if "direction" in file.dims:
        variable(file, "coordinate", ("coordinate",))
    if "profile" in file.dims:
        variable(file, "profile_direction", ())


def _check_series(file: xr.Dataset, summary: Mapping[str, Any]) -> None:
    """Series over the windows of a cycle: of the method, of fields and of instruments."""
    if (length := file.sizes.get(WINDOW, 0)) != summary["windows"]:
        raise _error(file, WINDOW, f"{summary['windows']} windows as in summary.json", str(length))
    names = [str(name) for name in file.data_vars]
    known = any("_rmse_" in name for name in names)  # of a truth
    needed = ["window", str(time_of(file).name), *_SERIES]
    for field in (name.removesuffix(SPREAD) for name in names if name.endswith(SPREAD)):
        kinds = ("spread", "rmse") if known else ("spread",)
        needed += [f"{field}_{what}_{kind}" for what in kinds for kind in KINDS]
        if known:
            variable(file, f"{field}_inside", (WINDOW, "level"))
    for name in (name.removesuffix(NUMBER) for name in names if name.endswith(NUMBER)):
        needed += [f"{name}_obs_{what}" for what in _INNOVATIONS]
        variable(file, f"{name}_obs_ranks", (WINDOW, "bin"))
    needed += [name.removesuffix("_stddev") for name in names if name.endswith("_stddev")]
    for name in needed:
        variable(file, name, (WINDOW,))


def _spelt(dims: Iterable[str]) -> str:
    return f"({', '.join(dims)})"


def _error(file: xr.Dataset, name: str, expected: str, got: str) -> ReportError:
    where = file.encoding.get("source", "a Dataset in memory")
    return ReportError(f"{where}: {name}: expected {expected}, got {got}; {_WAY_OUT}")
