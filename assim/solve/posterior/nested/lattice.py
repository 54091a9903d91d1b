"""A lattice of ψ, grown from nodes that are solved, on which its density is summed."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import program
from assim.solve.posterior.nested.marginal import Conditional, Marginal, conditional

Array = jax.Array
Key = tuple[int, ...]  # of a node: which minimum of z, then its place on the lattice

BATCH, HELD = 32, 4_000_000  # nodes that one program solves, and numbers that their H may hold
TRIES = 3  # neighbours from which a node is solved before it counts as failed
APART = 0.03  # of a standard deviation, by which the two halves of a lattice may differ
SAME = 0.1  # distance in standard deviations below which two minima are one


class Spent(NamedTuple):
    """Gradients (a product with H counts as one) and evaluations of φ."""

    gradients: int = 0
    evaluations: int = 0


class Solver:
    """Conditional minima in batches of one shape, so that one program serves all."""

    def __init__(
        self,
        marginal: Marginal,
        spent: Spent = Spent(),  # noqa: B008 (immutable)
        mismatch: float = 0.0,
    ) -> None:
        self.marginal = marginal
        self.spent = spent
        self.mismatch = mismatch
        n = int(marginal.z_at.size)
        self.rows = int(np.clip(HELD // max(n * n, 1), 1, BATCH))

    def __call__(self, psi: np.ndarray, starts: np.ndarray) -> Iterator[tuple[slice, Conditional]]:
        """z given every row of ψ (N, p), from z (N, n): slices of the rows with what is found."""
        for at in range(0, len(psi), self.rows):
            part = slice(at, min(at + self.rows, len(psi)))
            extra = ((0, self.rows - (part.stop - at)), (0, 0))
            psi_rows, z_rows = (np.pad(v[part], extra, mode="edge") for v in (psi, starts))
            in_use = np.arange(self.rows) < part.stop - at
            rows = map(jnp.asarray, (psi_rows, z_rows, in_use))
            solved = jax.tree.map(np.asarray, _solved(self.marginal, tuple(rows)))
            conditionals = jax.tree.map(lambda v, size=part.stop - at: v[:size], solved)
            self._count(conditionals)
            yield part, conditionals

    def _count(self, solved: Conditional) -> None:
        products = self.marginal.pattern.products()
        gradients = np.sum(solved.curvatures) * (1 + products) + np.sum(solved.replaced) * products
        self.spent = Spent(
            self.spent.gradients + int(gradients),
            self.spent.evaluations + int(np.sum(solved.trials)),
        )
        good = np.isfinite(solved.log_density)
        self.mismatch = float(np.max(solved.mismatch[good], initial=self.mismatch))


@program
def _solved(marginal: Marginal, rows: tuple[Array, ...]) -> Conditional:
    solve = lambda inputs: conditional(marginal, *inputs)  # noqa: E731
    solved: Conditional = jax.lax.map(solve, rows)
    return solved


class Frame(NamedTuple):
    """ψ of a node k is centre + axes k."""

    centre: np.ndarray  # (p,)
    axes: np.ndarray  # (p, p), a step along each as a column

    def at(self, places: np.ndarray) -> np.ndarray:
        """ψ of places (…, p)."""
        return self.centre + places @ self.axes.T

    def stretched(self, step: float) -> "Frame":
        """With steps so many times as long."""
        return Frame(self.centre, self.axes * step)

    def halved(self, axis: int) -> "Frame":
        """With half the step along one axis."""
        axes = self.axes.copy()
        axes[:, axis] /= 2
        return Frame(self.centre, axes)

    def log_cell(self) -> float:
        """Log of a cell's volume over (2π)^(p/2)."""
        p = self.centre.size
        return float(np.linalg.slogdet(self.axes)[1] - p / 2 * np.log(2 * np.pi))


class Node(NamedTuple):
    """A node that was solved; log density -∞ where it was not found."""

    z: np.ndarray
    variance: np.ndarray  # of z given ψ
    log_density: float
    tried: tuple[Key, ...] = ()  # nodes from whose z it was sought


def node_of(solved: Conditional, row: int) -> Node:
    """One row of what a program found."""
    z, variance = np.asarray(solved.z)[row], np.asarray(solved.variance)[row]
    return Node(z, variance, float(solved.log_density[row]))


Nodes = dict[Key, Node]
Wave = dict[Key, tuple[Key, np.ndarray]]  # nodes to solve, with a neighbour and z to start from


def grown(solver: Solver, frame: Frame, nodes: Nodes, drop: float, most: int) -> Nodes:
    """Nodes with all that follow from them, outwards until the density has dropped.

    Args:
        solver: of z given ψ.
        frame: of the lattice.
        nodes: that are there.
        drop: nats below the highest node at which growth stops.
        most: nodes, after which growth stops too.
    """
    nodes = dict(nodes)
    wave = _next(nodes, drop)
    while wave and len(nodes) <= most:
        keys = list(wave)
        psi = frame.at(np.array([key[1:] for key in keys], dtype=float))
        starts = np.stack([wave[key][1] for key in keys])
        for part, solved in solver(psi, starts):
            for row, key in enumerate(keys[part]):
                before = nodes[key].tried if key in nodes else ()
                nodes[key] = node_of(solved, row)._replace(tried=(*before, wave[key][0]))
        wave = _next(nodes, drop)
    return nodes


