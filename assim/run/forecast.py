"""A forecast from a finished run: from its directory to forecast.nc and its scores."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from assim.analysis.cycle.batches import batch_numbers
from assim.analysis.forecast import Forecast, StartMembers, forecast, predicted_readings
from assim.case.case import Case
from assim.case.failure import Exit, NonFiniteError
from assim.case.setting import Setting, set_up
from assim.files.errors import DataError
from assim.files.netcdf import hash_file
from assim.files.read.observations import Instrument
from assim.files.read.windows import TOLERANCE, with_edges_at
from assim.files.times import NON_PHYSICAL, date_text
from assim.files.write.forecast import (
    forecast_dataset,
    forecast_feedback,
    lead_times,
    mean_spread,
    readings_summary,
    true_states,
    truth_summary,
)
from assim.files.write.observables import with_observables
from assim.findings.between_edges import bent_ahead
from assim.findings.observables import Observables, observables_ahead
from assim.findings.verification import (
    FieldScores,
    Scores,
    VerifiedReadings,
    against_truth,
    by_slot,
    judged,
    scores,
    sound,
)
from assim.problem.observation import Observations
from assim.problem.window import Window
from assim.run.forecast_files import LaterRows, files_by_instrument, later_rows, shared
from assim.run.forecast_start import Origin, origin_of
from assim.run.terminal.directory import Results, writing
from assim.run.terminal.screen import Screen
from assim.show.cells import agreement_words, score_cells, some_of
from assim.show.report import report_of_results

_WHOLE = 1e-6  # of a slot: how far from its end a forecast ends there
_WAY_OUT = "what is said of them here; a case with more slots has shorter ones in its forecast, too"


@dataclass(frozen=True)
class ForecastRequest:
    """What is asked of a forecast."""

    source: Path | None = None  # directory of the finished run; the case's own where None
    out: Path | None = None  # directory for the results; that of the run where None
    slots: int | None = None  # of the case; those of a window where `until` is not given either
    until: str | None = None  # how long, as date or number, in place of `slots`
    members: int | None = None  # how many
    seed: int | None = None  # of all draws; the case's where None
    keep_members: bool = False  # whether they are written
    observations: tuple[str, ...] = ()  # files of later observations, "file" or "instrument=file"
    truth: Path | None = None  # file of the truth


class _Verified(NamedTuple):
    """An instrument against the forecast: its rows used, scores of all and by number of slot.

    Members of which some reading is not finite are lost to it.
    """

    instrument: Instrument
    rows: VerifiedReadings
    total: Scores
    slots: dict[int, Scores]
    lost: int


@dataclass(frozen=True)
class _Outcome:
    """A forecast with all that is said of it, the truth at these slot edges included."""

    origin: Origin
    ahead: Forecast
    verified: list[_Verified]
    edges: np.ndarray
    truth: dict[str, FieldScores]
    observables: Observables

    def text(self, edge: int) -> str:
        """A slot edge of the forecast for people."""
        window, unit = self.ahead.window, self.ahead.labels.time_unit
        return date_text(float(window.edges[edge]), unit, window.reference)


def forecast_case(case: Case, asked: ForecastRequest, screen: Screen) -> Exit:
    """Run members of the posterior on from where a finished run ends, and write what they say."""
    setting = set_up(case)
    seed = case.checked.runtime.seed if asked.seed is None else asked.seed
    files = files_by_instrument(setting, asked.observations)
    read = [file for _, file in files] + [asked.truth]
    directory = case.directory(asked.out or asked.source, *read)
    origin = origin_of(setting, case.results(asked.source), asked.members, seed)
    rows = later_rows(setting, files)
    origin = origin._replace(warnings=(*origin.warnings, *shared(rows)))
    for warning in origin.warnings:
        screen.say(warning, "bold red")
    window = _window(setting, origin, _ends(setting, origin, asked, screen), rows)
    screen.notes(setting.remarks(window.edges))
    later = Window(window.edges[len(origin.edges) - 1 :], window.steps, window.reference)
    instruments = _read(setting, rows, later, screen)
    edges, truth = true_states(asked.truth, setting.model, later)
    inputs = {str(path): hash_file(path) for path in (origin.file, *read) if path is not None}
    results = Results(case, directory, inputs, kind="forecast")
    scored = ["forecast_feedback.nc"] if instruments else []
    with writing(results, screen, ("forecast.nc", *scored, "forecast.json")):
        ahead = _run(setting, origin, window, seed)
        verified = [_verify(instrument, ahead, origin.draws, seed) for instrument in instruments]
        series = observables_ahead(ahead, _places(setting, instruments), origin.draws, seed + 3)
        errors = against_truth(ahead, truth, edges)
        outcome = _Outcome(origin, ahead, verified, edges, errors, series)
        _show(outcome, screen)
        screen.notes(_bent(outcome, setting))
        _write(outcome, results, asked.keep_members, seed)
        results.finish()
        results.paths += report_of_results(directory, case.checked.output.keep, screen.say)
    return Exit.DONE


def _ends(setting: Setting, origin: Origin, asked: ForecastRequest, screen: Screen) -> np.ndarray:
    """Where the slots of the forecast end: whole ones, and where it may be a part of one."""
    start, slot = float(origin.edges[-1]), origin.slot
    if asked.until is None:
        return start + slot * np.arange(1, (asked.slots or origin.slots) + 1)
    end, begin = _until(setting, asked.until), setting.date(start)
    number, parts = int(np.floor((end - start) / slot + _WHOLE)), _ends_anywhere(setting)
    if end <= start or (number < 1 and not parts):
        first = f", the first slot ends at {setting.date(start + slot)}" * (not parts)
        what = f"must be {'later than' if parts else 'a slot after'} the forecast's start"
        got = f"the start is {begin}{first}, got {asked.until}"
        raise setting.case.fault("--until", f"{what}{'' if parts else ' or later'}: {got}")
    ends = start + slot * np.arange(1, number + 1)
    last = ends[-1] if number else start
    if end - last <= _WHOLE * slot:
        return ends
    if parts:
        return np.append(ends, end)
    why = "the model has steps" if setting.tables.model_error is None else "model errors have slots"
    what = f"--until {asked.until} is inside a slot: the forecast ends at {setting.date(last)}"
    screen.say(f"{what}, after whole slots, as {why}.", "yellow")
    return ends


def _ends_anywhere(setting: Setting) -> bool:
    """Whether a slot may end at any time: of an ODE, without model errors that belong to slots."""
    return setting.model.time_step() is None and setting.tables.model_error is None


def _window(setting: Setting, origin: Origin, ends: np.ndarray, rows: list[LaterRows]) -> Window:
    """The slots through which members are run: those of the analysis, then the forecast's.

    Where the case has slot edges at its readings, those to compare with have edges, too.
    """
    try:
        edges = np.concatenate([origin.edges, ends])
        window = Window.at(setting.model, edges, origin.reference)
        by_readings = setting.tables.window.times == "observations" and _ends_anywhere(setting)
        if not (rows and by_readings):
            return window
        own = np.concatenate([origin.edges[-1:], ends])
        ahead = Window(jnp.asarray(own), window.steps, origin.reference)
        more = with_edges_at([own.rows for own in rows], ahead, setting.labels.time_unit)
        edges = np.concatenate([origin.edges, more[1:]])
        return Window.at(setting.model, edges, origin.reference)
    except ValueError as error:
        raise setting.case.fault("window", str(error)) from error


def _until(setting: Setting, text: str) -> float:
    """The horizon as model time."""
    value: Any = text
    if setting.labels.time_unit == NON_PHYSICAL:
        try:
            value = float(text)
        except ValueError:
            what = f"must be a number, as the model's time has no unit, got {text}"
            raise setting.case.fault("--until", what) from None
    return setting.clock.time(value, "--until")


def _run(setting: Setting, origin: Origin, window: Window, seed: int) -> Forecast:
    """The forecast; NonFiniteError where there is none."""
    draws, error = origin.draws, setting.model_error()
    name = None if error is None or error.scale is None else error.scale.name
    known = {n: v for n, v in draws.parameters.items() if n in setting.model.parameters}
    try:
        ahead = forecast(
            setting.model,
            draws.state,
            known,
            window,
            model_error=error,
            amplitude=None if name is None else draws.scales[name],
            past=origin.past,
            first=len(origin.edges) - 1,
            seed=seed + 1,
        )
    except ValueError as problem:
        raise setting.case.fault("model", f"the forecast: {problem}") from problem
    if ahead.size == 0:
        raise NonFiniteError(
            f"the model is not finite at any of the {draws.size()} members of {origin.words}; "
            "forecast fewer slots, or check the model's step and its parameters"
        )
    return ahead


def _read(
    setting: Setting, several: list[LaterRows], window: Window, screen: Screen
) -> list[Instrument]:
    """The instruments with the rows of a file that are later than the forecast's start."""
    instruments, edges = [], np.asarray(window.edges)
    for table, rows, file in several:
        times = (rows.ends or rows.times).to_model(
            setting.labels.time_unit, window.reference, edges
        )
        slack = TOLERANCE * (edges[-1] - edges[0])
        kept = np.flatnonzero(times > edges[0] + slack)
        if not np.any(times[kept] <= edges[-1] + slack):
            span = " to ".join(setting.date(edges[i]) for i in (0, -1))
            raise DataError(
                f"{rows.where}: expected values after the forecast's start and not after its end, "
                f"{span}, got none of {rows.rows}; forecast more slots, or give later observations"
            )
        if earlier := rows.rows - kept.size:
            screen.say(f"{rows.where}: {earlier} values not after the forecast's start, left out.")
        later = rows.taken(kept)
        instruments.append(table.build(setting.model, later, window, source=file, kept=kept))
        screen.notes(instruments[-1].table.notes)
    return instruments


