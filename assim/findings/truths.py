"""Truths drawn from the prior with readings drawn about them: what a method must find again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import over_members, program
from assim.problem.departure import Problem
from assim.problem.predictive import Readings, drawn_readings, prior_draws, with_values
from assim.solve.cost import negative_log_density
from assim.solve.together import batch_size

Array = jax.Array

TIRED = 20  # prior draws for each simulation wanted, after which the model fails too often


class Truths(NamedTuple):
    """χ with the readings drawn about it, leading dimension simulations."""

    chi: Array
    readings: Readings


def draw_truths(problem: Problem, number: int, key: Array) -> tuple[Truths, int]:
    """As many as are wanted at which the model does not fail, and how often it did.

    Raises:
        ValueError: a flat prior.
        ArithmeticError: a model that fails at nearly all draws of the prior.
    """
    kept: list[Truths] = []
    had = tried = 0
    while had < number:
        if tried >= TIRED * number:
            raise ArithmeticError(
                f"calibrate: the model fails at {tried - had} of {tried} draws of the prior, so "
                "that there is nothing to infer; narrow the prior to what the model can bear"
            )
        key, *two = jax.random.split(key, 3)
        chi = prior_draws(problem, number, two[0])
        drawn, fine = _readings(problem, chi, two[1])
        keep = np.flatnonzero(np.asarray(fine))[: number - had]
        last = int(keep[-1]) + 1 if keep.size == number - had else number
        tried, had = tried + last, had + keep.size
        kept.append(Truths(chi[keep], {name: y[keep] for name, y in drawn.items()}))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *kept), tried - had


@program
def _readings(problem: Problem, chi: Array, key: Array) -> tuple[Readings, Array]:
    """One set of readings for each χ, and whether all of them are finite and possible."""

    def checked_readings(pair: tuple[Array, Array]) -> tuple[Readings, Array]:
        drawn = drawn_readings(problem, *pair)
        density = negative_log_density(with_values(problem, drawn), pair[0])
        return drawn, jnp.isfinite(density)

    number = chi.shape[0]
    keys = jax.random.split(key, number)
    return over_members(checked_readings, (chi, keys), batch_size(problem))
