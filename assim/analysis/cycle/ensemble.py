"""Ensemble schemes of a cycle: transform Kalman filters, global and localised, and a smoother."""

import abc
import math
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.analysis.cycle.inflation import Inflation, as_inflation
from assim.analysis.cycle.members import (
    AbstractEnsembleScheme,
    EnsembleCarry,
    forecast,
    innovation,
    read,
    without_failed,
)
from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.cycle.posterior import TOGETHER
from assim.analysis.cycle.scheme import (
    Cost,
    Outcome,
    Seen,
    check_independent,
    check_inflation,
    check_perfect,
    check_scales,
    check_separate,
    status,
)
from assim.arguments import Size, check_settings, not_negative
from assim.devices import over_members
from assim.problem.arrays import Coordinate
from assim.problem.control import White
from assim.problem.cycled import OTHERS
from assim.problem.departure import Problem
from assim.problem.distance import apart, grid_places
from assim.problem.observation import Observations
from assim.solve.transform import (
    Transform,
    completed,
    gauss_newton,
    none,
    square_root,
    taper,
)

Array = jax.Array

SLACK = 1.0  # by which J may rise, as the members' tangent is not the model's


class _AbstractFilter(AbstractEnsembleScheme):
    """What both filters share: all but the analysis."""

    @abc.abstractmethod
    def analysed(self, problem: Problem, before: Seen) -> White:
        """z at every slot edge after the observations, shape (N, edges, …)."""

    @abc.abstractmethod
    def check_errors(self, problem: Problem) -> None:
        """Refuse observation errors that it does not take."""

    def check(self, problem: Problem, plan: Plan) -> None:
        """Refuse windows that overlap, and error scales to estimate."""
        check_separate(type(self).__name__, plan)
        check_inflation(type(self).__name__, self.inflation, problem, plan)
        check_scales(type(self).__name__, problem)
        self.check_errors(problem)

    def step(
        self, problem: Problem, carry: EnsembleCarry, move: Move, key: Array
    ) -> tuple[EnsembleCarry, Outcome]:
        """Forecast, transform, and hand on the members at the newest edge."""
        for_errors, for_rotation = jax.random.split(key)
        paths = forecast(problem, carry.members, for_errors)
        before, present = without_failed(read(problem, paths))
        after = read(problem, self.analysed(problem, before))
        cost = _cost(before, after)
        return self.handed_on(problem, carry, before, after, cost, move, for_rotation, present)


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

    members: Size = eqx.field(default=40, static=True)
    inflation: Inflation = eqx.field(default=1.0, converter=as_inflation)
    rotate: bool = eqx.field(default=False, static=True)

    def check_errors(self, problem: Problem) -> None:
        """It takes every R."""

    def analysed(self, problem: Problem, before: Seen) -> White:
        """One transform for everything."""
        del problem
        return jax.tree.map(square_root(*innovation(before)).apply, before.z)


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
    members: Size = eqx.field(default=20, static=True)
    inflation: Inflation = eqx.field(default=1.0, converter=as_inflation)
    rotate: bool = eqx.field(default=False, static=True)

    def __check_init__(self) -> None:
        several = self.radius.values() if isinstance(self.radius, Mapping) else [self.radius]
        if not all(radius > 0 for radius in several):
            raise ValueError(f"LETKF: every radius must be positive, got {self.radius}")

    def check_errors(self, problem: Problem) -> None:
        """Refuse errors that are not independent, and a radius along what is no dimension."""
        check_independent("LETKF", problem)
        known = problem.model.labels().coordinates
        for dim in self.radius if isinstance(self.radius, Mapping) else ():
            if dim not in known:
                raise ValueError(f"LETKF: no dimension {dim!r}; the model has {', '.join(known)}")

    def analysed(self, problem: Problem, before: Seen) -> White:
        """One transform for every grid point, shared by all fields on the same dimensions."""
        labels = problem.model.labels()
        everywhere = square_root(*innovation(before))
        fields = {kind: part for kind, part in before.z.items() if kind not in OTHERS}
        after = {kind: jax.tree.map(everywhere.apply, before.z[kind]) for kind in OTHERS}
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
        before: Seen,
    ) -> White:
        """Fields on the same axes, shape (N, edges, *points), each point by its own transform."""
        s, d = innovation(before)
        points = math.prod(len(axis.values) for axis in axes.values())
        places = grid_places(axes)
        columns = jax.tree.map(lambda v: v.reshape(*v.shape[:2], points), fields)

        def at(given: tuple[dict[str, Array], White]) -> White:
            place, values = given
            away = [apart(o, axes, place, self.radius) for o in observations]
            rho = taper(jnp.concatenate(away))
            return jax.tree.map(square_root(s, d, rho).apply, values)

        moved = jax.tree.map(lambda v: jnp.moveaxis(v, -1, 0), columns)
        after = over_members(at, (places, moved), TOGETHER)
        return jax.tree.map(lambda v, a: jnp.moveaxis(a, 0, -1).reshape(v.shape), fields, after)


def _cost(before: Seen, after: Seen) -> Cost:
    """J = ½ d̄_b·d̄_a, which it is at the minimum where H is linear, without the weights.

    Of departures before and after: with d_a = (I + SᵀS)⁻¹d_b, ½|w|² + ½|d_a|² comes to that. Of a
    localised analysis it is half of Desroziers' sum for R, expected to be m/2 as well.
    """
    s, d = innovation(before)
    left = jnp.mean(after.departures, axis=0)
    total = jnp.sum(d * left) / 2
    return Cost(total, total - jnp.sum(left**2) / 2, jnp.linalg.norm(s @ d), status(total))


