"""3D-Var and optimal interpolation in a cycle: a forecast, and an increment of fixed covariance."""

import abc
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.cycle.posterior import TOGETHER, WHOLE
from assim.analysis.cycle.scheme import (
    AbstractScheme,
    Cost,
    CycledMoments,
    Outcome,
    Seen,
    check_perfect,
    check_scales,
    check_separate,
    check_static,
    outcome,
    status,
)
from assim.analysis.cycle.signal import few_vectors, signal
from assim.analysis.forecast import StartMembers
from assim.arguments import Size, positive
from assim.devices import over_members, program
from assim.problem.arrays import State, Trajectory
from assim.problem.covariance import AbstractStateCovariance
from assim.problem.departure import Departures, Problem
from assim.problem.window import integrate
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, local_gaussian

Array = jax.Array


class StaticCarry(NamedTuple):
    """What a window hands on: the analysis where the next window starts, and B."""

    state: State
    static: AbstractStateCovariance


class Increment(eqx.Module):
    """d(w) of an increment √s L w that is the same throughout a window: a departure function.

        d(w) = R^(-1/2)(y - H(x^b(t) + √s L w)),        B = LLᵀ

    No model is in it: H looks at the trajectory of the background, x^b, the forecast from the last
    analysis, displaced (first guess at appropriate time, FGAT: Lawless 2010, QJRMS 136, 1094).
    """

    problem: Problem
    trajectory: Trajectory
    static: AbstractStateCovariance
    share: float

    def __call__(self, w: Array) -> Departures:
        """Normalised departures."""
        displaced, zero = self.displaced(w), jnp.zeros(())
        several = [o.departures(displaced, {}) for o in self.problem.observations]
        return Departures(jnp.concatenate(several), zero, zero)

    def predictions(self, w: Array) -> tuple[Array, ...]:
        """H of every instrument."""
        displaced = self.displaced(w)
        return tuple(o.predict(displaced) for o in self.problem.observations)

    def displaced(self, w: Array) -> Trajectory:
        """The background's trajectory with the increment at every edge."""
        states, added = self.trajectory.states, self.of(w)
        moved = {n: v + added[n][None] if n in added else v for n, v in states.items()}
        return eqx.tree_at(lambda t: t.states, self.trajectory, moved)

    def of(self, w: Array) -> State:
        """√s L w, of the fields that have a covariance."""
        return _scaled(self.static, self.share, w)

    def size(self) -> int:
        """Length of w."""
        return sum(self.static.sizes().values())

    def scalars(self, chi: Array) -> dict[str, Array]:
        """None: w alone counts."""
        del chi
        return {}

    def weight(self) -> Array:
        """1 everywhere."""
        return jnp.ones(self.size())

    def has_normaliser(self) -> bool:
        """No scale is estimated."""
        return False

    def proper(self) -> bool:
        """N(0, I) integrates to one."""
        return True

    def workspace(self) -> int:
        """The trajectory, w and the departures."""
        return self.problem.workspace() + self.size()


def _scaled(static: AbstractStateCovariance, share: float, w: Array) -> State:
    """√s L w, of the fields that have a covariance."""
    white = {name: jnp.zeros(size) for name, size in static.sizes().items()}
    fields = static.sqrt(ravel_pytree(white)[1](w))
    return {name: math.sqrt(share) * value for name, value in fields.items()}