def _next(nodes: Nodes, drop: float) -> Wave:
    """Neighbours of high nodes that are not solved, each from the highest that it has."""
    top = max(node.log_density for node in nodes.values())
    wave: Wave = {}
    if not np.isfinite(top):
        return wave
    high = [(n.log_density, key) for key, n in nodes.items() if n.log_density >= top - drop]
    for _, key in sorted(high, reverse=True):
        for near in neighbours(key):
            if _open(nodes.get(near), key):
                wave.setdefault(near, (key, nodes[key].z))
    return wave


def _open(node: Node | None, near: Key) -> bool:
    """Whether a node is still to be solved, or to be tried again from another neighbour."""
    if node is None:
        return True
    missing = not np.isfinite(node.log_density) and len(node.tried) < TRIES
    return missing and near not in node.tried


def neighbours(key: Key) -> Iterator[Key]:
    """Of a node, those next to it along every axis."""
    for axis in range(1, len(key)):
        for side in (-1, 1):
            yield (*key[:axis], key[axis] + side, *key[axis + 1 :])


def stretched(nodes: Nodes, axis: int) -> Nodes:
    """Nodes on a lattice with half the step along one axis."""
    double = lambda key: (*key[: axis + 1], 2 * key[axis + 1], *key[axis + 2 :])  # noqa: E731
    return {
        double(key): node._replace(tried=tuple(map(double, node.tried)))
        for key, node in nodes.items()
    }


class Summed(NamedTuple):
    """Nodes as arrays, those of no weight and second copies of one minimum left out."""

    keys: list[Key]
    psi: np.ndarray  # (N, p)
    z: np.ndarray  # (N, n)
    variance: np.ndarray  # (N, n)
    log_density: np.ndarray  # (N,)
    weights: np.ndarray  # (N,), of sum one
    lost: float  # share of weight that nodes which were not found may have

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """ψ and z* of every node, and their standard deviations given all."""
        values = np.concatenate([self.psi, self.z], axis=1)
        within = np.concatenate([np.zeros_like(self.psi), self.variance], axis=1)
        mean = self.weights @ values
        return values, np.sqrt(self.weights @ ((values - mean) ** 2 + within))

    def halves(self) -> np.ndarray:
        """For each axis by how much the two half lattices differ, at most, shape (p,).

        In means, in standard deviations; and in these, relatively. A lattice of half the cells
        errs by far more than the whole one, whose sum converges exponentially.
        """
        values, stdev = self.values()
        seen = stdev > 0
        values, stdev = values[:, seen], stdev[seen]
        within = np.concatenate([np.zeros_like(self.psi), self.variance], axis=1)[:, seen]
        places, apart = np.array(self.keys)[:, 1:], []
        for axis in range(places.shape[1]):
            sides = [places[:, axis] % 2 == side for side in (0, 1)]
            if min(self.weights[side].sum() for side in sides) <= 0:
                apart.append(np.inf)
                continue
            moments = [_moments(values[side], within[side], self.weights[side]) for side in sides]
            (first, narrow), (second, wide) = moments
            shift = np.max(np.abs(first - second) / stdev)
            apart.append(float(max(shift, np.max(np.abs(narrow - wide) / stdev))))
        return np.array(apart)


def _moments(
    values: np.ndarray, within: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    weights = weights / weights.sum()
    mean = weights @ values
    return mean, np.sqrt(weights @ ((values - mean) ** 2 + within))


def summed(frame: Frame, nodes: Nodes, drop: float) -> Summed:
    """The nodes within `drop` nats and some more of the highest, with their weights."""
    distinct = _distinct(nodes)
    top = max(nodes[key].log_density for key in distinct)
    keys = [key for key in sorted(distinct) if nodes[key].log_density > top - 2 * drop]
    density = np.array([nodes[key].log_density for key in keys])
    weights = np.exp(density - top)
    lost = sum(
        max(
            (np.exp(nodes[near].log_density - top) for near in neighbours(key) if near in nodes),
            default=0.0,
        )
        for key, node in nodes.items()
        if not np.isfinite(node.log_density)
    )
    z, variance = (np.stack([nodes[key][part] for key in keys]) for part in (0, 1))
    psi = frame.at(np.array([key[1:] for key in keys], dtype=float))
    total = weights.sum()
    return Summed(keys, psi, z, variance, density, weights / total, float(lost / (lost + total)))


def _distinct(nodes: Nodes) -> list[Key]:
    """Keys of nodes that were found, without those whose minimum an earlier one has."""
    places: dict[Key, list[Key]] = {}
    for key in sorted(nodes):
        if not np.isfinite(nodes[key].log_density):
            continue
        others = places.setdefault(key[1:], [])
        if all(distance(nodes[key], nodes[other].z) > SAME for other in others):
            others.append(key)
    return [key for others in places.values() for key in others]


def distance(node: Node, z: np.ndarray) -> float:
    """How far z is from that of a node, in standard deviations of the entry that is farthest."""
    return float(np.max(np.abs(node.z - z) / np.sqrt(node.variance)))
