"""Microcanonical Langevin Monte Carlo: the workhorse where many directions are informed."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.chains.adaptation import (
    dual_averaging,
    energy_matching,
    first_step,
    metropolis_step,
    settled_step,
)
from assim.solve.posterior.chains.chains import (
    AbstractChains,
    Coordinates,
    Step,
    Tuning,
    blackjax,
    check_chains,
)
from assim.solve.posterior.chains.sampling import sample_chains
from assim.solve.posterior.ensemble import Ensemble, Report, Trust, equal_weights
from assim.solve.posterior.laplace_posterior import LaplacePosterior

Array = jax.Array

ENERGY = 5e-4  # variance of the energy in a step, for each coordinate, that is always asked for
BIAS = 60.0  # the same over the cube of the accuracy
PER_STEP = 2  # gradients of the minimal-norm integrator
REMEMBERED = 2.0  # of √(sum of the variances), the length over which a direction is forgotten
KEPT = 4  # draws for each length over which the direction is forgotten
LONGEST = 100  # steps between two draws, at most


class MCLMC(AbstractChains):
    """Microcanonical Langevin Monte Carlo: motion at constant speed that slowly forgets its way.

    Robnik et al. (2023, J. Mach. Learn. Res. 24, 311; 2024, arXiv:2212.08549) by blackjax, with
    the minimal-norm integrator. No Metropolis test: the step size is set so that the variance of
    the energy in a step is 5e-4 for each coordinate or 60 accuracy³, whichever is less, for the
    bias of the standard deviations falls as its cube root. The direction is forgotten over a
    length of 2 √(sum of the variances of z).

    Args:
        accuracy: Monte Carlo standard error of every mean (in standard deviations) and of every
            standard deviation (relative) of χ at which the chains stop.
        chains: how many run together, half of them started from the prior.
        warm_up: draws of each chain that are not kept.
        adjusted: whether a Metropolis test ends every trajectory, which then is as long as the
            direction is remembered: no bias, at a higher price.
        acceptance: mean acceptance of that test that the step size is set to.
        max_gradients: of all chains together, where they stop at the latest.
        members: draws kept, at most.
    """

    accuracy: float = eqx.field(default=0.02, static=True)
    chains: int = eqx.field(default=8, static=True)
    warm_up: int = eqx.field(default=300, static=True)
    adjusted: bool = eqx.field(default=False, static=True)
    acceptance: float = eqx.field(default=0.9, static=True)
    max_gradients: int = eqx.field(default=1_000_000, static=True)
    members: int = eqx.field(default=10_000, static=True)

    def __check_init__(self) -> None:
        check_chains(self)

    def name(self) -> str:
        """The method's name, mclmc."""
        return "mclmc"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Chains until they are accurate enough; see `AbstractPosterior.sample`."""
        if problem.size() < 2:
            return Ensemble(
                around.chi[None],
                equal_weights(1),
                Trust.FAILED,
                "MCLMC needs at least two controls: a single one leaves no direction to forget; "
                "run NUTS.",
            )
        return sample_chains(self, problem, around, key, report)

    def exact(self) -> bool:
        """Where it is adjusted."""
        return self.adjusted

    def begin(self, z: Array, log_density: Array, score: Array, key: Array) -> Any:
        """State of a chain, with a direction of its own."""
        library = blackjax("MCLMC").mcmc
        if self.adjusted:
            return library.hmc.HMCState(z, log_density, score)
        white = jax.random.normal(key, z.shape)
        direction = white / jnp.linalg.norm(white)
        return library.integrators.IntegratorState(z, direction, log_density, score)

    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """Several steps, a quarter of the length; with a Metropolis test all of it."""
        if self.adjusted:
            return _adjusted(problem, at, state, tuning, key)
        return _unadjusted(problem, at, state, tuning, key)

    def first_tuning(self, n: int) -> Tuning:
        """A twentieth of the length."""
        return first_step(0.1 * n**0.5, REMEMBERED * n**0.5)

    def tuned(self, tuning: Tuning, steps: Step) -> Tuning:
        """By the energy's variance, or by acceptance."""
        if self.adjusted:
            return dual_averaging(tuning, steps, self.acceptance)
        return energy_matching(tuning, steps, min(ENERGY, BIAS * self.accuracy**3))

    def settled(self, tuning: Tuning, z: Array) -> Tuning:
        """The averaged step size, and the length from the spread of z."""
        tuning = settled_step(tuning)
        length = REMEMBERED * jnp.sqrt(jnp.sum(jnp.var(z, axis=0)))
        fine = jnp.isfinite(length) & (length > 0)
        return eqx.tree_at(lambda t: t.length, tuning, jnp.where(fine, length, tuning.length))


def _unadjusted(
    problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
) -> tuple[Any, Step]:
    """Where a step fails the position is kept and the direction drawn anew."""
    kernel = blackjax("MCLMC").mclmc.build_kernel()
    n = problem.size()
    number = jnp.clip(jnp.round(tuning.length / tuning.step / KEPT), 1, LONGEST).astype(int)

    def step(k: Array, carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        state, energy, failed = carry
        state, info = kernel(
            jax.random.fold_in(key, k),
            state,
            lambda z: at.log_density(problem, z),
            jnp.ones(n),
            tuning.length,
            tuning.step,
        )
        return state, energy + info.energy_change**2 / n, failed + ~info.nonans

    zero = jnp.zeros_like(tuning.step)
    state, energy, failed = jax.lax.fori_loop(0, number, step, (state, zero, zero))
    steps = number.astype(zero.dtype)
    return state, Step(
        acceptance=1 - failed / steps,
        energy=energy / jnp.maximum(steps - failed, 1.0),
        divergent=jnp.asarray(False),
        outside=failed > 0,
        gradients=PER_STEP * steps,
    )


def _adjusted(
    problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
) -> tuple[Any, Step]:
    first, second = jax.random.split(key)
    jitter = jax.random.uniform(first, minval=0.8, maxval=1.2)
    number = jnp.clip(jnp.ceil(tuning.length / tuning.step), 1, LONGEST).astype(int)
    state, info = blackjax("MCLMC").adjusted_mclmc.build_kernel()(
        second,
        state,
        lambda z: at.log_density(problem, z),
        tuning.step * jitter,
        (number,),
        jnp.ones(problem.size()),
    )
    step = metropolis_step(info, info.proposal.logdensity)
    return state, eqx.tree_at(lambda s: s.gradients, step, PER_STEP * step.gradients)
