"""How kernels learn the size of their steps, from all chains together."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from assim.solve.posterior.chains.chains import Step, Tuning

Array = jax.Array

GAMMA, DELAY, FORGETTING = 0.05, 10.0, 0.75  # of dual averaging: γ, t₀, κ
LONGER = math.log(2.0)  # towards steps twice as long as the first one


def metropolis_step(info: Any, lowest: Array) -> Step:
    """What a trajectory with a Metropolis test cost, from blackjax's account of it.

    Args:
        info: that account.
        lowest: log density at its worse end.
    """
    outside = lowest == -jnp.inf
    return Step(
        acceptance=info.acceptance_rate,
        energy=jnp.zeros(()),
        divergent=info.is_divergent & ~outside,
        outside=outside,
        gradients=jnp.asarray(info.num_integration_steps, jnp.result_type(float)),
    )


def first_step(step: float, length: float) -> Tuning:
    """Before anything is known."""
    log_step = jnp.log(jnp.asarray(step, jnp.result_type(float)))
    zero = jnp.zeros_like(log_step)
    return Tuning(jnp.exp(log_step), zero + length, log_step, zero, log_step + LONGER, zero)


def dual_averaging(tuning: Tuning, steps: Step, target: float) -> Tuning:
    """log ε = μ - √t/γ H̄, H̄ the mean of target - acceptance.

    Hoffman & Gelman (2014, J. Mach. Learn. Res. 15, 1593, eq. 6) with their γ, t₀ and κ, one
    change for all chains by their mean acceptance. Trajectories that came to where the model is
    not finite do not count unless they are the most: no step is short enough for a sharp edge.
    """
    count = tuning.count + 1
    weight = 1 / (count + DELAY)
    drift = (1 - weight) * tuning.drift + weight * (target - _acceptance(steps))
    log_step = tuning.towards - jnp.sqrt(count) / GAMMA * drift
    share = count**-FORGETTING
    average = share * log_step + (1 - share) * tuning.average
    return Tuning(jnp.exp(log_step), tuning.length, average, drift, tuning.towards, count)


def _acceptance(steps: Step) -> Array:
    inside = ~steps.outside
    within = jnp.sum(jnp.where(inside, steps.acceptance, 0.0)) / jnp.maximum(jnp.sum(inside), 1)
    return jnp.where(jnp.mean(inside) >= 0.5, within, jnp.mean(steps.acceptance))


def energy_matching(tuning: Tuning, steps: Step, target: float) -> Tuning:
    """ε = (target/c)^(1/6), c the mean of energy/ε⁶ so far, later steps weighing more.

    The energy's variance in a step grows as ε⁶, and its mean over rare narrow places is what
    counts. The size changes by a factor of two at most, and is halved where no step is finite.
    """
    count = tuning.count + 1
    moving = steps.energy > 0
    energy = jnp.sum(jnp.where(moving, steps.energy, 0.0)) / jnp.maximum(jnp.sum(moving), 1)
    weight = jnp.where(energy > 0, 2 / (count + 1), 0.0)
    drift = (1 - weight) * tuning.drift + weight * energy / tuning.step**6
    change = jnp.log(target / jnp.maximum(drift, 1e-300)) / 6 - jnp.log(tuning.step)
    change = jnp.where(energy > 0, jnp.clip(change, -LONGER, LONGER), -LONGER)
    log_step = jnp.log(tuning.step) + change
    share = count**-FORGETTING
    average = share * log_step + (1 - share) * tuning.average
    return Tuning(jnp.exp(log_step), tuning.length, average, drift, tuning.towards, count)


def settled_step(tuning: Tuning) -> Tuning:
    """The averaged step size, from which another phase may start."""
    zero = jnp.zeros_like(tuning.count)
    average = tuning.average
    return Tuning(jnp.exp(average), tuning.length, average, zero, average + LONGER, zero)
