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
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "bool": "true or false",
    "list": "a list",
    "dict": "a table",
    "date": "a date",
    "datetime": "a date",
}
_BOUNDS = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "finite",
    "too_short": "of {min_length} entry or more",
    "too_long": "of at most {max_length} entries",
    "literal_error": "{expected}",
}


def in_our_words(
    error: ValidationError, whole: type[BaseModel], tree: dict[str, Any]
) -> dict[str, str]:
    """What is wrong, as pydantic tells it, by the dotted path of the key as it was typed."""
    faults: dict[str, str] = {}
    either: dict[str, tuple[list[str], Any]] = {}  # what keys must be, and what they are
    for problem in error.errors(include_url=False):
        location = _typed(problem["loc"], tree)
        path = ".".join(str(part) for part in location if not _is_member(part))
        asked = _asked(problem, location)
        if asked is None:
            faults.setdefault(path, _words(problem, location, whole))
        else:
            several, _ = either.setdefault(path, ([], problem["input"]))
            several += [asked] * (asked not in several)
    faults = {path: _must(*either[path]) for path in either} | faults
    inside = {path.rpartition(".")[0] for path in faults}  # of one of several types, which it is
    return {path: what for path, what in faults.items() if path not in inside & either.keys()}


def _must(several: list[str], given: Any) -> str:
    """One sentence of what a value, or each type of a union, may be."""
    if _TYPES["float"] in several:
        several = [what for what in several if what != _TYPES["int"]]
    return f"must be {', '.join([*several[:-2], ' or '.join(several[-2:])])}, got {_came(given)}"


def _came(given: Any) -> str:
    """A value for people, a date as TOML has it."""
    return given.isoformat() if hasattr(given, "isoformat") else repr(given)


def _asked(problem: Any, location: tuple) -> str | None:
    """What a value must be; None where something else is wrong."""
    kind = problem["type"]
    if location[:1] == ("posterior",) and kind in _OF_POSTERIOR:
        return None
    if "select" in location[:-1] and kind.partition("_")[0] in _TYPES:
        return 'one label, "mean" or "all"'
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**problem.get("ctx", {}))
    return _TYPES.get(kind.partition("_")[0])


def _typed(location: tuple, tree: dict[str, Any]) -> tuple:
    """The location as it was typed: one posterior stands in no list."""
    if location[:1] == ("posterior",) and not isinstance(tree.get("posterior"), list):
        return (*location[:1], *location[2:])
    return location


def _words(problem: Any, location: tuple, whole: type[BaseModel]) -> str:
    kind, given = problem["type"], problem["input"]
    if kind == "missing":
        return f"{'the table' if len(location) == 1 else 'this key'} is missing"
    if kind == "extra_forbidden":
        return f"no such key; {nearest(str(location[-1]), _keys(location[:-1], whole))}"
    if location[:1] == ("posterior",) and kind in _OF_POSTERIOR:
        return f"{_OF_POSTERIOR[kind]}, got {_came(given)}"
    if kind == "model_type":
        named = isinstance(given, str) and "use" in _keys(location, whole)
        form = f', as {{ use = "{given}" }}' if named else ""
        return f"must be a table{form}, got {_came(given)}"
    return str(problem["msg"]).removeprefix("Value error, ")


def _is_member(part: str | int) -> bool:
    """Whether a part of a location is what pydantic calls a member of a union, or a key."""
    return isinstance(part, str) and (
        part in {"[key]", "float", "int", "str", "date", "datetime"}
        or part.startswith(("list[", "dict[", "literal[", "union[", "constrained-"))
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
