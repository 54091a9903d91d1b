"""TOML of a case: reading, overriding from the command line, and writing the resolved text."""

import datetime
import math
import tomllib
from typing import Any

from assim.case.failure import Fault
from assim.case.names import nearest


def parse_value(text: str) -> Any:
    """A value as TOML reads it, or the text itself where TOML cannot."""
    try:
        tree = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return tree["value"] if set(tree) == {"value"} else text


def override(tree: dict[str, Any], assignment: str) -> Fault | None:
    """Set `a.b.0.c=value` in the tree; what is wrong with it, if anything is."""
    path, equals, text = assignment.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        return Fault("--set", f"write a.b=value, not {assignment!r}")
    node: Any = tree
    for depth, key in enumerate(keys[:-1]):
        node = _descend(node, key)
        if not isinstance(node, dict | list):
            return Fault("--set", f"{path.strip()}: {_no_table(node, keys, depth, text.strip())}")
    return _assign(node, keys[-1], parse_value(text.strip()), path.strip())


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
    lines = [f"{_key(key)} = {_value(value)}" for key, value in tree.items() if key not in nested]
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


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
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