def _places(setting: Setting, verified: list[Instrument]) -> list[Observations]:
    """Every instrument with readings at its places: those that it is scored by, else the case's.

    One whose file cannot be read any more is left out: the forecast does not need it.
    """
    several = [instrument.observations for instrument in verified]
    scored = {o.name for o in several}
    if setting.tables.cycle is not None:  # whose files come one by one
        return several
    rows = {}
    for table in setting.tables.observations:
        with suppress(DataError):
            rows[table.called] = table.rows(table.file_path(table.file), setting.labels)
    tables = [t for t in setting.tables.observations if t.called in rows.keys() - scored]
    for table in tables:
        with suppress(DataError):
            window = setting.window(list(rows.values()))
            several.append(table.build(setting.model, rows[table.called], window).observations)
    return several


def _verify(instrument: Instrument, ahead: Forecast, draws: StartMembers, seed: int) -> _Verified:
    """One instrument's readings against what the members predict of them."""
    o = instrument.observations
    try:
        readings = predicted_readings(ahead, o, draws, seed + 2)
    except ValueError as error:
        raise DataError(f"{instrument.table.where}: {error}") from error
    rows = judged(readings, np.asarray(o.values), seed)
    slots = 1 + batch_numbers(np.asarray(o.points.ends), np.asarray(ahead.window.edges), 1)
    lost = int((~sound(readings)).sum())
    return _Verified(instrument, rows, scores(rows), by_slot(rows, slots), lost)


