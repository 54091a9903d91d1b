"""From the Laplace posterior to a lattice of ψ that holds its density, with all minima of z."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import program
from assim.solve.posterior.ensemble import CHAIN
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.nested.lattice import (
    APART,
    SAME,
    Frame,
    Node,
    Nodes,
    Solver,
    Spent,
    Summed,
    distance,
    grown,
    node_of,
    stretched,
    summed,
)
from assim.solve.posterior.nested.marginal import Marginal, Nesting
from assim.solve.posterior.nested.members import PAIRS, Drawn, Known, Placed, drawn, errors, placed
from assim.solve.posterior.nested.pattern import dense_pattern, pattern_of
from assim.solve.posterior.nested.pooling import known_of_both, parted, pooled
from assim.solve.together import affordable, by_columns
from assim.statistics.accuracy import more_draws

Array = jax.Array
Starts = Callable[[np.ndarray, int], np.ndarray]  # z to start from at ψ (N, p), so many of each

PLACES = 2  # at which the pattern of H is seen
WIDEST = 2.0  # standard deviation of ψ, in prior ones, from which a frame is made, at most
NARROWEST = 1e-4  # at least
HALVINGS = 6  # of the lattice, at most
SOUGHT = 3  # rounds in which other minima of z are sought
CHECKED = 8  # nodes at which they are
COUNTS = 1e-3  # share of a node's density from which a minimum counts


class Explored(NamedTuple):
    """A lattice that holds the density of ψ.

    Args:
        solver: of z at its nodes.
        frame: where these lie.
        lattice: the nodes.
        apart: of the two half lattices along any axis, in standard deviations.
        minima: of z given ψ that count.
        unsettled: whether the last search still found another one.
        truncated: whether there would be more nodes than may be.
    """

    solver: Solver
    frame: Frame
    lattice: Summed
    apart: float
    minima: int
    unsettled: bool
    truncated: bool

    def members(self, number: int, rng: np.random.Generator) -> tuple[Drawn, Known]:
        """With others, up to three times as many, where too few were drawn at first."""
        there, first = self._drawn(number, rng)
        known = self._known(first, there)
        if not first.corrected or known.errors.excess() <= 1:
            return first, known
        n = int(self.solver.marginal.problem.size())
        others = affordable(more_draws(number, known.errors), n) - number
        if others <= 0:
            return first, known
        elsewhere, second = self._drawn(others, rng)
        whole = pooled(first, second)
        one, other = parted(whole, first, second)
        share = len(first.chi) / len(whole.chi)
        both = known_of_both(self._known(one, there), self._known(other, elsewhere), share)
        return whole, both

    def _drawn(self, number: int, rng: np.random.Generator) -> tuple[Placed, Drawn]:
        there = placed(self.lattice, self.frame, max(number // (2 * PAIRS), 1), rng)
        return there, drawn(self.solver, there, rng)

    def _known(self, members: Drawn, there: Placed) -> Known:
        return errors(members, there, self.lattice, self.solver.marginal)

    def spent(self) -> Spent:
        """By the solver."""
        return self.solver.spent

    def log_evidence(self) -> float:
        """0: the density is in the shares of cells."""
        return 0.0

    def lost(self) -> float:
        """Share of weight that nodes which were not found may have."""
        return self.lattice.lost

    def certificates(self) -> dict[str, float]:
        """Numbers of the lattice, by name."""
        return {
            "halves_apart": self.apart,
            "minima": float(self.minima),
            "nodes": float(len(self.lattice.keys)),
        }

    def figures(self) -> str:
        """How many nodes, in words."""
        return f"{len(self.lattice.keys)} nodes"

    def holds(self) -> str:
        """Subject and verb of the verdict."""
        return "the lattice holds"

    def doubt(self) -> str:
        """Whether the lattice is cut, coarse or of too few minima, with the way out."""
        if self.truncated:
            return (
                f"The lattice was not finished, as it has too many nodes: raise `most`, or {CHAIN}."
            )
        if not self.apart <= APART:
            return (
                f"The two halves of the lattice differ by {self.apart:.2g} standard deviations, "
                f"more than {APART}: give a smaller `step`."
            )
        if self.unsettled:
            return (
                "First guesses still lead to trajectories that no node has: there are many minima "
                f"given the same parameters and scales; raise `starts`, or {CHAIN}."
            )
        return ""


def marginal_of(form: Nesting, chi: Array) -> tuple[Marginal, Spent]:
    """The marginal of ψ whose minima are sought from the z of χ, with the pattern of its H.

    The pattern is that of H at `PLACES` places near χ, which takes n products each.
    """
    inside = form.of_trajectory()
    psi_at, z_at = np.flatnonzero(~inside), np.flatnonzero(inside)
    blank = Marginal(form, jnp.asarray(psi_at), jnp.asarray(z_at), dense_pattern(0), chi[z_at])
    away = 0.3 * jax.random.normal(jax.random.key(0), (PLACES, chi.size), chi.dtype)
    matrices = _hessians(blank, chi[None] + away)
    marginal = eqx.tree_at(lambda m: m.pattern, blank, pattern_of(np.asarray(matrices)))
    return marginal, Spent(PLACES * (1 + z_at.size))


@program
def _hessians(marginal: Marginal, chi: Array) -> Array:
    def whole(chi: Array) -> Array:
        psi, z = chi[marginal.psi_at], chi[marginal.z_at]
        push = jax.linearize(lambda z: marginal.slope(psi, z), z)[1]
        return by_columns(push, jnp.eye(z.size))

    hessians: Array = jax.lax.map(whole, chi)
    return hessians


def framed(gaussian: Gaussian, psi_at: np.ndarray) -> Frame:
    """The principal axes of the Laplace block of ψ, each of a standard deviation."""
    unit = np.eye(gaussian.chi.shape[0])[psi_at]
    block = np.asarray(jax.vmap(gaussian.covariance)(jnp.asarray(unit)))[:, psi_at]
    values, vectors = np.linalg.eigh((block + block.T) / 2)
    stdev = np.clip(np.sqrt(np.maximum(values, 0.0)), NARROWEST, WIDEST)
    return Frame(np.asarray(gaussian.chi)[psi_at], vectors * stdev)


def explored(
    solver: Solver, frame: Frame, starts: Starts, number: int, drop: float, most: int
) -> Explored | None:
    """The lattice from its centre outwards; None where z* is found at no start.

    It is halved along an axis whose two half lattices differ, and every minimum of z that is met
    from first guesses of their own has nodes of its own.
    """
    p = frame.centre.size
    at_centre = minima_at(solver, frame.centre, starts, number, drop)
    nodes: Nodes = {(which, *[0] * p): node for which, node in enumerate(at_centre)}
    if not nodes:
        return None
    unsettled = False
    for turn in range(SOUGHT):
        nodes = grown(solver, frame, nodes, drop, most)
        frame, nodes = _refined(solver, frame, nodes, drop, most)
        others = _others(solver, frame, nodes, starts, drop)
        unsettled = bool(others) and turn == SOUGHT - 1
        if not others or len(nodes) > most:
            break
        nodes |= others
    lattice = summed(frame, nodes, drop)
    apart, minima = float(np.max(lattice.halves())), len({key[0] for key in lattice.keys})
    return Explored(solver, frame, lattice, apart, minima, unsettled, len(nodes) > most)


def minima_at(
    solver: Solver, psi: np.ndarray, starts: Starts, number: int, drop: float
) -> list[Node]:
    """The distinct minima of z given ψ that so many first guesses lead to, the highest first."""
    guesses = starts(psi[None], number)
    met = solved_at(solver, np.repeat(psi[None], len(guesses), axis=0), guesses)
    met.sort(key=lambda node: -node.log_density)
    distinct: list[Node] = []
    for node in met:
        fine = np.isfinite(node.log_density) and node.log_density > met[0].log_density - drop
        if fine and is_other(node, distinct):
            distinct.append(node)
    return distinct


def is_other(node: Node, known: Sequence[Node]) -> bool:
    """Whether it is none of the minima that are known at the same ψ."""
    return all(distance(other, node.z) > SAME for other in known)


def counts(node: Node, known: Sequence[Node]) -> bool:
    """Whether a minimum has a share of the density of its ψ that counts, and is none of those."""
    top = max(other.log_density for other in known)
    return bool(node.log_density > top + np.log(COUNTS)) and is_other(node, known)


def solved_at(solver: Solver, psi: np.ndarray, starts: np.ndarray) -> list[Node]:
    """z given every row of ψ, from every row of z."""
    nodes = []
    for part, solved in solver(psi, starts):
        nodes += [node_of(solved, row) for row in range(part.stop - part.start)]
    return nodes


def _refined(
    solver: Solver, frame: Frame, nodes: Nodes, drop: float, most: int
) -> tuple[Frame, Nodes]:
    """With half the step along every axis where the two half lattices differ."""
    for _ in range(HALVINGS):
        apart = summed(frame, nodes, drop).halves()
        axes = np.flatnonzero(apart > APART)
        if not axes.size or len(nodes) > most:
            break
        for axis in axes:
            frame, nodes = frame.halved(int(axis)), stretched(nodes, int(axis))
        nodes = grown(solver, frame, nodes, drop, most)
    return frame, nodes


def _others(solver: Solver, frame: Frame, nodes: Nodes, starts: Starts, drop: float) -> Nodes:
    """Minima of z that no node has, from other first guesses at some nodes of weight."""
    lattice = summed(frame, nodes, drop)
    rows = of_weight(lattice.weights)
    psi = lattice.psi[rows]
    met = solved_at(solver, psi, starts(psi, 1))
    fresh: Nodes = {}
    last = 1 + max(key[0] for key in nodes)
    for row, node in zip(rows, met, strict=True):
        place = lattice.keys[row][1:]
        known = [n for key, n in nodes.items() if key[1:] == place and np.isfinite(n.log_density)]
        if counts(node, known):
            fresh[(last, *place)] = node
            break  # its lattice may hold the others
    return fresh


def of_weight(weights: np.ndarray) -> np.ndarray:
    """Rows at which other minima of z are sought, so many as their weights ask for."""
    levels = (np.arange(CHECKED) + 0.5) / CHECKED
    return np.minimum(np.searchsorted(np.cumsum(weights), levels), weights.size - 1)
