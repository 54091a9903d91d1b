"""What an analysis was made with, inside its window: files may differ or go on after it."""

import hashlib
from collections.abc import Iterable

import equinox as eqx
import jax
import numpy as np

from assim.problem.departure import Problem
from assim.problem.forcing import Forcing
from assim.problem.model import AbstractDynamics
from assim.problem.window import Window

WINDOW = "window"  # what stands for the slot edges among the digests


def digests(model: AbstractDynamics, window: Window) -> dict[str, str]:
    """sha256 of the slot edges, and of each input of the model inside the window, by name."""
    edges = np.asarray(window.edges)
    inside = {name: _inside(forcing, edges) for name, forcing in _series(model).items()}
    return {WINDOW: _digest([edges]), **{name: _digest(part) for name, part in inside.items()}}


def _series(model: AbstractDynamics) -> dict[str, Forcing]:
    """The inputs of a model by the names of its fields, those of its parts as `part.name`."""
    leaves = jax.tree_util.tree_leaves_with_path(model, is_leaf=_is_input)
    named = {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}
    return {name: leaf for name, leaf in named.items() if isinstance(leaf, Forcing)}


def _is_input(node: object) -> bool:
    return isinstance(node, Forcing)


def problem_digest(problem: Problem) -> str:
    """sha256 of all numbers of a problem, of the model's inputs those inside the window."""
    parts = _numbers(problem, np.asarray(problem.window.edges))
    return _digest(parts)


def _numbers(problem: Problem, edges: np.ndarray) -> Iterable[np.ndarray]:
    for leaf in jax.tree.leaves(problem, is_leaf=_is_input):
        if isinstance(leaf, Forcing):
            yield from _inside(leaf, edges)
        elif eqx.is_array(leaf) and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            yield np.asarray(leaf)


def _inside(forcing: Forcing, edges: np.ndarray) -> list[np.ndarray]:
    """Times inside the window, and the values from its start to its end."""
    times, values = np.asarray(forcing.times), np.asarray(forcing.values)
    first, last = float(edges[0]), float(edges[-1])
    between = times[(times > first) & (times < last)]
    if forcing.interpolation == "steps":
        begin = max(int(np.searchsorted(times, first, "right")) - 1, 0)
        end = max(int(np.searchsorted(times, last, "left")), begin + 1)
        return [between, values[begin:end]]
    at = np.concatenate([[first], between, [last]])
    columns = values.reshape(len(values), -1).T
    return [between, np.stack([np.interp(at, times, column) for column in columns])]


def _digest(parts: Iterable[np.ndarray]) -> str:
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(f"{part.dtype.str}{part.shape}".encode())
        hashed.update(np.ascontiguousarray(part).tobytes())
    return hashed.hexdigest()
