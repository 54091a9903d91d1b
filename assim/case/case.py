"""A case file: read, overridden from the command line and checked, before JAX is imported."""

import tomllib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from assim.case.failure import CaseError, Fault, nearest
from assim.case.plugins import is_series
from assim.case.schema import CaseTable, RuntimeTable
from assim.case.toml import override, write

_OF_POSTERIOR = {
    "model_type": 'must be a table, the name of a method such as "SVGD", or a list of both',
    "too_short": 'must name one method at least, or be "none"',
    "string_pattern_mismatch": "must be of small letters, digits and _, and begin with a letter",
}


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
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        kind = kind.model_fields[str(part)].annotation
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        return next((option for option in options if option is not type(None)), kind)
    return (typing.get_args(kind) or (None,))[-1]


@dataclass(frozen=True)
class Case:
    """A case as text and tables.

    Args:
        path: the case file.
        tree: its content, with what the command line changed.
        table: the checked tables; None where `faults` says why not.
        faults: what is wrong with the fixed tables.
    """

    path: Path
    tree: dict[str, Any]
    table: CaseTable | None
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
        if self.table is None:
            raise CaseError(self.faults, str(self.path))
        return self.table

    @property
    def runtime(self) -> RuntimeTable:
        """Device, precision and seed; the defaults where the case has errors."""
        return RuntimeTable() if self.table is None else self.table.runtime

    def text(self) -> str:
        """The resolved case as TOML."""
        return write(self.tree)

    def input_path(self, file: str) -> Path:
        """A file that the case names."""
        return self.folder / file

    def inputs(self) -> dict[str, Path]:
        """The data files that the case names, by the name it uses."""
        named = [self.checked.background.file, *(o.file for o in self.checked.observations)]
        named += [table["file"] for table in self.series().values()]
        named += [*self._covariance_files(), self.checked.minimiser.first_guess]
        impact = self.checked.forecast_impact
        named += [] if impact is None else [impact.file]
        if self.checked.twin is not None and self.truth_path() is not None:
            named.append(self.checked.twin.truth)
        return {name: self.input_path(name) for name in named if name is not None}

    def decisive_inputs(self) -> dict[str, Path]:
        """Those that may not change while a cycle goes on: all but observations and truth."""
        growing = {o.file for o in self.checked.observations}
        growing |= set() if self.checked.twin is None else {self.checked.twin.truth}
        return {name: path for name, path in self.inputs().items() if name not in growing}

    def _covariance_files(self) -> list[str]:
        """The files of covariances."""
        background, error = self.checked.background, self.checked.model_error
        tables: list[Any] = [background, *background.fields.values()]
        tables += [] if error is None else [error, *error.fields.values()]
        tables += [] if self.checked.cycle is None else [self.checked.cycle]
        found = [table.covariance for table in tables if table.covariance is not None]
        return [table.file for table in found if table.file is not None]

    def series(self) -> dict[str, dict[str, str]]:
        """The tables of the model's time series, by the argument that each is."""
        model = self.tree["model"]
        return {name: value for name, value in model.items() if is_series(value)}

    def truth_path(self) -> Path | None:
        """The file of the truth, where a twin experiment left one."""
        if self.checked.twin is None:
            return None
        path = self.input_path(self.checked.twin.truth)
        return path if path.is_file() else None

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
    table, problems = validate(tree)
    return Case(path, tree, table, tuple(problems))
