"""From a case with a table [cycle] to the cycle that it poses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.scheme import AbstractScheme
from assim.case.case import Case, CaseTable
from assim.case.failure import CaseError, Fault, Trouble, naming, too_large
from assim.case.setting import Setting
from assim.files.fingerprint import WINDOW, digests
from assim.files.netcdf import hash_file
from assim.problem.arrays import Array
from assim.problem.departure import Problem
from assim.problem.window import Window


@dataclass(frozen=True)
class PosedCycle:
    """A cycle made ready to run."""

    setting: Setting  # the case's model and clock
    cycle: Cycle  # the first window's problem, the scheme and the plan
    edges: Array  # slot edges of all windows
    files: Mapping[str, Path]  # by the case's name, those of single windows left out

    @cached_property
    def inputs(self) -> dict[str, str]:
        """sha256 of these files."""
        return {name: hash_file(path) for name, path in self.files.items()}

    @property
    def case(self) -> Case:
        """Where it comes from."""
        return self.setting.case

    @property
    def tables(self) -> CaseTable:
        """The tables of the case."""
        return self.setting.tables

    @property
    def reference(self) -> str | None:
        """Date of model time zero."""
        return self.setting.clock.reference

    @property
    def names(self) -> list[str]:
        """Of the instruments."""
        return [o.name for o in self.cycle.problem.observations]

    def series(self, span: Sequence[float] | None = None) -> dict[str, Any]:
        """sha256 of the series that drive the model, from time to time; of all windows if None."""
        start, end = np.asarray(self.edges)[[0, -1]].tolist() if span is None else span
        window = Window(jnp.asarray([start, end]), 1, self.reference)
        own = digests(self.setting.model, window)
        return {"span": [start, end], "sha256": {n: d for n, d in own.items() if n != WINDOW}}

    def when(self, window: int) -> str:
        """Until when a window has observations."""
        newest = self.cycle.plan.newest(self.edges, window + 1)[-1]
        return f"up to {self.setting.date(newest)}"


def pose_cycle(setting: Setting, background: Any = None) -> PosedCycle:
    """Make the cycle of a case, from the background of a twin experiment where there is one."""
    case, model, tables, trouble = setting.case, setting.model, setting.tables, Trouble()
    with naming(case.path):
        _check_tables(case)
        scheme = trouble.attempt(tables.scheme, model)
        error = trouble.attempt(setting.model_error)
        fields = background or trouble.attempt(setting.background)
        trouble.report()
        first = setting.window()
        observed = [table.blank(model, first) for table in tables.observations]
        problem = setting.problem(first, fields, observed, error)
        counts = tables.cycled().method.counts()
        if faults := too_large({key: value * problem.size() for key, value in counts.items()}):
            raise CaseError(faults)
        cycle = checked_cycle(setting, problem, scheme)
    named = {} if background is not None else case.inputs()
    files = {name: path for name, path in named.items() if path.is_file()}
    return PosedCycle(setting, cycle, tables.whole(first).edges, files)


def checked_cycle(setting: Setting, problem: Problem, scheme: AbstractScheme) -> Cycle:
    """The cycle of a problem and a scheme that fit together."""
    tables = setting.tables
    cycle = Cycle(problem, scheme, tables.plan(), tables.runtime.seed)
    with tables.cycled().method.blamed():
        cycle.check()
    return cycle


def check_cycle(setting: Setting) -> None:
    """Refuse what a cycle refuses before it reads a file."""
    trouble, first = Trouble(), setting.window()
    with naming(setting.case.path):
        trouble.attempt(_check_tables, setting.case)
        for table in setting.tables.observations:
            trouble.attempt(table.blank, setting.model, first)
        trouble.report()


def _check_tables(case: Case) -> None:
    """Refuse tables that a cycle has no use for."""
    tables = case.checked
    what = "a cycle does not compute this; run the window alone"
    asked = ("forecast_impact", "predictive", "quantities", "findings")
    faults = [Fault(name, what) for name in asked if name in case.tree]
    if tables.sloppy.profile:
        faults.append(Fault("sloppy.profile", what))
    if [table.use for table in tables.posterior] != ["Laplace"]:
        what = "the posterior of a cycle's windows is Laplace's; drop the table"
        faults.append(Fault("posterior", what))
    if tables.minimiser.first_guess is not None:
        faults.append(Fault("minimiser.first_guess", "every window starts from its background"))
    if tables.problem.digital_filter is not None:
        what = "a cycle has no digital filter; drop it"
        faults.append(Fault("problem.digital_filter", what))
    if tables.model_error is not None and not tables.model_error.jump_at_end:
        what = "the next window of a cycle goes on after the jump at a window's end; drop the key"
        faults.append(Fault("model_error.jump_at_end", what))
    for table in tables.observations:
        if table.held_back:
            what = "a cycle assimilates every instrument; drop this one"
            faults.append(Fault(table.at("held_back"), what))
        if table.quality.threshold is not None:
            what = "a cycle has no background check; use a robust likelihood, as StudentT or Huber"
            faults.append(Fault(table.quality.at("threshold"), what))
    if faults:
        raise CaseError(faults)
