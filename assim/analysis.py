"""Where question and method meet: analyse() and its Analysis."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Params, State
from assim.problem.control import Physical
from assim.problem.departure import Problem, Simulation
from assim.problem.likelihood import LogNormal, Poisson
from assim.problem.observation import Observations
from assim.solve.diagnose import prior_variance
from assim.solve.gauss_newton import GaussNewton, NewtonCG
from assim.solve.laplace import (
    Gaussian,
    Laplace,
    LaplacePosterior,
    laplace,
    pushed_variance,
    sampled_variance,
)
from assim.solve.minimise import AbstractMinimiser, Progress, Solution, minimise
from assim.solve.status import Status

Array = jax.Array

MEMBER_VALUES = 20_000_000  # numbers that all draws kept for the results may hold
EXACT_LIMIT = 2000  # controls up to which standard deviations take one tangent integration each


@dataclass(frozen=True)
class Quantity:
    """Posterior of one scalar: a parameter, an error scale or a scalar initial field.

    `mean`, `stddev` and the quantiles are those of the physical quantity under the posterior;
    `map` is its value at the minimum of J.
    """

    mean: float
    stddev: float
    map: float
    q05: float
    q50: float
    q95: float
    units: str


@dataclass(frozen=True)
class Analysis:
    """The answer to a data-assimilation problem.

    Args:
        problem: the question.
        solution: the minimisation: χ, cost, status, history of loops, minima met.
        posterior: Laplace approximation about χ; None where it was not asked for, or where the
            model is not finite at the minimum.
        background: control, trajectory and predictions at χ = 0.
        analysis: the same at the minimum.
        state_stdev: posterior standard deviation of every initial field (zero where fixed); empty
            without a posterior.
        trajectory_stdev: the same of every field at every slot edge, by the tangent linear.
        quantities: posterior of every scalar parameter, error scale and scalar initial field.
        draws: posterior draws of the control in physical units, leading dimension = members.
        prior_draws: as many draws from the prior.
        cost_background: terms of J at χ = 0.
        cost_analysis: terms of J at the minimum.
        prior_stdev: prior standard deviations of what is estimated.
        log_constant: log p(y | χ) + ½ dᵀd + c, which completes the evidence.
        seconds: wall time by stage.
    """

    problem: Problem
    solution: Solution
    posterior: LaplacePosterior | None
    background: Simulation
    analysis: Simulation
    state_stdev: State
    trajectory_stdev: State
    quantities: dict[str, Quantity]
    draws: Physical | None
    prior_draws: Physical | None
    cost_background: dict[str, float]
    cost_analysis: dict[str, float]
    prior_stdev: Physical
    log_constant: float
    seconds: dict[str, float] = field(default_factory=dict)

    def parameters(self) -> Params:
        """Every model parameter at the minimum."""
        return self.analysis.control.parameters

    def log_evidence(self) -> float:
        """log p(y) by Laplace's method; NaN without a posterior or with an improper prior."""
        if self.posterior is None:
            return float("nan")
        return self.posterior.log_evidence + self.log_constant


