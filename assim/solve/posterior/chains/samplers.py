"""The kernels: NUTS and HMC, MCLMC, and how they learn the size of their steps."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.arguments import Size, check_settings
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.chains.chains import AbstractChains, Coordinates, Step, Tuning
from assim.solve.posterior.chains.sampling import sample_chains
from assim.solve.posterior.ensemble import Ensemble, Report, blackjax, failed
from assim.solve.posterior.laplace_posterior import LaplacePosterior

Array = jax.Array

GAMMA, DELAY, FORGETTING = 0.05, 10.0, 0.75  # of dual averaging: γ, t₀, κ
LONGER = math.log(2.0)  # towards steps twice as long as the first one
QUARTER = math.pi / 2  # quarter of the period of N(0, 1), after which a draw forgets where it was
JITTER = 0.2  # share by which step sizes vary, lest trajectories close
FIRST_STEP = 0.5
ENERGY = 5e-4  # variance of the energy in a step, for each coordinate, that is always asked for
BIAS = 60.0  # the same over the cube of the accuracy
PER_STEP = 2  # gradients of the minimal-norm integrator
REMEMBERED = 2.0  # of √(sum of the variances), the length over which a direction is forgotten
PARTLY = 1.25  # trajectories of an adjusted chain, over which its direction is forgotten
KEPT = 4  # draws for each length over which the direction is forgotten
LONGEST = 100  # steps between two draws, at most


class AbstractHamiltonian(AbstractChains):
    """Trajectories of Hamilton's equations that end with a Metropolis test; see `NUTS` and `HMC`.

    The step size is set by dual averaging over all chains together.
    """

    accuracy: float = eqx.field(default=0.015, static=True)
    chains: Size = eqx.field(default=8, static=True)
    warm_up: int = eqx.field(default=180, static=True)
    acceptance: float = eqx.field(default=0.95, static=True)
    max_gradients: int = eqx.field(default=1_000_000, static=True)
    members: Size = eqx.field(default=10_000, static=True)

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

    def early(self) -> AbstractChains:
        """Itself."""
        return self

    def begin(self, z: Array, log_density: Array, score: Array, key: Array) -> Any:
        """State of a chain."""
        del key
        return blackjax().mcmc.hmc.HMCState(z, log_density, score)

    def first_tuning(self, n: int) -> Tuning:
        """A step size of ½."""
        del n
        return _first(FIRST_STEP, QUARTER)

    def tuned(self, tuning: Tuning, steps: Step) -> Tuning:
        """By dual averaging."""
        return _dual_averaging(tuning, steps, self.acceptance)

    def settled(self, tuning: Tuning, z: Array) -> Tuning:
        """The averaged step size."""
        del z
        return _settled(tuning)


class NUTS(AbstractHamiltonian):
    """No-U-turn sampler: Hamiltonian trajectories that end where they turn back.

    Hoffman & Gelman (2014, J. Mach. Learn. Res. 15, 1593) with multinomial choice along the
    trajectory (Betancourt 2017, arXiv:1701.02434), by blackjax. The step size is set by dual
    averaging over all chains together.

    Args:
        accuracy: Monte Carlo standard error at which the chains stop, of every standard deviation
            (relative), of the 5, 50 and 95 % quantiles (in widths of that interval) and half that
            of every mean (in standard deviations), for χ and published scalars alike.
        chains: how many run together, half of them started from the prior.
        warm_up: draws of each chain that are not kept.
        acceptance: mean acceptance that the step size is set to.
        max_gradients: of all chains together, where they stop at the latest.
        members: draws kept, at most, unless accuracy needs more.
        doublings: of a trajectory, at most; 2^doublings gradients a draw.
    """

    doublings: int = eqx.field(default=8, static=True)

    def __check_init__(self) -> None:
        check_settings(self, doublings=1)

    def name(self) -> str:
        """The method's name, nuts."""
        return "nuts"

    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """One trajectory."""
        before = state.logdensity
        state, info = blackjax().nuts.build_kernel()(
            key,
            state,
            lambda z: at.log_density(problem, z),
            tuning.step,
            jnp.ones(problem.size()),
            self.doublings,
        )
        ends = info.trajectory_leftmost_state, info.trajectory_rightmost_state
        lowest = jnp.minimum(ends[0].logdensity, ends[1].logdensity)
        return state, _metropolis(info, lowest, _level(before, info))