def _write(outcome: _Outcome, results: Results, members: bool, seed: int) -> None:
    """Write the files, the summary last."""
    ahead, names = outcome.ahead, results.case.checked.output.variables
    warnings = outcome.origin.warnings
    words = {"assim_warnings": "\n".join(warnings)} if warnings else {}
    dataset = forecast_dataset(ahead, members=members, names=names)
    dataset = with_observables(dataset, outcome.observables.series, ahead.labels)
    results.dataset("forecast", dataset.assign_attrs(words), "forecast")
    if outcome.verified:
        instruments, rows, *_ = zip(*outcome.verified, strict=True)
        dataset = forecast_feedback(instruments, rows, ahead.labels, ahead.window)
        results.dataset(
            "forecast_feedback", dataset.assign_attrs(words), "forecast of observations"
        )
    results.json("forecast", _summary(outcome, seed))


def _summary(outcome: _Outcome, seed: int) -> dict[str, Any]:
    """What forecast.json holds."""
    ahead = outcome.ahead
    leads, units = lead_times(ahead.window, ahead.labels)
    content: dict[str, Any] = {
        "from": outcome.origin.words,
        "warnings": list(outcome.origin.warnings),
        "start": outcome.text(0),
        "end": outcome.text(-1),
        "members": ahead.size,
        "left_out": ahead.left_out,
        "seed": seed,
        "lead": leads,
        "lead_units": units,
        "spread": mean_spread(ahead),
    }
    if outcome.verified:
        content["observations"] = {
            verified.instrument.observations.name: {
                **readings_summary(verified.total, verified.slots, leads),
                "members_left_out": verified.lost,
                "rejected": verified.instrument.rejected(),
            }
            for verified in outcome.verified
        }
    content["observables"] = outcome.observables.summary()
    if outcome.truth:
        content["truth"] = truth_summary(outcome.truth, leads[outcome.edges])
    return content


