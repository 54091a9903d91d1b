"""4DEnVar: Gauss-Newton with the sensitivity of departures from member trajectories."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.arguments import Size, check_settings, positive
from assim.solve.cost import DepartureFunction
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonState
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.minimise.status import Status
from assim.solve.sensitivity import PROBES, Sampled, Sensed, basis, left_unseen, run, updated
from assim.solve.transform import taper

Array = jax.Array

MOST_LOOPS = 10  # as many members of as many outer loops a posterior takes, at most


@runtime_checkable
class Localised(Protocol):
    """A departure function whose departures and entries of χ lie somewhere."""

    def distances(self, radius: float | Mapping[str, float], /) -> Array:
        """|δ/c| of every departure from every entry of χ, shape (m, n); 0 for no place."""


class EnsembleState(NamedTuple):
    """State of a minimisation by members.

    Args:
        chi: χ.
        cost: J there.
        gradient_norm: |∇J| of the last linearisation, as far as members tell.
        inner_iterations: of the last inner loop.
        status: a `Status`.
        newton: the state of Gauss and Newton.
        jacobian: G as it is known, shape (m, n).
        number: of outer loops.
        quiet: loops in sequence in which nothing was left to gain.
        failed: members that failed so far, and were left out.
    """

    chi: Array
    cost: Array
    gradient_norm: Array
    inner_iterations: Array
    status: Array
    newton: NewtonState
    jacobian: Array
    number: Array
    quiet: Array
    failed: Array


class FourDEnVar(AbstractMinimiser):
    """4D-Var without tangent and adjoint, its sensitivities from members of each outer loop.

        (W + ĜᵀĜ) δχ = -(Wχ + Ĝᵀd),        Ĝ from d(χ + ε u_i) - d(χ), i = 1 … members

    The J of 4D-Var, evaluated by the model itself, never rises. Members are re-centred on χ in
    every outer loop and take new directions u_i of an orthonormal basis until these are used up;
    what earlier ones said of other directions is kept (`assim.solve.sensitivity`). From n members
    on Ĝ is that of differences in all directions and the method is 4D-Var, exactly so for a linear
    model; with fewer it needs n/members loops to see everything, or a radius. Liu, Xiao & Wang
    (2008), MWR 136, 3363; Bocquet & Sakov (2014), QJRMS 140, 1521 ("bundle"). Members that are not
    finite are left out and counted. Ĝ holds m n numbers.

    Args:
        n_outer: most outer loops.
        n_inner: most inner iterations of each.
        tolerance: |∇J| at which to stop.
        members: trajectories of each outer loop besides that of χ; no more than n are run.
        spread: ε, |δχ| of a member in prior standard deviations; larger where the model's output
            is rough.
        radius: c, half of the support of the taper of Gaspari and Cohn by which an entry of χ at a
            grid point counts for an observation: a number in the axes' units, or one for each
            dimension by name; None for no localisation. Observations must see no further.
        globalisation: "damping" or "trust_region", as of `GaussNewton`.
    """

    by_members: ClassVar[bool] = True
    n_outer: int = eqx.field(default=100, static=True)
    n_inner: Size = eqx.field(default=100, static=True)
    tolerance: float = eqx.field(default=1e-6, static=True)
    members: Size = eqx.field(default=100, static=True)
    spread: float = eqx.field(default=1e-3, static=True)
    radius: float | Mapping[str, float] | None = None
    globalisation: str = eqx.field(default="damping", static=True)

    def __check_init__(self) -> None:
        check_settings(self, members=1, globalisation=("damping", "trust_region"))
        positive(self, "spread")
        several = self.radius.values() if isinstance(self.radius, Mapping) else [self.radius]
        if not all(radius is None or radius > 0 for radius in several):
            raise ValueError(f"FourDEnVar: every radius must be positive, got {self.radius}")

    def init(self, problem: DepartureFunction, chi: Array) -> EnsembleState:
        """State at the first guess, before the model has run.

        Raises:
            ValueError: an error scale is estimated, or departures that cannot be localised.
        """
        if problem.has_normaliser():
            raise ValueError(
                "FourDEnVar: error scales and amplitudes cannot be estimated from members; fix "
                "them, or use NewtonCG with a model that brings its derivatives"
            )
        self._taper(problem)
        rows = jax.eval_shape(problem, chi).normalised.shape[0]
        none = jnp.zeros((), int)
        newton = self._newton().init(problem, chi)
        return self._shown(newton, jnp.zeros((rows, chi.size)), none, none, none)

    def step(self, problem: DepartureFunction, state: EnsembleState) -> EnsembleState:
        """One outer loop: run members about χ, and step as far as J falls."""
        idle = state._replace(inner_iterations=jnp.zeros((), int))
        return jax.lax.cond(
            state.status == Status.RUNNING, lambda: self._loop(problem, state), lambda: idle
        )

    def sampled(self, problem: DepartureFunction, chi: Array, whole: bool = True) -> Sampled:
        """The sensitivity at χ from members about it, and how much of it they miss.

        Args:
            problem: the departure function.
            chi: χ.
            whole: whether as many members are run as it takes to see all directions, but no more
                than ten outer loops have; else those of one.
        """
        n, rows = problem.size(), jax.eval_shape(problem, chi).normalised.shape[0]
        number = min(n, (MOST_LOOPS if whole else 1) * self.members)
        directions = basis(jax.random.key(0), n, jnp.arange(number))
        members = run(problem, chi, directions, self.spread)
        jacobian = updated(jnp.zeros((rows, n)), members, self._taper(problem))
        signs = jax.random.rademacher(jax.random.key(1), (PROBES, n), dtype=float)
        probes = run(problem, chi, signs / jnp.sqrt(n), self.spread)
        all_members = jnp.array(number + PROBES)
        failed = all_members - jnp.sum(members.fine) - jnp.sum(probes.fine)
        unseen = left_unseen(jacobian, probes)
        return Sampled(Sensed(problem, jacobian), all_members, failed, unseen)

    def _loop(self, problem: DepartureFunction, state: EnsembleState) -> EnsembleState:
        n, rho = state.chi.size, self._taper(problem)
        k = min(self.members, n)
        places = (state.number * k + jnp.arange(k)) % n
        directions = basis(jax.random.key(0), n, places)
        members = run(problem, state.chi, directions, self.spread)
        jacobian = updated(state.jacobian, members, rho)
        newton = self._newton().step(Sensed(problem, jacobian), state.newton)
        stuck = newton.status == Status.STAGNATED  # by an estimate that the next loop improves
        done = stuck | (newton.status == Status.CONVERGED)
        quiet = jnp.where(done, state.quiet + 1, 0)
        seen_by_one = n if rho is None else jnp.max(jnp.sum(rho > 0, axis=1))
        going_on = done & (quiet * k < seen_by_one)
        first = self._newton().init(problem, state.chi).control
        newton = newton._replace(
            status=jnp.where(going_on, Status.RUNNING.value, newton.status),
            control=jnp.where(stuck, first, newton.control),
        )
        failed = state.failed + k - jnp.sum(members.fine)
        return self._shown(newton, jacobian, state.number + 1, quiet, failed)

    def _newton(self) -> GaussNewton:
        return GaussNewton(
            self.n_outer, self.n_inner, self.tolerance, globalisation=self.globalisation
        )

    def _taper(self, problem: DepartureFunction) -> Array | None:
        if self.radius is None:
            return None
        if not isinstance(problem, Localised):
            raise ValueError(
                "FourDEnVar: a radius needs a problem that knows where departures and controls "
                f"lie, and {type(problem).__name__} does not; leave it out"
            )
        return taper(problem.distances(self.radius))

    def _shown(
        self, newton: NewtonState, jacobian: Array, number: Array, quiet: Array, failed: Array
    ) -> EnsembleState:
        shown = (newton.chi, newton.cost, newton.gradient_norm, newton.inner_iterations)
        return EnsembleState(*shown, newton.status, newton, jacobian, number, quiet, failed)