class _AbstractStatic(AbstractScheme):
    """What 3D-Var and optimal interpolation share: all but how the increment is found."""

    share: eqx.AbstractVar[float]
    static: eqx.AbstractVar[AbstractStateCovariance | None]

    def __check_init__(self) -> None:
        positive(self, "share")

    @abc.abstractmethod
    def minimum(self, increment: Increment, key: Array) -> tuple[Gaussian, Cost]:
        """The increment with its posterior, and J there."""

    def check(self, problem: Problem, plan: Plan) -> None:
        """Refuse windows that overlap, and all to estimate but fields with a covariance."""
        name, control = type(self).__name__, problem.control
        check_separate(name, plan)
        check_scales(name, problem)
        others = {"parameter": control.parameters, "bias coefficient": control.biases}
        for what, priors in others.items():
            if priors:
                raise ValueError(
                    f"{name}: a {what} cannot be estimated, got {next(iter(priors))!r}; fix it, or "
                    "use FourDVar"
                )
        if control.fields:
            raise ValueError(
                f"{name}: a field cannot have a prior of its own, got "
                f"{next(iter(control.fields))!r}; give it a background and a covariance, or use "
                "FourDVar"
            )
        check_perfect(name, problem)
        check_static(name, self.static, problem)

    def start(self, problem: Problem, plan: Plan, key: Array) -> StaticCarry:
        """The case's own background."""
        del plan, key
        control = problem.control
        static = control.covariance if self.static is None else self.static
        return StaticCarry(control.state, static.on(problem.model.labels()))

    def step(
        self, problem: Problem, carry: StaticCarry, move: Move, key: Array
    ) -> tuple[StaticCarry, Outcome]:
        """Forecast, find the increment, and hand on the analysis at the newest edge."""
        free = integrate(problem.model, carry.state, problem.control.fixed, problem.window)
        increment = Increment(problem, free, carry.static, self.share)
        for_minimum, for_rest = key, jax.random.fold_in(key, 1)
        gaussian, cost = self.minimum(increment, for_minimum)
        degrees = signal(increment, gaussian, for_rest)
        window_outcome = _outcome(increment, gaussian, cost, degrees)
        state = {name: value[move.newest] for name, value in window_outcome.analysis.items()}
        return StaticCarry(state, carry.static), window_outcome

    def draws(
        self, problem: Problem, carry: StaticCarry, number: int, key: Array, newest: int
    ) -> StartMembers | None:
        """x = x^a + √s B^(1/2) w."""
        del newest  # windows are separate
        return _draws(problem, carry, self.share, number, key)


class ThreeDVar(_AbstractStatic):
    """3D-Var: minimise J(w) = ½|w|² + ½|d(w)|² of an increment √s L w to a forecast.

        x^a(t) = x^b(t) + √s L w*

    One increment, of the static covariance, for all of the window, which is handed on where the
    window ends. Standard deviations are those of B and of Laplace's approximation.

    Args:
        share: s, factor on the static covariance.
        static: B; the covariance of the first background where None.
        minimiser: of J.
        rank: eigenpairs of the Hessian that standard deviations of the analysis see, of more than
            1,000 white numbers; in other directions these are those of B.
    """

    share: float = eqx.field(default=1.0, converter=float)
    static: AbstractStateCovariance | None = None
    minimiser: AbstractMinimiser = eqx.field(default_factory=lambda: GaussNewton(n_outer=10))
    rank: Size = eqx.field(default=200, static=True)

    def minimum(self, increment: Increment, key: Array) -> tuple[Gaussian, Cost]:
        """By the minimiser."""
        last = minimise_compiled(increment, self.minimiser, jnp.zeros(increment.size()))
        settings = Laplace(rank=self.rank, dense_limit=WHOLE, hessian="gauss_newton")
        gaussian = local_gaussian(increment, last.chi, settings, key)
        return gaussian, Cost(last.cost, _square(last.chi), last.gradient_norm, last.status)

    def remarks(self, problem: Problem, plan: Plan) -> dict[str, str]:
        """Whether more may be informed than has an eigenpair."""
        static = self.start(problem, plan, jax.random.key(0)).static
        return few_vectors(problem, sum(static.sizes().values()), self.rank, self.rank)


class OptimalInterpolation(_AbstractStatic):
    """Optimal interpolation: one linear analysis in the space of the observations.

        x^a = x^b + K(y - Hx^b),        K = BHᵀ(HBHᵀ + R)⁻¹

    with H linearised at the background: what 3D-Var gives where H is linear (Daley 1991,
    "Atmospheric data analysis", chapters 4 and 5). A matrix of all observations is formed.

    Args:
        share: s, factor on the static covariance.
        static: B; the covariance of the first background where None.
    """

    share: float = eqx.field(default=1.0, converter=float)
    static: AbstractStateCovariance | None = None

    def minimum(self, increment: Increment, key: Array) -> tuple[Gaussian, Cost]:
        """w = -Gᵀ(GGᵀ + I)⁻¹d with G = ∂d/∂w at the background."""
        del key
        n = increment.size()
        departures = lambda w: increment(w).normalised  # noqa: E731
        d = departures(jnp.zeros(n))
        jacobian = jax.jacfwd if n <= d.size else jax.jacrev
        g = jacobian(departures)(jnp.zeros(n))
        values, vectors = jnp.linalg.eigh(g @ g.T)
        w = -(vectors @ ((vectors.T @ d) / (1 + values))) @ g
        some = values > d.size * jnp.finfo(d.dtype).eps * jnp.max(values)
        scale = jnp.where(some, 1 / jnp.sqrt(jnp.where(some, values, 1.0)), 0.0)
        values, right = jnp.where(some, values, 0.0), (vectors.T @ g).T * scale[None]
        last = slice(None, -min(n, d.size) - 1, -1)
        gaussian = Gaussian(w, values[last], right[:, last])
        cost = _square(w) + _square(departures(w))
        return gaussian, Cost(cost, _square(w), jnp.linalg.norm(d @ g), status(cost))


