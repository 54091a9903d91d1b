"""4D-Var in a cycle: minimise, linearise at the minimum, hand on the posterior."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.analysis.cycle.inflation import Inflated, Inflation, Innovation, as_inflation
from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.cycle.posterior import (
    WHOLE,
    Folding,
    by_draws,
    by_members,
    by_tangent,
    drawn_members,
    first_background,
    first_members,
    handed_on,
    only_others,
    units_of,
)
from assim.analysis.cycle.scheme import (
    AbstractScheme,
    Cost,
    CycledMoments,
    Outcome,
    bounded_fields,
    check_inflation,
    check_static,
    observed,
    outcome,
    status_after,
)
from assim.analysis.cycle.signal import few_vectors, signal
from assim.analysis.forecast import StartMembers
from assim.arguments import Size, check_settings, not_negative
from assim.problem.assumed import is_gaussian
from assim.problem.control import White
from assim.problem.covariance import AbstractCovariance, AbstractStateCovariance
from assim.problem.cycled import (
    Background,
    CycledProblem,
    Localisation,
    first_mean,
    in_carried_coordinates,
)
from assim.problem.departure import Problem
from assim.solve.cost import gauss_newton_linearisation
from assim.solve.minimise.compiled import minimise_compiled, minimise_quasi_static_compiled
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, deflated_traces, dual_gaussian, local_gaussian

Array = jax.Array

CARRY = ("static", "posterior", "ensemble")


class VariationalCarry(NamedTuple):
    """What a window hands on: the Gaussian of the next window's start, inflation, B of the state.

    The localisation is that of carried members; None for none.
    """

    background: Background
    inflation: Inflated
    static: AbstractStateCovariance
    localisation: Localisation | None


class FourDVar(AbstractScheme):
    """4D-Var window by window, with what is carried of its posterior covariance.

    The posterior of a window is Laplace's, N(χ*, A⁻¹); at the next window's start z has the
    covariance Z A⁻¹ Zᵀ, with Z the tangent linear of χ ↦ z there.

    Args:
        carry: "static": every window has the static covariance for its state; "posterior": the
            posterior by the tangent linear; "ensemble": that of `members` draws of it, by the
            model itself, whose mean is the next background. What is known of parameters, scales
            and biases is always carried.
        inflation: of the state's carried standard deviations: a factor, or `Inflation`.
        share: of the static covariance, added to the carried one; the factor on it where nothing
            else is carried. By default 1 there, and 0 otherwise.
        forgetting: share of their prior's variance that parameters, scales and biases are given
            back from one window to the next.
        rank: vectors that keep a carried covariance; a z of no more entries is kept whole. And
            eigenpairs of the Hessian of more than 1,000 controls, where there are as many
            observations: in other directions the analysis has the spread of the background.
        members: draws for "ensemble"; two for every control of a window (`controls`) keep its
            covariance exactly.
        localisation: of fewer members, a correlation as `GaspariCohn`, the same for all fields:
            with a share of the static covariance this is a hybrid. The members are then not drawn
            anew, but each moved as the posterior's square root does. None for none.
        minimiser: of J.
        starts: first guesses: the background and, where its minimum is doubtful, draws about it;
            with Gaussian errors of known scale and weights of 0 or 1 only.
        gate: how doubtful: in standard deviations of 2J, whose expectation is the number m of
            observations and variance 2m, above the expectation.
        stages: in which the window is lengthened while J is minimised.
        static: the static covariance; that of the first background where None.
    """

    carry: str = eqx.field(default="posterior", static=True)
    inflation: Inflation = eqx.field(default=1.0, converter=as_inflation)
    share: float | None = None
    forgetting: float = 0.0
    rank: Size = eqx.field(default=200, static=True)
    members: Size = eqx.field(default=100, static=True)
    localisation: AbstractCovariance | None = None
    minimiser: AbstractMinimiser = eqx.field(default_factory=lambda: GaussNewton(n_outer=10))
    starts: Size = eqx.field(default=1, static=True)
    gate: float = 0.5
    stages: int = eqx.field(default=1, static=True)
    static: AbstractStateCovariance | None = None

    def __check_init__(self) -> None:
        check_settings(self, carry=CARRY, rank=1, members=2, starts=1, stages=1)
        if self.share is not None:
            not_negative(self, "share")
        if not 0 <= self.forgetting <= 1:
            raise ValueError(f"FourDVar: forgetting is a share, 0 to 1, got {self.forgetting}")
        if self.carry == "static" and self.inflation.adaptive:
            raise ValueError('FourDVar: nothing is inflated with carry = "static"; tune share')
        if self.localisation is not None and self.carry != "ensemble":
            raise ValueError('FourDVar: a localisation is of members; give carry = "ensemble"')

    def check(self, problem: Problem, plan: Plan) -> None:
        """Refuse model errors that cannot be handed on where windows overlap, or to few members.

        Refuse also inflation, or further first guesses, by what is not known of innovations.
        """
        check_inflation("FourDVar", self.inflation, problem, plan)
        check_static("FourDVar", self.static, problem)
        if problem.control.scales and (controls := self.controls(problem, plan)) > WHOLE:
            raise ValueError(
                f"FourDVar: an error scale ({', '.join(problem.control.scales)}) is estimated by "
                f"forming the matrix of all controls of a window, {controls}, of which at most "
                f"{WHOLE} may be; fix every scale (Desroziers' estimates in diagnostics.nc say "
                "whether it is right), or give a lower rank or fewer members"
            )
        if self.starts > 1 and plan.seen > 1:
            raise ValueError(
                "FourDVar: where observations enter several windows, 2J does not tell whether a "
                "minimum is doubtful; give starts = 1, or let observations enter when they are "
                'newest (overlap = "newest")'
            )
        error = problem.control.model_error
        if error is not None and self.localisation is not None:
            raise ValueError(
                "FourDVar: localised members are moved and not drawn, and get no model error; drop "
                "the localisation, or use LETKF"
            )
        if plan.batches == 1 or error is None:
            return
        if error.in_time is not None:
            raise ValueError(
                "FourDVar: model errors that are correlated in time cannot be handed on in windows "
                "that overlap; give cycle.shift the slots of a window, or drop in_time"
            )
        if plan.shift % error.every:
            raise ValueError(
                f"FourDVar: windows that overlap must move by whole groups of model errors, of "
                f"{error.every} slots each, got a shift of {plan.shift}"
            )

    def start(self, problem: Problem, plan: Plan, key: Array) -> VariationalCarry:
        """The case's own background, with all priors."""
        control = problem.control
        static = control.covariance if self.static is None else self.static
        static = static.on(problem.model.labels())
        mean, localisation = first_mean(control, plan.batches), None
        if self.localisation is None:
            background = first_background(control, mean, self.folding(mean))
        else:
            background = first_members(control, mean, self.members, key)
            localisation = Localisation.of(self.localisation, problem.model.labels())
        return VariationalCarry(background, self.inflation.first(), static, localisation)

    def step(
        self, problem: Problem, carry: VariationalCarry, move: Move, key: Array
    ) -> tuple[VariationalCarry, Outcome]:
        """Minimise J, and hand on the posterior where the next window starts."""
        window = self._window(problem, carry)
        for_minimum, for_laplace, for_moments, for_draws = jax.random.split(key, 4)
        for_rest = jax.random.fold_in(key, 4)
        last = self._minimum(window, for_minimum)
        gaussian = _posterior(window, last.chi, self.rank, for_laplace)
        units = units_of(carry.static, carry.background.mean)
        moments = by_tangent(window, gaussian, move, self.rank, units, for_moments)
        if self.localisation is not None:
            moments = by_members(window, gaussian, move, moments)
        elif self.carry == "ensemble":
            moments = by_draws(window, gaussian, move, self.members, for_draws, moments)
        ended = status_after(last.status, (moments.analysis.z, moments.columns))
        cost = Cost(last.cost, jnp.sum(last.chi**2) / 2, last.gradient_norm, ended)
        normalised = jnp.sum(window(jnp.zeros_like(last.chi)).normalised ** 2)
        degrees = signal(window, gaussian, jax.random.fold_in(key, 5))
        applied = carry.inflation.applied
        window_outcome = outcome(problem, moments, cost, normalised, degrees, applied)
        rest = _rest(window, gaussian, for_rest) if self.inflation.adaptive else None
        number = window_outcome.number
        given = (normalised, number, gaussian.eigenvalues, rest)
        moves = (number > 0) & (move.shift > 0)
        inflation = self.inflation.after(carry.inflation, Innovation.of(*given), moves)
        background = self._handed_on(moments, carry, inflation, move.shift, moves, problem)
        after = VariationalCarry(background, inflation, carry.static, carry.localisation)
        return after, window_outcome

    def draws(
        self, problem: Problem, carry: VariationalCarry, number: int, key: Array, newest: int
    ) -> StartMembers | None:
        """Those of the next background, with localised v_k where it localises them."""
        window = self._window(in_carried_coordinates(problem), carry)
        return drawn_members(window, number, key, newest)

    def remarks(self, problem: Problem, plan: Plan) -> dict[str, str]:
        """Fields with bounds, and whether draws or vectors are too few to keep a covariance."""
        controls = self.controls(problem, plan)
        known = max(WHOLE, self.rank)
        remarks = bounded_fields(problem) | few_vectors(problem, controls, self.rank, known)
        if self.carry != "ensemble" or self.localisation is not None:
            return remarks
        if self.members >= 2 * controls:
            return remarks
        return remarks | {
            "members": f"{self.members} members for {controls} controls of a window: two for every "
            'one keep the covariance exactly; give more, a localisation, or carry = "posterior"'
        }

    def folding(self, mean: White) -> Folding:
        """How what is carried is kept: members as they are where they are localised."""
        if self.localisation is None:
            return Folding.of(mean, self.rank)
        return Folding(self.members, whole=False, members=True)

    def controls(self, problem: Problem, plan: Plan) -> int:
        """Length of χ of a window: what is carried, and the model errors of its slots."""
        carry = self.start(problem.as_forcing(), plan, jax.random.key(0))
        return self._window(in_carried_coordinates(problem), carry).size()

    def _window(self, problem: Problem, carry: VariationalCarry) -> CycledProblem:
        """The problem of a window, in carried coordinates, with what the one before handed on."""
        static = None if self.folding(carry.background.mean).whole else carry.static
        return CycledProblem(problem, carry.background, static, carry.localisation)

    def _minimum(self, window: CycledProblem, key: Array) -> Any:
        """The minimiser's last state at the lowest J of all first guesses."""
        several = window.lengthened(self.stages) if self.stages > 1 else ()

        def minimum_from(guess: Array) -> Any:
            if several:
                return minimise_quasi_static_compiled(several, self.minimiser, guess)
            return minimise_compiled(window, self.minimiser, guess)

        first = minimum_from(jnp.zeros(window.size()))
        if self.starts == 1:
            return first
        number = observed(window.problem)
        likely = 2 * first.cost <= number + self.gate * jnp.sqrt(2 * number)
        doubtful = is_gaussian(window.problem) & ~likely

        def best() -> Any:
            draws = jax.random.normal(key, (self.starts - 1, first.chi.size))
            others = jax.lax.map(minimum_from, draws)
            costs = jnp.concatenate([first.cost[None], others.cost])
            lowest = jnp.argmin(jnp.where(jnp.isnan(costs), jnp.inf, costs))
            together = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, others)
            return jax.tree.map(lambda leaf: leaf[lowest], together)

        return jax.lax.cond(doubtful, best, lambda: first)

    def _handed_on(
        self,
        moments: CycledMoments,
        carry: VariationalCarry,
        inflation: Inflated,
        shift: Array,
        moves: Array,
        problem: Problem,
    ) -> Background:
        """The next background.

        Neither inflated nor mixed while the window stays where it is, or had no observations.
        """
        mean = ravel_pytree(carry.background.mean)[1](moments.analysis.z)
        static = self.carry == "static"
        share = float(static) if self.share is None else self.share
        return handed_on(
            mean,
            only_others(mean, moments.columns) if static else moments.columns,
            carry.static,
            self.folding(mean),
            inflation=inflation.applied,
            share=jnp.where(moves | static, share, 0.0),
            own=jnp.where(moves, self.forgetting, 0.0),
            fresh=self._fresh(carry.background, shift, problem),
        )

    def _fresh(self, before: Background, shift: Array, problem: Problem) -> Array | None:
        """Which groups of model errors the next window sees first."""
        error = problem.control.model_error
        if before.fresh is None or error is None:
            return None
        groups = before.fresh.shape[0]
        new = jnp.arange(groups) >= groups - shift // error.every
        return jnp.ones(groups) if self.carry == "static" else new.astype(float)


def _posterior(window: CycledProblem, chi: Array, rank: int, key: Array) -> Gaussian:
    """Laplace's, with the Hessian of Gauss and Newton unless error scales are estimated."""
    if window.has_normaliser():
        settings = Laplace(rank, "exact", dense_limit=WHOLE)
        return local_gaussian(window.expanded(chi), chi, settings, key)
    data = jax.eval_shape(window, chi).normalised.size
    if data < chi.size and data <= WHOLE:
        return dual_gaussian(window, chi)
    return local_gaussian(window, chi, Laplace(rank, "gauss_newton", dense_limit=WHOLE), key)


def _rest(window: CycledProblem, gaussian: Gaussian, key: Array) -> tuple[Array, Array] | None:
    """Σ λ and Σ λ² of GᵀG without the eigenvalues that are kept; None where those are all."""
    data = jax.eval_shape(window, gaussian.chi).normalised.size
    if gaussian.eigenvalues.size >= min(data, gaussian.chi.size):
        return None
    hessian = gauss_newton_linearisation(window, gaussian.chi).hessian
    traces = deflated_traces(lambda v: hessian(v) - v, gaussian.eigenvectors, key)
    return jax.tree.map(lambda trace: jnp.maximum(trace, 0.0), traces)