def analyse(
    problem: Problem,
    minimiser: AbstractMinimiser | None = None,
    posterior: Laplace | None = Laplace(),  # noqa: B008 (an immutable record of settings)
    *,
    starts: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Analysis:
    """Minimise J and quantify the uncertainty about the minimum.

    Args:
        problem: what is asked, as from `strong_constraint`.
        minimiser: how J is minimised; Gauss-Newton where not given.
        posterior: settings of the Laplace posterior, or None for the minimum alone.
        starts: first guesses: the prior median, and starts - 1 draws from the prior; all are
            minimised together and the lowest minimum is kept.
        seed: of every random draw.
        progress: called with a `Loop` after every outer loop.

    Raises:
        ValueError: fewer than one start.
    """
    if starts < 1:
        raise ValueError(f"analyse: starts must be at least 1, got {starts}")
    keys = jax.random.split(jax.random.key(seed), 4)
    seconds: dict[str, float] = {}
    minimiser = minimiser or GaussNewton()
    with _timed(seconds, "minimise"):
        guesses = first_guesses(problem, starts, keys[0])
        solution = minimise(problem, minimiser, guesses, progress)
    fitted = None
    if posterior is not None and solution.status is not Status.NON_FINITE:
        with _timed(seconds, "posterior"):
            exact = solution.state.hessian if _has_exact_hessian(minimiser, solution) else None
            fitted = laplace(problem, solution.chi, posterior, keys[1], exact)
    with _timed(seconds, "spread"):
        return _assemble(problem, solution, fitted, posterior, keys[2:], seconds)


def innovation_stdev(problem: Problem, seed: int = 0) -> dict[str, Array]:
    """√(diag(H B Hᵀ) + R), the standard deviation expected of every innovation y - H(x^b).

    B is the prior covariance of all that is estimated, by the tangent linear at the background:
    exact up to 2000 controls, beyond from 200 random columns (10 % relative standard error of
    the variance). R includes an error scale at its prior median; a log-normal error is taken as
    Hx^b times its standard deviation. Infinite where a control without a prior of its own moves
    the prediction.

    Args:
        problem: the question.
        seed: of the random columns.

    Returns:
        by instrument, shape (m,), in the unit of its values.
    """
    flat = np.asarray(_weight(problem)) == 0
    free = jnp.asarray(flat, dtype=float) if flat.any() else None
    return _innovation_stdev(problem, free, jax.random.key(seed))


@eqx.filter_jit
def _weight(problem: Problem) -> Array:
    return problem.weight()


@eqx.filter_jit
def _innovation_stdev(problem: Problem, flat: Array | None, key: Array) -> dict[str, Array]:
    origin = jnp.zeros(problem.size())
    background = problem.simulate(origin)
    signal = prior_variance(lambda chi: problem.simulate(chi).predictions, origin, flat, key)
    scales = background.control.scales
    return {
        o.name: jnp.sqrt(
            signal[o.name] + _error_variance(o, background.predictions[o.name], scales)
        )
        for o in problem.observations
    }


def _error_variance(instrument: Observations, predicted: Array, scales: Params) -> Array:
    """Variance of the errors of an instrument's values about what is predicted, shape (m,)."""
    if isinstance(instrument.likelihood, Poisson):
        return predicted
    scale = jnp.ones(()) if instrument.scale is None else scales[instrument.scale.name]
    variance = scale**2 * instrument.error.variance()
    return predicted**2 * variance if isinstance(instrument.likelihood, LogNormal) else variance


def _has_exact_hessian(minimiser: AbstractMinimiser, solution: Solution) -> bool:
    """Whether the minimiser ended with the matrix of ∇²J at its χ."""
    settled = solution.status is Status.CONVERGED and isinstance(minimiser, NewtonCG)
    return settled and solution.state.hessian.size > 0


def first_guesses(problem: Problem, starts: int, key: Array) -> Array:
    """The prior median and draws from the prior, shape (starts, n)."""
    n = problem.size()
    draws = np.asarray(jax.random.normal(key, (starts - 1, n)))
    return jnp.asarray(np.concatenate([np.zeros((1, n)), draws]))


def _assemble(
    problem: Problem,
    solution: Solution,
    posterior: LaplacePosterior | None,
    settings: Laplace | None,
    keys: Array,
    seconds: dict[str, float],
) -> Analysis:
    origin = jnp.zeros_like(solution.chi)
    background, cost_background = _evaluate(problem, origin)
    analysis, cost_analysis = _evaluate(problem, solution.chi)
    prior_stdev, log_constant = _fixed(problem)
    state_stdev: State = {}
    trajectory_stdev: State = {}
    quantities: dict[str, Quantity] = {}
    draws = prior_draws = None
    if posterior is not None and settings is not None:
        state_stdev, trajectory_stdev = _spread(problem, posterior.gaussian, keys[0])
        quantities = _quantities(problem, posterior)
        draws, prior_draws = _draw(problem, posterior.gaussian, settings.members, keys)
    return Analysis(
        problem,
        solution,
        posterior,
        background,
        analysis,
        state_stdev,
        trajectory_stdev,
        quantities,
        draws,
        prior_draws,
        {name: float(value) for name, value in cost_background.items()},
        {name: float(value) for name, value in cost_analysis.items()},
        prior_stdev,
        float(log_constant),
        seconds,
    )


@eqx.filter_jit
def _evaluate(problem: Problem, chi: Array) -> tuple[Simulation, dict[str, Array]]:
    return problem.simulate(chi), problem.cost_terms(chi)


@eqx.filter_jit
def _fixed(problem: Problem) -> tuple[Physical, Array]:
    """What does not depend on χ."""
    return problem.control.stdev(), problem.log_constant()


@eqx.filter_jit
def _spread(problem: Problem, posterior: Gaussian, key: Array) -> tuple[State, State]:
    """Standard deviations of the initial state and of the trajectory."""

    def fields(chi: Array) -> State:
        return problem.trajectory(chi).states

    if posterior.chi.shape[0] <= EXACT_LIMIT:
        variance = pushed_variance(fields, posterior)
    else:
        variance = sampled_variance(fields, posterior, key)
    stdev = {name: jnp.sqrt(value) for name, value in variance.items()}
    return {name: value[0] for name, value in stdev.items()}, stdev


@eqx.filter_jit
def _draw(
    problem: Problem, posterior: Gaussian, members: int, keys: Array
) -> tuple[Physical, Physical]:
    """Control of posterior draws and of prior draws."""
    number = max(1, min(members, MEMBER_VALUES // problem.size()))
    prior = jax.random.normal(keys[0], (number, problem.size()))
    several = jnp.concatenate([posterior.draws(keys[1], number), prior])
    mapped = jax.vmap(problem.control)(several)
    return (
        jax.tree.map(lambda leaf: leaf[:number], mapped),
        jax.tree.map(lambda leaf: leaf[number:], mapped),
    )


@eqx.filter_jit
def _marginals(problem: Problem, posterior: Gaussian, z: Array) -> dict[str, Array]:
    """Every scalar with its entry of χ at its posterior mean + z standard deviations."""
    stdev = posterior.stdev()
    return jax.vmap(lambda z: problem.control.scalars(posterior.chi + z * stdev))(z)


@eqx.filter_jit
def _scalars(problem: Problem, draws: Array) -> dict[str, Array]:
    """Every scalar for every draw of χ."""
    return jax.vmap(problem.control.scalars)(draws)


def _quantities(problem: Problem, posterior: LaplacePosterior) -> dict[str, Quantity]:
    """Moments and quantiles of every estimated scalar.

    A scalar depends on one entry of χ alone, whose Laplace marginal is Gaussian: its moments are
    one-dimensional integrals over that density, its quantiles those of the density mapped. Where
    the certificate's draws may be trusted, each is corrected by the difference between their
    weighted and their plain estimate, which is nothing for a Gaussian posterior.
    """
    labels = problem.model.labels()
    units = {n: label.units for n, label in {**labels.state, **labels.parameters}.items()}
    marginals = _marginals(problem, posterior.gaussian, jnp.asarray(_NODES))
    sampled = {}
    if posterior.sample is not None and marginals:
        sampled = _scalars(problem, jnp.asarray(posterior.sample[0]))
    quantities = {}
    for name in _scalar_names(problem, marginals):
        value = np.asarray(marginals[name])
        here = float(value[-2])
        moments = np.array(_moments(value - here, _NODE_WEIGHTS))
        quantiles = value[-3:]
        if posterior.sample is not None:
            weights, f = posterior.sample[1], np.asarray(sampled[name])
            plain = np.full(f.size, 1 / f.size)
            moments = moments + np.subtract(_moments(f - here, weights), _moments(f - here, plain))
            quantiles = quantiles + _quantiles(f, weights) - _quantiles(f, plain)
        mean, stddev = here + moments[0], np.sqrt(max(moments[1] - moments[0] ** 2, 0.0))
        low, median, high = map(float, quantiles)
        unit = units.get(name, "1")
        quantities[name] = Quantity(float(mean), float(stddev), here, low, median, high, unit)
    return quantities


_NORMAL_QUANTILES = (-1.6448536269514722, 0.0, 1.6448536269514722)
_NODES = np.concatenate([np.linspace(-8.0, 8.0, 2001), _NORMAL_QUANTILES])
_NODE_WEIGHTS = np.where(np.arange(_NODES.size) < 2001, np.exp(-(_NODES**2) / 2), 0.0)
_NODE_WEIGHTS /= _NODE_WEIGHTS.sum()


def _scalar_names(problem: Problem, scalars: Mapping[str, Array]) -> list[str]:
    """Parameters, initial fields and error scales that are scalars, in the order given."""
    control = problem.control
    estimated = [*control.parameters, *control.state, *control.scales]
    return [name for name in estimated if name in scalars]


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """E[f] and E[f²]."""
    return weights @ values, weights @ values**2


def _quantiles(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted 5, 50 and 95 per cent quantiles."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp((0.05, 0.5, 0.95), reached, values[order])


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begin
