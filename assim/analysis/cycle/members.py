"""Members of z: drawn from a prior, carried through a window, read, and handed on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from assim.analysis.cycle.inflation import Inflated, Inflation, Innovation
from assim.analysis.cycle.plan import Move
from assim.analysis.cycle.posterior import TOGETHER
from assim.analysis.cycle.scheme import Outcome, observed, readings
from assim.problem.arrays import Grid, State, Trajectory
from assim.problem.assumed import is_gaussian
from assim.problem.control import Control, White
from assim.problem.cycled import OTHERS, STATE, advanced
from assim.problem.departure import Problem
from assim.solve.minimise.status import Status
from assim.solve.transform import anomalies, rotation, stdev

Array = jax.Array


class EnsembleCarry(NamedTuple):
    """What a window hands on.

    Args:
        members: of z where the next window starts, every kind and name of shape (N, …).
        inflation: on the standard deviations of the state.
    """

    members: White
    inflation: Inflated


class Member(NamedTuple):
    """What members mean; all with a leading dimension of them.

    Args:
        path: z at every slot edge, shape (N, edges, …).
        states: every field at every slot edge.
        predictions: of every instrument.
        scalars: estimated parameters and bias coefficients in physical units.
        departures: normalised, of all instruments, shape (N, m).
    """

    path: White
    states: State
    predictions: tuple[Array, ...]
    scalars: dict[str, Array]
    departures: Array

    def innovation(self) -> tuple[Array, Array]:
        """S = R^(-1/2)H applied to the anomalies, shape (N, m), and d̄, shape (m,)."""
        return -anomalies(self.departures), jnp.mean(self.departures, axis=0)


def draws(control: Control, number: int, key: Array) -> White:
    """Members of the problem's own prior.

    Args:
        control: of the problem as it was posed.
        number: N.
        key: of the draws.
    """

    def prior_member(chi: Array) -> White:
        white, x = control.split(chi), control(chi).state
        return {
            **{kind: white[kind] for kind in ("fields", *OTHERS)},
            STATE: {name: value for name, value in x.items() if name not in control.fields},
        }

    return jax.vmap(prior_member)(jax.random.normal(key, (number, control.size())))


def forecast(problem: Problem, members: White, key: Array) -> White:
    """z at every slot edge by the model, and by draws of its error where it has one.

    Args:
        problem: in carried coordinates.
        members: z at the window's start, shape (N, …).
        key: of the model errors.

    Returns:
        shape (N, edges, …).
    """
    control, slots = problem.control, problem.window.slots

    def member_path(given: tuple[White, Array]) -> White:
        z, key = given
        white = {**control.blank(), **z}
        white["model_error"] = {
            name: jax.random.normal(jax.random.fold_in(key, number), zeros.shape)
            for number, (name, zeros) in enumerate(sorted(white["model_error"].items()))
        }
        trajectory = problem.trajectory(control.join(white))
        return jax.vmap(lambda slot: advanced(problem, z, trajectory, slot))(jnp.arange(slots + 1))

    number = size(members)
    keys = jax.random.split(key, number)
    return jax.lax.map(member_path, (members, keys), batch_size=min(number, TOGETHER))


def read(problem: Problem, paths: White) -> Member:
    """What paths of z mean, without the model."""
    control, grid = problem.control, Grid.of(problem.model.labels())

    def read_member(path: White) -> Member:
        every = jax.vmap(lambda z: control(control.join({**control.blank(), **z})))(path)
        at = jax.tree.map(lambda leaf: leaf[0], every)
        trajectory = Trajectory(problem.window.edges, every.state, at.parameters, grid)
        kinds = {"biases": at.biases, "parameters": at.parameters, "scales": at.scales}
        scalars = {name: kinds[kind][name] for kind in OTHERS for name in path[kind]}
        instruments = problem.observations
        predictions = tuple(o.predict(trajectory, at.biases) for o in instruments)
        departures = [o.departures(trajectory, at.scales, at.biases) for o in instruments]
        return Member(path, every.state, predictions, scalars, jnp.concatenate(departures))

    return jax.lax.map(read_member, paths, batch_size=min(size(paths), TOGETHER))


def size(members: White) -> int:
    """N."""
    return jax.tree.leaves(members)[0].shape[0]


def at_slot(paths: White, slot: Array) -> White:
    """z at one slot edge, shape (N, …)."""
    return jax.tree.map(lambda leaf: leaf[:, slot], paths)


def handed_on(members: White, factor: Array, key: Array, *, rotate: Array | bool) -> White:
    """The next window's members: the state's anomalies inflated, all of them rotated.

    Args:
        members: z where the next window starts.
        factor: on the anomalies of the state.
        key: of the rotation.
        rotate: whether there is one.
    """
    number = size(members)
    turn = jnp.where(rotate, rotation(key, number), jnp.eye(number))

    def grown(members: Array, factor: Array) -> Array:
        mean = jnp.mean(members, axis=0)[None]
        return mean + factor * jnp.tensordot(turn, members - mean, axes=1)

    return {
        kind: {n: grown(v, jnp.ones(()) if kind in OTHERS else factor) for n, v in part.items()}
        for kind, part in members.items()
    }


def inflated(
    inflation: Inflation, so_far: Inflated, problem: Problem, before: Member, move: Move
) -> Inflated:
    """After a window's innovations."""
    s, d = before.innovation()
    values = jnp.linalg.eigvalsh(s @ s.T)
    number = observed(problem)
    innovation = Innovation.of(jnp.sum(d**2), number, values)
    return inflation.after(so_far, innovation, (number > 0) & (move.shift > 0))


class Cost(NamedTuple):
    """J at the analysis, its part from the background, |∇J| and how the analysis ended."""

    total: Array
    background: Array
    gradient_norm: Array
    status: Array


def status(cost: Array, settled: Array | bool = True) -> Array:
    """A `Status` as a number."""
    ended = jnp.where(settled, Status.CONVERGED.value, Status.OUT_OF_LOOPS.value)
    return jnp.where(jnp.isfinite(cost), ended, Status.NON_FINITE.value)


def outcome(
    problem: Problem, before: Member, after: Member, cost: Cost, inflation: Array
) -> Outcome:
    """The analysis of a window in numbers: means and standard deviations of the members."""
    mean = lambda several: jax.tree.map(lambda v: jnp.mean(v, axis=0), several)  # noqa: E731
    spread = lambda several: jax.tree.map(stdev, several)  # noqa: E731
    return Outcome(
        mean(before.states),
        mean(after.states),
        spread(before.states),
        spread(after.states),
        mean(after.scalars),
        spread(after.scalars),
        readings(
            problem,
            mean(before.predictions),
            mean(after.predictions),
            spread(before.predictions),
            spread(after.predictions),
        ),
        cost.total,
        cost.background,
        jnp.sum(mean(before.departures) ** 2),
        jnp.sum(spread(after.departures) ** 2),
        observed(problem),
        jnp.asarray(is_gaussian(problem)),
        inflation,
        cost.gradient_norm,
        cost.status,
    )
