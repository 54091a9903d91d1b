"""Observations as the feedback has them: how many were used, and how far the model is from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from assim.files.errors import ReportError
from assim.files.names import AGREEMENT, FLAGS, PASSIVE, WINDOW, Ancillary
from assim.show import style
from assim.show.finished import Run, instants, spelt_units, time_label, with_units, words
from assim.show.layout import TIMES, instruments_in, time_of
from assim.show.page import Section, paragraph, table
from assim.show.style import Picture


@dataclass(frozen=True)
class Observed:
    """One observed variable: values, what background and analysis say, what was used.

    Args:
        stdev: standard deviation of the errors, times their scale where that is estimated.
        analysis_stdev: posterior standard deviation of what the analysis says.
        logarithmic: whether `stdev` is that of the logarithm (a log-normal likelihood).
        passive: what is compared and not used, as values held back to verify a prediction.
        rejected: what lies in the window and is not used otherwise.
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
    rejected: np.ndarray
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

    def chosen(self, here: np.ndarray) -> Observed:
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
    file = run.file("feedback")
    return [
        _observed(file, name, (Ancillary.HOFX_BACKGROUND, Ancillary.HOFX_ANALYSIS))
        for name in instruments_in(file)
    ]


def observed_later(run: Run) -> list[Observed]:
    """Every variable that a forecast was compared with, which is both of its predictions."""
    file = run.file("forecast_feedback")
    both = (Ancillary.HOFX_FORECAST, Ancillary.HOFX_FORECAST)
    return [_observed(file, name, both) for name in instruments_in(file)]


def _observed(file: xr.Dataset, name: str, predicted: tuple[Ancillary, Ancillary]) -> Observed:
    time = time_of(file)
    before, after = (np.asarray(file[name + end].values) for end in predicted)

    def values(end: Ancillary) -> np.ndarray | None:
        return np.asarray(file[name + end].values) if name + end in file else None

    value = np.asarray(file[name].values)
    flags = np.asarray(file[name + Ancillary.EFFECTIVE_QC].values)
    logarithmic, scale = _error_model(file, name)
    stdev = values(Ancillary.STDEV)
    columns = [str(column) for column in file.variables if file[column].dims == time.dims]
    return Observed(
        name=name,
        label=words(file[name]),
        units=str(file[name].attrs.get("units", "1")),
        time=time,
        value=value,
        stdev=None if stdev is None or not np.isfinite(stdev).any() else stdev * scale,
        logarithmic=logarithmic,
        background=before,
        analysis=after,
        analysis_stdev=values(Ancillary.HOFX_ANALYSIS_STDEV),
        ombg=value - before,
        oman=value - after,
        used=(flags == 0) & np.isfinite(value),
        passive=flags == PASSIVE,
        rejected=~np.isin(flags, (0, PASSIVE, WINDOW)) & np.isfinite(value),
        places={name: np.asarray(file[name].values) for name in columns if name not in TIMES},
    )


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


# ---- what the report says of them ---------------------------------------------------------------


MOST = 6


def observations(run: Run) -> list[str]:
    """How many observations of every instrument were used, why others were not, and notes."""
    counts = {
        name: {"used": about["used"], **about["rejected"]}
        | {key: about[key] for key in ("held_back",) if key in about}
        for name, about in run.summary["observations"].items()
    }
    fates = list(dict.fromkeys(fate for about in counts.values() for fate in about))
    rows = [(name, *(about.get(fate, 0) for fate in fates)) for name, about in counts.items()]
    codes = {name: f" ({code})" for code, name in FLAGS.items()}
    header = (fate.replace("_", " ") + codes.get(fate, "") for fate in fates)
    rejected = any(fate in codes for fate in fates)
    text = "Numbers in brackets are the flags of rejected values in feedback.nc."
    notes = [paragraph(note) for note in run.summary["notes"]]
    counted = [table(("", *header), rows), paragraph(text, "soft") if rejected else ""]
    return [*counted, *_agreement(run), *notes]


