"""Ensemble transform Kalman filters in a cycle, global and localised."""

import abc
import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.analysis.cycle.draws import of_members
from assim.analysis.cycle.inflation import Inflation, as_inflation
from assim.analysis.cycle.members import (
    Cost,
    EnsembleCarry,
    Member,
    at_slot,
    draws,
    forecast,
    handed_on,
    inflated,
    outcome,
    read,
    status,
)
from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.cycle.posterior import TOGETHER
from assim.analysis.cycle.refusals import (
    check_independent,
    check_inflation,
    check_scales,
    check_separate,
)
from assim.analysis.cycle.scheme import AbstractScheme, Outcome
from assim.analysis.forecast import StartMembers
from assim.problem.arrays import Coordinate
from assim.problem.control import White
from assim.problem.cycled import OTHERS
from assim.problem.departure import Problem
from assim.problem.observation import Observations
from assim.solve.transform import square_root, taper

Array = jax.Array


class _AbstractFilter(AbstractScheme):
    """What both filters share: all but the analysis."""

    members: eqx.AbstractVar[int]
    inflation: eqx.AbstractVar[Inflation]
    rotate: eqx.AbstractVar[bool]

    def __check_init__(self) -> None:
        if self.members < 2:
            raise ValueError(
                f"{type(self).__name__}: members must be at least 2, got {self.members}"
            )

    @abc.abstractmethod
    def analysed(self, problem: Problem, before: Member) -> White:
        """z at every slot edge after the observations, shape (N, edges, …)."""

    @abc.abstractmethod
    def check_errors(self, problem: Problem) -> None:
        """Refuse observation errors that it does not take."""

    def check(self, problem: Problem, plan: Plan) -> None:
        """Windows that do not overlap, and no error scale to estimate.

        Raises:
            ValueError: others.
        """
        check_separate(type(self).__name__, plan)
        check_inflation(type(self).__name__, self.inflation, problem, plan)
        check_scales(type(self).__name__, problem)
        self.check_errors(problem)

    def start(self, problem: Problem, plan: Plan, key: Array) -> EnsembleCarry:
        """Draws of the problem's own prior."""
        del plan
        return EnsembleCarry(draws(problem.control, self.members, key), self.inflation.first())

    def step(
        self, problem: Problem, carry: EnsembleCarry, move: Move, key: Array
    ) -> tuple[EnsembleCarry, Outcome]:
        """Forecast, transform, and hand on the members at the newest edge."""
        for_errors, for_rotation = jax.random.split(key)
        before = read(problem, forecast(problem, carry.members, for_errors))
        after = read(problem, self.analysed(problem, before))
        window_outcome = outcome(
            problem, before, after, _cost(before, after), carry.inflation.applied
        )
        inflation = inflated(self.inflation, carry.inflation, problem, before, move)
        members = handed_on(
            at_slot(after.path, move.newest),
            inflation.applied,
            for_rotation,
            rotate=self.rotate & (window_outcome.number > 0),
        )
        return EnsembleCarry(members, inflation), window_outcome

    def draws(
        self, problem: Problem, carry: EnsembleCarry, number: int, key: Array, newest: int
    ) -> StartMembers | None:
        """The members as they are."""
        del number, key
        return of_members(problem, carry.members, newest)


class ETKF(_AbstractFilter):
    """The ensemble transform Kalman filter.

        x̄^a = x̄ + Xᵀw,    X^a = TX,    w = (I + SSᵀ)⁻¹S d̄,    T = (I + SSᵀ)^(-1/2)

    with S = R^(-1/2)H applied to the members' anomalies X, of all observations of the window at
    their own times (Hunt, Kostelich & Szunyogh 2007, Physica D 230, 112; Sakov, Evensen & Bertino
    2010, Tellus A 62, 24). Parameters and bias coefficients are members' in their white
    coordinates. Model error is drawn anew for every member and window. The first members are
    draws of the problem's own prior. At slot edges before the newest the same weights apply,
    which makes the analysis there that of the ensemble Kalman smoother.

    Args:
        members: N; without localisation more are needed than the model has directions that grow.
        inflation: of the state's standard deviations after an analysis: a factor, or `Inflation`.
        rotate: whether anomalies are rotated at random, which keeps their covariance (Sakov & Oke
            2008, MWR 136, 1042).
    """

    members: int = eqx.field(default=40, static=True)
    inflation: Inflation = eqx.field(default=1.0, converter=as_inflation)
    rotate: bool = eqx.field(default=False, static=True)

    def check_errors(self, problem: Problem) -> None:
        """It takes every R."""

    def analysed(self, problem: Problem, before: Member) -> White:
        """One transform for everything."""
        del problem
        return jax.tree.map(square_root(*before.innovation()).apply, before.path)


