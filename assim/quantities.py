"""Scalars and draws of an analysis: what is estimated, what is derived from it, and their prior."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.problem.arrays import Trajectory
from assim.problem.control import Physical
from assim.problem.departure import Problem
from assim.problem.scalars import (
    Derived,
    OfInitial,
    OfTrajectory,
    TrajectoryFunction,
    scalar_fields,
    scalar_units,
)
from assim.solve.gaussian import Gaussian
from assim.solve.laplace import BATCH_VALUES, Laplace, LaplacePosterior
from assim.solve.marginal import Pushed, Quantity, marginals, pushed, quantiles

Array = jax.Array

MEMBER_VALUES = 20_000_000  # numbers that all draws kept for the results may hold


class Found(NamedTuple):
    """Scalars of a posterior, and draws from it and from the prior.

    Args:
        quantities: posterior of every estimated scalar in the order given, then of derived ones.
        draws: posterior draws of the control in physical units, leading dimension = members.
        prior_draws: as many from the prior; NaN where there is none.
        derived: draws of derived quantities.
    """

    quantities: dict[str, Quantity]
    draws: Physical
    prior_draws: Physical
    derived: dict[str, Pushed]


def scalars_and_draws(
    problem: Problem,
    posterior: LaplacePosterior,
    settings: Laplace,
    wanted: Mapping[str, Derived],
    keys: Array,
) -> Found:
    """All scalars and draws of a posterior."""
    number = max(1, min(settings.members, MEMBER_VALUES // problem.size()))
    chi = _drawn(problem, posterior.gaussian, number, keys)
    units, scalars = scalar_units(problem), marginals(problem.control.scalars, posterior)
    fields = tuple(name for name in scalar_fields(problem) if name not in scalars)
    mixed = _pushed(OfInitial(problem, fields), posterior, chi) if fields else {}
    functions = {name: one.function for name, one in wanted.items()}
    derived = _pushed(OfTrajectory(problem, functions), posterior, chi) if wanted else {}
    found = {name: Quantity(*one, units[name]) for name, one in scalars.items()}
    found |= {name: _quantity(one, units[name]) for name, one in mixed.items()}
    found = {name: found[name] for name in units if name in found}
    for name, one in derived.items():
        found[name] = _quantity(one, wanted[name].units, wanted[name].long_name)
    return Found(
        found, _mapped(problem, chi.members), _mapped(problem.as_forcing(), chi.prior), derived
    )


def at_minimum(trajectory: Trajectory, wanted: Mapping[str, Derived]) -> dict[str, Quantity]:
    """Derived quantities where there is no posterior: `map` alone, all else NaN."""
    nan = float("nan")
    values = _values({n: one.function for n, one in wanted.items()}, trajectory) if wanted else {}
    return {
        name: Quantity(
            nan, nan, float(value), nan, nan, nan, wanted[name].units, wanted[name].long_name
        )
        for name, value in values.items()
    }


@eqx.filter_jit
def _values(functions: dict[str, TrajectoryFunction], trajectory: Trajectory) -> dict[str, Array]:
    return {name: jnp.reshape(f(trajectory), ()) for name, f in functions.items()}


class _Chi(NamedTuple):
    """χ of posterior draws, and of as many prior draws for the problem with model error as the
    control; NaN where χ has no prior.
    """

    members: Array
    prior: Array


@eqx.filter_jit
def _drawn(problem: Problem, posterior: Gaussian, number: int, keys: Array) -> _Chi:
    weight = problem.as_forcing().weight()
    prior = jax.random.normal(keys[0], (number, weight.shape[0]))
    prior = jnp.where(weight[None] > 0, prior, jnp.nan)
    return _Chi(posterior.draws(keys[1], number), prior)


@eqx.filter_jit
def _mapped(problem: Problem, chi: Array) -> Physical:
    """Control of several χ."""
    return jax.vmap(problem.control)(chi)


def _pushed(
    function: OfInitial | OfTrajectory, posterior: LaplacePosterior, chi: _Chi
) -> dict[str, Pushed]:
    problem = function.problem
    of_prior = None
    if problem.control.later:  # whose χ has no prior of its own
        of_prior = dataclasses.replace(function, problem=problem.as_forcing())
    batch = max(1, BATCH_VALUES // problem.workspace())
    return pushed(function, posterior, chi.members, chi.prior, batch, of_prior)


def _quantity(one: Pushed, units: str, long_name: str = "") -> Quantity:
    return Quantity(*one.marginal, units, long_name, one.number, quantiles(one.prior))
