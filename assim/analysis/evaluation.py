"""What one χ gives, and what the Laplace approximation says of trajectory and departures."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import scipy  # its parts are imported when first used

from assim.devices import program
from assim.problem import assumed
from assim.problem.arrays import State
from assim.problem.control import Physical
from assim.problem.departure import Problem, Simulation
from assim.solve.columns import Moments, Predictions, spread
from assim.solve.differences import by_differences
from assim.solve.posterior.gaussian import Gaussian

Array = jax.Array

RARE = 1e-3  # probability that each test of the fit finds a fault in a sound problem, at most


class Evaluation(NamedTuple):
    """One χ: simulation, terms of J, normalised departures, χᵀWχ/2 + dᵀd/2."""

    simulation: Simulation
    cost: dict[str, Array]
    departures: dict[str, Array]
    squares: Array


@program
def evaluate(problem: Problem, chi: Array) -> Evaluation:
    """What χ stands for, the terms of J, and the normalised departures of every instrument."""
    simulation = problem.simulate(chi)
    scales, cost = simulation.control.scales, problem.cost_terms(chi)
    departures = assumed.departures(problem, scales, simulation.predictions)
    squares = sum((jnp.sum(d**2) / 2 for d in departures.values()), jnp.zeros(()))
    squares += sum(cost[term] for term in assumed.KINDS) - assumed.jump_normaliser(problem, scales)
    squares += cost.get("digital_filter", 0.0)
    return Evaluation(simulation, cost, departures, squares)


@program
def fixed(problem: Problem, best: Simulation) -> tuple[Physical, Array]:
    """Prior standard deviations, and the constant of log p(y | χ), which does not depend on χ.

    The constant is NaN where a likelihood is no normalised density at the minimum: then there is
    no evidence.
    """
    given = ((o, best.predictions[o.name], best.control.scales) for o in problem.observations)
    densities = jnp.stack([jnp.all(o.is_density(predicted, s)) for o, predicted, s in given])
    constant = jnp.where(jnp.all(densities), problem.log_constant(), jnp.nan)
    return problem.control.stdev(), constant


def chi_squared_degrees(problem: Problem) -> float:
    """Expectation of 2(J - c - v) at the minimum, where the errors are as stated.

    NaN where it has no closed form: a scale or an amplitude is estimated, a likelihood's squares
    are no χ² variables, weights are neither 0 nor 1, or a digital filter has one.
    """
    if not bool(assumed.is_gaussian(problem)):
        return math.nan
    degrees = sum(float(o.count()) for o in problem.observations)
    return degrees - float(assumed.improper(problem))


def chi_squared_p_value(problem: Problem, squares: float) -> float:
    """Probability that 2(J - c - v) is larger; NaN where it is no χ² variable."""
    degrees = chi_squared_degrees(problem)
    if not (degrees > 0 and math.isfinite(squares)):
        return math.nan
    return float(scipy.special.chdtrc(degrees, squares))


def with_tangent(problem: Problem, function: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """A function of χ that follows the model, by differences where that brings no tangent."""
    return by_differences(function) if "tangent" in problem.model.lacks() else function


class Departed(NamedTuple):
    """Normalised departures by instrument, each of shape (m,).

    Args:
        before: d_b, at the background.
        after: d_a, at the analysis.
        increment: Gχ*, what the tangent linear makes of the analysis increment.
    """

    before: Predictions
    after: Predictions
    increment: Predictions


class Assumed(NamedTuple):
    """What was assumed, and what of it the observations inform.

    Args:
        error_variance: of the errors of every instrument, shape (m,).
        background_variance: of its predictions, likewise.
        signal: degrees of freedom for signal of each term of the prior.
        improper: controls that have neither a prior nor a jump in place of one.
        normaliser: part of the cost of the jumps that is no square.
        weight: of every observation, shape (m,).
        counted_once: whether all weights are 0 or 1, and no digital filter has one.
    """

    error_variance: Predictions
    background_variance: Predictions
    signal: dict[str, Array]
    improper: Array
    normaliser: Array
    weight: Predictions
    counted_once: Array


class Spread(NamedTuple):
    """What one pass of columns through the tangent linear at the minimum tells.

    Args:
        trajectory: posterior standard deviation of every field at every slot edge.
        model_error: the same of η.
        moments: second moments of the predictions.
        increment: Gχ*, by instrument.
        assumed: what was assumed of errors and background.
    """

    trajectory: State
    model_error: State
    moments: Moments
    increment: dict[str, Array]
    assumed: Assumed


@program
def spread_of(problem: Problem, gaussian: Gaussian, analysis: Simulation, key: Array) -> Spread:
    """All that one pass of columns through the tangent linear gives."""

    def simulated(chi: Array) -> tuple[Any, dict[str, Array]]:
        simulation = problem.simulate(chi)
        fields = simulation.trajectory.states, simulation.control.model_error
        return fields, simulation.predictions

    scales = analysis.control.scales
    departures = lambda predicted: assumed.departures(problem, scales, predicted)  # noqa: E731
    variance, moments, increment = spread(
        with_tangent(problem, simulated), departures, analysis.predictions, gaussian, key
    )
    trajectory, model_error = jax.tree.map(jnp.sqrt, variance)
    in_errors = assumed.in_units_of_errors(problem, analysis)
    known = jnp.where(assumed.has_prior_of_predictions(problem), 1.0, jnp.nan)
    prior = {name: known * v for name, v in moments.prior_variance.items()}
    return Spread(
        trajectory,
        model_error,
        moments,
        increment,
        Assumed(
            in_errors(assumed.error_variances(problem, analysis)),
            in_errors(prior),
            assumed.signal_of_terms(problem, gaussian.stdev() ** 2),
            assumed.improper(problem),
            assumed.jump_normaliser(problem, scales),
            {o.name: o.powers() for o in problem.observations},
            assumed.counted_once(problem),
        ),
    )