class HMC(AbstractHamiltonian):
    """Hamiltonian Monte Carlo with trajectories of a quarter period, the step size jittered.

    Duane et al. (1987, Phys. Lett. B 195, 216), by blackjax. The coordinates make the posterior
    nearly N(0, I), whose quarter period is π/2; steps are as many as the tuned step size asks for.

    Args:
        accuracy: Monte Carlo standard error at which the chains stop, of every standard deviation
            (relative), of the 5, 50 and 95 % quantiles (in widths of that interval) and half that
            of every mean (in standard deviations), for χ and published scalars alike.
        chains: how many run together, half of them started from the prior.
        warm_up: draws of each chain that are not kept.
        acceptance: mean acceptance that the step size is set to.
        max_gradients: of all chains together, where they stop at the latest.
        members: draws kept, at most, unless accuracy needs more.
        longest: steps of a trajectory, at most.
    """

    longest: int = eqx.field(default=256, static=True)

    def __check_init__(self) -> None:
        check_settings(self, longest=1)

    def name(self) -> str:
        """The method's name, hmc."""
        return "hmc"

    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """One trajectory; all chains make as many steps, each with a size of its own."""
        key, size, number = _trajectory(tuning, key, self.longest)
        before = state.logdensity
        state, info = blackjax().hmc.build_kernel()(
            key,
            state,
            lambda z: at.log_density(problem, z),
            size,
            jnp.ones(problem.size()),
            number,
        )
        return state, _metropolis(info, info.proposal.logdensity, _level(before, info))