def _show(outcome: _Outcome, screen: Screen) -> None:
    """The scores, as small tables."""
    ahead, names = outcome.ahead, [v.instrument.observations.name for v in outcome.verified]
    leads, units = lead_times(ahead.window, ahead.labels)
    texts = [f"{lead:g}" + ("" if units == NON_PHYSICAL else f" {units}") for lead in leads]
    screen.say(f"Forecast from {outcome.text(0)} to {outcome.text(-1)}: {ahead.size} members of "
               f"{outcome.origin.words}.")  # fmt: skip
    if ahead.left_out:
        screen.say(f"The model is not finite at {ahead.left_out} more, left out.", "bold red")
    counts = [{"compared": v.total.number, **v.instrument.rejected()} for v in outcome.verified]
    screen.rejected(dict(zip(names, counts, strict=True)))
    columns = ("count", "RMSE", "bias", "spread", "CRPS", "log score", "in 90 %")
    for name, verified in zip(names, outcome.verified, strict=True):
        if verified.lost:
            screen.say(
                f"{name}: {verified.lost} members have readings that are not finite, and are left "
                "out of its mean, quantiles and scores.",
                "bold red",
            )
        slots = verified.slots
        rows = [(texts[slot], *score_cells(slots[slot])) for slot in some_of(list(slots))]
        screen.say()
        screen.table((f"{name} at lead", *columns), [*rows, ("all", *score_cells(verified.total))])
        screen.say(f"{name} at all leads: {agreement_words(verified.total)}.")
    for name, scored in outcome.truth.items():
        rows = [
            (texts[outcome.edges[i]], *(f"{column[i]:.4g}" for column in scored))
            for i in some_of(range(len(outcome.edges)))
        ]
        screen.say()
        screen.table((f"{name} (truth) at lead", "RMSE", "spread", "CRPS"), rows)


def _bent(outcome: _Outcome, setting: Setting) -> Iterator[str]:
    """Instruments that err between slot edges, in words."""
    several = [verified.instrument.observations for verified in outcome.verified]
    jumps = setting.tables.model_error is not None
    given = (outcome.ahead, outcome.origin.draws, jumps)
    for bent in bent_ahead(setting.model, several, *given):
        yield f"{bent.name}: {bent.words(setting.date(bent.time), _WAY_OUT)}."
