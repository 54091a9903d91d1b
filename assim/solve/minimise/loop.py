"""Driving a minimiser: the outer loop, several first guesses at once, and what came out."""

import abc
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import below, check_settings, not_negative
from assim.devices import MEMBER, along, each_member, program
from assim.solve.cost import DepartureFunction, gradient
from assim.solve.minimise.checkpoints import AbstractCheckpoint, AbstractCheckpoints, Kept
from assim.solve.minimise.status import Status
from assim.solve.sensitivity import Sampled

Array = jax.Array

SAME = 1e-2  # |χ - χ'| of one minimum, in prior standard deviations
LONG = 1.0  # seconds of an outer loop that is worth a checkpoint
SETTLED = -1.0  # tolerance that no |∇J| meets: a stage is left where its minimiser has settled


class AbstractMinimiser(eqx.Module):
    """A minimiser of J: one compiled `step` serves a Python loop and a `lax.while_loop`.

    Attributes:
        by_members: whether it goes without the model's derivatives; then `sampled` has those of
            member trajectories, for whatever else needs them.
    """

    by_members: ClassVar[bool] = False
    n_outer: eqx.AbstractVar[int]
    n_inner: eqx.AbstractVar[int]
    tolerance: eqx.AbstractVar[float]

    def __check_init__(self) -> None:
        check_settings(self, n_outer=1, n_inner=1)
        not_negative(self, "tolerance")
        below(1, self, "tolerance")

    @abc.abstractmethod
    def init(self, problem: DepartureFunction, chi: Array) -> Any:
        """State at the first guess χ.

        Whatever else it holds, it shows `chi`, `cost` and `gradient_norm` there, the
        `inner_iterations` (or evaluations of J) of the last step, and a `Status` as `status`.
        """

    @abc.abstractmethod
    def step(self, problem: DepartureFunction, state: Any) -> Any:
        """State after one outer loop; unchanged once its status is not RUNNING."""

    def exact_hessian(self, state: Any) -> Array | None:
        """∇²J at the χ of a state that has converged, as a matrix; None where it has not formed it.

        Laplace's approximation then need not form it again.
        """
        del state
        return None

    def sampled(self, problem: DepartureFunction, chi: Array, whole: bool = True) -> Sampled:
        """The problem with its derivatives at χ; from member trajectories for `by_members`."""
        del chi, whole
        none = jnp.zeros((), int)
        return Sampled(problem, none, none, jnp.zeros(()))


class Loop(NamedTuple):
    """One outer loop, as reported to people.

    Args:
        number: of the loop, from 1; 0 is the first guess where its cost is known.
        cost: J after the loop's step; of several first guesses the lowest.
        gradient_norm: |∇J| where the loop linearised, before its step.
        inner_iterations: inner iterations, or evaluations of J.
        seconds: wall time.
        running: first guesses that have not yet settled.
        stage: of a window that is lengthened, from 1; J of another stage is another function.
    """

    number: int
    cost: float
    gradient_norm: float
    inner_iterations: int
    seconds: float
    running: int = 0
    stage: int = 1


class Minimum(NamedTuple):
    """One of the distinct minima met, and how many first guesses led to it."""

    cost: float
    starts: int
    chi: Array


class End(NamedTuple):
    """Where one first guess ended: J there, and how."""

    cost: float
    status: Status


@dataclass(frozen=True)
class Solution:
    """Outcome of a minimisation.

    Args:
        chi: χ at the lowest cost found, shape (n,).
        cost: J there.
        gradient_norm: |∇J| there; as ∇²J ≥ 1 for a linear problem, it bounds the distance to
            the minimum in prior standard deviations.
        status: how it ended.
        loops: history of the first guess that led there.
        minima: distinct minima met by converged first guesses: that at `chi`, if it is one, and
            the others, lowest first.
        ends: where each first guess ended, in their order, those that never settled included.
        state: the minimiser's last state at χ.
    """

    chi: Array
    cost: float
    gradient_norm: float
    status: Status
    loops: tuple[Loop, ...]
    minima: tuple[Minimum, ...]
    ends: tuple[End, ...]
    state: Any

    @property
    def starts(self) -> int:
        """Number of first guesses."""
        return len(self.ends)

    @property
    def failed_starts(self) -> int:
        """Those at which J is not finite."""
        return sum(not np.isfinite(end.cost) for end in self.ends)


Progress = Callable[[Loop], None]


def minimise(
    problem: DepartureFunction,
    minimiser: AbstractMinimiser,
    first_guesses: Array,
    progress: Progress | None = None,
) -> Solution:
    """Minimise J from one or several first guesses, all advanced together.

    The outer loop runs in Python, so that it can be watched and interrupted; its step is
    compiled once for every problem of the same structure.

    Args:
        problem: the departure function.
        minimiser: the method.
        first_guesses: χ, shape (n,) or (starts, n).
        progress: called after every outer loop.
    """
    return minimise_quasi_static([problem], minimiser, first_guesses, progress)


