"""One window from a case to finished files."""

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import xarray as xr

from assim.analysis.analyse import Analysis, timed
from assim.analysis.failures import (
    StoppedAnalysis,
    insisting,
    interrupted,
    kept,
    spelt,
    stopping,
)
from assim.analysis.finding import AbstractFinding
from assim.analysis.methods import ASSUMES_LESS, CAREFUL
from assim.analysis.posterior import Posterior
from assim.analysis.stages import Due, Ended, Stage, Stages, to_the_end
from assim.case.case import FILES, Case
from assim.case.failure import Exit
from assim.case.findings import PredictiveTable
from assim.case.names import foreign_modules
from assim.case.pose import Posed, pose_setting
from assim.case.setting import Setting, set_up
from assim.files.fingerprint import problem_digest
from assim.files.unfinished import Unfinished, fingerprint_of
from assim.files.write.applied import applied
from assim.files.write.arviz import to_datatree
from assim.files.write.encode import row_columns, state_dataset
from assim.files.write.feedback import feedback_dataset
from assim.files.write.forecast import mark_stale
from assim.files.write.results import (
    analysis_dataset,
    diagnostics_dataset,
    posterior_dataset,
    trajectory_dataset,
)
from assim.files.write.summary import summary
from assim.findings.consistency import consistency
from assim.findings.fit import goodness_of_fit, verdict_of
from assim.findings.impact import observation_impact
from assim.findings.observables import observables
from assim.findings.predictive import predictive_checks
from assim.findings.skill import skill
from assim.findings.sloppy import stiff_and_sloppy
from assim.run.finite import require_finite
from assim.run.terminal.directory import Results, writing
from assim.run.terminal.screen import Screen
from assim.show.applied import lines
from assim.show.report import report_of_results
from assim.solve.minimise.status import Status
from assim.solve.posterior.ensemble import Trust

ARVIZ = "inference_data"
Find = Callable[[Analysis], AbstractFinding | None]


def run_case(
    case: Case,
    out: Path | None,
    screen: Screen,
    started: float | None = None,
    strict: bool = False,
) -> Exit:
    """Run a case of one window and write its files, in a program `started` at that time.

    Where it is `strict`, a result that is not certified, by trust or by fit, has an exit code.
    """
    seconds = {} if started is None else {"import": time.perf_counter() - started}
    with timed(seconds, "read"):
        setting = set_up(case)
    return Exit(to_the_end(stages_of_case(setting, out, screen, seconds, strict)).code)


def stages_of_case(
    setting: Setting,
    out: Path | None,
    screen: Screen,
    seconds: dict[str, float],
    strict: bool = False,
) -> Stages:
    """The stages of `run_case`: the window is posed, and then analysed and written.

    Wall times are added to those of stages before.
    """
    case = setting.case
    with timed(seconds, "read"):
        posed = pose_setting(setting)
    results = Results(case, case.directory(out), posed.inputs)
    with writing(results, screen, _names(case)):
        yield Stage(posed.problem, Due(*_ends(posed)))
        screen.say(case.title, "bold")
        screen.rejected(posed.rejected())
        screen.notes(posed.notes())
        store = _unfinished(posed, results.directory, screen)
        analysis = _analyse(posed, screen, seconds, store)
        with stopping(analysis.failures, "screen"):
            screen.results(analysis)
            screen.say("\n".join(lines(applied(analysis, posed.all_instruments))))
        insisting(analysis.failures, "write", partial(_write_results, posed, analysis, results))
        results.finish()
        if stale := mark_stale(results.directory):
            forecasts = ", ".join(path.name for path in stale)
            screen.say(f"Forecasts of the analysis before are stale, and say so: {forecasts}.")
        if interrupted(analysis.failures):
            raise KeyboardInterrupt
        store.clear()
        _report(case, analysis, results, screen)
    screen.failed(analysis.failures)
    slots = posed.problem.window.slots
    yield Stage(posed.problem, None, analysis.analysed_window(), slots)
    return _ended(analysis, screen, strict)


def _ends(posed: Posed) -> tuple[float, float]:
    """The window's start and end."""
    edges = posed.problem.window.edges
    return float(edges[0]), float(edges[-1])


