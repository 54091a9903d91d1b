"""From a case to the problem that it poses and the methods that answer it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assim.analysis.analyse import Analysis, analyse
from assim.analysis.brought import unmet_derivatives
from assim.analysis.finding import AbstractFinding
from assim.case.case import Case, CaseTable
from assim.case.failure import Fault, Trouble, naming, too_large
from assim.case.findings import ForecastMeasure
from assim.case.observations import ObservationTable, background_checked, problem_faults
from assim.case.setting import Setting, set_up
from assim.files.netcdf import hash_file
from assim.files.read.observations import Instrument
from assim.files.read.shared import shared_values
from assim.files.read.states import read_state
from assim.files.read.tables import ObservedTable
from assim.files.sources import Source
from assim.files.units import listening
from assim.problem.arrays import Array, State
from assim.problem.departure import Problem
from assim.problem.scalars import Derived
from assim.problem.window import Window


@dataclass(frozen=True)
class Posed:
    """A case made ready to run."""

    setting: Setting  # the case's model and clock
    problem: Problem  # the question
    minimiser: Any  # how J is minimised
    posterior: Any  # ways to quantify uncertainty by name, "auto", or None
    instruments: tuple[Instrument, ...]  # with the rows of their files and their fate
    inputs: dict[str, str]  # sha256 of the files, by the case's names
    truth: State | None = None  # true state at the window's start, where a twin experiment left one
    first_guess: Array | None = None  # χ from which the minimisation starts, where a file gives it
    quantities: Mapping[str, Derived] = field(default_factory=dict)  # derived, to report
    impact: ForecastMeasure | None = None  # forecast on which impact is asked
    held_back: tuple[Instrument, ...] = ()  # instruments that are not assimilated
    converted: tuple[str, ...] = ()  # units of files that were converted to the model's

    @property
    def case(self) -> Case:
        """Where it comes from."""
        return self.setting.case

    def findings(self) -> dict[str, Callable[[Analysis], AbstractFinding | None]]:
        """Functions of the analysis that give findings of the user's own, by their `use`."""
        return {table.use: table.build() for table in self.case.checked.findings}

    @property
    def all_instruments(self) -> list[Instrument]:
        """Those that are assimilated, then those that are held back."""
        return [*self.instruments, *self.held_back]

    def rejected(self) -> dict[str, dict[str, int]]:
        """Rows of every instrument by fate: "used" or "held_back", and why the others are not."""
        fates = ["used"] * len(self.instruments) + ["held_back"] * len(self.held_back)
        return {
            i.observations.name: {fate: int(i.used.sum()), **i.rejected()}
            for fate, i in zip(fates, self.all_instruments, strict=True)
        }

    def notes(self) -> list[str]:
        """What is unusual in observations and inputs of the model, but accepted."""
        own = [note for instrument in self.all_instruments for note in instrument.table.notes]
        shared = shared_values(self.instruments, self.held_back)
        odd = self.setting.remarks(self.problem.window.edges)
        return [*dict.fromkeys([*own, *self.converted]), *shared, *odd, *self._unverified()]

    def _unverified(self) -> list[str]:
        """That no posterior is there to be verified by what is held back."""
        what = 'held back, but no posterior (use = "none") is there to be verified by it'
        names = [i.observations.name for i in self.held_back if self.posterior is None]
        return [f"{name}: {what}; feedback.nc alone has its predictions" for name in names]

    def analysis(self, **given: Any) -> Analysis:
        """The analysis that the case asks for; further arguments are those of `analyse`."""
        minimiser, seed = self.case.checked.minimiser, self.case.checked.runtime.seed
        return analyse(
            self.problem,
            self.minimiser,
            given.pop("posterior", self.posterior),
            starts=minimiser.first_guesses(),
            stages=minimiser.stages,
            seed=seed,
            first_guess=self.first_guess,
            **given,
        )


def pose(case: Case) -> Posed:
    """Make the problem of a case."""
    return pose_setting(set_up(case))


def pose_setting(
    setting: Setting, sources: Mapping[str, Source] | None = None, background: Any = None
) -> Posed:
    """Make the problem of a case that is set up.

    Args:
        setting: its model and clock.
        sources: observations by the names of files in the case, where they are elsewhere.
        background: of every field with its covariance, where the case's is not meant.
    """
    with naming(setting.case.path), listening() as converted:
        posed = _pose(setting, sources or {}, background)
        return replace(posed, converted=tuple(converted))