class Leave(NamedTuple):
    """When to leave a stage that has not settled.

    Where J is near quadratic, |∇J| bounds the distance to its minimum in prior standard deviations.
    """

    n_outer: int | Array = 10  # outer loops after which to go on, at most those of the minimiser
    tolerance: float | Array = 0.1  # |∇J| of every first guess at which to go on


def minimise_quasi_static(
    stages: Sequence[DepartureFunction],
    minimiser: AbstractMinimiser,
    first_guesses: Array,
    progress: Progress | None = None,
    early: Leave = Leave(),  # noqa: B008 (an immutable record of settings)
    checkpoints: AbstractCheckpoints | None = None,
) -> Solution:
    """Minimise a sequence of J, each from the last one's minimum; the solution is of the last.

    The minimum of a chaotic window lies in a valley that narrows as the window grows, among others
    that are not it. Started from the minimum of a slightly shorter window the search stays in the
    right one (Pires, Vautard & Talagrand 1996, Tellus A 48, 96-121).

    Args:
        stages: departure functions of one structure, as from `Problem.lengthened`: what is
            compiled for one serves all.
        minimiser: the method.
        first_guesses: χ, shape (n,) or (starts, n); each goes through all stages.
        progress: called after every outer loop, which knows its stage.
        early: when to leave all stages but the last.
        checkpoints: where loops that take long are kept; it goes on from the last one there.

    Raises:
        ValueError: no stages, or stages of several structures.
    """
    leaves = when_to_leave(stages, minimiser, early)
    checkpoint = None if checkpoints is None else checkpoints.begin()
    states = _init(stages[0], minimiser, jnp.reshape(first_guesses, (-1, first_guesses.shape[-1])))
    reached, states, history = _reached(checkpoint, states)
    for stage in range(reached, len(stages) + 1):
        problem, leave = stages[stage - 1], leaves[stage - 1]
        if stage > reached:
            states = _init(problem, minimiser, states.chi)
            history.append(_row(states, 0.0, stage))
        done = sum(row[0].stage == stage for row in history) - 1
        for _ in range(done, int(leave.n_outer)):
            if not np.any(unsettled(states, leave.tolerance)):
                break
            begin = time.perf_counter()
            states = _step(problem, minimiser, states)
            jax.block_until_ready(states.cost)
            history.append(_row(states, time.perf_counter() - begin, stage))
            _tell(states, history, checkpoint, progress)
    solution = _solution(states, history)
    if solution.status is Status.OUT_OF_LOOPS:  # the last gradient is that before the last step
        norm = float(np.linalg.norm(_gradient(problem, minimiser, solution.chi)))
        solution = dataclasses.replace(solution, gradient_norm=norm)
    return solution


def _reached(
    checkpoint: AbstractCheckpoint | None, states: Any
) -> tuple[int, Any, list[list[Loop]]]:
    """Stage, states and history of what was kept; those of the first guesses where nothing was."""
    kept = None if checkpoint is None else checkpoint.last()
    known = None if kept is None else kept.states(states)
    if kept is None or known is None:
        return 1, states, [_row(states, 0.0, 1)]
    whole = {"number", "inner_iterations", "running", "stage"}
    named = lambda row: zip(Loop._fields, row, strict=True)  # noqa: E731
    loop = lambda row: Loop(**{n: int(v) if n in whole else v for n, v in named(row)})  # noqa: E731
    return kept.stage, known, [[loop(row) for row in rows] for rows in kept.history.tolist()]


def _tell(
    states: Any,
    history: list[list[Loop]],
    checkpoint: AbstractCheckpoint | None,
    progress: Progress | None,
) -> None:
    """Keep a loop that took long, and report the lowest J of it."""
    row = history[-1]
    some_finite = any(np.isfinite(loop.cost) for loop in row)
    if checkpoint is not None and row[0].seconds > LONG and some_finite:
        checkpoint.keep(Kept.of(row[0].stage, states, history))
    if progress is not None:
        lowest = int(np.argmax(among_lowest(np.asarray([loop.cost for loop in row]))))
        progress(row[lowest]._replace(number=len(history) - row[0].stage))


def when_to_leave(
    stages: Sequence[DepartureFunction], minimiser: AbstractMinimiser, early: Leave
) -> list[Leave]:
    """When to leave each of several stages of one structure, the last where it has settled."""
    if not stages:
        raise ValueError("minimise_quasi_static: at least one stage is needed, got none")
    shapes = [jax.tree.map(jnp.shape, eqx.filter(stage, eqx.is_array)) for stage in stages]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            "minimise_quasi_static: stages must differ in the values of their arrays alone; mask "
            "what a stage leaves out instead of dropping it"
        )
    first = Leave(min(minimiser.n_outer, early.n_outer), early.tolerance)
    return [*[first] * (len(stages) - 1), Leave(minimiser.n_outer, SETTLED)]