class LETKF(_AbstractFilter):
    """The local ensemble transform Kalman filter: an `ETKF` at every grid point.

    There R⁻¹ of every observation is multiplied by ρ(|δ/c|) of Gaspari & Cohn, δ its distance
    from the grid point along each dimension, the shorter way round where that is periodic (Hunt,
    Kostelich & Szunyogh 2007). Beyond 2c nothing is seen. Fields without dimensions,
    parameters, bias coefficients and observations without a position see no taper. For the rest
    see `ETKF`.

    Args:
        radius: c, half of the taper's support in the axes' units: a number, or one for each
            dimension by name; along a dimension without one there is no localisation.
        members: N.
        inflation: of the state's standard deviations after an analysis: a factor, or `Inflation`.
        rotate: whether anomalies are rotated at random, all by one rotation.
    """

    radius: float | Mapping[str, float] = eqx.field(kw_only=True)
    members: int = eqx.field(default=20, static=True)
    inflation: Inflation = eqx.field(default=1.0, converter=as_inflation)
    rotate: bool = eqx.field(default=False, static=True)

    def __check_init__(self) -> None:
        several = self.radius.values() if isinstance(self.radius, Mapping) else [self.radius]
        if not all(radius > 0 for radius in several):
            raise ValueError(f"LETKF: every radius must be positive, got {self.radius}")

    def check_errors(self, problem: Problem) -> None:
        """Independent ones alone, of which each has a place; and dimensions that the model has.

        Raises:
            ValueError: others.
        """
        check_independent("LETKF", problem)
        known = problem.model.labels().coordinates
        for dim in self.radius if isinstance(self.radius, Mapping) else ():
            if dim not in known:
                raise ValueError(f"LETKF: no dimension {dim!r}; the model has {', '.join(known)}")

    def analysed(self, problem: Problem, before: Member) -> White:
        """One transform for every grid point, shared by all fields on the same dimensions."""
        labels = problem.model.labels()
        everywhere = square_root(*before.innovation())
        fields = {kind: part for kind, part in before.path.items() if kind not in OTHERS}
        after = {kind: jax.tree.map(everywhere.apply, before.path[kind]) for kind in OTHERS}
        after |= {kind: {} for kind in fields}
        for dims in {labels.state[name].dims for part in fields.values() for name in part}:
            axes = {dim: labels.coordinates[dim] for dim in dims}
            alike = {
                kind: {n: v for n, v in part.items() if labels.state[n].dims == dims}
                for kind, part in fields.items()
            }
            local = self._local(problem.observations, axes, alike, before)
            after = {k: {**part, **local.get(k, {})} for k, part in after.items()}
        return after

    def _local(
        self,
        observations: tuple[Observations, ...],
        axes: Mapping[str, Coordinate],
        fields: White,
        before: Member,
    ) -> White:
        """Fields on the same axes, shape (N, edges, *points), each point by its own transform."""
        s, d = before.innovation()
        points = math.prod(len(axis.values) for axis in axes.values())
        grid = jnp.meshgrid(*(jnp.asarray(axis.values) for axis in axes.values()), indexing="ij")
        places = {dim: g.ravel() for dim, g in zip(axes, grid, strict=True)}
        columns = jax.tree.map(lambda v: v.reshape(*v.shape[:2], points), fields)

        def at(given: tuple[dict[str, Array], White]) -> White:
            place, values = given
            rho = jnp.concatenate([tapers(o, axes, place, self.radius) for o in observations])
            return jax.tree.map(square_root(s, d, rho).apply, values)

        moved = jax.tree.map(lambda v: jnp.moveaxis(v, -1, 0), columns)
        after = jax.lax.map(at, (places, moved), batch_size=min(points, TOGETHER))
        return jax.tree.map(lambda v, a: jnp.moveaxis(a, 0, -1).reshape(v.shape), fields, after)


def tapers(
    o: Observations,
    axes: Mapping[str, Coordinate],
    place: Mapping[str, Array],
    radius: float | Mapping[str, float],
) -> Array:
    """ρ of an instrument's values about a grid point, shape (m,).

    Args:
        o: the instrument.
        axes: of the field.
        place: of the grid point along each of them.
        radius: c, for all dimensions or by name.
    """
    square = jnp.zeros(o.values.shape)
    for dim, axis in axes.items():
        c = radius.get(dim) if isinstance(radius, Mapping) else radius
        if c is None or dim not in o.points.coordinates:
            continue
        apart = jnp.abs(o.points.coordinates[dim] - place[dim])
        if axis.period is not None:
            apart = apart % axis.period
            apart = jnp.minimum(apart, axis.period - apart)
        square = square + (apart / c) ** 2
    return taper(jnp.sqrt(square))


def _cost(before: Member, after: Member) -> Cost:
    """J = ½ d̄_b·d̄_a, which it is at the minimum where H is linear, without the weights.

    Of departures before and after: with d_a = (I + SᵀS)⁻¹d_b, ½|w|² + ½|d_a|² comes to that. Of a
    localised analysis it is half of Desroziers' sum for R, expected to be m/2 as well.
    """
    s, d = before.innovation()
    left = jnp.mean(after.departures, axis=0)
    total = jnp.sum(d * left) / 2
    return Cost(total, total - jnp.sum(left**2) / 2, jnp.linalg.norm(s @ d), status(total))