def _agreement(run: Run) -> list[str]:
    """How well background and analysis agree with the readings of every instrument."""
    rows = [
        (f"{name}, {of}" + " (held back)" * own["held_back"], own[of]["number"],
         *(own[of][key] for key in AGREEMENT), spelt_units(own["units"]))
        for name, own in run.summary.get("skill", {}).items()
        for of in ("background", "analysis")
    ]  # fmt: skip
    header = ("Prediction − reading", "count", *AGREEMENT.values(), "units")
    return [table(header, rows)] if rows else []


def draw_departures(run: Run) -> Picture | None:
    """A row an observed variable: histogram, and departures against time."""
    everything = [variable for variable in observed(run) if variable.used.any()]
    return style.draw_each(everything, MOST, _draw_row, _caption, "variables", 2.2, each=2)


def _caption(shown: Sequence[Observed]) -> str:
    text = "Departures of the used observations from background (o − b) and analysis (o − a)"
    if any(variable.scaled() for variable in shown):
        text += (
            ", divided by the standard deviation of observation error where the file gives it; "
            "dotted: the standard normal density"
        )
    if any(variable.logarithmic for variable in shown):
        text += "; departures of the logarithm where the likelihood is log-normal"
    return text + ". Bars and triangles at the rim hold what lies beyond."


def _draw_row(left: style.Axes, right: style.Axes, variable: Observed) -> None:
    both = variable.departures()
    label, least = "Normalised departure", 4.0
    if not variable.scaled():
        units = "1" if variable.logarithmic else variable.units
        label, least = with_units("Departure", units), 0.0
    edges = _edges(both, least)
    time = instants(variable.time)[variable.used]
    looks = (("o − b", style.BACKGROUND), ("o − a", style.ANALYSIS))
    for (name, colour), values in zip(looks, both, strict=True):
        inside = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
        look: dict[str, Any] = {"alpha": 0.45, "edgecolor": "white", "linewidth": 0.4}
        left.hist(inside, edges.tolist(), density=True, label=name, color=colour, **look)
        _draw_in_time(right, time, values, edges[-1], colour)
    if variable.scaled():
        grid = np.linspace(edges[0], edges[-1], 200)
        left.plot(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), ":", color=style.INK)
    left.set(xlabel=label, ylabel="Density", title=variable.label)
    right.axhline(0, color=style.INK, linewidth=0.7)
    right.set(ylabel=label, xlabel=time_label(variable.time), ylim=(edges[0], edges[-1]))


def _draw_in_time(
    axes: style.Axes, time: np.ndarray, values: np.ndarray, most: float, colour: str
) -> None:
    """Dots; triangles at the rim for what lies beyond it."""
    axes.plot(time, values, ".", color=colour, markersize=4)
    for sign, marker in ((1, "^"), (-1, "v")):
        beyond = sign * values > most
        rim = np.full(int(beyond.sum()), 0.97 * sign * most)
        axes.plot(time[beyond], rim, marker, color=colour, markersize=4)


def _edges(values: Sequence[np.ndarray], least: float) -> np.ndarray:
    """Edges of common bins, the same on both sides of zero.

    They follow the departures from the analysis (the last of `values`), so that a few from a bad
    background do not hide them; what lies beyond joins the last bin.
    """
    absolute = [np.abs(some[np.isfinite(some)]) for some in values]
    if not all(some.size for some in absolute):
        return np.linspace(-1, 1, 11)
    every = 1.1 * np.concatenate(absolute).max()
    most = min(every, max(least, 6 * float(np.quantile(absolute[-1], 0.9)))) or 1.0
    count = int(np.clip(np.sqrt(absolute[-1].size), 6, 20))
    return np.linspace(-most, most, 2 * count + 1)


OBSERVATIONS = Section(
    "Observations",
    observations,
    {"departures": draw_departures},
    "the directory holds no feedback.nc with observations and departures.",
)
