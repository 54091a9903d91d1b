"""Observations as the feedback has them: what was used, and how far the model is from them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from assim.files.errors import ReportError
from assim.files.names import PASSIVE, Ancillary
from assim.show.finished import Run, words
from assim.show.layout import TIMES, instruments_in, time_of


@dataclass(frozen=True)
class Observed:
    """One observed variable: values, what background and analysis say, what was used.

    Args:
        stdev: standard deviation of the errors, times their scale where that is estimated.
        analysis_stdev: posterior standard deviation of what the analysis says.
        logarithmic: whether `stdev` is that of the logarithm (a log-normal likelihood).
        passive: what is compared and not used, as values held back to verify a prediction.
        places: every other column of the table, by name: positions by dimension.
    """

    name: str
    label: str
    units: str
    time: xr.DataArray
    value: np.ndarray
    stdev: np.ndarray | None
    logarithmic: bool
    background: np.ndarray
    analysis: np.ndarray
    analysis_stdev: np.ndarray | None
    ombg: np.ndarray
    oman: np.ndarray
    used: np.ndarray
    passive: np.ndarray
    places: dict[str, np.ndarray]

    def bars(self) -> np.ndarray | None:
        """Lengths of the error bars below and above the used values, shape (2, used)."""
        if self.stdev is None:
            return None
        value, stdev = self.value[self.used], np.nan_to_num(self.stdev[self.used])
        if not self.logarithmic:
            return np.stack([stdev, stdev])
        return np.stack([value * -np.expm1(-stdev), value * np.expm1(stdev)])

    def scaled(self) -> bool:
        """Whether departures can be divided by the errors' standard deviation."""
        return self.stdev is not None and bool((self.stdev[self.used] > 0).all())

    def departures(self) -> tuple[np.ndarray, np.ndarray]:
        """Departures of the used values from background and analysis, normalised if `scaled`."""
        raw = [self.ombg, self.oman]
        if self.logarithmic:
            raw = [_log_ratio(self.value, model) for model in (self.background, self.analysis)]
        scale = self.stdev[self.used] if self.scaled() and self.stdev is not None else 1.0
        before, after = (departure[self.used] / scale for departure in raw)
        return before, after

    def chosen(self, here: np.ndarray) -> "Observed":
        """Only the rows `here`."""
        columns: dict[str, Any] = {
            name: value[here]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray | xr.DataArray)
        }
        places = {name: column[here] for name, column in self.places.items()}
        return replace(self, **columns, places=places)


def observed(run: Run) -> list[Observed]:
    """Every observed variable of every instrument."""
    return [
        _observed(file, name, time_of(file))
        for file in run.feedback
        for name in instruments_in(file)
    ]


def _observed(file: xr.Dataset, name: str, time: xr.DataArray) -> Observed:
    def values(end: Ancillary) -> np.ndarray | None:
        return np.asarray(file[name + end].values) if name + end in file else None

    value = np.asarray(file[name].values)
    flags = np.asarray(file[name + Ancillary.EFFECTIVE_QC].values)
    logarithmic, scale = _error_model(file, name)
    stdev = values(Ancillary.STDEV)
    return Observed(
        name=name,
        label=words(file[name]),
        units=str(file[name].attrs.get("units", "1")),
        time=time,
        value=value,
        stdev=None if stdev is None or not np.isfinite(stdev).any() else stdev * scale,
        logarithmic=logarithmic,
        background=np.asarray(file[name + Ancillary.HOFX_BACKGROUND].values),
        analysis=np.asarray(file[name + Ancillary.HOFX_ANALYSIS].values),
        analysis_stdev=values(Ancillary.HOFX_ANALYSIS_STDEV),
        ombg=np.asarray(file[name + Ancillary.OMBG].values),
        oman=np.asarray(file[name + Ancillary.OMAN].values),
        used=(flags == 0) & np.isfinite(value),
        passive=flags == PASSIVE,
        places=_places(file, time),
    )


def _places(file: xr.Dataset, time: xr.DataArray) -> dict[str, np.ndarray]:
    columns = [str(name) for name in file.variables if file[name].dims == time.dims]
    return {name: np.asarray(file[name].values) for name in columns if name not in TIMES}


def _error_model(file: xr.Dataset, name: str) -> tuple[bool, float]:
    """Whether errors are those of the logarithm, and the estimated scale (1 where none is).

    Raises:
        ReportError: the variable's attributes do not say so.
    """
    attrs = file[name].attrs
    kind, scale = attrs.get("errors_of"), attrs.get("error_scale_value")
    if kind not in ("value", "logarithm"):
        what = f"`errors_of`, 'value' or 'logarithm', got {kind!r}"
    elif "error_scale" in attrs and not isinstance(scale, float):
        what = f"`error_scale_value`, what {attrs['error_scale']!r} was found to be, got {scale!r}"
    else:
        return kind == "logarithm", 1.0 if scale is None else float(scale)
    where = file.encoding.get("source", "feedback.nc")
    raise ReportError(f"{where}: {name}: expected the attribute {what}; run the case again")


def _log_ratio(value: np.ndarray, model: np.ndarray) -> np.ndarray:
    good = (value > 0) & (model > 0)
    return np.log(np.where(good, value, np.nan) / np.where(good, model, np.nan))
