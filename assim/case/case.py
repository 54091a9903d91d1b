"""A case file: read, overridden from the command line and checked, before JAX is imported."""

import tomllib
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from assim.case.background import BackgroundTable
from assim.case.cycle import CycleTable, file_fault
from assim.case.failure import CaseError, Fault
from assim.case.findings import ImpactTable, PredictiveTable, QuantityTable, SloppyTable
from assim.case.methods import MinimiserTable, Posteriors, PosteriorTable
from assim.case.model import ModelTable, ParameterTable
from assim.case.model_error import ModelErrorTable
from assim.case.names import nearest
from assim.case.observations import ObservationTable, name_instruments
from assim.case.plugins import Table, member
from assim.case.toml import override, write
from assim.case.twin import TwinTable
from assim.case.window import WindowTable

if TYPE_CHECKING:
    from assim.analysis.cycle.plan import Plan
    from assim.problem.prior import AbstractPrior
    from assim.problem.window import Window

FILES = ("background", "analysis", "trajectory", "feedback", "posterior", "diagnostics")
Kept = Literal[
    "background", "analysis", "trajectory", "feedback", "posterior", "diagnostics", "report"
]
_OF_POSTERIOR = {
    "model_type": 'must be a table, the name of a method such as "SVGD", or a list of both',
    "too_short": 'must name one method at least, or be "none"',
    "string_pattern_mismatch": "must be of small letters, digits and _, and begin with a letter",
}


class RuntimeTable(Table):
    """Device, precision and seed."""

    device: Literal["cpu", "gpu"] = "cpu"
    precision: Literal["float64", "float32"] = "float64"
    seed: int = 0


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
    observations: list[ObservationTable] = Field(min_length=1)
    quantities: dict[str, QuantityTable] = {}
    forecast_impact: ImpactTable | None = None
    predictive: PredictiveTable | None = None
    sloppy: SloppyTable = SloppyTable()
    minimiser: MinimiserTable = MinimiserTable()
    posterior: Posteriors = [PosteriorTable()]
    cycle: CycleTable | None = None
    twin: TwinTable | None = None
    runtime: RuntimeTable = RuntimeTable()
    output: OutputTable = OutputTable()

    _listed: bool = PrivateAttr(False)  # whether posteriors were typed as a list

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
    def _names_of_files(self) -> Self:
        wrong = [file_fault(table.file, self.cycle is not None) for table in self.observations]
        faults = [f"observations.{n}.file: {what}" for n, what in enumerate(wrong) if what]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _something_to_assimilate(self) -> Self:
        if all(table.held_back for table in self.observations):
            raise ValueError("observations: every instrument is held back; none is assimilated")
        return self

    def members(self) -> Iterator[tuple[str, Table]]:
        """The tables in it; a posterior that was not typed in a list has no number."""
        for key, table in super().members():
            alone = key == "posterior.0" and not self._listed
            yield ("posterior" if alone else key), table

    def placed(self, tree: dict[str, Any], folder: Path) -> Self:
        """The tables, each of which knows where it stands in what was typed."""
        self._listed = isinstance(tree.get("posterior"), list)
        return self.locate("", folder)

    def priors(self) -> "dict[str, AbstractPrior]":
        """Priors of the parameters that are estimated."""
        return {
            name: table.prior.build()
            for name, table in self.parameters.items()
            if table.prior is not None
        }

    def cycled(self) -> CycleTable:
        """The table [cycle] of a case that has one."""
        assert self.cycle is not None
        return self.cycle

    def experiment(self) -> TwinTable:
        """The table [twin].

        Raises:
            CaseError: there is none.
        """
        if self.twin is None:
            raise self.fault("twin", "the table is missing: a twin experiment needs one")
        return self.twin

    def plan(self) -> "Plan":
        """How the windows of a case with a cycle lie."""
        assert self.window.slots is not None
        return self.cycled().plan(self.window.slots)

    def whole(self, first: "Window") -> "Window":
        """The stretch of time that all windows of a case with a cycle cover together."""
        return self.plan().whole(first, self.cycled().windows)


def validate(tree: dict[str, Any]) -> tuple[CaseTable | None, list[Fault]]:
    """The tables of a case, or what is wrong with them."""
    try:
        return CaseTable.model_validate(tree), []
    except ValidationError as error:
        seen: dict[str, Fault] = {}
        for problem in error.errors(include_url=False):
            fault = _fault(_placed(dict(problem), tree))
            seen.setdefault(fault.path, fault)  # a union reports every member: keep the first
        return None, list(seen.values())


