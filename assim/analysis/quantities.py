"""Scalars and draws of a posterior: what is estimated, what is derived from it, and their prior."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

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
from assim.solve.posterior.ensemble import Ensemble
from assim.solve.posterior.laplace import LaplacePosterior, gaussian_draws
from assim.solve.posterior.marginal import (
    Pushed,
    Quantity,
    ScalarFunction,
    WeightedDraws,
    in_batches,
    marginals,
    pushed,
    quantiles,
)
from assim.solve.together import affordable, batch_size

Array = jax.Array

MOST_TOGETHER = 1000  # draws that are pushed together


class DrawnQuantities(NamedTuple):
    """Scalars of a posterior, and draws from it.

    Args:
        quantities: posterior of every estimated scalar in the order given, then of derived ones.
        chi: members, shape (N, n).
        draws: the same in physical units, leading dimension = members.
        weights: of the members.
        derived: values of derived quantities for every member.
    """

    quantities: dict[str, Quantity]
    chi: Array
    draws: Physical
    weights: np.ndarray
    derived: dict[str, Pushed]


class OfPrior(NamedTuple):
    """Draws from the prior, NaN where there is none.

    Args:
        draws: of the control in physical units, leading dimension = draws.
        scalars: values of initial scalar fields and of derived quantities, by name.
    """

    draws: Physical
    scalars: dict[str, np.ndarray]


def members_kept(problem: Problem, wanted: int) -> int:
    """How many members results may hold."""
    return affordable(wanted, problem.size(), 1)


def prior_of(problem: Problem, wanted: Mapping[str, Derived], number: int, key: Array) -> OfPrior:
    """Draws from the prior, for the problem with model error as the control."""
    forcing = problem.as_forcing()  # later states have no prior of their own
    chi = _prior_draws(forcing, number, key)
    values: dict[str, np.ndarray] = {}
    for function in _functions(forcing, wanted).values():
        values |= in_batches(function, chi, batch_of(problem))
    return OfPrior(_mapped(forcing, chi), values)


def quantities_of_laplace(
    problem: Problem,
    posterior: LaplacePosterior,
    ensemble: Ensemble,
    number: int,
    wanted: Mapping[str, Derived],
    prior: OfPrior,
    key: Array,
) -> DrawnQuantities:
    """All scalars and draws of a Laplace posterior, whose ensemble others are taken from.

    Scalars that depend on one entry of χ alone are integrated over its Gaussian marginal and
    corrected by the certificate's weights where those may be trusted; others come from draws.
    """
    drawn = WeightedDraws(ensemble.members, np.asarray(ensemble.weights))
    if posterior.sample is not None:
        kept = members_kept(problem, number)
        chi = gaussian_draws(posterior.gaussian, kept, key)
        drawn = WeightedDraws(chi, np.full(kept, 1 / kept), *posterior.sample)
    scalars = marginals(problem.control.scalars, posterior)
    names = tuple(name for name in scalar_fields(problem) if name not in scalars)
    found = {name: Quantity(*one, "") for name, one in scalars.items()}
    return _found(problem, posterior.chi, drawn, found, names, wanted, prior)


def quantities_of_ensemble(
    problem: Problem,
    members: Array,
    weights: Array,
    chi: Array,
    wanted: Mapping[str, Derived],
    prior: OfPrior,
) -> DrawnQuantities:
    """All scalars and draws of an ensemble; χ is where the cost is least."""
    drawn = WeightedDraws(members, np.asarray(weights))
    scalars = pushed(problem.control.scalars, chi, drawn, {}, batch_of(problem))
    names = tuple(name for name in scalar_fields(problem) if name not in scalars)
    found = {name: Quantity(*one.marginal, "") for name, one in scalars.items()}
    return _found(problem, chi, drawn, found, names, wanted, prior)


def _found(
    problem: Problem,
    chi: Array,
    drawn: WeightedDraws,
    alone: dict[str, Quantity],
    names: tuple[str, ...],
    wanted: Mapping[str, Derived],
    prior: OfPrior,
) -> DrawnQuantities:
    """With the scalars that depend on several entries of χ, all in the order given."""
    units = scalar_units(problem)
    values: dict[str, Pushed] = {}
    for function in _functions(problem, wanted, names).values():
        values |= pushed(function, chi, drawn, prior.scalars, batch_of(problem))
    found = {name: dataclasses.replace(one, units=units[name]) for name, one in alone.items()}
    found |= {name: _quantity(values[name], units[name]) for name in names}
    found = {name: found[name] for name in units if name in found}
    for name, about in wanted.items():
        found[name] = _quantity(values[name], about.units, about.long_name)
    derived = {name: values[name] for name in wanted}
    return DrawnQuantities(
        found, drawn.members, _mapped(problem, drawn.members), drawn.weights, derived
    )


def _functions(
    problem: Problem, wanted: Mapping[str, Derived], fields: tuple[str, ...] | None = None
) -> dict[str, ScalarFunction]:
    """What pushes draws to initial scalar fields, all where none are named, and derived ones."""
    fields = tuple(scalar_fields(problem)) if fields is None else fields
    found: dict[str, ScalarFunction] = {}
    if fields:
        found["fields"] = OfInitial(problem, fields)
    if wanted:
        functions = {name: one.function for name, one in wanted.items()}
        found["derived"] = OfTrajectory(problem, functions)
    return found


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


@eqx.filter_jit
def _prior_draws(forcing: Problem, number: int, key: Array) -> Array:
    weight = forcing.weight()
    draws = jax.random.normal(key, (number, weight.shape[0]))
    return jnp.where(weight[None] > 0, draws, jnp.nan)


@eqx.filter_jit
def _mapped(problem: Problem, chi: Array) -> Physical:
    """Control of several χ."""
    return jax.lax.map(problem.control, chi, batch_size=batch_of(problem))


def batch_of(problem: Problem) -> int:
    """How many draws are pushed through the model together."""
    return batch_size(problem, MOST_TOGETHER)


def _quantity(one: Pushed, units: str, long_name: str = "") -> Quantity:
    prior = quantiles(one.prior)
    return Quantity(*one.marginal, units, long_name, one.number, prior)
