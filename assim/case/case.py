"""A case file: read, overridden from the command line and checked, before JAX is imported."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from assim.case.background import BackgroundTable
from assim.case.cycle import CycleTable, TwinTable, file_fault
from assim.case.failure import CaseError, Fault
from assim.case.findings import (
    FindingTable,
    ImpactTable,
    PredictiveTable,
    QuantityTable,
    SloppyTable,
)
from assim.case.methods import (
    AUTO,
    MinimiserTable,
    Posteriors,
    PosteriorTable,
    posterior_faults,
)
from assim.case.model import ModelTable, ParameterTable
from assim.case.model_error import ModelErrorTable
from assim.case.names import foreign_modules
from assim.case.observations import Name, ObservationTable, held_back_faults, name_instruments
from assim.case.plugins import Table
from assim.case.problem import ProblemTable
from assim.case.toml import LONGEST, override, parse, uses, value_faults, write
from assim.case.window import WindowTable
from assim.case.words import in_our_words

if TYPE_CHECKING:
    from assim.analysis.cycle.plan import Plan
    from assim.analysis.cycle.scheme import AbstractScheme
    from assim.problem.departure import Problem
    from assim.problem.model import AbstractDynamics
    from assim.problem.prior import AbstractPrior
    from assim.problem.scalars import Derived
    from assim.problem.window import Window
    from assim.solve.posterior.ensemble import AbstractPosterior

_FREE = ("windows", "burn_in", "on_failure")  # keys of [cycle] that may change while it goes on
Kept = Literal[
    "background", "analysis", "trajectory", "feedback", "posterior", "diagnostics", "report"
]
FILES = get_args(Kept)[:-1]


class RuntimeTable(Table):
    """Device, precision and seed, and how several devices share the work."""

    device: Literal["cpu", "gpu"] = "cpu"
    precision: Literal["float64", "float32"] = "float64"
    seed: int = 0
    mesh: dict[Literal["member", "space"], Annotated[int, Field(ge=1)]] = {}


class OutputTable(Table):
    """Where results go: the directory, the fields of the trajectory, the files to keep.

    With `arviz`, the posterior is also written as ArviZ reads it, in groups.
    """

    directory: str | None = None
    arviz: bool = False
    variables: list[str] | None = None
    keep: list[Kept] | None = None


class CaseTable(Table):
    """A whole case."""

    title: str = ""
    model: ModelTable
    window: WindowTable
    background: BackgroundTable
    parameters: dict[str, ParameterTable] = {}
    model_error: ModelErrorTable | None = None
    problem: ProblemTable = ProblemTable()
    observations: list[ObservationTable] = Field(min_length=1)
    quantities: dict[Name, QuantityTable] = {}
    forecast_impact: ImpactTable | None = None
    predictive: PredictiveTable | None = None
    sloppy: SloppyTable = SloppyTable()
    findings: list[FindingTable] = []
    minimiser: MinimiserTable = MinimiserTable()
    posterior: Posteriors = [PosteriorTable()]
    cycle: CycleTable | None = None
    twin: TwinTable | None = None
    runtime: RuntimeTable = RuntimeTable()
    output: OutputTable = OutputTable()

    _listed: bool = PrivateAttr(False)  # whether posteriors were typed as a list
    _checked: bool = PrivateAttr(False)

    @model_validator(mode="after")
    def _slots_of_a_cycle(self) -> Self:
        if self.cycle is None:
            return self
        if self.window.slots is None:
            raise ValueError(
                "window.times: windows in sequence need one number of slots each; replace `times` "
                "by `slots` (with `end` or `steps`)"
            )
        if self.cycle.twin and self.twin is None:
            raise ValueError("cycle.twin: a twin experiment needs the table [twin]")
        shift = self.cycle.shift or self.window.slots
        if shift > self.window.slots or self.window.slots % shift:
            raise ValueError(
                f"cycle.shift: must divide the {self.window.slots} slots of a window, got {shift}"
            )
        return self

    @model_validator(mode="after")
    def _instruments_together(self) -> Self:
        wrong = [file_fault(table.file, self.cycle is not None) for table in self.observations]
        faults = [f"observations.{n}.file: {what}" for n, what in enumerate(wrong) if what]
        if faults:
            raise ValueError("; ".join(faults))
        if all(table.held_back for table in self.observations):
            raise ValueError("observations: every instrument is held back; none is assimilated")
        return self

    def members(self) -> Iterator[tuple[str, Table]]:
        """The tables in it; a posterior that was not typed in a list has no number."""
        for key, table in super().members():
            alone = key == "posterior.0" and not self._listed
            yield ("posterior" if alone else key), table

    def place(self, tree: dict[str, Any], folder: Path, checked: bool) -> None:
        """Tell every table where it stands in what was typed, and every instrument its name."""
        self._listed, self._checked = isinstance(tree.get("posterior"), list), checked
        self.locate("", folder)
        if checked:
            name_instruments(self.observations)
            self.model.offer(case_start=str(self.window.start))

    def priors(self) -> "dict[str, AbstractPrior]":
        """Priors of the parameters that are estimated."""
        return {
            name: table.prior.build()
            for name, table in self.parameters.items()
            if table.prior is not None
        }

    def faults(self) -> list[Fault]:
        """What is wrong with the plug-ins, and with what can be seen of several together."""
        alone = super().faults()
        if not self._checked:
            return alone
        return alone + posterior_faults(self.posterior) + held_back_faults(self.observations)

    def plain_model(self) -> "AbstractDynamics | None":
        """The model, its time series blank; None where it cannot be made, as its faults tell."""
        table = self.__dict__.get("model")
        return (
            None if table is None or table.faults() or "use" not in vars(table) else table.build()
        )

    def scheme(self, model: "AbstractDynamics") -> "AbstractScheme":
        """How every window of a cycle is analysed, with the minimiser of the case."""
        table, cycle = self.minimiser, self.cycled()
        given = {
            "minimiser": table.build(),
            "starts": table.first_guesses() or 1,
            "stages": table.stages,
        }
        names = self.background.gaussian(model.labels().state)
        cycle.method.offer(static=cycle.static(model, names), **given)
        return cycle.method.made()

    def methods(self) -> "dict[str, AbstractPosterior] | str | None":
        """Ways to quantify uncertainty by their names in results, "auto", or None for none."""
        first = self.posterior[0].build()
        if first is None or first == AUTO:
            return first
        methods = ((table.called(), table.method()) for table in self.posterior)
        return {name: method for name, method in methods if name and method is not None}

    def derived(self, problem: "Problem") -> "dict[str, Derived]":
        """Derived quantities by name."""
        from assim.problem.scalars import Derived, check_derived

        quantities = {
            name: Derived(table.build(), table.units, table.long_name)
            for name, table in self.quantities.items()
        }
        with self.blamed("quantities"):
            check_derived(problem, quantities)
        return quantities

    def cycled(self) -> CycleTable:
        """The table [cycle] of a case that has one."""
        assert self.cycle is not None
        return self.cycle

    def experiment(self) -> TwinTable:
        """The table [twin]; CaseError where there is none."""
        if self.twin is None:
            raise self.fault("twin", "the table is missing: a twin experiment needs one")
        return self.twin

    def plan(self) -> "Plan":
        """How the windows of a case with a cycle lie."""
        from assim.analysis.cycle.plan import Plan

        assert self.window.slots is not None
        cycle, slots = self.cycled(), self.window.slots
        return Plan(slots, cycle.shift or slots, cycle.overlap)

    def whole(self, first: "Window") -> "Window":
        """The stretch of time that all windows of a case with a cycle cover together."""
        return self.plan().whole(first, self.cycled().windows)


def validate(tree: dict[str, Any]) -> tuple[CaseTable | None, list[Fault]]:
    """The tables of a case, or what is wrong with them."""
    try:
        return CaseTable.model_validate(tree), []
    except ValidationError as error:
        return None, [Fault(*pair) for pair in in_our_words(error, CaseTable, tree).items()]


@dataclass(frozen=True)
class Case:
    """A case as text and tables."""

    path: Path  # the case file
    tree: dict[str, Any]  # its content, with what the command line changed
    tables: CaseTable  # the same; unchecked where there are faults
    faults: tuple[Fault, ...]  # what is wrong with the fixed tables

    @property
    def folder(self) -> Path:
        """The folder that paths in the case are relative to."""
        return self.path.parent

    @property
    def name(self) -> str:
        """Name of the case: that of its folder."""
        return os.fsencode(self.path.resolve().parent.name).decode("utf-8", "replace")

    @property
    def title(self) -> str:
        """Its title, or else its name."""
        return self.checked.title or self.name

    @property
    def checked(self) -> CaseTable:
        """The checked tables; CaseError where there are none."""
        if self.faults:
            raise CaseError(self.faults, str(self.path))
        return self.tables

    @property
    def runtime(self) -> RuntimeTable:
        """Device, precision and seed; the defaults where the case has errors."""
        return RuntimeTable() if self.faults else self.tables.runtime

    def text(self) -> str:
        """The resolved case as TOML."""
        return write(self.tree)

    def decisive(self) -> str:
        """The case as TOML, but for what may change while a cycle goes on."""
        cycle = {key: value for key, value in self.tree["cycle"].items() if key not in _FREE}
        kept = {key: value for key, value in self.tree.items() if key not in ("output", "title")}
        return write({**kept, "cycle": cycle})

    def fingerprint(self) -> str:
        """sha256 of the case, but for what may change while a cycle goes on."""
        return hashlib.sha256(self.decisive().encode()).hexdigest()

    def input_path(self, file: str) -> Path:
        """A file that the case names."""
        return self.folder / file

    def inputs(self) -> dict[str, Path]:
        """The data files that the case names, by the name it uses, and its code."""
        return {name: self.input_path(name) for name in self.checked.files()} | self.code()

    def decisive_inputs(self) -> dict[str, Path]:
        """Those that may not change while a cycle goes on: all but observations and truth."""
        growing = {table.file for table in self.checked.observations}
        growing |= set() if self.checked.twin is None else {self.checked.twin.truth}
        return {name: path for name, path in self.inputs().items() if name not in growing}

    def truth_path(self) -> Path | None:
        """The file of the truth, where a twin experiment left one."""
        if self.checked.twin is None:
            return None
        path = self.input_path(self.checked.twin.truth)
        return path if path.is_file() else None

    def fault(self, key: str, what: str) -> CaseError:
        """The error that something is wrong with a key, or with the case itself."""
        return CaseError([Fault(key, what)], str(self.path))

    def refuse_cycle(self, command: str) -> None:
        """Raise CaseError where a command, as typed, takes one window and the case has several."""
        if self.checked.cycle is not None:
            takes = f"`assim {command}` takes one window"
            raise self.fault("cycle", f"{takes}; remove the table, or name a case without it")

    def directory(self, out: Path | None, *read: Path | None) -> Path:
        """The directory of results, which holds neither the case nor a file that it reads.

        Args:
            out: that of --out.
            read: files that the command line names to be read, too.

        Raises:
            CaseError: it holds one of them, which results might replace.
        """
        directory = self.results(out)
        own = [self.path, *self.inputs().values()]
        for path in (*own, *(path for path in read if path is not None)):
            if is_within(path, directory):
                key = "output.directory" if out is None else "--out"
                raise self.fault(
                    key,
                    f"{directory} holds {path}, which is read, and results are never written where "
                    "inputs are; choose a directory of their own",
                )
        return directory

    def code(self) -> dict[str, Path]:
        """Python files that it names, others that are loaded from its folder, and its model's."""
        names = [*uses(self.tree), *(table.use for table in self.checked.posterior)]
        sources = [name.rpartition(":")[0] for name in names]  # a posterior may be its name alone
        named = {name: self.input_path(name) for name in sources if name.endswith(".py")}
        known, folder = {path.resolve() for path in named.values()}, self.folder.resolve()
        beside = [path for path in foreign_modules() if path.is_relative_to(folder)]
        named |= {str(p.relative_to(folder)): p for p in beside if p not in known}
        model, here = self.checked.plain_model(), self.folder.absolute()
        files = () if model is None else model.code_files()
        return named | {str(p.relative_to(here) if here in p.parents else p): p for p in files}

    def results(self, out: Path | None) -> Path:
        """Where results are: --out, the case's own directory, or out/<case>_<file's name>.

        The file's name is left out where it is case.toml.
        """
        if out is not None:
            return out
        own = self.checked.output.directory
        stem = self.path.stem
        name = self.name if stem == "case" else f"{self.name}_{stem}"
        return Path("out") / name if own is None else self.folder / own


