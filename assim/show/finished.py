"""The finished files of one run, looked up in one place.

Whatever the report shows is asked for here by what it means; which file and variable hold it is
known to this file alone.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

STAGES = ("background", "analysis", "truth", "trajectory", "posterior", "diagnostics")
TIMES = ("time", "t")
WEIGHTS = ("weight", "weights", "log_weight", "log_weights")
SUFFIXES = (
    *("_stddev", "_increment", "_background", "_prior", "_qc", "_effective_qc"),
    *("_hofx_background", "_hofx_analysis", "_ombg", "_oman", "_influence", "_impact"),
    *("_bias_background", "_bias_analysis", "_model_error", "_model_error_prior_stddev"),
)


class ReportError(ValueError):
    """A directory that no report can be made from."""


@dataclass(frozen=True)
class Run:
    """One run directory: `summary.json` and the NetCDF files that are there, by stage."""

    directory: Path
    summary: dict[str, Any]
    files: dict[str, xr.Dataset]
    feedback: tuple[xr.Dataset, ...]

    def attributes(self) -> dict[str, Any]:
        """Global attributes of the first file that has any."""
        return next((dict(file.attrs) for file in self.files.values() if file.attrs), {})


@contextmanager
def finished_run(directory: Path) -> Iterator[Run]:
    """Open the files of a run, read as they are needed and closed at the end.

    Raises:
        ReportError: no directory, no `summary.json` in it, or one that is not JSON.
    """
    summary = _read_summary(directory)
    files = {name: directory / f"{name}.nc" for name in STAGES}
    opened = {name: _open(path) for name, path in files.items() if path.is_file()}
    feedback = tuple(_open(path) for path in sorted(directory.glob("feedback*.nc")))
    try:
        yield Run(directory, summary, opened, feedback)
    finally:
        for file in (*opened.values(), *feedback):
            file.close()


def _read_summary(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise ReportError(f"{directory}: no such directory; `assim run CASE.toml` makes one")
    path = directory / "summary.json"
    if not path.is_file():
        raise ReportError(
            f"{directory}: holds no summary.json, so no finished run: "
            f"make one with `assim run CASE.toml --out {directory}`"
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(f"{path}: not a JSON file ({error}); run the case again") from error
    if not isinstance(summary, dict):
        raise ReportError(f"{path}: expected a JSON object, got {type(summary).__name__}")
    return summary


def _open(path: Path) -> xr.Dataset:
    """Dates become datetime64[s]; a field in days stays a number."""
    dates = xr.coders.CFDatetimeCoder(time_unit="s")
    try:
        with warnings.catch_warnings():
            # times finer than a second are decoded as they need it
            warnings.simplefilter("ignore", xr.SerializationWarning)
            return xr.open_dataset(path, decode_times=dates, decode_timedelta=False)
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: cannot be read as NetCDF ({error})") from error


def quantity(run: Run, name: str, what: str) -> float | None:
    """A finite number of the summary's quantities: `map`, `mean`, ...; None where there is none."""
    entry = (run.summary.get("quantities") or {}).get(name)
    value = entry.get(what) if isinstance(entry, dict) else None
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


# ---- words and units -----------------------------------------------------------------------------


def words(variable: xr.DataArray, fallback: str = "") -> str:
    """What a variable is called on an axis: its long_name, else its name."""
    return str(variable.attrs.get("long_name") or fallback or variable.name)


def with_units(text: str, units: object) -> str:
    """`text (units)`; nothing is added for a pure number."""
    return text if str(units or "1") in {"1", ""} else f"{text} ({spelt_units(units)})"


def spelt_units(units: object) -> str:
    """Units as they are printed: m s-1 is m s⁻¹, and 1000 is × 1000."""
    text = str(units or "1")
    if text != "1" and re.fullmatch(r"[\d.e+]+", text):
        return f"× {text}"
    return re.sub(r"(?<=[A-Za-z])\^?-?\d+", lambda power: _raised(power.group()), text)


def _raised(power: str) -> str:
    return power.removeprefix("^").translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def field_names(file: xr.Dataset) -> list[str]:
    """The variables that are not another one's stddev, increment, departure, ..."""
    names = [str(name) for name in file.data_vars]
    return [name for name in names if not _is_ancillary(name, set(names))]


def _is_ancillary(name: str, names: set[str]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in names for end in SUFFIXES)


# ---- time ----------------------------------------------------------------------------------------


def time_of(file: xr.Dataset) -> xr.DataArray | None:
    """The time of a trajectory or of a table of observations; None where there is none."""
    return next((file[name] for name in TIMES if name in file.variables), None)


def instants(time: xr.DataArray) -> np.ndarray:
    """Times as matplotlib draws them: dates, or numbers (decimal years for other calendars)."""
    values = np.asarray(time.values)
    if values.dtype != object:
        return values
    return np.array([date.year + (date.dayofyr - 1) / 365.25 for date in values.ravel()])


def time_label(time: xr.DataArray) -> str:
    """Label of a time axis: dates need none, numbers have units."""
    if np.issubdtype(time.dtype, np.datetime64):
        return ""
    if time.dtype == object:
        return "Year"
    return with_units(words(time, "time").capitalize(), time.attrs.get("units"))


# ---- draws ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """Posterior and prior draws of one scalar quantity; `weights` add up to one."""

    name: str
    label: str
    units: str
    posterior: np.ndarray
    prior: np.ndarray | None
    weights: np.ndarray


def draws(run: Run) -> list[Draws]:
    """Every scalar quantity that has draws, in the order of the file."""
    file = run.files.get("posterior")
    if file is None:
        return []
    scalars = [n for n in field_names(file) if file[n].dims == ("realization",)]
    weights = _weights(file)
    return [_draws(file, name, weights) for name in scalars if name not in WEIGHTS]


def _draws(file: xr.Dataset, name: str, weights: np.ndarray) -> Draws:
    posterior = np.asarray(file[name].values, dtype=float)
    prior = np.asarray(file[name + "_prior"].values, float) if name + "_prior" in file else None
    label, units = words(file[name]), str(file[name].attrs.get("units", "1"))
    good = np.isfinite(posterior)
    kept = weights[good]
    total = kept.sum() or 1.0
    prior = None if prior is None else prior[np.isfinite(prior)]
    return Draws(name, label, units, posterior[good], prior, kept / total)


def _weights(file: xr.Dataset) -> np.ndarray:
    size = file.sizes.get("realization", 0)
    for name in WEIGHTS:
        if name in file and file[name].dims == ("realization",):
            values = np.asarray(file[name].values, dtype=float)
            return np.exp(values - np.nanmax(values)) if name.startswith("log") else values
    return np.ones(size)


# ---- diagnostics ---------------------------------------------------------------------------------


def per_loop(run: Run, *names: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Numbers of the outer loops and a diagnostic of each, by the first name that is there."""
    file = run.files.get("diagnostics")
    if file is None:
        return None
    for name in names:
        if name in file and file[name].dims == ("loop",):
            values = np.asarray(file[name].values, dtype=float)
            return np.asarray(file["loop"].values), values
    return None


def eigenvalues(run: Run) -> np.ndarray | None:
    """Eigenvalues of the Hessian of the observations, largest first; None where unknown."""
    file = run.files.get("diagnostics")
    names = [] if file is None else [n for n in file.data_vars if file[n].dims == ("mode",)]
    names = sorted(names, key=lambda name: "eigenvalue" not in str(name))
    if file is None or not names:
        return None
    values = np.asarray(file[names[0]].values, dtype=float)
    return np.sort(values[np.isfinite(values)])[::-1]
