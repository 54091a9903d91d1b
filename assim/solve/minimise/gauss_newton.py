"""Gauss-Newton and Newton-CG: Lanczos inner loops under a damping that never lets J rise."""

from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.arguments import Size, check_settings, not_negative
from assim.solve.cost import (
    INDEFINITE,
    DepartureFunction,
    Linearisation,
    exact_linearisation,
    gauss_newton_linearisation,
)
from assim.solve.krylov import Lanczos, Operator, lanczos
from assim.solve.minimise.globalisation import GLOBALISATIONS, Globalisation, Model, Trial, search
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.minimise.preconditioner import Preconditioner, identity, learnt
from assim.solve.minimise.status import Status
from assim.solve.together import by_columns

Array = jax.Array

DENSE_LIMIT = 64  # below this size the Hessian is one batch of products, not one after another
ARRIVED = 1e-13  # decrease predicted of a full step after which J can tell nothing more
SETTLED = 1e-8  # decrease predicted of a full step that, if J does not confirm it, is none


class NewtonState(NamedTuple):
    """State of a Gauss-Newton or Newton-CG minimisation."""

    chi: Array
    cost: Array
    gradient_norm: Array  # of the last linearisation
    first_norm: Array
    control: Array  # μ of Levenberg and Marquardt, or the radius of the trust region
    inner_iterations: Array
    pairs: Lanczos  # of S A S in the last inner loop, S the root of the preconditioner that it had
    preconditioner: Preconditioner  # that the next one has: approximate eigenpairs of A in χ
    hessian: Array  # A as a matrix for a small problem, empty otherwise
    status: Array


class _AbstractNewton(AbstractMinimiser):
    """What Gauss-Newton and Newton-CG share: all but the Hessian."""

    exact: eqx.AbstractClassVar[bool]  # whether that is ∇²J, which may be indefinite, not W + GᵀG
    n_outer: int = eqx.field(default=100, static=True)
    n_inner: Size = eqx.field(default=100, static=True)
    tolerance: float = eqx.field(default=1e-6, static=True)
    inner_tolerance: float = eqx.field(default=1e-2, static=True)
    precondition: Size = eqx.field(default=0, static=True)
    globalisation: str = eqx.field(default="damping", static=True)

    def __check_init__(self) -> None:
        not_negative(self, "precondition")
        check_settings(self, globalisation=tuple(GLOBALISATIONS))

    def init(self, problem: DepartureFunction, chi: Array) -> NewtonState:
        """State at the first guess, before the model has run."""
        del problem
        n, size = chi.shape[0], min(self.n_inner, chi.shape[0])
        none, unknown = jnp.zeros((), int), jnp.array(jnp.inf)
        pairs = Lanczos(jnp.zeros((size, n)), jnp.ones(size), jnp.zeros(size), jnp.zeros(()), none)
        return NewtonState(
            chi,
            unknown,
            unknown,
            unknown,
            jnp.array(self._way().first(n)),
            none,
            pairs,
            identity(self.precondition, n),
            jnp.zeros((n, n)) if n <= DENSE_LIMIT else jnp.zeros((0, 0)),
            jnp.array(Status.RUNNING.value),
        )

    def step(self, problem: DepartureFunction, state: NewtonState) -> NewtonState:
        """One outer loop: linearise, solve by Lanczos, and step as far as J falls."""
        idle = state._replace(inner_iterations=jnp.zeros((), int))
        loop = partial(self._loop, problem, state)
        return jax.lax.cond(state.status == Status.RUNNING, loop, lambda: idle)

    def _way(self) -> Globalisation:
        return GLOBALISATIONS[self.globalisation]

    def _loop(self, problem: DepartureFunction, state: NewtonState) -> NewtonState:
        linearise = exact_linearisation if self.exact else gauss_newton_linearisation
        here = linearise(problem, state.chi)
        norm = jnp.linalg.norm(here.gradient)
        first_norm = jnp.where(jnp.isfinite(state.first_norm), state.first_norm, norm)
        usable = jnp.isfinite(here.cost) & jnp.isfinite(norm)
        moving = usable & (norm > self.tolerance)
        forcing = jnp.minimum(self.inner_tolerance, norm / first_norm)
        before, way = state.preconditioner, self._way()
        pairs, ritz, hessian = self._inner(here, before, moving, forcing)
        trial = search(problem, state.chi, here.cost, state.control, pairs, ritz, before.sqrt, way)
        after = learnt(before, pairs, *ritz)
        control = trial.control
        if self.precondition > 0:
            stretched = jnp.linalg.norm(after.inverse_sqrt(trial.chi - state.chi))
            control = way.carried(
                control, jnp.where(trial.length > 0, stretched / trial.length, 1.0)
            )
        status = _judged(here.cost, Model(pairs.norm * ritz[1][0], ritz[0]), trial, moving)
        if self.exact:
            ended = status == Status.CONVERGED
            values = self._curvatures(here, hessian, ended)
            downwards = values[0] < -INDEFINITE * jnp.max(jnp.abs(values))
            status = jnp.where(ended & downwards, Status.SADDLE, status)
        taken = moving & trial.accepted
        return NewtonState(
            jnp.where(taken, trial.chi, state.chi),
            jnp.where(taken, trial.cost, jnp.minimum(here.cost, state.cost)),
            norm,
            first_norm,
            control,
            jnp.where(moving, pairs.iterations, 0),
            pairs,
            after,
            hessian,
            jnp.where(usable, status, Status.NON_FINITE),
        )

    def _inner(
        self, here: Linearisation, before: Preconditioner, moving: Array, forcing: Array
    ) -> tuple[Lanczos, tuple[Array, Array], Array]:
        """Solve for the increment: Lanczos pairs of S A S, eigenpairs of T, and A as a matrix."""
        n = here.gradient.shape[0]
        hessian, matrix = _batched(here.hessian, n)
        b = jnp.where(moving, -before.sqrt(here.gradient), 0.0)
        operator = lambda z: before.sqrt(hessian(before.sqrt(z)))  # noqa: E731
        pairs = lanczos(operator, b, min(self.n_inner, n), forcing)
        pairs = pairs._replace(norm=jnp.where(moving, pairs.norm, 0.0))
        return pairs, pairs.ritz(), matrix

    def _curvatures(self, here: Linearisation, matrix: Array, ended: Array) -> Array:
        """Eigenvalues of the Hessian in ascending order, all or those of a random Krylov space.

        Gradients on the way may have no part in a direction that J falls along, so that the space
        is one of its own; it is formed where the minimisation ends, and only there.
        """
        if matrix.size:
            return jnp.linalg.eigvalsh(matrix)
        n, dtype = here.gradient.shape[0], here.gradient.dtype
        random = jax.random.normal(jax.random.key(0), (n,), dtype)
        never = jnp.where(ended, 0.0, jnp.inf)
        return lanczos(here.hessian, random, min(self.n_inner, n), never).ritz()[0]