def is_within(path: Path, directory: Path) -> bool:
    """Whether a file lies in a directory or below it, whichever links lead there."""
    here = (path.resolve(), path.parent.resolve() / path.name)
    folders = {folder for place in here for folder in place.parents if folder.exists()}
    return directory.exists() and any(os.path.samefile(folder, directory) for folder in folders)


def _text(path: Path) -> str:
    """The text of a case file, which is not read on where it is too long to be one."""
    with open(path, "rb") as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ValueError(f"a case file has at most {LONGEST >> 20} MiB")
    return content.decode("utf-8")


def _cases_in(folder: Path) -> str:
    """What to name in place of a folder."""
    cases = sorted(str(path) for path in folder.glob("*.toml"))
    return f"name the case in it, {' or '.join(cases)}" if cases else "it holds no case (*.toml)"


def read_case(path: Path, assignments: Sequence[str] = ()) -> Case:
    """Read and check a case file; CaseError where it is no TOML, or cannot be overridden."""
    try:
        tree = parse(_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        if path.is_dir():
            reason = f"it is a folder; {_cases_in(path)}"
        raise CaseError([Fault("", f"cannot read the case file: {reason}")], str(path)) from None
    except ValueError as error:
        raise CaseError([Fault("", f"not valid TOML: {error}")], str(path)) from None
    faults = [fault for a in assignments if (fault := override(tree, a)) is not None]
    faults = faults or value_faults(tree)
    if faults:
        raise CaseError(faults, str(path))
    checked, problems = validate(tree)
    tables = CaseTable.loose(tree) if checked is None else checked
    tables.place(tree, path.parent, checked is not None)
    return Case(path, tree, tables, tuple(problems))