class MCLMC(AbstractChains):
    """Microcanonical Langevin Monte Carlo: motion at constant speed that slowly forgets its way.

    Robnik et al. (2023, J. Mach. Learn. Res. 24, 311; 2024, arXiv:2212.08549) by blackjax, with
    the minimal-norm integrator. No Metropolis test: the step size is set so that the variance of
    the energy in a step is 5e-4 for each coordinate or 60 accuracy³, whichever is less, for the
    bias of the standard deviations falls as its cube root. The direction is forgotten over a
    length of 2 √(sum of the variances of z).

    Args:
        accuracy: Monte Carlo standard error at which the chains stop, of every standard deviation
            (relative), of the 5, 50 and 95 % quantiles (in widths of that interval) and half that
            of every mean (in standard deviations), for χ and published scalars alike.
        chains: how many run together, half of them started from the prior.
        warm_up: draws of each chain that are not kept.
        adjusted: whether a Metropolis test ends every trajectory, in which the direction is partly
            forgotten, lest trajectories close (Robnik, Cohn-Gordon & Seljak 2025,
            arXiv:2503.01707): no bias, at a higher price.
        acceptance: mean acceptance of that test that the step size is set to.
        max_gradients: of all chains together, where they stop at the latest.
        members: draws kept, at most, unless accuracy needs more.
    """

    accuracy: float = eqx.field(default=0.015, static=True)
    chains: Size = eqx.field(default=8, static=True)
    warm_up: int = eqx.field(default=300, static=True)
    adjusted: bool = eqx.field(default=False, static=True)
    acceptance: float = eqx.field(default=0.9, static=True)
    max_gradients: int = eqx.field(default=1_000_000, static=True)
    members: Size = eqx.field(default=10_000, static=True)

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
        refused = self.refused(problem, around)
        return refused or sample_chains(self, problem, around, key, report)

    def refused(self, problem: DepartureFunction, around: LaplacePosterior) -> Ensemble | None:
        """Why it cannot run, as a failed ensemble; None where it can."""
        if problem.size() >= 2:
            return None
        return failed(
            around.chi[None],
            "MCLMC needs at least two controls: a single one leaves no direction to forget; "
            "run NUTS.",
        )

    def exact(self) -> bool:
        """Where it is adjusted."""
        return self.adjusted

    def early(self) -> AbstractChains:
        """Itself."""
        return self

    def begin(self, z: Array, log_density: Array, score: Array, key: Array) -> Any:
        """State of a chain, with a direction of its own."""
        library = blackjax().mcmc
        if self.adjusted:
            return library.hmc.HMCState(z, log_density, score)
        white = jax.random.normal(key, z.shape)
        direction = white / jnp.linalg.norm(white)
        return library.integrators.IntegratorState(z, direction, log_density, score)

    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """Several steps, a quarter of the length; with a Metropolis test all of it."""
        if not self.adjusted:
            return _unadjusted(problem, at, state, tuning, key)
        key, size, number = _trajectory(tuning, key, LONGEST)
        state, info = blackjax().adjusted_mclmc.build_kernel()(
            key,
            state,
            lambda z: at.log_density(problem, z),
            size,
            (number,),
            jnp.ones(problem.size()),
            PARTLY,
        )
        return state, _metropolis(info, info.proposal.logdensity, jnp.asarray(jnp.nan), PER_STEP)

    def first_tuning(self, n: int) -> Tuning:
        """A twentieth of the length."""
        return _first(0.1 * n**0.5, REMEMBERED * n**0.5)

    def tuned(self, tuning: Tuning, steps: Step) -> Tuning:
        """By the energy's variance, or by acceptance."""
        if self.adjusted:
            return _dual_averaging(tuning, steps, self.acceptance)
        return _energy_matching(tuning, steps, min(ENERGY, BIAS * self.accuracy**3))

    def settled(self, tuning: Tuning, z: Array) -> Tuning:
        """The averaged step size, and the length from the spread of z."""
        length = REMEMBERED * jnp.sqrt(jnp.sum(jnp.var(z, axis=0)))
        fine = jnp.isfinite(length) & (length > 0)
        length = jnp.where(fine, length, tuning.length)
        return eqx.tree_at(lambda t: t.length, _settled(tuning), length)


