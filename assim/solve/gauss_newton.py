"""Gauss-Newton and Newton-CG: Lanczos inner loops under a damping that never lets J rise."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import (
    DepartureFunction,
    Linearisation,
    cost,
    exact_linearisation,
    gauss_newton_linearisation,
)
from assim.solve.krylov import Lanczos, Operator, lanczos
from assim.solve.minimise import AbstractMinimiser
from assim.solve.status import Status

Array = jax.Array

DENSE_LIMIT = 64  # below this size the Hessian is one batch of products, not one after another
TRIALS = 25  # dampings tried in one loop, each costs one evaluation of J
ARRIVED = 1e-13  # decrease predicted of a full step after which J can tell nothing more
SETTLED = 1e-8  # decrease predicted of a full step that, if J does not confirm it, is none


class NewtonState(NamedTuple):
    """State of a Gauss-Newton or Newton-CG minimisation.

    `gradient_norm` belongs to the last linearisation; `damping` is μ of Levenberg and Marquardt;
    `pairs` are the Lanczos vectors and T of the last inner loop, which hold the leading
    eigenpairs of the Hessian there; `hessian` is that Hessian as a matrix for a small problem,
    empty otherwise.
    """

    chi: Array
    cost: Array
    gradient_norm: Array
    first_norm: Array
    damping: Array
    inner_iterations: Array
    pairs: Lanczos
    hessian: Array
    status: Array


class _AbstractNewton(AbstractMinimiser):
    """What Gauss-Newton and Newton-CG share: all but the Hessian."""

    inner_tolerance: eqx.AbstractVar[float]

    @abc.abstractmethod
    def linearise(self, problem: DepartureFunction, chi: Array) -> Linearisation:
        """J, ∇J and the Hessian's action at χ."""

    def init(self, problem: DepartureFunction, chi: Array) -> NewtonState:
        """State at the first guess, before the model has run."""
        del problem
        n, size = chi.shape[0], min(self.n_inner, chi.shape[0])
        none, unknown = jnp.zeros((), int), jnp.array(jnp.inf)
        pairs = Lanczos(jnp.zeros((size, n)), jnp.ones(size), jnp.zeros(size), jnp.zeros(()), none)
        blank = jnp.zeros((n, n)) if n <= DENSE_LIMIT else jnp.zeros((0, 0))
        return NewtonState(
            chi,
            unknown,
            unknown,
            unknown,
            jnp.zeros(()),
            none,
            pairs,
            blank,
            jnp.array(Status.RUNNING.value),
        )

    def step(self, problem: DepartureFunction, state: NewtonState) -> NewtonState:
        """One outer loop: linearise, solve by Lanczos, and step as far as J falls."""
        idle = state._replace(inner_iterations=jnp.zeros((), int))
        return jax.lax.cond(
            state.status == Status.RUNNING, lambda: self._loop(problem, state), lambda: idle
        )

    def _loop(self, problem: DepartureFunction, state: NewtonState) -> NewtonState:
        n = state.chi.shape[0]
        here = self.linearise(problem, state.chi)
        norm = jnp.linalg.norm(here.gradient)
        first_norm = jnp.where(jnp.isfinite(state.first_norm), state.first_norm, norm)
        usable = jnp.isfinite(here.cost) & jnp.isfinite(norm)
        moving = usable & (norm > self.tolerance)
        b = jnp.where(moving, -here.gradient, 0.0)
        forcing = jnp.minimum(self.inner_tolerance, norm / first_norm)
        hessian, matrix = _batched(here.hessian, n)
        pairs = lanczos(hessian, b, min(self.n_inner, n), forcing)
        trial = _damped_search(problem, state.chi, here.cost, state.damping, pairs)
        rounding = 10 * jnp.finfo(state.chi.dtype).eps * jnp.abs(here.cost)
        stuck = trial.decrement <= jnp.maximum(SETTLED, rounding)
        stuck = jnp.where(stuck, Status.CONVERGED, Status.STAGNATED)
        arrived = trial.decrement <= jnp.maximum(ARRIVED, rounding)
        going_on = jnp.where(arrived, Status.CONVERGED, Status.RUNNING)
        status = jnp.where(trial.accepted, going_on, stuck)
        status = jnp.where(moving, status, Status.CONVERGED)
        return NewtonState(
            jnp.where(moving & trial.accepted, trial.chi, state.chi),
            jnp.where(moving & trial.accepted, trial.cost, jnp.minimum(here.cost, state.cost)),
            norm,
            first_norm,
            trial.damping,
            jnp.where(moving, pairs.iterations, 0),
            pairs,
            matrix,
            jnp.where(usable, status, Status.NON_FINITE),
        )


