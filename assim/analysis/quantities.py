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
from assim.solve.posterior.laplace_posterior import LaplacePosterior
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


def members_kept(problem: Problem, number: int) -> int:
    """How many members results may hold."""
    return affordable(number, problem.size(), 1)


def prior_of(problem: Problem, derived: Mapping[str, Derived], number: int, key: Array) -> OfPrior:
    """Draws from the prior, for the problem with model error as the control."""
    forcing = problem.as_forcing()  # later states have no prior of their own
    chi = _prior_draws(forcing, number, key)
    values: dict[str, np.ndarray] = {}
    for function in _functions(forcing, derived).values():
        values |= in_batches(function, chi, batch_of(problem))
    return OfPrior(_mapped(forcing, chi), values)


def quantities_of_laplace(
    problem: Problem,
    posterior: LaplacePosterior,
    ensemble: Ensemble,
    number: int,
    derived: Mapping[str, Derived],
    prior: OfPrior,
    key: Array,
) -> DrawnQuantities:
    """All scalars and draws of a Laplace posterior, whose ensemble others are taken from.

    Scalars that depend on only one entry of χ are integrated over its Gaussian marginal and
    corrected by the certificate's weights where those may be trusted; others come from draws.
    """
    drawn = WeightedDraws(ensemble.members, np.asarray(ensemble.weights))
    if posterior.sample is not None:
        kept = members_kept(problem, number)
        chi = posterior.gaussian.draws(key, kept)
        drawn = WeightedDraws(chi, np.full(kept, 1 / kept), *posterior.sample)
    scalars = marginals(problem.control.scalars, posterior)
    names = tuple(name for name in scalar_fields(problem) if name not in scalars)
    quantities = {name: Quantity(*marginal, "") for name, marginal in scalars.items()}
    return _drawn_quantities(problem, posterior.chi, drawn, quantities, names, derived, prior)


def quantities_of_ensemble(
    problem: Problem,
    members: Array,
    weights: Array,
    chi: Array,
    derived: Mapping[str, Derived],
    prior: OfPrior,
) -> DrawnQuantities:
    """All scalars and draws of an ensemble; χ is where the cost is least."""
    drawn = WeightedDraws(members, np.asarray(weights))
    scalars = pushed(problem.control.scalars, chi, drawn, {}, batch_of(problem))
    names = tuple(name for name in scalar_fields(problem) if name not in scalars)
    quantities = {name: Quantity(*scalar.marginal, "") for name, scalar in scalars.items()}
    return _drawn_quantities(problem, chi, drawn, quantities, names, derived, prior)


def _drawn_quantities(
    problem: Problem,
    chi: Array,
    drawn: WeightedDraws,
    univariate: dict[str, Quantity],
    names: tuple[str, ...],
    derived: Mapping[str, Derived],
    prior: OfPrior,
) -> DrawnQuantities:
    """With the scalars that depend on several entries of χ, all in the order given."""
    units = scalar_units(problem)
    values: dict[str, Pushed] = {}
    for function in _functions(problem, derived, names).values():
        values |= pushed(function, chi, drawn, prior.scalars, batch_of(problem))
    quantities = {
        name: dataclasses.replace(quantity, units=units[name])
        for name, quantity in univariate.items()
    }
    quantities |= {name: _quantity(values[name], units[name]) for name in names}
    quantities = {name: quantities[name] for name in units if name in quantities}
    for name, about in derived.items():
        quantities[name] = _quantity(values[name], about.units, about.long_name)
    derived_values = {name: values[name] for name in derived}
    return DrawnQuantities(
        quantities, drawn.members, _mapped(problem, drawn.members), drawn.weights, derived_values
    )


def _functions(
    problem: Problem, derived: Mapping[str, Derived], fields: tuple[str, ...] | None = None
) -> dict[str, ScalarFunction]:
    """What pushes draws to initial scalar fields, all where none are named, and derived ones."""
    fields = tuple(scalar_fields(problem)) if fields is None else fields
    functions: dict[str, ScalarFunction] = {}
    if fields:
        functions["fields"] = OfInitial(problem, fields)
    if derived:
        of_trajectory = {name: quantity.function for name, quantity in derived.items()}
        functions["derived"] = OfTrajectory(problem, of_trajectory)
    return functions


def at_minimum(trajectory: Trajectory, derived: Mapping[str, Derived]) -> dict[str, Quantity]:
    """Derived quantities where there is no posterior: only `map`, all else NaN."""
    nan = float("nan")
    functions = {name: quantity.function for name, quantity in derived.items()}
    values = _values(functions, trajectory) if functions else {}
    return {
        name: Quantity(
            nan, nan, float(value), nan, nan, nan, derived[name].units, derived[name].long_name
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


def _quantity(scalar: Pushed, units: str, long_name: str = "") -> Quantity:
    prior = quantiles(scalar.prior)
    return Quantity(*scalar.marginal, units, long_name, scalar.number, prior)
