"""Predictive draws: what instruments would read, for draws of the control from any density."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import over_members, program
from assim.problem.arrays import Array
from assim.problem.departure import Problem
from assim.problem.observation import Observations

BATCH_VALUES = 50_000  # numbers that all draws integrated together may hold

Readings = dict[str, Array]


class Predictive(NamedTuple):
    """Readings of every instrument for N draws of χ, by its name.

    `log_densities` has the instruments whose errors are independent, NaN for a value that does not
    count. Where the model fails at a draw, readings are NaN and densities -∞.
    """

    predicted: Readings  # H(M(x(χ))) without errors, each of shape (N, m)
    readings: Readings  # drawn about it with the instrument's errors, shape (N, m)
    log_density: Readings  # log p(y | χ)^w of all values of an instrument together, shape (N,)
    log_densities: Readings  # log p(y_i | χ)^w of each value, shape (N, m)


def predictive(
    problem: Problem,
    chi: Array,
    key: Array,
    observations: Observations | Sequence[Observations] | None = None,
) -> Predictive:
    """Posterior predictive draws: y_rep ~ p(y | χ), each with its own draw of χ.

    Gelman et al. (2013, Bayesian Data Analysis, section 6.3). Huber and VariationalQC draw good
    data alone, without the outliers that they allow for.

    Args:
        problem: the problem.
        chi: draws of χ from its posterior, shape (N, n).
        key: of the errors.
        observations: others in place of the problem's own, such as readings that were held back;
            the window must cover them. Slot edges at their times make predictions there exact.

    Raises:
        ValueError: draws of another length, or observations whose error scale or bias the problem
            does not estimate.
    """
    if chi.ndim != 2 or chi.shape[1] != problem.size():
        raise ValueError(
            f"predictive: draws of χ must have shape (N, {problem.size()}), got {chi.shape}"
        )
    if observations is not None:
        problem = observing(problem, observations)
    batch = max(1, min(chi.shape[0], BATCH_VALUES // problem.workspace()))
    return _predictive(problem, chi, key, batch)


def prior_predictive(
    problem: Problem,
    number: int,
    key: Array,
    observations: Observations | Sequence[Observations] | None = None,
) -> Predictive:
    """`number` predictive draws with χ from the prior: what is expected before any data.

    Raises:
        ValueError: a prior that is flat, or observations that do not fit.
    """
    first, second = jax.random.split(key)
    forced = problem.as_forcing()
    return predictive(forced, prior_draws(forced, number, first), second, observations)


def prior_draws(problem: Problem, number: int, key: Array) -> Array:
    """χ ~ N(0, I), shape (N, n); ValueError for a flat prior, from which nothing can be drawn."""
    if problem.digital_filter is not None:
        raise ValueError(
            "nothing can be drawn from a prior with a digital filter, exp(-Jc) times the others; "
            "leave the filter out"
        )
    name = flat_entry(problem)
    if name is not None:
        raise ValueError(
            f"the prior of {name!r} is flat or improper, so that nothing can be drawn from it; "
            "give it a proper one"
        )
    return jax.random.normal(key, (number, problem.size()))


def flat_entry(problem: Problem) -> str | None:
    """Name of the first entry of χ whose prior is flat or improper; None where all are proper."""
    flat = np.asarray(problem.weight()) == 0
    return problem.control.names()[int(np.argmax(flat))] if flat.any() else None


def observing(problem: Problem, observations: Observations | Sequence[Observations]) -> Problem:
    """The same problem with others; ValueError for a scale or bias that it does not estimate."""
    several = [observations] if isinstance(observations, Observations) else list(observations)
    control = problem.control
    for o in several:
        scale = [] if o.scale is None else [o.scale.name]
        biases = [] if o.bias is None else list(o.bias.priors)
        for what, known, asked in (
            ("error scale", control.scales, scale),
            ("bias coefficient", control.biases, biases),
        ):
            for name in asked:
                if name not in known:
                    raise ValueError(
                        f"predictive: {o.name}: its {what} {name!r} is not estimated in this "
                        f"problem, which has {', '.join(sorted(known)) or 'none'}"
                    )
    kept = problem.digital_filter
    labels = problem.model.labels()
    places = tuple(o.place(labels, problem.window) for o in several)
    given = (problem.model, problem.window, control, tuple(several))
    return Problem(*given, digital_filter=kept, located=places)


def counted(problem: Problem) -> Problem:
    """The same problem with the values that count alone."""
    kept = [(o, o.counted()) for o in problem.observations]
    if all(keep.all() for _, keep in kept):
        return problem
    return observing(problem, [o.subset(keep) for o, keep in kept if keep.any()])


def with_values(problem: Problem, values: Readings) -> Problem:
    """The same problem with other values of its instruments; traceable."""
    return eqx.tree_at(
        lambda p: [o.values for o in p.observations],
        problem,
        [values[o.name] for o in problem.observations],
    )


def drawn_readings(problem: Problem, chi: Array, key: Array) -> Readings:
    """One draw of p(y | χ), every instrument of shape (m,); NaN where the model fails."""
    return _of_one(problem, chi, key).readings


def samples_its_density(problem: Problem) -> dict[str, bool]:
    """Whether what an instrument's likelihood draws has the density that it evaluates.

    No reading is drawn from p(y_i | χ)^w with a weight w other than 1; for 0 none is needed.
    """
    return {
        o.name: o.likelihood.samples_density and bool(o.counted_once())
        for o in problem.observations
    }


@program
def _predictive(problem: Problem, chi: Array, key: Array, batch: int) -> Predictive:
    keys = jax.random.split(key, chi.shape[0])
    return over_members(lambda pair: _of_one(problem, *pair), (chi, keys), batch)


def _of_one(problem: Problem, chi: Array, key: Array) -> Predictive:
    simulation = problem.simulate(chi)
    scales, parts = simulation.control.scales, Predictive({}, {}, {}, {})
    keys = jax.random.split(key, len(problem.observations))
    for o, own in zip(problem.observations, keys, strict=True):
        exact = simulation.predictions[o.name]
        scale = o.factor(scales)
        squares = jnp.sum(o.normalised(exact, scales) ** 2)
        total = o.log_constant() - squares / 2 - o.normaliser(scales)
        parts.predicted[o.name] = exact
        drawn = o.likelihood.sample(own, exact, o.covariance, scale)
        parts.readings[o.name] = jnp.where(jnp.isfinite(drawn), drawn, jnp.nan)
        parts.log_density[o.name] = _or_impossible(total)
        if o.covariance.independent():
            each = o.likelihood.log_densities(o.values, exact, o.covariance, scale)
            w = jnp.where(o.powers() > 0, o.powers(), jnp.nan)
            parts.log_densities[o.name] = w * _or_impossible(each)
    return parts


def _or_impossible(log_density: Array) -> Array:
    return jnp.where(jnp.isfinite(log_density), log_density, -jnp.inf)
