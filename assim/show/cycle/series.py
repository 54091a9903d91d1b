"""Series over the windows of a cycle, as `diagnostics.nc` has them, and the manifest's lines."""

from collections import Counter

import numpy as np
import xarray as xr

from assim.show.finished import Run, instants, time_label, with_units, words
from assim.show.layout import NUMBER, SPREAD, Entry, time_of

WINDOW = "window"
KINDS = ("background", "analysis", "smoother")
ANALYSED, FORECAST, USED = "analysed", "forecast", "used"
_LABEL = "root mean variance of the analysis of "


def series(run: Run) -> xr.Dataset:
    """The file of all series; empty where the directory does not have it."""
    return run.file("diagnostics")


def values(run: Run, name: str) -> np.ndarray | None:
    """One series, shape (window, …); None where it is not there, or nothing of it is known."""
    array = np.asarray(series(run).get(name, np.nan), dtype=float)
    return array if np.isfinite(array).any() else None


def units_of(run: Run, name: str) -> str:
    """Units of a series."""
    file = series(run)
    return str(file[name].attrs.get("units", "1")) if name in file else "1"


def times(run: Run) -> np.ndarray:
    """Newest time of every window."""
    return instants(time_of(series(run)))


def times_label(run: Run) -> str:
    """Label of the axis of `times`."""
    return time_label(time_of(series(run)))


def size(run: Run) -> int:
    """Number of finished windows."""
    return int(run.summary["windows"])


def burn_in(run: Run) -> int:
    """Windows that means leave out."""
    return int(run.summary["burn_in"])


def settled(run: Run) -> slice:
    """The windows after the burn-in; all of them where there are no others."""
    first = burn_in(run)
    return slice(first if first < size(run) else 0, None)


def statuses(run: Run) -> dict[str, int]:
    """How many windows' minimisations ended in which way, the commonest first."""
    return dict(Counter(run.summary["statuses"]).most_common())


# ---- names ---------------------------------------------------------------------------------------


def fields(run: Run) -> list[str]:
    """The fields of the state, in the order of the file."""
    return _ending(run, SPREAD)


def instruments(run: Run) -> list[str]:
    """The instruments, in the order of the file."""
    return _ending(run, NUMBER)


def scalars(run: Run) -> list[str]:
    """Estimated parameters, coefficients of bias and scales of errors."""
    return _ending(run, "_stddev")


def _ending(run: Run, end: str) -> list[str]:
    known = [name for name in map(str, series(run).data_vars) if values(run, name) is not None]
    return [name.removesuffix(end) for name in known if name.endswith(end)]


def field_label(run: Run, name: str) -> str:
    """What a field is called."""
    return words(series(run)[name + SPREAD]).removeprefix(_LABEL) or name


def is_scalar(run: Run, name: str) -> bool:
    """Whether a field seems to have one entry, so that a window's error is no mean over many."""
    inside = values(run, f"{name}_inside")
    return inside is not None and bool(np.isin(inside[np.isfinite(inside)], (0.0, 1.0)).all())


def named(name: str, label: str) -> str:
    """A name, with what it stands for where that says more."""
    return name if label == name else f"{name}: {label}"


def field_axis(run: Run, what: str, name: str) -> str:
    """`what (units)` of a field."""
    return with_units(what, units_of(run, name + SPREAD))


def instrument_units(run: Run, name: str) -> str:
    """Units of the innovations of an instrument."""
    return units_of(run, f"{name}_obs_innovation_rms")


def of_instrument(run: Run, name: str, what: str) -> np.ndarray:
    """A series of an instrument, shape (window,); NaN where nothing of it is known."""
    array = values(run, f"{name}_obs_{what}")
    return np.full(size(run), np.nan) if array is None else array


# ---- the manifest --------------------------------------------------------------------------------


def entries(run: Run) -> list[Entry]:
    """The lines of the manifest on windows; none without a manifest."""
    return [line for line in run.manifest if WINDOW in line]


def forecast(run: Run) -> np.ndarray:
    """Which windows were forecast in place of analysed."""
    mask = np.zeros(size(run), bool)
    for line in entries(run):
        if line["state"] == FORECAST and line[WINDOW] < mask.size:
            mask[line[WINDOW]] = True
    return mask


# ---- words ---------------------------------------------------------------------------------------


def after_burn_in(run: Run) -> str:
    """Which windows means are over."""
    first = burn_in(run)
    return f"After the burn-in of {first} windows" if 0 < first < size(run) else "Over all windows"