@program
def _draws(
    problem: Problem, carry: StaticCarry, share: float, number: int, key: Array
) -> StartMembers:
    def draw(w: Array) -> StartMembers:
        added = _scaled(carry.static, share, w)
        state = {n: v + added[n] if n in added else v for n, v in carry.state.items()}
        return StartMembers(state, problem.control.fixed, {}, {})

    size = sum(carry.static.sizes().values())
    return jax.vmap(draw)(jax.random.normal(key, (number, size)))


def _square(v: Array) -> Array:
    return jnp.sum(v**2) / 2


def _outcome(increment: Increment, gaussian: Gaussian, cost: Cost, degrees: Array) -> Outcome:
    """The analysis of a window in numbers; standard deviations are the same at all its edges."""
    edges, w, zero = increment.trajectory.times.size, gaussian.chi, jnp.zeros_like(gaussian.chi)
    before, after = (
        {n: jnp.broadcast_to(v[None], (edges, *v.shape)) for n, v in fields.items()}
        for fields in _stdev(increment, gaussian)
    )
    predicted = _predicted_stdev(increment, gaussian)
    moments = CycledMoments(
        Seen(increment.trajectory.states, increment.predictions(zero), {}),
        Seen(increment.displaced(w).states, increment.predictions(w), {}),
        Seen(before, predicted[0], {}),
        Seen(after, predicted[1], {}),
    )
    normalised = jnp.sum(increment(zero).normalised ** 2)
    return outcome(increment.problem, moments, cost, normalised, degrees, jnp.ones(()))


def _stdev(increment: Increment, gaussian: Gaussian) -> tuple[State, State]:
    """Of every field before and after: √ diag sB, and √(Σ v²/(1 + λ) + what v leave of diag sB).

    v are the eigenvectors as increments. A rest that rounding alone may have left is none.
    """
    vectors = gaussian.eigenvectors.T
    pushed = over_members(increment.of, vectors, TOGETHER)
    variance, rounding = increment.static.variance(), len(vectors) * jnp.finfo(vectors.dtype).eps
    before, after = {}, {}
    for name, value in increment.trajectory.states.items():
        before[name] = after[name] = jnp.zeros(value.shape[1:])
        if name in variance:
            total = increment.share * variance[name]
            rest = total - jnp.sum(pushed[name] ** 2, axis=0)
            known = jnp.tensordot(1 / (1 + gaussian.eigenvalues), pushed[name] ** 2, axes=1)
            before[name] = jnp.sqrt(total)
            after[name] = jnp.sqrt(jnp.where(rest > rounding * total, rest, 0.0) + known)
    return before, after


def _predicted_stdev(
    increment: Increment, gaussian: Gaussian
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """√ diag HsBHᵀ of every instrument, and after the analysis: one adjoint of H a value."""
    together = lambda w: jnp.concatenate(increment.predictions(w))  # noqa: E731
    value, push = jax.linearize(together, gaussian.chi)
    back = jax.linear_transpose(push, gaussian.chi)

    def row(number: Array) -> tuple[Array, Array]:
        (adjoint,) = back(jnp.zeros_like(value).at[number].set(1.0))
        return jnp.linalg.norm(adjoint), jnp.linalg.norm(gaussian.sqrt(adjoint))

    stdevs = over_members(row, jnp.arange(value.size), TOGETHER)
    ends = [
        sum(o.values.size for o in increment.problem.observations[: k + 1])
        for k in range(len(increment.problem.observations) - 1)
    ]
    before, after = (tuple(jnp.split(several, ends)) for several in stdevs)
    return before, after
