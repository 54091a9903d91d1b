"""A forecast beside the window that it starts from, and how it scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from assim.files.names import AGREEMENT, OBSERVABLE
from assim.show import style
from assim.show.cells import four_digits, some_of
from assim.show.fields import site_label, sites
from assim.show.finished import Run, instants, span_of, spelt_units, units_of, with_units, words
from assim.show.layout import AHEAD, Entry, field_names, time_of
from assim.show.observed import Observed, observed_later
from assim.show.page import POOR, UNSURE, Section, notice, paragraph, table
from assim.show.series import Band, Series, at_place, place_label, rows_at, same, series_of
from assim.show.style import Picture
from assim.show.trajectory import draw_bands, draw_series, keep_in_view

MOST = 6
_LOOKS = {"rmse": ("RMSE", "-"), "spread": ("spread", "--"), "crps": ("CRPS", ":")}


@dataclass(frozen=True)
class Fan:
    """One panel: the mean of a forecast with its bands, and the window before.

    Args:
        ahead: the forecast, whose value is its mean.
        past: the same in the window; None where it is not known.
        later: readings that the forecast was compared with.
    """

    ahead: Series
    past: Series | None
    later: tuple[Observed, ...]


def told(run: Run) -> list[str]:
    """From where to where, what stands against it, and scores by lead time."""
    if run.forecast is None:
        return []
    about = run.forecast
    if "broken" in about:
        return [notice(about["broken"], UNSURE, "Left out.")]
    start, end, number = about["start"], about["end"], about["members"]
    lines = [paragraph(f"From {start} to {end}: {number} members of {about['from']}.", "soft")]
    lines += [notice(why, UNSURE) for why in about["warnings"]]
    if about.get("stale"):
        lines.append(notice(about["stale"], POOR, "Of an earlier analysis."))
    if about["left_out"]:
        lines.append(notice(f"{about['left_out']} members are left out.", UNSURE, "Not finite."))
    observations = about.get("observations", {}).items()
    return [*lines, *(_scores(run, name, scored) for name, scored in observations)]


def _scores(run: Run, name: str, scored: Entry) -> str:
    units = units_of(run, name) or "units of the readings"
    keys = {"bias": "bias", "rmse": "RMSE", "spread": "spread", "crps": "CRPS"}
    keys |= {"log_score": "log score", **{k: v for k, v in AGREEMENT.items() if k not in keys}}
    rows = [(_lead(run, own["lead"]), own) for own in some_of(scored["by_lead"])]
    rows.append(("all", scored))
    cells = (
        (lead, own["count"], *(own[key] for key in keys), _share(own["coverage"]))
        for lead, own in rows
    )
    return table((f"{name} ({units}) at lead", "count", *keys.values(), "in 90 %"), cells)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _lead(run: Run, lead: float) -> str:
    assert run.forecast is not None
    return f"{four_digits(lead)} {spelt_units(run.forecast['lead_units'])}".strip()


# ---- fans ----------------------------------------------------------------------------------------


def draw_forecast(run: Run) -> Picture | None:
    """One panel an instrument, a scalar field or a site of a small one."""
    if "forecast" not in run.files:
        return None
    return style.draw_each(fans(run), MOST, _draw_fan, _caption, "series", 2.3, style.wide)


def fans(run: Run) -> list[Fan]:
    """What instruments would read, then fields that none reads as they are."""
    file, past = run.file("forecast"), series_of(run) if "trajectory" in run.files else []
    later = {variable.name: variable for variable in _later(run)}
    read = [_fan(file, *series, past, later) for series in _observables(file)]
    own = (_field(file, name, at) for name in field_names(file, AHEAD) for at in sites(file[name]))
    fields = [_fan(file, series, None, past, {}) for series in own]
    return [*read, *(fan for fan in fields if not any(same(fan.ahead, r.ahead) for r in read))]


def _later(run: Run) -> list[Observed]:
    return observed_later(run) if "forecast_feedback" in run.files else []


def _observables(file: xr.Dataset) -> Iterator[tuple[Series, int | None]]:
    """What every instrument would read, at each of its places, and the number of the place."""
    end = "_hofx_mean"
    means = [str(name) for name in file.data_vars if OBSERVABLE in file[name].attrs]
    for name in (mean.removesuffix(end) for mean in means if mean.endswith(end)):
        several = file.sizes.get(f"{name}_place")
        for place in [None] if several is None else range(several):
            at = at_place(name, place)
            value = file[f"{name}{end}"]
            called = name, str(value.attrs[OBSERVABLE]), place_label(file, name, place)
            bands = (_band(file, f"{name}{kind}", at) for kind in ("_hofx", "_reading"))
            yield _series(file, called, value, at, *bands), place


def _field(file: xr.Dataset, name: str, at: dict[str, int]) -> Series:
    called = words(file[name])
    where = site_label(file, name, at).removeprefix(called)
    label = called.removeprefix("forecast of ")
    return _series(file, (name, label, where), file[name], at, _band(file, name, at))


def _series(
    file: xr.Dataset,
    called: tuple[str, str, str],
    value: xr.DataArray,
    at: dict[str, int],
    predicted: Band,
    readings: Band | None = None,
) -> Series:
    name, label, where = called
    units = str(value.attrs.get("units", "1"))
    middle = np.asarray(value.isel(at, missing_dims="ignore").values, float)
    given = (name, label + where, units, time_of(file), middle)
    return Series(*given, None, None, (), predicted=predicted, readings=readings, where=where)


def _band(file: xr.Dataset, name: str, at: dict[str, int]) -> Band:
    low, high = (file[f"{name}_{end}"].isel(at, missing_dims="ignore") for end in ("q05", "q95"))
    return np.asarray(low.values, float), np.asarray(high.values, float)


def _fan(
    file: xr.Dataset,
    ahead: Series,
    place: int | None,
    past: Sequence[Series],
    later: dict[str, Observed],
) -> Fan:
    """With the series of the window and the readings of the same place."""
    alike = (s for s in past if (s.name, s.where) == (ahead.name, ahead.where))
    variable = later.get(ahead.name)
    readings = () if variable is None else (rows_at(file, variable, place),)
    return Fan(ahead, next(alike, None), readings)


def _caption(shown: Sequence[Fan]) -> str:
    text = "Forecast: its mean, dashed, with the band that holds 90 % of its members"
    if any(fan.ahead.readings for fan in shown):
        text += "; grey: 90 % of new readings, errors included"
    if any(fan.past for fan in shown):
        text += ". Before the line: the window that it starts from"
    if any(fan.later for fan in shown):
        text += ". Open dots: readings that it was compared with"
    return text + "."


def _draw_fan(axes: style.Axes, fan: Fan) -> None:
    ahead, time = fan.ahead, instants(fan.ahead.time)
    if fan.past is not None:
        draw_series(axes, replace(fan.past, background=None))
    draw_bands(axes, ahead)
    axes.plot(time, ahead.value, "--", color=style.ANALYSIS, label="forecast")
    axes.axvline(time[0], color=style.INK, linewidth=0.7)
    for variable in fan.later:
        axes.plot(
            instants(variable.time)[variable.used], variable.value[variable.used], "o",
            color=style.INK, markerfacecolor="white", markersize=3.6, markeredgewidth=0.9,
            label="later observation",
        )  # fmt: skip
    past = [] if fan.past is None else [replace(fan.past, background=None)]
    keep_in_view(axes, [ahead, *past], fan.later)
    axes.set_title(style.wrapped(ahead.label if fan.past is None else fan.past.label))
    style.over_time(axes, ahead.time, with_units(ahead.name, ahead.units))


# ---- skill by lead -------------------------------------------------------------------------------


def draw_skill(run: Run) -> Picture | None:
    """Error, spread and CRPS of every instrument by lead time."""
    about: dict[str, Any] = run.forecast or {}
    scored = [
        (name, own["by_lead"])
        for name, own in about.get("observations", {}).items()
        if len(own["by_lead"]) > 1
    ]
    caption = (
        "Scores by lead time: the RMSE of the mean, the spread of the members, which it is alike "
        "where the forecast is right and readings are exact, and the CRPS of new readings."
    )
    return style.draw_each(scored, MOST, partial(_draw_skill, run), caption, "instruments", 2.0)


def _draw_skill(run: Run, axes: style.Axes, scored: tuple[str, Sequence[Entry]]) -> None:
    name, by_lead = scored
    assert run.forecast is not None
    leads = [own["lead"] for own in by_lead]
    for key, (label, dash) in _LOOKS.items():
        numbers = [np.nan if own[key] is None else own[key] for own in by_lead]
        axes.plot(
            leads, numbers, dash, color=style.ANALYSIS, marker="o", markersize=2.5, label=label
        )
    axes.set_ylim(bottom=0)
    axes.set(xlabel=with_units("Lead", run.forecast["lead_units"]), title=name)
    axes.set_ylabel(with_units("Score", units_of(run, name)))


def heading(run: Run) -> list[str]:
    """Where a forecast alone goes."""
    file = run.files.get("forecast")
    window = [] if file is None else span_of(time_of(file))
    return [paragraph(" · ".join([run.name(), *window]), "soft")]


FORECAST = Section("Forecast", told, {"forecast": draw_forecast, "skill": draw_skill})
