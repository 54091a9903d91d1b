"""One window from a case to finished files."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import xarray as xr

from assim.analysis.analyse import Analysis, timed
from assim.analysis.finding import AbstractFinding
from assim.analysis.posterior import Posterior
from assim.case.case import FILES, Case
from assim.case.failure import Exit
from assim.case.findings import PredictiveTable
from assim.case.names import said
from assim.case.pose import Posed, pose
from assim.files.netcdf import write_dataset, write_json, write_tree
from assim.files.write.arviz import to_datatree
from assim.files.write.encode import row_columns, state_dataset
from assim.files.write.feedback import feedback_dataset
from assim.files.write.results import (
    analysis_dataset,
    diagnostics_dataset,
    posterior_dataset,
    trajectory_dataset,
)
from assim.files.write.summary import summary
from assim.findings.consistency import consistency
from assim.findings.impact import observation_impact
from assim.findings.predictive import predictive_checks
from assim.findings.sloppy import stiff_and_sloppy
from assim.run.finite import require_finite
from assim.run.terminal.screen import Screen
from assim.show.report import report_of_results
from assim.solve.minimise.status import Status

ARVIZ = "inference_data.nc"


def run_case(case: Case, out: Path | None, screen: Screen, started: float | None = None) -> Exit:
    """Run a case of one window and write its files.

    Args:
        case: the case.
        out: directory for the results, in place of the case's own.
        screen: where progress is shown.
        started: when the program started, by `time.perf_counter`.

    Raises:
        CaseError: errors of the case.
        DataError: errors of its files, or a directory that cannot be written.
        NonFiniteError: the model is not finite at any first guess.
        Interrupted: by the user.
    """
    seconds = {} if started is None else {"import": time.perf_counter() - started}
    with timed(seconds, "read"):
        posed = pose(case)
    directory = case.directory(out)
    with screen.writing(directory, window=True) as written:
        screen.say(case.checked.title or case.name, "bold")
        screen.rejected(posed.rejected())
        analysis = _analyse(posed, screen, seconds)
        screen.results(analysis)
        write_results(posed, analysis, directory, written)
        written += report_of_results(directory, case.checked.output.keep, screen.say)
    return _outcome(analysis, screen)


def _analyse(posed: Posed, screen: Screen, seconds: dict[str, float]) -> Analysis:
    """The analysis; NonFiniteError where there is none."""
    given = {"progress": screen.loop, "report": screen.say, "quantities": posed.quantities}
    analysis = posed.analysis(**given)
    require_finite(analysis)
    analysis = analysis.with_findings(consistency(analysis))
    if posed.impact is not None and analysis.laplace is not None:
        impact = observation_impact(analysis, posed.impact.measure, posed.impact.window)
        analysis = analysis.with_findings(impact)
    analysis = _examined(posed, analysis, seconds)
    for use, find in posed.findings().items():
        analysis = _with_own(posed, analysis, use, find, screen)
    return dataclasses.replace(analysis, seconds={**seconds, **analysis.seconds})


def _examined(posed: Posed, analysis: Analysis, seconds: dict[str, float]) -> Analysis:
    """The analysis with its stiff and sloppy directions, and checks of what it predicts."""
    if analysis.posterior is None:
        return analysis
    table = posed.case.checked
    held_back = [instrument.observations for instrument in posed.held_back]
    with timed(seconds, "sloppy"):
        sloppy = stiff_and_sloppy(analysis, table.sloppy.profile)
    checks = None
    if table.predictive is not None or held_back:
        draws = (table.predictive or PredictiveTable()).draws
        with timed(seconds, "predictive"):
            checks = predictive_checks(analysis, held_back, draws=draws, seed=table.runtime.seed)
    return analysis.with_findings(sloppy, checks)


def _with_own(
    posed: Posed,
    analysis: Analysis,
    use: str,
    find: Callable[[Analysis], AbstractFinding | None],
    screen: Screen,
) -> Analysis:
    """The analysis with a finding of the user's own, or without where that fails."""
    try:
        more = analysis.with_findings(find(analysis))
        for make in (diagnostics_dataset, summary):  # its variables, and names of its own
            make(more)
        for instrument in (*posed.instruments, *posed.held_back):
            row_columns(more.findings, instrument.observations.name, int(instrument.used.sum()))
    except Exception as error:  # whatever it is, the analysis is not lost
        screen.say(f"The finding {use} failed and is left out: {said(error)}", "bold red")
        return analysis
    return more