def _names(case: Case) -> list[str]:
    """The files that a run of the case may write, but for those of its report."""
    methods, output = case.checked.methods(), case.checked.output
    several = ("laplace", *ASSUMES_LESS, CAREFUL) if isinstance(methods, str) else methods or ()
    of_each = [f"{what}_{name}" for name in several for what in ("posterior", "trajectory")]
    names = [name for name in (*FILES, *(of_each if len(several) > 1 else ())) if _kept(case, name)]
    arviz = [ARVIZ] if output.arviz and several else []
    return [*(f"{name}.nc" for name in (*names, *arviz)), "summary.json"]


def _kept(case: Case, name: str) -> bool:
    """Whether the case keeps a file, of whichever method it is."""
    keep = case.checked.output.keep
    return keep is None or name.split("_")[0] in keep


def _ended(analysis: Analysis, screen: Screen, strict: bool) -> Ended:
    """Not converged before incomplete, and that before not certified, where it is asked for."""
    status = analysis.solution.status
    if status is not Status.CONVERGED:
        words = f"Not converged. {status.advice}"
        screen.say(words, "bold red")
        return Ended(Exit.NOT_CONVERGED, words)
    if analysis.failures:
        failed = [f"{spelt(stage)}: {why}" for stage, why in analysis.failures.items()]
        return Ended(Exit.INCOMPLETE, f"Failed, and left out: {'; '.join(failed)}")
    certified = verdict_of(analysis, analysis.posterior) is Trust.CERTIFIED
    return Ended(Exit.NOT_CERTIFIED if strict and not certified else Exit.DONE)


def _report(case: Case, analysis: Analysis, results: Results, screen: Screen) -> None:
    """The report; why there is none is a failure, but for a matplotlib that is not installed."""
    said: list[str] = []
    with kept(analysis.failures, "report"):
        drawn = report_of_results(results.directory, case.checked.output.keep, said.append)
        results.paths += drawn
    if said and importlib.util.find_spec("matplotlib") is not None:
        analysis.failures["report"] = " ".join(said)
    elif said:
        screen.say(" ".join(said))


def _unfinished(posed: Posed, directory: Path, screen: Screen) -> Unfinished:
    """What an earlier run of this case has drawn before it was stopped."""
    case = posed.case
    free = {"title", "output"}
    decisive = {key: value for key, value in case.tree.items() if key not in free}
    parts = {"case": repr(decisive), "problem": problem_digest(posed.problem), **posed.inputs}
    fingerprint = fingerprint_of(parts, {str(path): path for path in foreign_modules()})
    return Unfinished(directory, fingerprint, case.title, screen.say)


def _analyse(
    posed: Posed, screen: Screen, seconds: dict[str, float], store: Unfinished
) -> Analysis:
    """The analysis with what it finds, up to Ctrl-C; NonFiniteError where there is none."""
    given = {"progress": screen.loop, "report": screen.say, "quantities": posed.quantities}
    try:
        analysis = posed.analysis(**given, store=store)
    except StoppedAnalysis as stop:  # what has finished is written
        analysis = stop.analysis
    require_finite(analysis, posed.instruments)
    analysis = _with_findings(posed, analysis, seconds)
    return dataclasses.replace(analysis, seconds={**seconds, **analysis.seconds})


def _with_findings(posed: Posed, analysis: Analysis, seconds: dict[str, float]) -> Analysis:
    """With what is found of it, up to Ctrl-C; of an analysis that was stopped the fit alone."""
    failures = analysis.failures
    if interrupted(failures):
        with stopping(failures, "fit"):
            analysis = analysis.with_findings(goodness_of_fit(analysis, _namings(posed)))
        return analysis
    with stopping(failures, "findings"):
        for stage, find in _findings_of_every_run(posed, analysis):
            with timed(seconds, stage), kept(failures, stage):
                analysis = analysis.with_findings(find(analysis))
        for use, find in posed.findings().items():
            with kept(failures, f"finding {use}"):
                analysis = _with_own(posed, analysis, find)
    return analysis


def _namings(posed: Posed) -> dict[str, Callable[[int], str]]:
    """What a value is called, by instrument: its row of the file."""
    return {i.observations.name: i.naming for i in posed.instruments}