def unsettled(states: Any, tolerance: float | Array) -> Array:
    """Which states go on: those still running whose gradient is above a tolerance."""
    return (states.status == Status.RUNNING) & (states.gradient_norm > tolerance)


def _each(function: Callable) -> Callable:
    """Mapped over a leading axis: one after the other on a CPU, else or on several all at once.

    In turn, first guesses that have settled cost nothing, and one that needs many time steps
    does not hold up the others.
    """
    if jax.default_backend() == "cpu" and along(MEMBER) == 1:
        return partial(jax.lax.map, function)
    return each_member(function)


@program
def _gradient(problem: DepartureFunction, minimiser: AbstractMinimiser, chi: Array) -> Array:
    return gradient(minimiser.sampled(problem, chi, whole=False).problem, chi)


@program
def _init(problem: DepartureFunction, minimiser: AbstractMinimiser, guesses: Array) -> Any:
    return strongly_typed(_each(partial(minimiser.init, problem))(guesses))


@program
def _step(problem: DepartureFunction, minimiser: AbstractMinimiser, states: Any) -> Any:
    return strongly_typed(_each(partial(minimiser.step, problem))(states))


def strongly_typed(tree: Any) -> Any:
    """Without JAX's weak types, of which a change between two calls would compile again."""
    return jax.tree.map(
        lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), tree
    )


def _row(states: Any, seconds: float, stage: int) -> list[Loop]:
    """One loop of every first guess, not yet numbered."""
    running = int(np.sum(np.asarray(states.status) == Status.RUNNING))
    columns = (states.cost, states.gradient_norm, states.inner_iterations)
    each = zip(*(np.asarray(column).tolist() for column in columns), strict=True)
    return [Loop(0, j, norm, inner, seconds, running, stage) for j, norm, inner in each]


def _solution(states: Any, history: list[list[Loop]]) -> Solution:
    states = jax.tree.map(np.asarray, states)
    costs = states.cost
    best = _best(costs, states.status, history)
    status = _end(0.0, states.status[best]).status
    return Solution(
        jnp.asarray(states.chi[best]),
        float(costs[best]),
        float(states.gradient_norm[best]),
        status,
        _loops(history, best),
        grouped_minima(_settled_minima(states), states.chi[best]),
        tuple(map(_end, costs.tolist(), states.status.tolist())),
        jax.tree.map(lambda leaf: leaf[best], states),
    )


def _end(cost: float, status: int) -> End:
    ended = Status(int(status))
    return End(cost, Status.OUT_OF_LOOPS if ended is Status.RUNNING else ended)


def _loops(history: list[list[Loop]], best: int) -> tuple[Loop, ...]:
    """Every loop of one first guess, that which found it settled included; all stages in turn."""
    loops: list[Loop] = []
    for stage in range(1, history[-1][best].stage + 1):
        rows = [row[best] for row in history if row[best].stage == stage]
        moved = [number for number, row in enumerate(rows) if row.inner_iterations > 0]
        known = stage == 1 and np.isfinite(rows[0].cost)
        first = 0 if known else 1
        for row in rows[first : max(moved, default=0) + 2]:
            loops.append(row._replace(number=loops[-1].number + 1 if loops else first))
    return tuple(loops)


def _best(costs: np.ndarray, status: np.ndarray, history: list[list[Loop]]) -> int:
    """The lowest cost; of first guesses that settled there, the one that did so first."""
    tied = among_lowest(costs) & (status == Status.CONVERGED)
    if not tied.any():
        return int(np.argmin(costs))
    loops = np.sum([[loop.inner_iterations > 0 for loop in row] for row in history], axis=0)
    return int(np.argmin(np.where(tied, loops, np.inf)))


def among_lowest(costs: np.ndarray) -> np.ndarray:
    """Which costs are the lowest, but for rounding."""
    costs = np.where(np.isfinite(costs), costs, np.inf)
    lowest = np.min(costs)
    return costs <= lowest + (1e-9 * max(1.0, abs(lowest)) if np.isfinite(lowest) else 0.0)


def _settled_minima(states: Any) -> Iterator[Minimum]:
    costs, chis = np.asarray(states.cost), np.asarray(states.chi)
    settled = (np.asarray(states.status) == Status.CONVERGED) & np.isfinite(costs)
    return (Minimum(float(costs[k]), 1, chis[k]) for k in np.flatnonzero(settled))


def grouped_minima(minima: Iterable[Minimum], chi: Array) -> tuple[Minimum, ...]:
    """Minima within `SAME` in χ as one, their starts together.

    That at `chi` stands first, though another be lower by rounding; the others follow by J.
    """
    groups: list[Minimum] = []
    for minimum in sorted(minima, key=lambda each: (not np.array_equal(each.chi, chi), each.cost)):
        for place, known in enumerate(groups):
            if np.max(np.abs(np.asarray(minimum.chi) - np.asarray(known.chi))) < SAME:
                groups[place] = known._replace(starts=known.starts + minimum.starts)
                break
        else:
            groups.append(minimum)
    return tuple(groups)
