"""The tables of a case checked, and what is wrong with them in our words."""

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from assim.run.failure import Fault, nearest
from assim.run.schema import CaseTable

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