def _findings_of_every_run(posed: Posed, analysis: Analysis) -> Iterator[tuple[str, Find]]:
    """What a run finds, where it applies, and the stage that its time is that of."""
    table = posed.case.checked
    yield "consistency", consistency
    yield "fit", lambda a: goodness_of_fit(a, _namings(posed))
    held_back = [instrument.observations for instrument in posed.held_back]
    seed = table.runtime.seed
    yield "skill", lambda a: skill(a, held_back)
    yield "observables", lambda a: observables(a, held_back=held_back, seed=seed)
    if posed.impact is not None and analysis.laplace is not None:
        forecast = posed.impact
        yield "impact", lambda a: observation_impact(a, forecast.measure, forecast.window)
    if analysis.posterior is None:
        return
    yield "sloppy", lambda a: stiff_and_sloppy(a, table.sloppy.profile)
    if table.predictive is not None or held_back:
        draws = (table.predictive or PredictiveTable()).draws
        yield "predictive", lambda a: predictive_checks(a, held_back, draws=draws, seed=seed)


def _with_own(posed: Posed, analysis: Analysis, find: Find) -> Analysis:
    """The analysis with a finding of the user's own, which can be written."""
    finding = find(analysis)
    more = analysis.with_findings(finding)
    if finding is not None and finding.name in analysis.findings:
        raise ValueError(f"its name {finding.name!r} is that of another finding")
    for make in (diagnostics_dataset, summary):  # its variables, and names of its own
        make(more)
    for instrument in posed.all_instruments:
        row_columns(more.findings, instrument.observations.name, int(instrument.used.sum()))
    return more


def _write_results(posed: Posed, analysis: Analysis, results: Results) -> None:
    """Write the files of a finished analysis, the summary last."""
    seconds = dict(analysis.seconds)
    with timed(seconds, "write"):
        for name, make in _makers(posed, analysis).items():
            with kept(analysis.failures, f"{name}.nc"):
                dataset = make()
            if f"{name}.nc" not in analysis.failures:
                results.dataset(name, dataset, name)
    if posed.case.checked.output.arviz and analysis.posterior is not None:
        with kept(analysis.failures, ARVIZ):
            tree = to_datatree(analysis)
        if ARVIZ not in analysis.failures:
            results.tree(ARVIZ, tree, "posterior")
    finished = dataclasses.replace(analysis, seconds=seconds)
    results.json("summary", summary(finished, posed.all_instruments, posed.truth, posed.notes()))


def _makers(posed: Posed, analysis: Analysis) -> dict[str, Callable[[], xr.Dataset]]:
    """What makes each file that the case wants, by the file's name."""
    makers: dict[str, Callable[[], xr.Dataset]] = {
        "background": lambda: _background(analysis),
        "analysis": lambda: analysis_dataset(analysis),
        "trajectory": lambda: _trajectory(posed, analysis, None),
        "feedback": lambda: feedback_dataset(posed.all_instruments, analysis),
        "diagnostics": lambda: diagnostics_dataset(analysis),
    }
    if analysis.posterior is not None:
        makers["posterior"] = lambda: posterior_dataset(analysis)
    for name, posterior in analysis.posteriors.items():
        if name != analysis.chosen:
            makers[f"posterior_{name}"] = partial(posterior_dataset, analysis, posterior)
            makers[f"trajectory_{name}"] = partial(_trajectory, posed, analysis, posterior)
    return {name: make for name, make in makers.items() if _kept(posed.case, name)}


def _trajectory(posed: Posed, analysis: Analysis, posterior: Posterior | None) -> xr.Dataset:
    """The trajectory of the variables that the case asks for."""
    dataset, fields = trajectory_dataset(analysis, posterior), posed.case.checked.output.variables
    if fields is None:
        return dataset
    others = [name for name in posed.setting.labels.state if name not in fields]

    def is_of(name: str, several: list[str]) -> bool:
        return any(name == field or name.startswith(f"{field}_") for field in several)

    names = map(str, dataset.data_vars)
    drop = [name for name in names if is_of(name, others) and not is_of(name, fields)]
    return dataset.drop_vars(drop, errors="ignore")


def _background(analysis: Analysis) -> xr.Dataset:
    """The background state at the window's start, with its prior standard deviations."""
    problem, window = analysis.problem, analysis.problem.window
    state, start = analysis.background.control.state, float(window.edges[0])
    stdev = analysis.prior_stdev.state
    return state_dataset(problem.model.labels(), state, start, window.reference, stdev=stdev)
