"""What is wrong with the tables of a case, in our words and by the keys as they were typed."""

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from assim.arguments import nearest

_OF_POSTERIOR = {
    "model_type": 'must be a table, the name of a method such as "SVGD", or a list of both',
    "too_short": 'must name one method at least, or be "none"',
    "string_pattern_mismatch": "must be of small letters, digits and _, and begin with a letter",
}


def in_our_words(
    error: ValidationError, whole: type[BaseModel], tree: dict[str, Any]
) -> dict[str, str]:
    """What is wrong, as pydantic tells it, by the dotted path of the key as it was typed."""
    faults: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        location = _typed(problem["loc"], tree)
        path = ".".join(str(part) for part in location if not _is_member(part))
        what = _words(problem["type"], problem["msg"], problem["input"], location, whole)
        faults.setdefault(path, what)  # a union reports every member: keep the first
    return faults


def _typed(location: tuple, tree: dict[str, Any]) -> tuple:
    """The location as it was typed: one posterior stands in no list."""
    if location[:1] == ("posterior",) and not isinstance(tree.get("posterior"), list):
        return (*location[:1], *location[2:])
    return location


def _words(kind: str, message: str, given: Any, location: tuple, whole: type[BaseModel]) -> str:
    if kind == "missing":
        return f"{'the table' if len(location) == 1 else 'this key'} is missing"
    if kind == "extra_forbidden":
        return f"no such key; {nearest(str(location[-1]), _keys(location[:-1], whole))}"
    if location[:1] == ("posterior",) and kind in _OF_POSTERIOR:
        return f"{_OF_POSTERIOR[kind]}, got {given!r}"
    if kind == "model_type":
        named = isinstance(given, str) and "use" in _keys(location, whole)
        form = f', as {{ use = "{given}" }}' if named else ""
        return f"must be a table{form}, got {given!r}"
    words = message.removeprefix("Value error, ").removeprefix("Input ")
    return words if kind == "value_error" else f"{words}, got {given!r}"


def _is_member(part: str | int) -> bool:
    """Whether a part of a location is what pydantic calls a member of a union."""
    return isinstance(part, str) and (
        part in {"float", "int", "str", "date", "datetime"}
        or part.startswith(("list[", "dict[", "literal[", "union["))
    )


def _keys(location: tuple, whole: type[BaseModel]) -> list[str]:
    """The keys that the table at a location may have."""
    here: Any = whole
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
