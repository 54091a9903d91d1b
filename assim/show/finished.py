"""The results of one run, from the files of its directory or from Datasets in memory.

`layout` says what each file holds; here they are opened, and what several topics ask of them.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from assim.files.errors import DataError, ReportError
from assim.files.names import variable_name
from assim.files.read.manifest import NAME, read_manifest
from assim.show.layout import (
    TIMES,
    Entry,
    check_file,
    check_forecast,
    check_summary,
    is_cycle,
)

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?")
_AHEAD = ("forecast", "forecast_feedback")
STAGES = (
    *("background", "analysis", "truth", "trajectory", "posterior", "diagnostics", "feedback"),
    *_AHEAD,
)
FORECAST_JSON = "forecast.json"


@dataclass(frozen=True)
class Method:
    """One of several methods that ran: its entry in `summary.json`, and its files.

    Args:
        name: of the method.
        chosen: whether it is the one that is reported.
        entry: what the summary says of it.
        posterior: its draws; None where the case did not keep them.
        trajectory: its trajectory; None where the case did not keep it.
    """

    name: str
    chosen: bool
    entry: Entry
    posterior: xr.Dataset | None
    trajectory: xr.Dataset | None

    def label(self) -> str:
        """Its name, and whether it is the one that is reported."""
        return f"{self.name} (reported)" if self.chosen else self.name


@dataclass(frozen=True)
class Run:
    """The results of a run: its summary, and the Datasets that the case kept, by stage.

    Args:
        summary: the content of `summary.json`.
        files: Datasets of `STAGES`.
        methods: each of several methods that ran, in their order; else empty.
        manifest: lines of the manifest of a cycle over files; else empty.
        directory: where the files are; None for Datasets in memory.
        forecast: the content of `forecast.json`; None where there is none.
    """

    summary: Entry
    files: dict[str, xr.Dataset]
    methods: tuple[Method, ...] = ()
    manifest: tuple[Entry, ...] = ()
    directory: Path | None = None
    forecast: Entry | None = None

    def file(self, stage: str) -> xr.Dataset:
        """The Dataset of one of `STAGES`; an empty one where the case did not keep it."""
        return self.files.get(stage, xr.Dataset())

    def attributes(self) -> dict[str, Any]:
        """Global attributes of the first file that has any."""
        return next((dict(file.attrs) for file in self.files.values() if file.attrs), {})

    def name(self) -> str:
        """Name of the directory."""
        return "results" if self.directory is None else self.directory.resolve().name

    def title(self) -> str:
        """Title of the case; the directory's name where no file has one."""
        titles = ((stage, file.attrs.get("title")) for stage, file in self.files.items())
        of_files = (str(title).removesuffix(f": {stage}") for stage, title in titles if title)
        of_cycle = (str(line["cycle"]) for line in self.manifest if line.get("cycle"))
        return next(chain(of_cycle, of_files), self.name()).removesuffix(": windows of a cycle")


def results(
    summary: Mapping[str, Any],
    datasets: Mapping[str, xr.Dataset],
    manifest: tuple[Mapping[str, Any], ...] = (),
    directory: Path | None = None,
    forecast: Mapping[str, Any] | None = None,
) -> Run:
    """A run from its summary and its Datasets by the name of their file, without ".nc".

    Args:
        summary: as `assim.files.write.summary` makes it, or that of a cycle.
        datasets: as `assim.files.write` makes them; any of them may be missing.
        manifest: lines of the manifest of a cycle over files.
        directory: where the files are.
        forecast: what `forecast.json` has; the summary is empty for a forecast alone.

    Raises:
        ReportError: a Dataset or the summary has another layout than the one that is written.
    """
    where = "summary.json" if directory is None else str(directory / "summary.json")
    content = Entry(summary, where)
    if summary or forecast is None:
        check_summary(content)
    ahead = {name: datasets[name] for name in _AHEAD if name in datasets}
    for name, file in datasets.items():
        if name not in ahead:
            check_file(name, file, content)
    about = None if forecast is None else Entry(forecast, FORECAST_JSON)
    try:
        if about is not None:
            check_forecast(about)
        for name, file in ahead.items():
            check_file(name, file, content)
    except ReportError as error:
        if not summary:
            raise
        ahead, about = (
            {},
            Entry({"broken": str(error)}, FORECAST_JSON),
        )  # which costs its section alone
    kept = {name: file for name, file in datasets.items() if name not in _AHEAD} | ahead
    files = {stage: kept[stage] for stage in STAGES if stage in kept}
    lines = tuple(Entry(line, f"{NAME}, line {k}") for k, line in enumerate(manifest, 1))
    methods = _methods(content, datasets) if content else ()
    return Run(content, files, methods, lines, directory, about)


@contextmanager
def finished_run(directory: Path) -> Iterator[Run]:
    """The files of a run, read as they are needed and closed at the end.

    Raises:
        ReportError: no directory, no `summary.json` in it, or a file that cannot be read or has
            another layout than the one that is written.
    """
    forecast = _read_forecast(directory)
    alone = forecast is not None and not (directory / "summary.json").is_file()
    summary, lines = {} if alone else _read_summary(directory), _read_lines(directory)
    names = [*STAGES, *_of_other_methods(summary)]
    with ExitStack() as stack:
        paths = {name: directory / f"{name}.nc" for name in names}
        datasets = {
            name: stack.enter_context(_open(path)) for name, path in paths.items() if path.is_file()
        }
        yield results(summary, datasets, lines, directory, forecast)


