"""What a constructor or function asks of its arguments, read from its annotations."""

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from assim.arguments import Size

_SIMPLE = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_SIZE = typing.get_args(Size)[1]
_LISTS = (list, tuple, set, frozenset, Sequence)
_ARRAY = "a number or a list of numbers"


def hints(owner: Any) -> dict[str, Any]:
    """Types of the arguments; none where annotations cannot be evaluated."""
    try:
        own = owner.__init__ if inspect.isclass(owner) else owner
        return typing.get_type_hints(own, include_extras=True)
    except Exception:  # annotations that cannot be evaluated say nothing
        return {}


def options(hint: Any) -> tuple[Any, ...]:
    """The types of a union without None, or the type itself; none where it says nothing."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(kind for part in typing.get_args(hint) for kind in options(part))
    if typing.get_origin(hint) is typing.Annotated:
        return options(typing.get_args(hint)[0])
    return () if hint in (None, type(None), Any, object) else (hint,)


def is_size(hint: Any) -> bool:
    """Whether a type is declared to say how many of something arrays have, as by `Size`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(is_size, typing.get_args(hint)))
    return typing.get_origin(hint) is typing.Annotated and _SIZE in typing.get_args(hint)[1:]


def classes(hint: Any) -> tuple[type, ...]:
    """The classes of one's own kind that an argument may be of, or be a list or table of."""
    held = []
    for kind in options(hint):
        inside = typing.get_args(kind)
        if inspect.isclass(kind) and not inside and kind not in _SIMPLE and not _is_array(kind):
            held.append(kind)
        elif inspect.isclass(typing.get_origin(kind)) and inside:
            held += classes(inside[-1] if inside[-1] is not ... else inside[0])
    return tuple(held)


def admits(hint: Any, value: Any) -> bool:
    """Whether a value of a case file is of the type; where the type says nothing it is."""
    if not isinstance(value, bool | int | float | str | list | dict):
        return not _is_date(value) or not any(_is_array(k) or k in _SIMPLE for k in options(hint))
    return not options(hint) or any(_admits(kind, value) for kind in options(hint))


def _admits(kind: Any, value: Any) -> bool:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SIMPLE:
        return _is(value, kind)
    if origin is Literal:
        return value in inside
    if _is_array(origin or kind):
        return _are_numbers(value)
    if origin in _LISTS and inside:
        return isinstance(value, list) and all(admits(inside[0], item) for item in value)
    if inspect.isclass(origin) and issubclass(origin, Mapping) and inside:
        return isinstance(value, dict) and ("use" in value or _all(inside[-1], value.values()))
    return True


def _all(hint: Any, values: Any) -> bool:
    return all(admits(hint, value) for value in values)


def _is_date(value: Any) -> bool:
    """Whether a value is one that TOML has besides those of every language: a date or a time."""
    return type(value).__module__ == "datetime"


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _is_array(kind: Any) -> bool:
    """Whether a type is that of arrays, or of their numbers, of NumPy, JAX or jaxtyping."""
    room = str(getattr(kind, "__module__", "")).partition(".")[0]
    return room in ("jax", "jaxlib", "jaxtyping", "numpy") or kind is complex


def _are_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_are_numbers(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def words(hint: Any) -> str:
    """The type for people."""
    several = dict.fromkeys(_words(kind) for kind in options(hint))
    if _ARRAY in several:
        several.pop(_SIMPLE[float], None)
    return " or ".join(several)


def _words(kind: Any) -> str:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if origin is Literal:
        return f"one of {', '.join(repr(word) for word in inside)}"
    if _is_array(origin or kind):
        return _ARRAY
    if origin in _LISTS and inside:
        return f"a list, each {words(inside[0])}"
    if inspect.isclass(origin) and issubclass(origin, Mapping) and inside:
        return f"a table, each {words(inside[-1])}"
    return str(getattr(kind, "__name__", kind))
