"""The finished files of a cycle: series over its windows, and its manifest, looked up in one place.

What a series is called in `diagnostics.nc` is known to this file alone.
"""

from collections import Counter
from typing import Any

import numpy as np
import xarray as xr

from assim.show.finished import Run, instants, time_label, time_of, with_units, words

WINDOW = "window"
KINDS = ("background", "analysis", "smoother")
ANALYSED, FORECAST, USED = "analysed", "forecast", "used"
_SPREAD, _NUMBER = "_spread_analysis", "_obs_number"
_LABEL = "root mean variance of the analysis of "

Entry = dict[str, Any]


def is_cycle(run: Run) -> bool:
    """Whether a directory is that of windows in sequence."""
    return isinstance(run.summary.get("windows"), int)


def series(run: Run) -> xr.Dataset | None:
    """The file of all series; None where it is not there."""
    file = run.files.get("diagnostics")
    return file if file is not None and WINDOW in file.dims else None


def values(run: Run, name: str) -> np.ndarray | None:
    """One series, shape (window, ...); None where the files do not have it, or only as NaN."""
    file = series(run)
    if file is None or name not in file or file[name].dims[:1] != (WINDOW,):
        return None
    found = np.asarray(file[name].values, dtype=float)
    return found if np.isfinite(found).any() else None


def units_of(run: Run, name: str) -> str:
    """Units of a series."""
    file = series(run)
    return "1" if file is None or name not in file else str(file[name].attrs.get("units", "1"))


def times(run: Run) -> np.ndarray:
    """Newest time of every window; its number where the file tells no time."""
    file = series(run)
    assert file is not None
    clock = time_of(file)
    if clock is not None and clock.dims == (WINDOW,):
        return instants(clock)
    return np.arange(file.sizes[WINDOW])


def times_label(run: Run) -> str:
    """Label of the axis of `times`."""
    file = series(run)
    clock = None if file is None else time_of(file)
    return "Window" if clock is None or clock.dims != (WINDOW,) else time_label(clock)


def size(run: Run) -> int:
    """Number of finished windows."""
    file = series(run)
    return int(run.summary.get("windows") or 0) if file is None else file.sizes[WINDOW]


def burn_in(run: Run) -> int:
    """Windows that means leave out."""
    given = run.summary.get("burn_in")
    return given if isinstance(given, int) and not isinstance(given, bool) else 0


def settled(run: Run) -> slice:
    """The windows after the burn-in; all of them where there are no others."""
    first = burn_in(run)
    return slice(first if first < size(run) else 0, None)


def statuses(run: Run) -> dict[str, int]:
    """How many windows' minimisations ended in which way, the commonest first."""
    given = run.summary.get("statuses")
    given = given if isinstance(given, dict) else {}
    found = Counter({str(name): n for name, n in given.items() if isinstance(n, int)})
    return dict(found.most_common())


# ---- names ---------------------------------------------------------------------------------------


def fields(run: Run) -> list[str]:
    """The fields of the state, in the order of the file."""
    return _ending(run, _SPREAD)


def instruments(run: Run) -> list[str]:
    """The instruments, in the order of the file."""
    return _ending(run, _NUMBER)


def scalars(run: Run) -> list[str]:
    """Estimated parameters, coefficients of bias and scales of errors."""
    file = series(run)
    names = _ending(run, "_stddev")
    return [n for n in names if file is not None and n in file and file[n].dims == (WINDOW,)]


def _ending(run: Run, end: str) -> list[str]:
    file = series(run)
    names = [] if file is None else [str(name) for name in file.data_vars]
    found = [name for name in names if name.endswith(end)]
    return [name.removesuffix(end) for name in found if values(run, name) is not None]


def field_label(run: Run, name: str) -> str:
    """What a field is called."""
    file = series(run)
    return name if file is None else words(file[name + _SPREAD]).removeprefix(_LABEL) or name


def is_scalar(run: Run, name: str) -> bool:
    """Whether a field seems to have one entry, so that a window's error is no mean over many."""
    inside = values(run, f"{name}_inside")
    return inside is not None and bool(np.isin(inside[np.isfinite(inside)], (0.0, 1.0)).all())


def scalar_label(run: Run, name: str) -> str:
    """What an estimated scalar is called."""
    file = series(run)
    return name if file is None else words(file[name])


def field_axis(run: Run, what: str, name: str) -> str:
    """`what (units)` of a field."""
    return with_units(what, units_of(run, name + _SPREAD))


def instrument_units(run: Run, name: str) -> str:
    """Units of the innovations of an instrument."""
    return units_of(run, f"{name}_obs_innovation_rms")


# ---- the manifest --------------------------------------------------------------------------------


def entries(run: Run) -> list[Entry]:
    """The lines of the manifest that tell of windows; none without a manifest."""
    return [one for one in run.manifest if isinstance(one.get(WINDOW), int)]


def forecast(run: Run) -> np.ndarray:
    """Which windows were forecast in place of analysed."""
    mask = np.zeros(size(run), bool)
    for one in entries(run):
        if one.get("state") == FORECAST and one[WINDOW] < mask.size:
            mask[one[WINDOW]] = True
    return mask


def told(entry: Entry) -> dict[str, Entry]:
    """What a line says of every instrument."""
    given = entry.get("observations")
    given = given if isinstance(given, dict) else {}
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}