class GaussNewton(_AbstractNewton):
    """Incremental 4D-Var: (W + GᵀG + μ) δχ = -∇J in the inner loop, relinearised in the outer.

    Inner loops are conjugate gradients in Lanczos form with full reorthogonalisation; μ rises
    until J falls and is lowered again where the quadratic model predicts well (Levenberg,
    Marquardt; Lawless, Gratton & Nichols 2005 for the link with incremental 4D-Var).

    Args:
        n_outer: most outer loops.
        n_inner: most inner iterations of each.
        tolerance: |∇J| at which to stop.
        inner_tolerance: relative residual at which an inner loop stops; tightened by itself as
            |∇J| falls.
    """

    n_outer: int = eqx.field(default=30, static=True)
    n_inner: int = eqx.field(default=100, static=True)
    tolerance: float = eqx.field(default=1e-6, static=True)
    inner_tolerance: float = eqx.field(default=1e-2, static=True)

    def linearise(self, problem: DepartureFunction, chi: Array) -> Linearisation:
        """J, ∇J and v ↦ (W + GᵀG) v."""
        return gauss_newton_linearisation(problem, chi)


class NewtonCG(_AbstractNewton):
    """Newton's method with the exact Hessian of J, c(χ) included.

    For problems that estimate error scales, or are far from linear. Directions of negative
    curvature are used with its absolute value, so that every step goes downhill (Dauphin et al.
    2014). Arguments as for `GaussNewton`.
    """

    n_outer: int = eqx.field(default=50, static=True)
    n_inner: int = eqx.field(default=100, static=True)
    tolerance: float = eqx.field(default=1e-6, static=True)
    inner_tolerance: float = eqx.field(default=1e-2, static=True)

    def linearise(self, problem: DepartureFunction, chi: Array) -> Linearisation:
        """J, ∇J and v ↦ ∇²J v."""
        return exact_linearisation(problem, chi)


class _Trial(NamedTuple):
    chi: Array
    cost: Array
    damping: Array
    decrement: Array  # that a full step would bring, ½ ∇Jᵀ A⁻¹ ∇J
    accepted: Array
    tries: Array


def _batched(operator: Operator, n: int) -> tuple[Operator, Array]:
    """A small operator as its matrix: n independent products instead of n in sequence."""
    if n > DENSE_LIMIT:
        return operator, jnp.zeros((0, 0))
    matrix = jax.vmap(operator)(jnp.eye(n))
    symmetric = (matrix + matrix.T) / 2
    return lambda v: symmetric @ v, symmetric


def _damped_search(
    problem: DepartureFunction, chi: Array, here: Array, damping: Array, pairs: Lanczos
) -> _Trial:
    """Raise the damping until J falls by a fair share of what the quadratic model predicts.

    In the eigenbasis of T every damping costs only one evaluation of J.
    """
    values, vectors = pairs.ritz()
    curvature = jnp.maximum(jnp.abs(values), 1e-12 * jnp.max(jnp.abs(values)))
    reached = jnp.arange(values.shape[0]) < pairs.iterations
    slope = pairs.norm * vectors[0]
    unit = jnp.max(curvature)
    decrement = jnp.sum(slope**2 / curvature) / 2

    def attempt(trial: _Trial) -> _Trial:
        coefficients = slope / (curvature + trial.damping)
        increment = pairs.basis.T @ jnp.where(reached, vectors @ coefficients, 0.0)
        predicted = jnp.sum(slope * coefficients - curvature * coefficients**2 / 2)
        j = cost(problem, chi + increment)
        ratio = (here - j) / jnp.where(predicted > 0, predicted, 1.0)
        accepted = (j < here) & (ratio > 1e-4)
        smaller = jnp.where(trial.damping > 1e-6 * unit, trial.damping / 8, 0.0)
        larger = jnp.maximum(4 * trial.damping, 1e-3 * unit)
        after = jnp.where(ratio > 0.75, smaller, jnp.where(ratio < 0.25, larger, trial.damping))
        damping = jnp.where(accepted, after, larger)
        return _Trial(chi + increment, j, damping, decrement, accepted, trial.tries + 1)

    def unfinished(trial: _Trial) -> Array:
        return ~trial.accepted & (trial.tries < TRIALS) & (pairs.norm > 0)

    none, no = jnp.zeros((), int), jnp.zeros((), bool)
    start = _Trial(chi, here, damping, decrement, no, none)
    return jax.lax.while_loop(unfinished, attempt, start)