def _judged(here: Array, model: Model, trial: Trial, moving: Array) -> Array:
    """How a loop ended, by what a full step would still bring and whether J fell."""
    decrement = model.decrement()
    rounding = 10 * jnp.finfo(here.dtype).eps * jnp.abs(here)
    stuck = decrement <= jnp.maximum(SETTLED, rounding)
    stuck = jnp.where(stuck, Status.CONVERGED, Status.STAGNATED)
    arrived = decrement <= jnp.maximum(ARRIVED, rounding)
    going_on = jnp.where(arrived, Status.CONVERGED, Status.RUNNING)
    status = jnp.where(trial.accepted, going_on, stuck)
    return jnp.where(moving, status, Status.CONVERGED)


def _batched(operator: Operator, n: int) -> tuple[Operator, Array]:
    """A small operator as its matrix: n independent products instead of n in sequence."""
    if n > DENSE_LIMIT:
        return operator, jnp.zeros((0, 0))
    matrix = by_columns(operator, jnp.eye(n))
    symmetric = (matrix + matrix.T) / 2
    return lambda v: symmetric @ v, symmetric


class GaussNewton(_AbstractNewton):
    """Incremental 4D-Var: (W + GᵀG + μ) δχ = -∇J in the inner loop, relinearised in the outer.

    Inner loops are conjugate gradients in Lanczos form with full reorthogonalisation. Steps are
    shortened until J falls, by damping (Levenberg, Marquardt; Lawless, Gratton & Nichols 2005 for
    the link with incremental 4D-Var) or within a trust region.

    Args:
        n_outer: most outer loops.
        n_inner: most inner iterations of each.
        tolerance: |∇J| at which to stop.
        inner_tolerance: relative residual at which an inner loop stops; tightened by itself as
            |∇J| falls.
        precondition: eigenpairs that an inner loop passes on to precondition the next; 0 for
            none.
        globalisation: "damping", or "trust_region" with |χ - χ_previous| within a radius, √n
            prior standard deviations at first. Where a preconditioner S² is used, μ multiplies
            |S⁻¹δχ|² and the radius bounds |S⁻¹δχ|.
    """

    exact: ClassVar[bool] = False


class NewtonCG(_AbstractNewton):
    """Newton's method with the exact Hessian of J, c(χ) included.

    For problems that estimate error scales, or are far from linear. Under damping, directions of
    negative curvature are used with its absolute value, so that every step goes downhill (Dauphin
    et al. 2014); in a trust region they are followed to its edge. Where it ends, negative
    curvature is looked for, to tell a saddle from a minimum: among all eigenvalues up to 64
    controls, above among those that `n_inner` products from a random vector show. Arguments as for
    `GaussNewton`.
    """

    exact: ClassVar[bool] = True
    n_outer: int = eqx.field(default=50, static=True)

    def exact_hessian(self, state: NewtonState) -> Array | None:
        """That of the last loop, for a small problem."""
        return state.hessian if state.hessian.size else None
