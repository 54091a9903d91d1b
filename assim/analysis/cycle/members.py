"""Members of z: drawn from a prior, carried through a window, read, and handed on."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.analysis.cycle.inflation import Inflated, Inflation, Innovation
from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.cycle.posterior import TOGETHER, prior_members, start_member
from assim.analysis.cycle.scheme import (
    AbstractScheme,
    Cost,
    CycledMoments,
    Outcome,
    Seen,
    in_physical_units,
    observed,
    outcome,
    status_after,
)
from assim.analysis.forecast import StartMembers
from assim.arguments import check_settings
from assim.devices import over_members, program
from assim.problem.arrays import Grid, Trajectory
from assim.problem.control import White
from assim.problem.cycled import OTHERS, advanced, in_carried_coordinates
from assim.problem.departure import Problem
from assim.solve.transform import anomalies, completed, rotation, stdev

Array = jax.Array


class EnsembleCarry(NamedTuple):
    """What a window hands on: z where the next window starts, shape (N, …), and inflation."""

    members: White
    inflation: Inflated


class AbstractEnsembleScheme(AbstractScheme):
    """What schemes of members share: how they are drawn first, and how they are handed on."""

    members: eqx.AbstractVar[int]
    inflation: eqx.AbstractVar[Inflation]
    rotate: eqx.AbstractVar[bool]

    def __check_init__(self) -> None:
        check_settings(self, members=2)

    def start(self, problem: Problem, plan: Plan, key: Array) -> EnsembleCarry:
        """Draws of the problem's own prior."""
        del plan
        return EnsembleCarry(
            prior_members(problem.control, self.members, key), self.inflation.first()
        )

    def draws(
        self, problem: Problem, carry: EnsembleCarry, number: int, key: Array, newest: int
    ) -> StartMembers | None:
        """The members as they are."""
        del number, key
        return _start_members(in_carried_coordinates(problem), carry.members, newest)

    def handed_on(
        self,
        problem: Problem,
        carry: EnsembleCarry,
        before: Seen,
        after: Seen,
        cost: Cost,
        move: Move,
        key: Array,
        present: Array,
    ) -> tuple[EnsembleCarry, Outcome]:
        """The analysis in numbers, and the members where the next window starts.

        Anomalies of the state are inflated there, and all of them rotated where that is asked for,
        or where members failed: so the others are spread over the places of these, too.
        """
        mean = lambda several: jax.tree.map(lambda v: jnp.mean(v, axis=0), several)  # noqa: E731
        spread = lambda several: jax.tree.map(stdev, several)  # noqa: E731
        moments = CycledMoments(mean(before), mean(after), spread(before), spread(after))
        at = jax.tree.map(lambda leaf: leaf[:, move.shift], after.z)
        cost = cost._replace(status=status_after(cost.status, at))
        window_outcome = outcome(
            problem,
            moments,
            cost,
            jnp.sum(moments.background.departures**2),
            jnp.sum(moments.analysis_stdev.departures**2),
            carry.inflation.applied,
            jnp.sum(~present),
        )
        inflation = inflated(self.inflation, carry.inflation, problem, before, move)
        rotate = self.rotate & (window_outcome.number > 0) & (move.shift > 0)
        turns = rotate | ~jnp.all(present)
        turn = jnp.where(turns, rotation(key, self.members), jnp.eye(self.members))

        def grown(members: Array, factor: Array) -> Array:
            centre = jnp.mean(members, axis=0)[None]
            return centre + factor * jnp.tensordot(turn, members - centre, axes=1)

        unit = jnp.ones(())
        members = {
            kind: {n: grown(v, unit if kind in OTHERS else inflation.applied) for n, v in p.items()}
            for kind, p in at.items()
        }
        return EnsembleCarry(members, inflation), window_outcome


def forecast(problem: Problem, members: White, key: Array) -> White:
    """z at every slot edge by the model, and by draws of its error where it has one.

    Of a problem in carried coordinates, from members at the window's start, shape (N, edges, …).
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

    number = _size(members)
    keys = jax.random.split(key, number)
    return over_members(member_path, (members, keys), TOGETHER)


def read(problem: Problem, paths: White) -> Seen:
    """What paths of z mean, without the model."""
    control, grid = problem.control, Grid.of(problem.model.labels())

    def read_member(path: White) -> Seen:
        every = jax.vmap(lambda z: control(control.join({**control.blank(), **z})))(path)
        at = jax.tree.map(lambda leaf: leaf[0], every)
        trajectory = Trajectory(problem.window.edges, every.state, at.parameters, grid)
        scalars, instruments = in_physical_units(at, path), problem.observations
        predictions = tuple(o.predict(trajectory, at.biases) for o in instruments)
        departures = [o.departures(trajectory, at.scales, at.biases) for o in instruments]
        return Seen(every.state, predictions, scalars, path, jnp.concatenate(departures))

    return over_members(read_member, paths, TOGETHER)


def without_failed(seen: Seen, among: Array | None = None) -> tuple[Seen, Array]:
    """Members with the moments of those that are finite all through, and which these are.

    Args:
        seen: of all members.
        among: those that were left out before are False, and stand at the mean of the others.
    """
    judged = jax.tree.leaves((seen.states, seen.z, seen.departures))
    rows = [jnp.all(jnp.isfinite(leaf.reshape(len(leaf), -1)), axis=1) for leaf in judged]
    present = jnp.all(jnp.stack(rows if among is None else [among, *rows]), axis=0)
    before = None if among is None else jnp.sum(among)
    return jax.tree.map(lambda leaf: completed(leaf, present, before), seen), present


def _size(members: White) -> int:
    return jax.tree.leaves(members)[0].shape[0]


def innovation(members: Seen) -> tuple[Array, Array]:
    """S = R^(-1/2)H applied to the anomalies, shape (N, m), and d̄, shape (m,)."""
    return -anomalies(members.departures), jnp.mean(members.departures, axis=0)


def inflated(
    inflation: Inflation, so_far: Inflated, problem: Problem, before: Seen, move: Move
) -> Inflated:
    """After a window's innovations."""
    s, d = innovation(before)
    values, number = jnp.linalg.eigvalsh(s @ s.T), observed(problem)
    given = Innovation.of(jnp.sum(d**2), number, values)
    return inflation.after(so_far, given, (number > 0) & (move.shift > 0))


@program
def _start_members(problem: Problem, members: White, newest: int) -> StartMembers:
    blank, join = problem.control.blank(), problem.control.join
    return jax.vmap(lambda z: start_member(problem, join({**blank, **z}), newest))(members)