def _pose(setting: Setting, sources: Mapping[str, Source], background: Any) -> Posed:
    case, model, tables, trouble = setting.case, setting.model, setting.tables, Trouble()
    background = background or trouble.attempt(setting.background)
    error = trouble.attempt(setting.model_error)
    truth = trouble.attempt(_truth, setting)
    rows = [_rows(setting, table, sources, trouble) for table in tables.observations]
    trouble.report()
    window = setting.window(rows)
    trouble.faults += _unmet_faults(tables) + _slot_faults(setting, rows)
    made = [
        trouble.attempt(table.build, model, own, window, source=sources.get(table.file))
        for table, own in zip(tables.observations, rows, strict=True)
    ]
    trouble.report()
    pairs = list(zip(tables.observations, made, strict=True))
    held_back = [(table, instrument) for table, instrument in pairs if table.held_back]
    assimilated = [instrument for table, instrument in pairs if not table.held_back]

    def posed(instruments: Sequence[Instrument]) -> Problem:
        return setting.problem(window, background, [i.observations for i in instruments], error)

    problem = posed(assimilated)
    checked = background_checked(problem, assimilated)
    problem = problem if checked is assimilated else posed(checked)
    trouble.faults += _size_faults(tables, problem, made) + _derivative_faults(tables, problem)
    trouble.faults += problem_faults(problem, held_back)
    trouble.report()
    return Posed(
        setting,
        problem,
        tables.minimiser.build(),
        tables.methods(),
        tuple(checked),
        truth=truth,
        first_guess=tables.minimiser.guess(problem, setting.start),
        quantities=tables.derived(problem),
        impact=_impact(setting, problem),
        inputs={n: hash_file(path) for n, path in case.inputs().items() if n not in sources},
        held_back=tuple(instrument for _, instrument in held_back),
    )


def _derivative_faults(tables: CaseTable, problem: Problem) -> list[Fault]:
    """Methods of a window that need derivatives which its model does not bring."""
    if tables.cycle is not None:  # whose schemes differ in what they need
        return []
    unmet = unmet_derivatives(problem, tables.minimiser.build(), tables.methods())
    return [Fault(path, what) for path, what in unmet.items()]


def _size_faults(
    tables: CaseTable, problem: Problem, instruments: Sequence[Instrument]
) -> list[Fault]:
    """First guesses, members and draws, by the keys that ask for them, that memory cannot hold."""
    n, rows = problem.size(), sum(instrument.table.rows for instrument in instruments)
    numbers: dict[str, float] = {"minimiser.starts": (tables.minimiser.first_guesses() or 1) * n}
    for table in tables.posterior:
        numbers |= {key: value * n for key, value in table.counts().items()}
    if tables.predictive is not None:
        numbers["predictive.draws"] = tables.predictive.draws * (rows + n)
    return too_large(numbers)


def _rows(
    setting: Setting, table: ObservationTable, sources: Mapping[str, Source], trouble: Trouble
) -> Any:
    """The rows of an instrument's file; None where it cannot be read."""
    source = sources.get(table.file, table.file_path(table.file))
    return trouble.attempt(table.rows, source, setting.labels)


def _truth(setting: Setting) -> State | None:
    """The true state at the window's start, where a twin experiment left one."""
    path = setting.case.truth_path()
    return None if path is None else read_state(path, setting.model, time=setting.start)


def _impact(setting: Setting, problem: Problem) -> ForecastMeasure | None:
    """The forecast on which the impact of observations is asked."""
    table = setting.tables.forecast_impact
    return None if table is None else table.build(problem, setting.clock)


def _unmet_faults(tables: CaseTable) -> list[Fault]:
    """What is asked for and needs the posterior that the case has not."""
    asked = {
        "quantities": tables.quantities,
        "forecast_impact": tables.forecast_impact,
        "predictive": tables.predictive,
        "sloppy.profile": tables.sloppy.profile,
        "output.arviz": tables.output.arviz,
    }
    what = 'needs a posterior, for which the case has use = "none"; give one, or leave this out'
    none = tables.methods() is None
    return [Fault(key, what) for key, value in asked.items() if none and value]


def _slot_faults(setting: Setting, rows: Sequence[ObservedTable]) -> list[Fault]:
    """Instruments held back that would change the slots, and with them the model errors."""
    tables = setting.tables
    pairs = list(zip(tables.observations, rows, strict=True))
    held_back = [(table, own) for table, own in pairs if table.held_back]
    if tables.model_error is None or tables.window.times != "observations" or not held_back:
        return []
    assimilated = [own for table, own in pairs if not table.held_back]

    def window(rows: Sequence[ObservedTable]) -> Window:
        return tables.window.of_observations(setting.model, rows)

    without = np.asarray(window(assimilated).edges)
    what = (
        'held back at times that no assimilated instrument has, which times = "observations" '
        "would give slots, and model errors, of their own; give window.slots or times of your own"
    )
    return [
        Fault(table.at(), what)
        for table, own in held_back
        if not np.array_equal(np.asarray(window([*assimilated, own]).edges), without)
    ]
