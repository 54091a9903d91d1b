"""The finished files of one run, looked up in one place.

Whatever the report shows is asked for here by what it means; which file and variable hold it is
known to this file alone.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from assim.files.ancillary import Ancillary
from assim.files.errors import DataError, ReportError
from assim.files.read.manifest import NAME, read_manifest

STAGES = ("background", "analysis", "truth", "trajectory", "posterior", "diagnostics")
TIMES = ("time", "t")
SUFFIXES = (
    *Ancillary,
    *("_mean", "_increment", "_background", "_prior", "_model_error", "_model_error_prior_stddev"),
)


@dataclass(frozen=True)
class Method:
    """One of several methods that ran: its entry in `summary.json`, and its files.

    Args:
        name: of the method.
        chosen: whether it is the one that is reported.
        entry: what the summary says of it.
        posterior: its draws; None where the file is not there.
        trajectory: its trajectory; None where the file is not there.
    """

    name: str
    chosen: bool
    entry: dict[str, Any]
    posterior: xr.Dataset | None
    trajectory: xr.Dataset | None


@dataclass(frozen=True)
class Run:
    """One run directory: `summary.json` and the NetCDF files that are there, by stage.

    Where several methods ran, `methods` has each, in their order; else it is empty. `manifest` has
    the lines of the manifest of a cycle over files; else it is empty.
    """

    directory: Path
    summary: dict[str, Any]
    files: dict[str, xr.Dataset]
    feedback: tuple[xr.Dataset, ...]
    methods: tuple[Method, ...] = ()
    manifest: tuple[dict[str, Any], ...] = ()

    def attributes(self) -> dict[str, Any]:
        """Global attributes of the first file that has any."""
        return next((dict(file.attrs) for file in self.files.values() if file.attrs), {})


@contextmanager
def finished_run(directory: Path) -> Iterator[Run]:
    """Open the files of a run, read as they are needed and closed at the end.

    Raises:
        ReportError: no directory, no `summary.json` in it, or one that is not JSON.
    """
    summary, lines = _read_summary(directory), _read_lines(directory)
    with ExitStack() as stack:

        def there(path: Path) -> xr.Dataset | None:
            return stack.enter_context(_open(path)) if path.is_file() else None

        found = {name: there(directory / f"{name}.nc") for name in STAGES}
        files = {name: file for name, file in found.items() if file is not None}
        feedback = [there(path) for path in sorted(directory.glob("feedback*.nc"))]
        yield Run(
            directory,
            summary,
            files,
            tuple(file for file in feedback if file is not None),
            _methods(directory, summary, files, there),
            lines,
        )


def _methods(
    directory: Path,
    summary: dict[str, Any],
    files: dict[str, xr.Dataset],
    there: Callable[[Path], xr.Dataset | None],
) -> tuple[Method, ...]:
    """Every method, where the summary has an entry for each of several."""
    entries = methods_of(summary)
    if len(entries) < 2:
        return ()
    chosen = str(summary.get("chosen"))
    chosen = chosen if chosen in entries else next(iter(entries))
    found = []
    for name, entry in entries.items():
        if name == chosen:
            pair = files.get("posterior"), files.get("trajectory")
        else:
            names = [f"{stage}_{name}.nc" for stage in ("posterior", "trajectory")]
            given = entry.get("files")
            names = given if isinstance(given, list) and len(given) == 2 else names
            first, second = (there(directory / Path(str(one)).name) for one in names)
            pair = first, second
        found.append(Method(name, name == chosen, entry, *pair))
    return tuple(found)


def methods_of(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Entries of the summary's posteriors by name: of the one that ran, or of each of several."""
    given = summary.get("posterior")
    if isinstance(given, dict) and ("method" in given or "k_hat" in given):
        given = [given]
    if isinstance(given, list):
        return {str(one.get("method", "")): one for one in given if isinstance(one, dict)}
    if not isinstance(given, dict):
        return {}
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}


def _read_summary(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise ReportError(f"{directory}: no such directory; `assim run CASE.toml` makes one")
    path = directory / "summary.json"
    if not path.is_file():
        begun = (directory / NAME).is_file()
        way = "go on with" if begun else "make one with"
        raise ReportError(
            f"{directory}: holds no summary.json, so no finished run: {way} "
            f"`assim run CASE.toml --out {directory}{' --resume' if begun else ''}`"
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(f"{path}: not a JSON file ({error}); run the case again") from error
    if not isinstance(summary, dict):
        raise ReportError(f"{path}: expected a JSON object, got {type(summary).__name__}")
    return summary


def _read_lines(directory: Path) -> tuple[dict[str, Any], ...]:
    """The lines of the manifest; none where there is no manifest."""
    try:
        return tuple(line for line in read_manifest(directory) if isinstance(line, dict))
    except DataError as error:
        raise ReportError(str(error)) from error


def _open(path: Path) -> xr.Dataset:
    """Dates become datetime64[s]; a field in days stays a number."""
    dates = xr.coders.CFDatetimeCoder(time_unit="s")
    try:
        with warnings.catch_warnings():
            # times finer than a second are decoded as they need it
            warnings.simplefilter("ignore", xr.SerializationWarning)
            found = xr.open_dataset(path, decode_times=dates, decode_timedelta=False)
            for name in set(TIMES) & set(found.variables):
                found.variables[name].load()  # which decodes it
            return found
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: cannot be read as NetCDF ({error})") from error


def quantity(run: Run, name: str, what: str) -> float | None:
    """A finite number of the summary's quantities: `map`, `mean`, ...; None where there is none."""
    entry = (run.summary.get("quantities") or {}).get(name)
    value = entry.get(what) if isinstance(entry, dict) else None
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def truth(run: Run, name: str) -> float | None:
    """True value of a parameter or scalar initial field, where a truth file tells it."""
    file = run.files.get("truth")
    if file is None or name not in file or file[name].ndim > 1:
        return None
    value = float(np.asarray(file[name].values, dtype=float).ravel()[0])
    return value if np.isfinite(value) else None


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
    if text != "1" and re.fullmatch(r"[\d.e+-]+", text):
        return f"× {text}"
    return re.sub(r"(?<=[A-Za-z])\^?-?\d+", lambda power: _raised(power.group()), text)


def _raised(power: str) -> str:
    return power.removeprefix("^").translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def field_names(file: xr.Dataset, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """The variables that are not another one's stddev, increment, departure, ..."""
    names = {str(name) for name in file.data_vars}

    def ancillary(name: str) -> bool:
        return any(name.endswith(end) and name.removesuffix(end) in names for end in suffixes)

    return [name for name in map(str, file.data_vars) if not ancillary(name)]


# ---- time ----------------------------------------------------------------------------------------


def time_of(file: xr.Dataset) -> xr.DataArray | None:
    """The time of a trajectory or of a table of observations; None where there is none."""
    return next((file[name] for name in TIMES if name in file.variables), None)


def span_of(time: xr.DataArray | None, text: Callable[[Any], str] = str) -> list[str]:
    """From when to when, in words; empty where there are no times.

    Args:
        time: the times, in order.
        text: of a number, where times are no dates.
    """
    if time is None or not time.size:
        return []
    first, last = time.values[[0, -1]]
    if np.issubdtype(time.dtype, np.datetime64):
        precision = "D" if (last - first) > np.timedelta64(3, "D") else "m"
        first, last = (t.astype(f"datetime64[{precision}]") for t in (first, last))
        return [f"{first} to {last}"]
    return [f"{time.name} from {text(first)} to {text(last)}"]


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
