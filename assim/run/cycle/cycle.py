"""Windows in sequence from a case to finished files, and on from where they were stopped.

A twin experiment over a whole cycle is run in memory, in one program.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from assim.analysis.cycle.measures import Measures
from assim.analysis.stages import Ended, Stages, to_the_end
from assim.case.case import Case
from assim.case.cycle import by_window
from assim.case.failure import CaseError, Exit, Fault, Interrupted, NonFiniteError, naming
from assim.case.pose_cycle import PosedCycle, pose_cycle
from assim.case.setting import Setting, set_up
from assim.files.errors import DataError
from assim.files.netcdf import package_version
from assim.files.record import SERIES, alone
from assim.problem.arrays import State
from assim.problem.cycled import Rows
from assim.problem.window import Window
from assim.run.cycle.incoming import Incoming
from assim.run.cycle.ledger import Ledger
from assim.run.cycle.windows import Sequence, Stopped, write_series
from assim.run.terminal.directory import Results, writable, writing
from assim.run.terminal.screen import Screen
from assim.run.twin.twin import Twin, draw, twin_window
from assim.show.applied import lines
from assim.show.report import report_of_results
from assim.solve.minimise.status import Status

_NOTHING_USED = (
    "No observation was used in any window: manifest.jsonl says why, window by window. Put the "
    "files right, and run the cycle again in another directory (--out)."
)


def run_cycle(
    case: Case,
    out: Path | None,
    screen: Screen,
    *,
    resume: bool = False,
    watched: Path | None = None,
    timeout: float = 0.0,
) -> Exit:
    """Run a case with a table [cycle].

    It may go on with what the directory holds, and await the observation files of each window for
    so many seconds in a folder that is watched.
    """
    setting = set_up(case)
    if setting.tables.cycled().twin:
        if resume or watched is not None:
            what = "an experiment in memory has neither files to go on from nor any to wait for"
            raise case.fault("cycle.twin", what)
        return _run_experiment(setting, case.directory(out), screen)
    stages = stages_of_cycle(setting, out, screen, resume=resume, watched=watched, timeout=timeout)
    return Exit(to_the_end(stages).code)


def stages_of_cycle(
    setting: Setting,
    out: Path | None,
    screen: Screen,
    *,
    resume: bool = False,
    watched: Path | None = None,
    timeout: float = 0.0,
) -> Stages:
    """The stages of `run_cycle`: the cycle is posed, and then its windows come one by one."""
    case = setting.case
    directory = case.directory(out, *_awaited(case, watched))
    if watched is not None:
        _check_watched(case)
    posed = pose_cycle(setting)
    incoming = Incoming(posed, watched, timeout, screen.notes)
    if (directory / "analysis.nc").exists():
        raise DataError(
            f"{directory}: holds the results of a single window; choose another directory with "
            "--out"
        )
    with writable(directory), alone(directory):
        ledger = Ledger.opened(directory, case, resume, posed.series())
        sequence = Sequence(posed, incoming, ledger, screen)
        results = Results(case, directory, posed.inputs, kind=SERIES)
        screen.say(case.title, "bold")
        _say_first(ledger, posed, screen, resume)
        results.withdraw("diagnostics.nc", "summary.json")
        ended = yield from _all_windows(sequence, results, screen)
        summary = sequence.series(results)
        results.finish()
        if summary:
            _show(summary, screen)
        results.paths += report_of_results(directory, case.checked.output.keep, screen.say)
        screen.written(directory, results.paths)
    if ended.code == Exit.DONE and not summary["observations"]:
        ended = Ended(Exit.DATA, _NOTHING_USED)
        screen.say(ended.words, "bold red")
    return ended


def _show(summary: dict[str, Any], screen: Screen) -> None:
    """Means over the windows, and what was applied."""
    screen.cycled(summary)
    screen.say("\n".join(lines(summary["applied"])))


def _awaited(case: Case, watched: Path | None) -> list[Path]:
    """The files that come into a folder that is watched."""
    return [] if watched is None else [watched / t.file for t in case.checked.observations]


def _say_first(ledger: Ledger, posed: PosedCycle, screen: Screen, resume: bool) -> None:
    """What is unusual in the inputs, and which windows are finished."""
    windows = posed.tables.cycled().windows
    screen.notes(posed.setting.remarks(posed.edges))
    if ledger.done:
        screen.say(f"{ledger.done} of {windows} windows are finished")
    elif resume:
        screen.say(f"{ledger.directory} holds no finished window to go on from: the first begins")
    if ledger.version != package_version():
        screen.say(
            f"They are by assim {ledger.version}, those that come by {package_version()}: where "
            "these differ, results may not be as if the cycle had never stopped.",
            "bold red",
        )


def _check_watched(case: Case) -> None:
    """Refuse to wait for what never comes: only files of single windows do."""
    faults = [
        Fault(
            table.at("file"),
            "--watch waits for one file a window; put the number of the window into its name, as "
            f'"{{window:04d}}.nc", got {table.file!r}',
        )
        for table in case.checked.observations
        if not by_window(table.file)
    ]
    if faults:
        raise CaseError(faults, str(case.path))


def _all_windows(sequence: Sequence, results: Results, screen: Screen) -> Stages:
    """Every window that is left, and the series so far where something stops them."""
    windows, ledger = sequence.posed.tables.cycled().windows, sequence.ledger
    try:
        yield from sequence.run()
    except Stopped as stop:
        screen.say(str(stop), "bold red")
        return Ended(stop.code, str(stop))
    except (Exception, KeyboardInterrupt) as error:
        with suppress(DataError):  # what stopped the windows is what is told
            sequence.series(results)
            results.finish()
        finished = f"{ledger.done} of {windows} windows are finished"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"interrupted; {finished}, go on with --resume") from None
        if ledger.done:
            screen.say(f"{finished}; --resume goes on from there.")
        raise
    return Ended(Exit.DONE)


class Experiment(NamedTuple):
    """A cycle with batches of observations, and the truth at every slot edge."""

    posed: PosedCycle
    batches: tuple[Rows, ...]
    truth: State


def pose_experiment(setting: Setting) -> Experiment:
    """The cycle of a case with truth and observations drawn from its own model and errors."""
    with naming(setting.case.path):
        drawn = draw(setting, twin_window(setting))
        posed = pose_cycle(setting, drawn.fields())
        batches = _batches(setting, posed, drawn)
    return Experiment(posed, batches, drawn.trajectory.states)


def _batches(setting: Setting, posed: PosedCycle, drawn: Twin) -> tuple[Rows, ...]:
    """The observations of the truth, as a run would read them from files."""
    files, instruments = drawn.observed(), []
    stretch = Window(posed.edges, 1, posed.reference)
    for table in setting.tables.observations:
        source = files[table.file]
        rows = table.rows(source, setting.labels)
        instruments.append(table.build(setting.model, rows, stretch, source=source))
    observed = [instrument.observations for instrument in instruments]
    return posed.cycle.batches(observed, posed.edges)


def _run_experiment(setting: Setting, directory: Path, screen: Screen) -> Exit:
    """Run a twin experiment and write its series and its summary."""
    case, (posed, batches, truth) = setting.case, pose_experiment(setting)
    windows = posed.tables.cycled().windows
    results = Results(case, directory, posed.inputs)
    with writing(results, screen, ("diagnostics.nc", "summary.json")):
        screen.say(case.title, "bold")
        screen.say(f"{windows} windows in one program")
        begin = time.perf_counter()
        _, measures = posed.cycle.scan(windows, posed.edges, batches, truth)
        measures = jax.tree.map(np.asarray, measures)
        seconds = {"cycle": time.perf_counter() - begin}
        _check_finite(measures)
        summary = write_series(posed, measures, results, seconds=seconds)
        _show(summary, screen)
        results.finish()
        results.paths += report_of_results(directory, case.checked.output.keep, screen.say)
    insists = posed.tables.cycled().on_failure.not_converged == "stop"
    missed = set(summary["statuses"]) - {str(Status.CONVERGED)}
    return Exit.NOT_CONVERGED if insists and missed else Exit.DONE


def _check_finite(measures: Measures) -> None:
    if np.all(np.isfinite(measures.cost)):
        return
    first = int(np.argmax(~np.isfinite(measures.cost)))
    raise NonFiniteError(
        f"the analysis of window {first} is not finite; give more inflation or a share of the "
        "static covariance (cycle.method), a shorter window, or check the model's step"
    )