def write_results(posed: Posed, analysis: Analysis, directory: Path, written: list[Path]) -> None:
    """Write the files of a finished analysis, the summary last, and add them to `written`.

    Those of an earlier run are removed before.

    Raises:
        DataError: one cannot be written; those before it stand.
    """
    case, seconds = posed.case, dict(analysis.seconds)
    stale = [directory / ARVIZ, *(directory / f"{name}.nc" for name in FILES)]
    for path in (*stale, *_of_methods(directory)):
        path.unlink(missing_ok=True)
    with timed(seconds, "write"):
        for name, make in _makers(posed, analysis).items():
            path = directory / f"{name}.nc"
            title = f"{case.checked.title or case.name}: {name}"
            write_dataset(make(), path, title=title, config=case.text(), inputs=posed.inputs)
            written.append(path)
    if case.checked.output.arviz and analysis.posterior is not None:
        tree, path = to_datatree(analysis), directory / ARVIZ
        title = f"{case.checked.title or case.name}: posterior"
        write_tree(tree, path, title=title, config=case.text(), inputs=posed.inputs)
        written.append(directory / ARVIZ)
    content = summary(
        dataclasses.replace(analysis, seconds=seconds),
        [*posed.instruments, *posed.held_back],
        posed.truth,
    )
    write_json(content, directory / "summary.json")
    written.append(directory / "summary.json")


def _of_methods(directory: Path) -> list[Path]:
    """Files of other methods than the one reported, from an earlier run; no one else's."""
    paths = []
    for path in (*directory.glob("posterior_*.nc"), *directory.glob("trajectory_*.nc")):
        with suppress(OSError, ValueError), xr.open_dataset(path) as file:
            if "assim_method" in file.attrs:
                paths.append(path)
    return paths


def _makers(posed: Posed, analysis: Analysis) -> dict[str, Callable[[], xr.Dataset]]:
    """What makes each file that the case wants, by the file's name."""
    makers: dict[str, Callable[[], xr.Dataset]] = {
        "background": lambda: background_dataset(analysis),
        "analysis": lambda: analysis_dataset(analysis),
        "trajectory": lambda: _trajectory(posed, analysis, None),
        "feedback": lambda: feedback_dataset([*posed.instruments, *posed.held_back], analysis),
        "diagnostics": lambda: diagnostics_dataset(analysis),
    }
    if analysis.posterior is not None:
        makers["posterior"] = lambda: posterior_dataset(analysis)
    for name, posterior in analysis.posteriors.items():
        if name != analysis.chosen:
            makers[f"posterior_{name}"] = partial(posterior_dataset, analysis, posterior)
            makers[f"trajectory_{name}"] = partial(_trajectory, posed, analysis, posterior)
    keep = posed.case.checked.output.keep
    return {
        name: make for name, make in makers.items() if keep is None or name.split("_")[0] in keep
    }


def _trajectory(posed: Posed, analysis: Analysis, posterior: Posterior | None) -> xr.Dataset:
    """The trajectory of the variables that the case asks for."""
    return _chosen(posed, trajectory_dataset(analysis, posterior))


def background_dataset(analysis: Analysis) -> xr.Dataset:
    """The background state at the window's start, with its prior standard deviations."""
    window = analysis.problem.window
    return state_dataset(
        analysis.problem.model.labels(),
        analysis.background.control.state,
        float(window.edges[0]),
        window.reference,
        stdev=analysis.prior_stdev.state,
    )


def _chosen(posed: Posed, dataset: xr.Dataset) -> xr.Dataset:
    """The trajectory of the variables that the case asks for."""
    fields = posed.case.checked.output.variables
    if fields is None:
        return dataset
    others = [name for name in posed.problem.model.labels().state if name not in fields]
    drop = [
        name
        for name in map(str, dataset.data_vars)
        if any(name == field or name.startswith(f"{field}_") for field in others)
        and not any(name == field or name.startswith(f"{field}_") for field in fields)
    ]
    return dataset.drop_vars(drop, errors="ignore")


def _outcome(analysis: Analysis, screen: Screen) -> Exit:
    status = analysis.solution.status
    if status is Status.CONVERGED:
        return Exit.DONE
    screen.say(f"Not converged. {status.advice}", "bold red")
    return Exit.NOT_CONVERGED