def _placed(problem: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """The error with the path as it was typed: one posterior stands in no list."""
    location = problem["loc"]
    if location[:1] == ("posterior",) and not isinstance(tree.get("posterior"), list):
        return {**problem, "loc": (*location[:1], *location[2:])}
    return problem


def _fault(problem: dict[str, Any]) -> Fault:
    """A pydantic error in our words."""
    location, kind = problem["loc"], problem["type"]
    path = ".".join(str(part) for part in _plain(location))
    if kind == "missing":
        what = "the table" if len(location) == 1 else "this key"
        return Fault(path, f"{what} is missing")
    if kind == "extra_forbidden":
        return Fault(path, f"no such key; {nearest(str(location[-1]), _keys(location[:-1]))}")
    if location[:1] == ("posterior",) and kind in _OF_POSTERIOR:
        return Fault(path, f"{_OF_POSTERIOR[kind]}, got {problem['input']!r}")
    words = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error":
        return Fault(path, words)
    return Fault(path, f"{words}, got {problem['input']!r}")


def _plain(location: tuple) -> list:
    """The location without the names that pydantic adds for the members of a union."""
    return [part for part in location if isinstance(part, int) or not _is_member(part)]


def _is_member(part: str) -> bool:
    return part in {"float", "int", "str", "date", "datetime"} or part.startswith(
        ("list[", "dict[", "literal[", "union[")
    )


def _keys(location: tuple) -> list[str]:
    """The keys that the table at a location may have."""
    here: Any = CaseTable
    for part in location:
        here = _inside(here, part)
    return list(getattr(here, "model_fields", {}))


def _inside(kind: Any, part: str | int) -> Any:
    """The type of a member of a table, list or dictionary."""
    if isinstance(kind, type) and issubclass(kind, Table):
        return member(kind.model_fields[str(part)].annotation)
    return (typing.get_args(kind) or (None,))[-1]


@dataclass(frozen=True)
class Case:
    """A case as text and tables.

    Args:
        path: the case file.
        tree: its content, with what the command line changed.
        tables: the same as tables; unchecked where there are faults.
        faults: what is wrong with the fixed tables.
    """

    path: Path
    tree: dict[str, Any]
    tables: CaseTable
    faults: tuple[Fault, ...]

    @property
    def folder(self) -> Path:
        """The folder that paths in the case are relative to."""
        return self.path.parent

    @property
    def name(self) -> str:
        """Name of the case: that of its folder."""
        return self.path.resolve().parent.name

    @property
    def checked(self) -> CaseTable:
        """The checked tables.

        Raises:
            CaseError: there are none.
        """
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

    def input_path(self, file: str) -> Path:
        """A file that the case names."""
        return self.folder / file

    def inputs(self) -> dict[str, Path]:
        """The data files that the case names, by the name it uses."""
        tables = self.checked
        named = [tables.background.file, *(table.file for table in tables.observations)]
        named += [table["file"] for table in tables.model.series().values()]
        named += [*self._covariance_files(), tables.minimiser.first_guess]
        named += [] if tables.forecast_impact is None else [tables.forecast_impact.file]
        if tables.twin is not None and self.truth_path() is not None:
            named.append(tables.twin.truth)
        return {name: self.input_path(name) for name in named if name is not None}

    def decisive_inputs(self) -> dict[str, Path]:
        """Those that may not change while a cycle goes on: all but observations and truth."""
        growing = {table.file for table in self.checked.observations}
        growing |= set() if self.checked.twin is None else {self.checked.twin.truth}
        return {name: path for name, path in self.inputs().items() if name not in growing}

    def _covariance_files(self) -> list[str]:
        """The files of covariances."""
        background, error, cycle = (
            self.checked.background,
            self.checked.model_error,
            self.checked.cycle,
        )
        tables: list[Any] = [background, *background.fields.values()]
        tables += [] if error is None else [error, *error.fields.values()]
        tables += [] if cycle is None else [cycle]
        given = [table.covariance for table in tables if table.covariance is not None]
        return [covariance.file for covariance in given if covariance.file is not None]

    def truth_path(self) -> Path | None:
        """The file of the truth, where a twin experiment left one."""
        if self.checked.twin is None:
            return None
        path = self.input_path(self.checked.twin.truth)
        return path if path.is_file() else None

    def refuse_cycle(self, command: str) -> None:
        """Refuse a cycle where a command takes one window.

        Args:
            command: as typed.

        Raises:
            CaseError: there is one.
        """
        if self.checked.cycle is not None:
            what = (
                f"`assim {command}` takes one window; remove the table, or name a case without it"
            )
            raise CaseError([Fault("cycle", what)], str(self.path))

    def directory(self, out: Path | None) -> Path:
        """The output directory: --out, the case's own, or out/<case>_<file's name>.

        The file's name is left out where it is case.toml.
        """
        if out is not None:
            return out
        own = self.checked.output.directory
        stem = self.path.stem
        name = self.name if stem == "case" else f"{self.name}_{stem}"
        return Path("out") / name if own is None else self.folder / own


def read_case(path: Path, assignments: Sequence[str] = ()) -> Case:
    """Read and check a case file.

    Raises:
        CaseError: the file cannot be read or is no TOML, or an override cannot be applied.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise CaseError([Fault("", f"cannot read the case file: {reason}")], str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise CaseError([Fault("", f"not valid TOML: {error}")], str(path)) from None
    faults = [fault for a in assignments if (fault := override(tree, a)) is not None]
    if faults:
        raise CaseError(faults, str(path))
    checked, problems = validate(tree)
    tables = CaseTable.loose(tree) if checked is None else checked
    tables.placed(tree, path.parent)
    if checked is not None:
        name_instruments(checked.observations)
    return Case(path, tree, tables, tuple(problems))
