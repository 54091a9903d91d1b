"""A twin experiment over a whole cycle, in memory and in one program."""

import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from assim.analysis.cycle.measures import Measures
from assim.case.failure import Exit, NonFiniteError, naming
from assim.case.pose_cycle import PosedCycle, pose_cycle
from assim.case.setting import Setting
from assim.files.read.tables import open_observations
from assim.problem.arrays import State
from assim.problem.cycled import Rows
from assim.problem.window import Window
from assim.run.cycle.windows import write_series
from assim.run.terminal.directory import Results, writing
from assim.run.terminal.screen import Screen
from assim.run.twin.twin import Twin, draw, twin_window
from assim.show.report import report_of_results


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
        rows = open_observations(source, table.variable, setting.labels)
        instruments.append(table.build(setting.model, rows, stretch, source=source))
    observed = [instrument.observations for instrument in instruments]
    return posed.cycle.batches(observed, posed.edges)


def run_experiment(setting: Setting, directory: Path, screen: Screen) -> Exit:
    """Run a twin experiment and write its series and its summary."""
    case, (posed, batches, truth) = setting.case, pose_experiment(setting)
    windows = posed.tables.cycled().windows
    results = Results(case, directory, posed.inputs)
    with writing(results, screen, window=True):
        screen.say(case.title, "bold")
        screen.say(f"{windows} windows in one program")
        begin = time.perf_counter()
        _, measures = posed.cycle.scan(windows, posed.edges, batches, truth)
        measures = jax.tree.map(np.asarray, measures)
        seconds = {"cycle": time.perf_counter() - begin}
        _check_finite(measures)
        screen.cycled(write_series(posed, measures, results, seconds=seconds))
        results.paths += report_of_results(directory, case.checked.output.keep, screen.say)
    return Exit.DONE


def _check_finite(measures: Measures) -> None:
    if np.all(np.isfinite(measures.cost)):
        return
    first = int(np.argmax(~np.isfinite(measures.cost)))
    raise NonFiniteError(
        f"the analysis of window {first} is not finite; give more inflation or a share of the "
        "static covariance (cycle.method), a shorter window, or check the model's step"
    )