class IEnKS(AbstractEnsembleScheme):
    """The iterative ensemble Kalman smoother: 4D-Var in the space of an ensemble, without adjoint.

        J(w) = ½|w|² + ½|d(x̄ + Σ_j w_j X_j)|²,        T = (I + YYᵀ)^(-1/2) at its minimum

    with X the anomalies of the members at the window's start, divided by √(N-1). Gauss and
    Newton's tangent Y is that of the members x(w) + √(N-1)TX carried by the model itself, with the
    T of the iteration before (Bocquet & Sakov 2014, QJRMS 140, 1521, "transform" variant). The
    last of them are the posterior's, which the model has carried to where the next window starts.
    Where windows overlap, what a batch of observations said is in the members ever after (single
    data assimilation, a plan's overlap "newest"). Parameters and bias coefficients are members'
    in their white coordinates; the first members are draws of the problem's own prior.

    Args:
        members: N; more are needed than the model has directions that grow.
        inflation: of the state's standard deviations where the next window starts: a factor, or
            `Inflation`.
        rotate: whether anomalies are rotated at random there, which keeps their covariance.
        iterations: most integrations of the ensemble after the first.
        tolerance: |δw| at which to stop, in standard deviations of the background.
    """

    members: Size = eqx.field(default=20, static=True)
    inflation: Inflation = eqx.field(default=1.0, converter=as_inflation)
    rotate: bool = eqx.field(default=False, static=True)
    iterations: int = eqx.field(default=20, static=True)
    tolerance: float = eqx.field(default=1e-3, converter=float)

    def __check_init__(self) -> None:
        check_settings(self, iterations=1)
        not_negative(self, "tolerance")

    def check(self, problem: Problem, plan: Plan) -> None:
        """Refuse error scales to estimate, and a model with error."""
        check_inflation("IEnKS", self.inflation, problem, plan)
        check_scales("IEnKS", problem)
        check_perfect("IEnKS", problem)

    def step(
        self, problem: Problem, carry: EnsembleCarry, move: Move, key: Array
    ) -> tuple[EnsembleCarry, Outcome]:
        """Minimise J in the space of the members, and hand on those of its posterior."""
        before, began = without_failed(read(problem, forecast(problem, carry.members, key)))
        last = self._minimum(problem, carry, before, began, key)
        total, settled = last.cost(), last.change <= self.tolerance
        background = jnp.sum(last.transform.mean**2) / 2
        cost = Cost(total, background, last.gradient_norm, status(total, settled))
        given = (before, last.ensemble, cost, move, key, last.present)
        return self.handed_on(problem, carry, *given)

    def _minimum(
        self, problem: Problem, carry: EnsembleCarry, before: Seen, began: Array, key: Array
    ) -> "_Iterate":
        """Iterate until w stays where it is; a step after which J is higher is halved.

        Where members fail, at first or later, the background is that of the others from there on.
        """
        far, unit = jnp.array(jnp.inf), jnp.ones(())
        first = _Iterate(jnp.zeros((), int), none(self.members), before, far, unit, far, began)

        def unfinished(last: _Iterate) -> Array:
            return (last.number < self.iterations) & (last.change > self.tolerance)

        def improved(last: _Iterate) -> _Iterate:
            s, d = innovation(last.ensemble)
            w = last.transform.mean
            slope = w - jnp.linalg.solve(last.transform.root, s @ d)
            after = gauss_newton(last.transform, s, d)
            step = after.mean - w
            after = after._replace(mean=w + last.length * step)
            there = last.present
            moved = jax.tree.map(lambda v: after.apply(completed(v, there)), carry.members)
            paths = forecast(problem, moved, key)
            ensemble, present = without_failed(read(problem, paths), there)
            number, change = last.number + 1, jnp.linalg.norm(step)
            length = jnp.minimum(1.0, 2 * last.length)
            norm = jnp.linalg.norm(slope)
            lower = _Iterate(number, after, ensemble, change, length, norm, present)
            higher = last._replace(number=number, change=change, length=last.length / 2)
            # the first members are wider than any after them: their J is no measure of these
            begins = (last.number == 0) & jnp.isfinite(lower.cost())
            accepted = begins | (lower.cost() <= last.cost() + SLACK)
            return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), lower, higher)

        return jax.lax.while_loop(unfinished, improved, first)


class _Iterate(NamedTuple):
    """Where the minimisation stands.

    Args:
        number: of iterations.
        transform: w and T.
        ensemble: the members that these give, carried through the window.
        change: |δw| of the last full step.
        length: share of the next step that is taken.
        gradient_norm: |∇J| where the last step that was taken began.
        present: which members the model has carried all through, shape (N,).
    """

    number: Array
    transform: Transform
    ensemble: Seen
    change: Array
    length: Array
    gradient_norm: Array
    present: Array

    def cost(self) -> Array:
        """J(w), with the mean of the members' departures."""
        departures = jnp.mean(self.ensemble.departures, axis=0)
        return (jnp.sum(self.transform.mean**2) + jnp.sum(departures**2)) / 2
