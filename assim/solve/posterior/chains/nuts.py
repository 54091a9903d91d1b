"""Hamiltonian Monte Carlo: the no-U-turn sampler, and trajectories of a fixed length."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.chains.adaptation import (
    dual_averaging,
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
from assim.solve.posterior.ensemble import Ensemble, Report
from assim.solve.posterior.laplace_posterior import LaplacePosterior

Array = jax.Array

QUARTER = math.pi / 2  # quarter of the period of N(0, 1), after which a draw forgets where it was
JITTER = 0.2  # share by which step sizes vary, lest trajectories close
FIRST_STEP = 0.5


class AbstractHamiltonian(AbstractChains):
    """Trajectories of Hamilton's equations that end with a Metropolis test; see `NUTS` and `HMC`.

    The step size is set by dual averaging over all chains together.
    """

    accuracy: float = eqx.field(default=0.02, static=True)
    chains: int = eqx.field(default=8, static=True)
    warm_up: int = eqx.field(default=180, static=True)
    acceptance: float = eqx.field(default=0.9, static=True)
    max_gradients: int = eqx.field(default=1_000_000, static=True)
    members: int = eqx.field(default=10_000, static=True)

    def __check_init__(self) -> None:
        check_chains(self)

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Chains until they are accurate enough; see `AbstractPosterior.sample`."""
        return sample_chains(self, problem, around, key, report)

    def exact(self) -> bool:
        """Yes."""
        return True

    def begin(self, z: Array, log_density: Array, score: Array, key: Array) -> Any:
        """State of a chain."""
        del key
        return blackjax(type(self).__name__).mcmc.hmc.HMCState(z, log_density, score)

    def first_tuning(self, n: int) -> Tuning:
        """A step size of ½."""
        del n
        return first_step(FIRST_STEP, QUARTER)

    def tuned(self, tuning: Tuning, steps: Step) -> Tuning:
        """By dual averaging."""
        return dual_averaging(tuning, steps, self.acceptance)

    def settled(self, tuning: Tuning, z: Array) -> Tuning:
        """The averaged step size."""
        del z
        return settled_step(tuning)


class NUTS(AbstractHamiltonian):
    """No-U-turn sampler: Hamiltonian trajectories that end where they turn back.

    Hoffman & Gelman (2014, J. Mach. Learn. Res. 15, 1593) with multinomial choice along the
    trajectory (Betancourt 2017, arXiv:1701.02434), by blackjax. The step size is set by dual
    averaging over all chains together.

    Args:
        accuracy: Monte Carlo standard error of every mean (in standard deviations) and of every
            standard deviation (relative) of χ at which the chains stop.
        chains: how many run together, half of them started from the prior.
        warm_up: draws of each chain that are not kept.
        acceptance: mean acceptance that the step size is set to.
        max_gradients: of all chains together, where they stop at the latest.
        members: draws kept, at most.
        doublings: of a trajectory, at most; 2^doublings gradients a draw.
    """

    doublings: int = eqx.field(default=8, static=True)

    def __check_init__(self) -> None:
        if self.doublings < 1:
            raise ValueError(f"NUTS: doublings must be at least 1, got {self.doublings}")

    def name(self) -> str:
        """The method's name, nuts."""
        return "nuts"

    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """One trajectory."""
        state, info = blackjax("NUTS").nuts.build_kernel()(
            key,
            state,
            lambda z: at.log_density(problem, z),
            tuning.step,
            jnp.ones(problem.size()),
            self.doublings,
        )
        ends = info.trajectory_leftmost_state, info.trajectory_rightmost_state
        lowest = jnp.minimum(ends[0].logdensity, ends[1].logdensity)
        return state, metropolis_step(info, lowest)


class HMC(AbstractHamiltonian):
    """Hamiltonian Monte Carlo with trajectories of a quarter period, the step size jittered.

    Duane et al. (1987, Phys. Lett. B 195, 216), by blackjax. The coordinates make the posterior
    nearly N(0, I), whose quarter period is π/2; steps are as many as the tuned step size asks for.

    Args:
        accuracy: Monte Carlo standard error of every mean (in standard deviations) and of every
            standard deviation (relative) of χ at which the chains stop.
        chains: how many run together, half of them started from the prior.
        warm_up: draws of each chain that are not kept.
        acceptance: mean acceptance that the step size is set to.
        max_gradients: of all chains together, where they stop at the latest.
        members: draws kept, at most.
        longest: steps of a trajectory, at most.
    """

    longest: int = eqx.field(default=256, static=True)

    def __check_init__(self) -> None:
        if self.longest < 1:
            raise ValueError(f"HMC: longest must be at least 1, got {self.longest}")

    def name(self) -> str:
        """The method's name, hmc."""
        return "hmc"

    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """One trajectory; all chains make as many steps, each with a size of its own."""
        first, second = jax.random.split(key)
        jitter = jax.random.uniform(first, minval=1 - JITTER, maxval=1 + JITTER)
        number = jnp.clip(jnp.ceil(tuning.length / tuning.step), 1, self.longest).astype(int)
        state, info = blackjax("HMC").hmc.build_kernel()(
            second,
            state,
            lambda z: at.log_density(problem, z),
            tuning.step * jitter,
            jnp.ones(problem.size()),
            number,
        )
        return state, metropolis_step(info, info.proposal.logdensity)
