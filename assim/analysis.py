"""Where question and method meet: analyse() and its Analysis."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem import assumed
from assim.problem.arrays import Params, State, Trajectory
from assim.problem.control import Physical
from assim.problem.departure import Problem, Simulation
from assim.problem.scalars import Derived, OfForecast, check_derived, check_forecast
from assim.problem.window import Window
from assim.quantities import at_minimum, scalars_and_draws
from assim.solve.diagnose import (
    Assumed,
    Departed,
    Diagnostics,
    Moments,
    diagnostics,
    prior_variance,
    spread,
)
from assim.solve.gauss_newton import GaussNewton, NewtonCG
from assim.solve.gaussian import Gaussian
from assim.solve.guess import first_guesses
from assim.solve.impact import Impact, impacts
from assim.solve.laplace import Laplace, LaplacePosterior, laplace
from assim.solve.marginal import Pushed, Quantity
from assim.solve.minimise import AbstractMinimiser, Progress, Solution
from assim.solve.quasi_static import minimise_quasi_static
from assim.solve.status import Status

Array = jax.Array


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
        cost_background: terms of J at χ = 0.
        cost_analysis: terms of J at the minimum.
        prior_stdev: prior standard deviations of what is estimated.
        chi_squared: χᵀWχ + dᵀd at the minimum, jumps between states included: 2J but for
            normalisers and volume.
        log_constant: log p(y | χ) + ½ dᵀd + c, which completes the evidence.
        state_stdev: posterior standard deviation of every initial field (zero where fixed); empty
            without a posterior, as all that follows but `seconds`.
        trajectory_stdev: the same of every field at every slot edge, by the tangent linear.
        model_error_stdev: the same of η; empty under strong constraint.
        quantities: posterior of every estimated scalar and of derived quantities; without one
            those derived alone, at the minimum.
        draws: posterior draws of the control in physical units, leading dimension = members.
        prior_draws: as many draws from the prior, NaN where there is none.
        derived: draws of derived quantities, one for each of `draws` and `prior_draws`.
        diagnostics: what the departures say of the statistics that were assumed.
        impact: of observations on a forecast, where `observation_impact` was asked.
        seconds: wall time by stage.
    """

    problem: Problem
    solution: Solution
    posterior: LaplacePosterior | None
    background: Simulation
    analysis: Simulation
    cost_background: dict[str, float]
    cost_analysis: dict[str, float]
    prior_stdev: Physical
    log_constant: float
    chi_squared: float = float("nan")
    state_stdev: State = field(default_factory=dict)
    trajectory_stdev: State = field(default_factory=dict)
    model_error_stdev: State = field(default_factory=dict)
    quantities: dict[str, Quantity] = field(default_factory=dict)
    draws: Physical | None = None
    prior_draws: Physical | None = None
    derived: dict[str, Pushed] = field(default_factory=dict)
    diagnostics: Diagnostics | None = None
    impact: Impact | None = None
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
    stages: int = 1,
    first_guess: Array | None = None,
    quantities: Mapping[str, Derived] | None = None,
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
        stages: steps in which the window is lengthened, each minimised from the minimum of the
            one before (quasi-static); 1 for the whole window at once.
        first_guess: χ in place of the prior median, shape (n,).
        quantities: scalar functions of the trajectory whose posterior is wanted, by name.
        seed: of every random draw.
        progress: called with a `Loop` after every outer loop.

    Raises:
        ValueError: fewer than one start or stage, a first guess that does not fit, or a derived
            quantity with the name of another.
    """
    check_derived(problem, quantities or {})
    keys = jax.random.split(jax.random.key(seed), 4)
    seconds: dict[str, float] = {}
    minimiser = minimiser or GaussNewton()
    with _timed(seconds, "minimise"):
        guesses = first_guesses(problem.size(), starts, keys[0], first_guess)
        windows = (problem,) if stages == 1 else problem.lengthened(stages)
        solution = minimise_quasi_static(windows, minimiser, guesses, progress)
    fitted = None
    if posterior is not None and solution.status is not Status.NON_FINITE:
        with _timed(seconds, "posterior"):
            exact = solution.state.hessian if _has_exact_hessian(minimiser, solution) else None
            fitted = laplace(problem, solution.chi, posterior, keys[1], exact)
    with _timed(seconds, "spread"):
        found = _assemble(problem, solution, fitted, posterior, quantities or {}, keys[2:])
    return dataclasses.replace(found, seconds=seconds)


def _has_exact_hessian(minimiser: AbstractMinimiser, solution: Solution) -> bool:
    """Whether the minimiser ended with the matrix of ∇²J at its χ."""
    settled = solution.status is Status.CONVERGED and isinstance(minimiser, NewtonCG)
    return settled and solution.state.hessian.size > 0


def _assemble(
    problem: Problem,
    solution: Solution,
    posterior: LaplacePosterior | None,
    settings: Laplace | None,
    wanted: Mapping[str, Derived],
    keys: Array,
) -> Analysis:
    origin = jnp.zeros_like(solution.chi)
    before, after = _evaluate(problem, origin), _evaluate(problem, solution.chi)
    fixed = _fixed(problem)
    answer = Analysis(
        problem,
        solution,
        posterior,
        before.simulation,
        after.simulation,
        {name: float(value) for name, value in before.cost.items()},
        {name: float(value) for name, value in after.cost.items()},
        fixed.prior_stdev,
        float(fixed.log_constant),
        2 * float(after.squares),
    )
    if posterior is None or settings is None:
        minimum = after.simulation.trajectory
        return dataclasses.replace(answer, quantities=at_minimum(minimum, wanted))
    around = _spread(problem, posterior.gaussian, after.simulation, keys[0])
    found = scalars_and_draws(problem, posterior, settings, wanted, keys)
    return dataclasses.replace(
        answer,
        state_stdev={name: value[0] for name, value in around.trajectory.items()},
        trajectory_stdev=around.trajectory,
        model_error_stdev=around.model_error,
        quantities=found.quantities,
        draws=found.draws,
        prior_draws=found.prior_draws,
        derived=found.derived,
        diagnostics=_diagnostics(problem, (before, after), around),
    )


class _Evaluation(NamedTuple):
    simulation: Simulation
    cost: dict[str, Array]
    departures: dict[str, Array]
    squares: Array


@eqx.filter_jit
def _evaluate(problem: Problem, chi: Array) -> _Evaluation:
    """What χ stands for, the terms of J, and the normalised departures of every instrument."""
    simulation = problem.simulate(chi)
    scales, cost = simulation.control.scales, problem.cost_terms(chi)
    departures = assumed.departures(problem, scales, simulation.predictions)
    squares = sum((jnp.sum(d**2) / 2 for d in departures.values()), jnp.zeros(()))
    squares += sum(cost[term] for term in assumed.KINDS) - assumed.jump_normaliser(problem, scales)
    return _Evaluation(simulation, cost, departures, squares)


class _Fixed(NamedTuple):
    prior_stdev: Physical
    log_constant: Array
    weight: Array


@eqx.filter_jit
def _fixed(problem: Problem) -> _Fixed:
    """What does not depend on χ."""
    return _Fixed(problem.control.stdev(), problem.log_constant(), problem.weight())


class _Spread(NamedTuple):
    """Standard deviations of trajectory and model error, and what diagnostics are made of."""

    trajectory: State
    model_error: State
    moments: Moments
    increment: dict[str, Array]
    assumed: Assumed


@eqx.filter_jit
def _spread(problem: Problem, gaussian: Gaussian, analysis: Simulation, key: Array) -> _Spread:
    """All that one pass of columns through the tangent linear tells."""

    def simulated(chi: Array) -> tuple[Any, dict[str, Array]]:
        found = problem.simulate(chi)
        return (found.trajectory.states, found.control.model_error), found.predictions

    scales = analysis.control.scales
    departures = lambda predicted: assumed.departures(problem, scales, predicted)  # noqa: E731
    variance, moments, increment = spread(
        simulated, departures, analysis.predictions, gaussian, key
    )
    trajectory, model_error = jax.tree.map(jnp.sqrt, variance)
    in_errors = assumed.in_units_of_errors(problem, analysis)
    known = jnp.where(assumed.has_prior_of_predictions(problem), 1.0, jnp.nan)
    prior = {name: known * v for name, v in moments.prior_variance.items()}
    return _Spread(
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
        ),
    )


def _diagnostics(
    problem: Problem, evaluations: tuple[_Evaluation, _Evaluation], around: _Spread
) -> Diagnostics:
    before, after = evaluations
    names = [o.name for o in problem.observations]
    parts = (before.departures, after.departures, around.increment)
    return diagnostics(
        Departed(*({name: part[name] for name in names} for part in parts)),
        {name: float(value) for name, value in after.cost.items()},
        around.moments,
        around.assumed,
        jumps=bool(problem.control.later),
        gaussian=assumed.is_gaussian(problem),
        fitted=assumed.fitted(problem),
    )


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
    problem = problem.as_forcing()
    flat = np.asarray(_fixed(problem).weight) == 0
    free = jnp.asarray(flat, dtype=float) if flat.any() else None
    return _innovation_stdev(problem, free, jax.random.key(seed))


@eqx.filter_jit
def _innovation_stdev(problem: Problem, flat: Array | None, key: Array) -> dict[str, Array]:
    origin = jnp.zeros(problem.size())
    signal = prior_variance(lambda chi: problem.simulate(chi).predictions, origin, flat, key)
    errors = assumed.error_variances(problem, problem.simulate(origin))
    return {name: jnp.sqrt(signal[name] + errors[name]) for name in errors}


def observation_impact(
    analysis: Analysis, measure: Callable[[Trajectory], Array], forecast: Window | None = None
) -> Impact:
    """δe_i = (y - Hx^b)_i (Kᵀē)_i, what each observation did to a measure e of the forecast.

    ē is the mean of ∇e from background and analysis (Langland & Baker 2004, Tellus A 56,
    189-201), K = A⁻¹HᵀR⁻¹ the gain at the analysis with A the Hessian of the Laplace posterior, and
    Hx^b = Hx^a - H′χ*. For a linear
    model, Gaussian errors and a quadratic e the sum over all observations is e(x^a) - e(x^b).

    Args:
        analysis: an analysis with a posterior.
        measure: Trajectory ↦ e, such as a `ForecastError`.
        forecast: window of a forecast from the end of the analysed trajectory, without model
            error, which `measure` gets; None for the analysed trajectory itself.

    Raises:
        ValueError: the analysis has no posterior, or the forecast does not start, by the same
            reference, where the analysed window ends.
    """
    check_forecast(analysis.problem.window, forecast)
    if analysis.posterior is None:
        raise ValueError(
            "observation_impact: the analysis has no posterior, whose A⁻¹ is needed; ask for one: "
            "analyse(..., posterior=Laplace())"
        )
    problem, gaussian = analysis.problem, analysis.posterior.gaussian
    parts, e = _impact(OfForecast(problem, measure, forecast), gaussian, analysis.analysis)
    return Impact({name: np.asarray(v) for name, v in parts.items()}, float(e[0]), float(e[1]))


@eqx.filter_jit
def _impact(
    measure: OfForecast, gaussian: Gaussian, analysis: Simulation
) -> tuple[dict[str, Array], Array]:
    problem, scales = measure.problem, analysis.control.scales
    return impacts(
        measure,
        lambda chi: problem.simulate(chi).predictions,
        lambda predicted: assumed.departures(problem, scales, predicted),
        assumed.gaussian_values(problem),
        gaussian,
    )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begin
