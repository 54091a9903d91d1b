"""The iterative ensemble Kalman smoother in a cycle."""

from typing import NamedTuple

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
from assim.analysis.cycle.refusals import check_inflation, check_perfect, check_scales
from assim.analysis.cycle.scheme import AbstractScheme, Outcome
from assim.analysis.forecast import StartMembers
from assim.problem.departure import Problem
from assim.solve.transform import Transform, gauss_newton, none

Array = jax.Array

SLACK = 1.0  # by which J may rise, as the members' tangent is not the model's


class IEnKS(AbstractScheme):
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

    members: int = eqx.field(default=20, static=True)
    inflation: Inflation = eqx.field(default=1.0, converter=as_inflation)
    rotate: bool = eqx.field(default=False, static=True)
    iterations: int = eqx.field(default=20, static=True)
    tolerance: float = eqx.field(default=1e-3, converter=float)

    def __check_init__(self) -> None:
        for name, least in {"members": 2, "iterations": 1}.items():
            if (given := getattr(self, name)) < least:
                raise ValueError(f"IEnKS: {name} must be at least {least}, got {given}")
        if not self.tolerance >= 0:
            raise ValueError(f"IEnKS: tolerance must not be negative, got {self.tolerance}")

    def check(self, problem: Problem, plan: Plan) -> None:
        """No error scale to estimate, and a model without error.

        Raises:
            ValueError: others.
        """
        check_inflation("IEnKS", self.inflation, problem, plan)
        check_scales("IEnKS", problem)
        check_perfect("IEnKS", problem)

    def start(self, problem: Problem, plan: Plan, key: Array) -> EnsembleCarry:
        """Draws of the problem's own prior."""
        del plan
        return EnsembleCarry(draws(problem.control, self.members, key), self.inflation.first())

    def step(
        self, problem: Problem, carry: EnsembleCarry, move: Move, key: Array
    ) -> tuple[EnsembleCarry, Outcome]:
        """Minimise J in the space of the members, and hand on those of its posterior."""
        before = read(problem, forecast(problem, carry.members, key))
        last = self._minimum(problem, carry, before, key)
        window_outcome = outcome(
            problem, before, last.ensemble, self._cost(last), carry.inflation.applied
        )
        inflation = inflated(self.inflation, carry.inflation, problem, before, move)
        members = handed_on(
            at_slot(last.ensemble.path, move.shift),
            inflation.applied,
            key,
            rotate=self.rotate & (window_outcome.number > 0) & (move.shift > 0),
        )
        return EnsembleCarry(members, inflation), window_outcome

    def draws(
        self, problem: Problem, carry: EnsembleCarry, number: int, key: Array, newest: int
    ) -> StartMembers | None:
        """The members as they are."""
        del number, key
        return of_members(problem, carry.members, newest)

    def _minimum(
        self, problem: Problem, carry: EnsembleCarry, before: Member, key: Array
    ) -> "_Iterate":
        """Iterate until w stays where it is; a step after which J is higher is halved."""
        far, unit = jnp.array(jnp.inf), jnp.ones(())
        first = _Iterate(jnp.zeros((), int), none(self.members), before, far, unit, far)

        def unfinished(last: _Iterate) -> Array:
            return (last.number < self.iterations) & (last.change > self.tolerance)

        def improved(last: _Iterate) -> _Iterate:
            s, d = last.ensemble.innovation()
            w = last.transform.mean
            slope = w - jnp.linalg.solve(last.transform.root, s @ d)
            after = gauss_newton(last.transform, s, d)
            step = after.mean - w
            after = after._replace(mean=w + last.length * step)
            ensemble = read(
                problem, forecast(problem, jax.tree.map(after.apply, carry.members), key)
            )
            number, change = last.number + 1, jnp.linalg.norm(step)
            length = jnp.minimum(1.0, 2 * last.length)
            lower = _Iterate(number, after, ensemble, change, length, jnp.linalg.norm(slope))
            higher = last._replace(number=number, change=change, length=last.length / 2)
            # the first members are wider than any after them: their J is no measure of these
            begins = (last.number == 0) & jnp.isfinite(lower.cost())
            accepted = begins | (lower.cost() <= last.cost() + SLACK)
            return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), lower, higher)

        return jax.lax.while_loop(unfinished, improved, first)

    def _cost(self, last: "_Iterate") -> Cost:
        total, settled = last.cost(), last.change <= self.tolerance
        background = jnp.sum(last.transform.mean**2) / 2
        return Cost(total, background, last.gradient_norm, status(total, settled))


class _Iterate(NamedTuple):
    """Where the minimisation stands.

    Args:
        number: of iterations.
        transform: w and T.
        ensemble: the members that these give, carried through the window.
        change: |δw| of the last full step.
        length: share of the next step that is taken.
        gradient_norm: |∇J| where the last step that was taken began.
    """

    number: Array
    transform: Transform
    ensemble: Member
    change: Array
    length: Array
    gradient_norm: Array

    def cost(self) -> Array:
        """J(w), with the mean of the members' departures."""
        departures = jnp.mean(self.ensemble.departures, axis=0)
        return (jnp.sum(self.transform.mean**2) + jnp.sum(departures**2)) / 2
