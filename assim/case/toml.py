"""TOML of a case: reading, overriding from the command line, and writing the resolved text."""

import datetime
import math
import re
import tomllib
from typing import Any

from assim.arguments import nearest
from assim.case.failure import Fault

MAX_DEPTH = 32  # tables and lists in one another
LARGEST = 2**53  # whole number up to which all are exact as floating-point numbers
LONGEST_NAME = 200  # dots in one name
LONGEST = 2**24  # bytes of a case file
_UNBOUNDED = ("lower", "upper")  # keys whose values may be infinite


def parse(text: str) -> dict[str, Any]:
    """The tree of a TOML text.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    names = re.split(r"[\n,=\[\]{}]", text.replace(" ", "").replace("\t", ""))
    if max(name.count(".") for name in names) > LONGEST_NAME:
        raise ValueError(_too_deep())  # TOML would take memory by the square of its length
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(_too_deep()) from None


def _too_deep() -> str:
    return f"tables and lists stand in one another more than {MAX_DEPTH} deep"


def value_faults(tree: dict[str, Any]) -> list[Fault]:
    """Values that no case has a use for, whatever the key: nested, numbers without bounds, NUL."""
    faults, left = [], [("", tree, 0)]
    while left:
        path, value, depth = left.pop()
        items: Any = ()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            what = _too_deep() if depth > MAX_DEPTH else None
        else:
            what = _wrong_value(value, path.rpartition(".")[2])
        if what is not None:
            faults.append(Fault(".".join(path.split(".")[:MAX_DEPTH]), what))
            continue
        left += [(f"{path}.{key}" if path else str(key), item, depth + 1) for key, item in items]
    return faults[::-1]


def _wrong_value(value: Any, key: str) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        if math.isinf(value) and key in _UNBOUNDED:
            return None
        return f"must be a finite number, got {value}"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"must be a number of at most 2^53 in size if it is whole, got {value:.3e}"
    if isinstance(value, str) and "\0" in value:
        return f"must be a text without the character NUL, got {value[:40]!r}"
    return None


def parse_value(text: str) -> Any:
    """A value as TOML reads it, or the text itself where TOML cannot."""
    try:
        tree = parse(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return tree["value"] if set(tree) == {"value"} else text


def listed_values(text: str) -> list[str] | None:
    """The values of `V1,V2,…` as they are typed, cut at commas outside of brackets and quotes.

    None where a value is empty, or a bracket or quote has no end.
    """
    values, depth, quote = [""], 0, ""
    for c in text:
        if quote or c in "\"'":
            quote = "" if c == quote else quote or c
        else:
            depth += (c in "[{") - (c in "]}")
        if c == "," and not quote and not depth:
            values.append("")
        else:
            values[-1] += c
    values = [value.strip() for value in values]
    return values if all(values) and not quote and not depth else None


def override(tree: dict[str, Any], assignment: str) -> Fault | None:
    """Set `a.b.0.c=value` in the tree; what is wrong with it, if anything is."""
    path, equals, text = assignment.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        return Fault("--set", f"write a.b=value, not {assignment!r}")
    if len(keys) > MAX_DEPTH:
        return Fault("--set", f"{path.strip()[:40]}...: {_too_deep()}")
    node: Any = tree
    for depth, key in enumerate(keys[:-1]):
        node = _descend(node, key)
        if not isinstance(node, dict | list):
            return Fault("--set", f"{path.strip()}: {_no_table(node, keys, depth, text.strip())}")
    try:
        value = parse_value(text.strip())
    except ValueError as error:
        return Fault("--set", f"{path.strip()}: {error}")
    return _assign(node, keys[-1], value, path.strip())


def _no_table(node: Any, keys: list[str], depth: int, text: str) -> str:
    at = ".".join(keys[: depth + 1])
    if not isinstance(node, str) or depth + 2 < len(keys):
        return f"{at} holds no table or list item to set"
    return (
        f"{at} is {node!r}, not a table; write --set '{at}={{use=\"{node}\", {keys[-1]}={text}}}'"
    )


def _descend(node: Any, key: str) -> Any:
    if isinstance(node, list):
        return node[int(key)] if key.isdigit() and int(key) < len(node) else None
    return node.setdefault(key, {})


def _assign(node: Any, key: str, value: Any, path: str) -> Fault | None:
    if isinstance(node, dict):
        node[key] = value
        return None
    if key.isdigit() and int(key) < len(node):
        node[int(key)] = value
        return None
    valid = [str(i) for i in range(len(node))]
    return Fault("--set", f"{path}: the list has no item {key!r}; {nearest(key, valid)}")


def uses(value: Any) -> list[str]:
    """The names under `use` in a tree, at whatever depth."""
    if isinstance(value, list):
        return [use for item in value for use in uses(item)]
    if not isinstance(value, dict):
        return []
    own = [value["use"]] if isinstance(value.get("use"), str) else []
    return own + [use for item in value.values() for use in uses(item)]


def write(tree: dict[str, Any]) -> str:
    """TOML text of a tree of tables: tomllib.loads(write(tree)) == tree."""
    return "\n".join(_table(tree, ())).strip() + "\n"


def _table(tree: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    """Values first, then sub-tables, then lists of tables."""
    nested = {key: value for key, value in tree.items() if _has_header(value, path)}
    lines = [f"{_key(key)} = {inline(value)}" for key, value in tree.items() if key not in nested]
    for key, value in nested.items():
        here = (*path, key)
        header = ".".join(_key(part) for part in here)
        if isinstance(value, dict):
            lines += ["", f"[{header}]", *_table(value, here)]
            continue
        for item in value:
            lines += ["", f"[[{header}]]", *_table(item, here)]
    return lines


def _has_header(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a value gets a header of its own: tables near the root, and lists of tables."""
    if isinstance(value, list):
        return not path and bool(value) and all(isinstance(item, dict) for item in value)
    return isinstance(value, dict) and (not path or path in {("background",), ("parameters",)})


def _key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if bare else quoted(key)


def inline(value: Any) -> str:
    """A value as TOML has it on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {inline(item)}" for key, item in value.items())
        return "{ " + inside + " }" if inside else "{}"
    return repr(value)


def quoted(text: str) -> str:
    """A TOML string."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"'
        + "".join(
            escapes.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text
        )
        + '"'
    )