def _methods(summary: Entry, datasets: Mapping[str, xr.Dataset]) -> tuple[Method, ...]:
    """Every method, where the summary has an entry for each of several."""
    entries = methods_of(summary)
    if len(entries) < 2:
        return ()
    chosen = summary["chosen"]
    methods = []
    for name, about in entries.items():
        stages = ("posterior", "trajectory") if name == chosen else _stems(about)
        posterior, trajectory = (datasets.get(stage) for stage in stages or ("", ""))
        methods.append(Method(name, name == chosen, about, posterior, trajectory))
    return tuple(methods)


def methods_of(summary: Entry) -> dict[str, Entry]:
    """Entries of the summary's posteriors by name: of the one that ran, or of each of several."""
    posterior = None if is_cycle(summary) else summary["posterior"]
    if posterior is None:
        return {}
    if isinstance(posterior.get("method"), str):
        return {posterior["method"]: posterior}
    return dict(posterior)


def _of_other_methods(summary: Mapping[str, Any]) -> list[str]:
    """Names of the files of methods beside the one reported; none of a summary that is refused."""
    posterior = summary.get("posterior")
    entries = posterior.values() if isinstance(posterior, dict) else ()
    return [stem for about in entries if isinstance(about, dict) for stem in _stems(about)]


def _stems(about: Mapping[str, Any]) -> list[str]:
    """Names of the two files of a method, within the directory."""
    return [Path(str(file)).stem for file in about.get("files", ())]


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
    return _read_object(path)


def stale_forecast(directory: Path) -> str:
    """What a forecast in the directory says of itself where its analysis was made again since.

    Raises:
        ReportError: it is no JSON object.
    """
    return str((_read_forecast(directory) or {}).get("stale", ""))


def _read_forecast(directory: Path) -> dict[str, Any] | None:
    path = directory / FORECAST_JSON
    return _read_object(path) if path.is_file() else None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(f"{path}: not a JSON file ({error}); run the case again") from error
    if not isinstance(content, dict):
        raise ReportError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _read_lines(directory: Path) -> tuple[dict[str, Any], ...]:
    """The lines of the manifest; none where there is no manifest."""
    try:
        return tuple(read_manifest(directory))
    except DataError as error:
        raise ReportError(str(error)) from error


def _open(path: Path) -> xr.Dataset:
    """Dates become datetime64[s]; a field in days stays a number."""
    dates = xr.coders.CFDatetimeCoder(time_unit="s")
    try:
        with warnings.catch_warnings():
            # times finer than a second are decoded as they need it
            warnings.simplefilter("ignore", xr.SerializationWarning)
            file = xr.open_dataset(path, decode_times=dates, decode_timedelta=False)
            for name in set(TIMES) & set(file.variables):
                file.variables[name].load()  # which decodes it
            return file
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: cannot be read as NetCDF ({error})") from error


def truth(run: Run, name: str) -> float | None:
    """True value of a parameter or scalar initial field, where there is a truth file."""
    file = run.file("truth")
    if name not in file or file[name].ndim > 1:
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


def units_of(run: Run, instrument: str, suffix: str = "") -> str:
    """Units of an instrument's values, later ones too, or where it is there of a column beside."""
    name, files = variable_name(instrument), map(run.file, ("feedback", "forecast_feedback"))
    columns = (file[column] for file in files for column in (name + suffix, name) if column in file)
    return next((spelt_units(column.attrs.get("units")) for column in columns), "")


def spelt_units(units: object) -> str:
    """Units as they are printed: m s-1 is m s⁻¹, 1e19 m-3 is 10¹⁹ m⁻³, and 1000 is × 1000."""
    text = str(units or "1")
    spelt = " ".join(map(_spelt_unit, text.split(" ")))
    return f"× {spelt}" if text != "1" and _NUMBER.fullmatch(text) else spelt


def _spelt_unit(part: str) -> str:
    """A factor of units: a number, or a unit with its power."""
    if (factor := _NUMBER.fullmatch(part)) is None:
        return re.sub(r"(?<=[A-Za-z])\^?-?\d+", lambda p: raised(p.group().removeprefix("^")), part)
    mantissa, power = factor.groups()
    if power is None:
        return part
    ten = f"10{raised(int(power))}"
    return ten if float(mantissa) == 1 else f"{mantissa} × {ten}"


def raised(power: object) -> str:
    """A whole number as an exponent."""
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def position(file: xr.Dataset, dim: str, index: int) -> str:
    """Where an entry along a dimension is, with its units."""
    if dim not in file.variables:
        return str(index)
    value = file[dim].values[index]
    units = str(file[dim].attrs.get("units", "1"))
    text = f"{value:g}" if np.issubdtype(file[dim].dtype, np.number) else str(value)
    return text if units in {"1", ""} else f"{text} {units}"


# ---- time ----------------------------------------------------------------------------------------


def span_of(time: xr.DataArray, text: Callable[[Any], str] = "{:.10g}".format) -> list[str]:
    """From when to when, in words; empty where there are no times.

    Args:
        time: the times, in order.
        text: of a number, where times are no dates.
    """
    if not time.size:
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