def _unadjusted(
    problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
) -> tuple[Any, Step]:
    """Where a step fails the position is kept and the direction drawn anew."""
    kernel = blackjax().mclmc.build_kernel()
    n = problem.size()
    number = jnp.clip(jnp.round(tuning.length / tuning.step / KEPT), 1, LONGEST).astype(int)

    def step(k: Array, carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        state, energy, failures = carry
        state, info = kernel(
            jax.random.fold_in(key, k),
            state,
            lambda z: at.log_density(problem, z),
            jnp.ones(n),
            tuning.length,
            tuning.step,
        )
        return state, energy + info.energy_change**2 / n, failures + ~info.nonans

    zero = jnp.zeros_like(tuning.step)
    state, energy, failures = jax.lax.fori_loop(0, number, step, (state, zero, zero))
    steps = number.astype(zero.dtype)
    return state, Step(
        acceptance=1 - failures / steps,
        energy=energy / jnp.maximum(steps - failures, 1.0),
        divergent=jnp.asarray(False),
        outside=failures > 0,
        level=jnp.asarray(jnp.nan),
        gradients=PER_STEP * steps,
    )


def _trajectory(tuning: Tuning, key: Array, longest: int) -> tuple[Array, Array, Array]:
    """Key, size and number of the steps of a trajectory of the tuned length."""
    first, second = jax.random.split(key)
    jitter = jax.random.uniform(first, minval=1 - JITTER, maxval=1 + JITTER)
    number = jnp.clip(jnp.ceil(tuning.length / tuning.step), 1, longest).astype(int)
    return second, tuning.step * jitter, number


def _level(log_density: Array, info: Any) -> Array:
    """Energy at the start of a trajectory, its momentum drawn from N(0, I)."""
    return jnp.sum(info.momentum**2) / 2 - log_density


def _metropolis(info: Any, lowest: Array, level: Array, per_step: int = 1) -> Step:
    """What a trajectory with a Metropolis test cost, log p being `lowest` at its worse end."""
    outside = lowest == -jnp.inf
    return Step(
        acceptance=info.acceptance_rate,
        energy=jnp.zeros(()),
        divergent=info.is_divergent & ~outside,
        outside=outside,
        level=level,
        gradients=jnp.asarray(per_step * info.num_integration_steps, jnp.result_type(float)),
    )


# ---- step sizes, from all chains together --------------------------------------------------------


def _first(step: float, length: float) -> Tuning:
    """Before anything is known."""
    log_step = jnp.log(jnp.asarray(step, jnp.result_type(float)))
    zero = jnp.zeros_like(log_step)
    return Tuning(jnp.exp(log_step), zero + length, log_step, zero, log_step + LONGER, zero)


def _dual_averaging(tuning: Tuning, steps: Step, target: float) -> Tuning:
    """log ε = μ - √t/γ H̄, H̄ the mean of target - acceptance.

    Hoffman & Gelman (2014, J. Mach. Learn. Res. 15, 1593, eq. 6) with their γ, t₀ and κ, one
    change for all chains by their mean acceptance. Trajectories that came to where the model is
    not finite do not count unless they are the most: no step is short enough for a sharp edge.
    """
    count, inside = tuning.count + 1, ~steps.outside
    within = jnp.sum(jnp.where(inside, steps.acceptance, 0.0)) / jnp.maximum(jnp.sum(inside), 1)
    acceptance = jnp.where(jnp.mean(inside) >= 0.5, within, jnp.mean(steps.acceptance))
    weight = 1 / (count + DELAY)
    drift = (1 - weight) * tuning.drift + weight * (target - acceptance)
    return _changed(tuning, tuning.towards - jnp.sqrt(count) / GAMMA * drift, drift)


def _energy_matching(tuning: Tuning, steps: Step, target: float) -> Tuning:
    """ε = (target/c)^(1/6), c the mean of energy/ε⁶ so far, later steps weighing more.

    The energy's variance in a step grows as ε⁶, and its mean over rare narrow places is what
    counts. The size changes by a factor of two at most, and is halved where no step is finite.
    """
    moving = steps.energy > 0
    energy = jnp.sum(jnp.where(moving, steps.energy, 0.0)) / jnp.maximum(jnp.sum(moving), 1)
    weight = jnp.where(energy > 0, 2 / (tuning.count + 2), 0.0)
    drift = (1 - weight) * tuning.drift + weight * energy / tuning.step**6
    change = jnp.log(target / jnp.maximum(drift, 1e-300)) / 6 - jnp.log(tuning.step)
    change = jnp.where(energy > 0, jnp.clip(change, -LONGER, LONGER), -LONGER)
    return _changed(tuning, jnp.log(tuning.step) + change, drift)


def _changed(tuning: Tuning, log_step: Array, drift: Array) -> Tuning:
    """With another step size, whose logarithm is averaged in."""
    count = tuning.count + 1
    share = count**-FORGETTING
    average = share * log_step + (1 - share) * tuning.average
    return Tuning(jnp.exp(log_step), tuning.length, average, drift, tuning.towards, count)


def _settled(tuning: Tuning) -> Tuning:
    """The averaged step size, from which another phase may start."""
    zero, average = jnp.zeros_like(tuning.count), tuning.average
    return Tuning(jnp.exp(average), tuning.length, average, zero, average + LONGER, zero)
