"""What a problem assumes of errors, term by term of J: the yardstick of its diagnostics."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from assim.problem.arrays import Array, Params
from assim.problem.departure import Problem, Simulation
from assim.problem.observation import Observations

Predictions = dict[str, Array]

KINDS = {
    "background": ("background", "fields"),
    "parameters": ("parameters", "scales", "biases"),
    "model_error": ("model_error",),
}  # parts of χ in each term of the prior, as `Problem.cost_terms` has them


def departures(problem: Problem, scales: Params, predicted: Predictions) -> Predictions:
    """Hx ↦ √w d of every instrument, at the error scales given."""
    return {o.name: o.normalised(predicted[o.name], scales) for o in problem.observations}


def error_variances(problem: Problem, simulation: Simulation) -> Predictions:
    """Variance of the errors of every value about what is predicted, as its likelihood has it."""
    predicted, scales = simulation.predictions, simulation.control.scales
    return {o.name: error_variance(o, predicted[o.name], scales) for o in problem.observations}


def error_variance(instrument: Observations, predicted: Array, scales: Params) -> Array:
    """The same of one instrument."""
    scale, covariance = instrument.factor(scales), instrument.covariance
    return instrument.likelihood.error_variance(predicted, covariance, scale)


def in_units_of_errors(
    problem: Problem, simulation: Simulation
) -> Callable[[Predictions], Predictions]:
    """Variances in the unit of the values ↦ those in the unit of their errors.

    Divided by (Hx)² for errors that are those of the logarithm; else as they are.
    """
    logarithmic = {o.name for o in problem.observations if o.likelihood.logarithmic}
    predicted = simulation.predictions
    return lambda variances: {
        name: v / predicted[name] ** 2 if name in logarithmic else v
        for name, v in variances.items()
    }


def is_gaussian(problem: Problem) -> Array:
    """Whether 2J at the minimum is a χ² variable: Gaussian errors of known scale, counted once."""
    known = not problem.has_normaliser()
    known = known and all(o.likelihood.chi_squared for o in problem.observations)
    return known & counted_once(problem)


def counted_once(problem: Problem) -> Array:
    """Whether all weights are 0 or 1; the variance of an error that counts otherwise is not known.

    Expectations of J and Desroziers' estimates hold where they are. The weight of a digital filter
    is no inverse variance, so that they do not hold with one either.
    """
    once = jnp.all(jnp.asarray([o.counted_once() for o in problem.observations]))
    return once & (problem.digital_filter is None)


def fitted(problem: Problem) -> tuple[frozenset[str], frozenset[str]]:
    """Instruments whose error scale is estimated, and terms of the prior that take part.

    Those are `parameters`, which has the scales, and `model_error` where its amplitude is
    estimated, or where jumps expect what all others leave.
    """
    if not problem.control.scales:
        return frozenset(), frozenset()
    control = problem.control
    amplitude = control.amplitude_scale is not None or bool(control.later)
    scaled = frozenset(o.name for o in problem.observations if o.scale is not None)
    return scaled, frozenset({"parameters", *(("model_error",) if amplitude else ())})


def gaussian_values(problem: Problem) -> dict[str, Array]:
    """y of the instruments with additive errors whose d² is χ²: d = R^(-1/2)(y - Hx)/scale."""
    return {
        o.name: o.values
        for o in problem.observations
        if o.likelihood.additive and o.likelihood.chi_squared
    }


def improper(problem: Problem) -> Array:
    """Number of controls that have neither a prior of their own nor a jump in place of one."""
    weight = problem.control.split(problem.weight())
    free = [jnp.sum(1 - w) for kind, p in weight.items() if kind != "later" for w in p.values()]
    return sum(free, jnp.zeros(()))


def has_prior_of_predictions(problem: Problem) -> Array:
    """Whether every control that moves predictions has a prior of its own."""
    weight = problem.control.split(problem.weight())
    parts = [jnp.all(w > 0) for kind, p in weight.items() if kind != "scales" for w in p.values()]
    return jnp.all(jnp.stack([*parts, jnp.asarray(True)]))


def signal_of_terms(problem: Problem, variance: Array) -> dict[str, Array]:
    """Σ W(1 - variance), of the posterior, of the controls in each term of the prior there is."""
    parts = problem.control.split(problem.weight() * (1 - variance))
    there = {term: [w for k in kinds for w in parts[k].values()] for term, kinds in KINDS.items()}
    return {term: sum(map(jnp.sum, ws), jnp.zeros(())) for term, ws in there.items() if ws}


def jump_normaliser(problem: Problem, scales: Params) -> Array:
    """m log s of the jumps between states where their amplitude s is estimated, else 0."""
    later = jax.eval_shape(problem.control.blank)["later"]
    number = sum(leaf.size for leaf in jax.tree.leaves(later))
    return number * jnp.log(problem.control.amplitude(scales))
