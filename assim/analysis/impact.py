"""What is expected of innovations, and what each observation did to a forecast."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.evaluation import fixed
from assim.problem import assumed
from assim.problem.arrays import Trajectory
from assim.problem.departure import Problem, Simulation
from assim.problem.scalars import OfForecast, check_forecast
from assim.problem.window import Window
from assim.solve.columns import prior_variance
from assim.solve.gaussian import Gaussian
from assim.solve.impact import Impact, impacts

Array = jax.Array


def innovation_stdev(problem: Problem, seed: int = 0) -> dict[str, Array]:
    """√(diag(H B Hᵀ) + R), the standard deviation expected of every innovation y - H(x^b).

    B is the prior covariance of all that is estimated, by the tangent linear at the background:
    exact up to 2000 controls, beyond from 200 random columns (10 % relative standard error of
    the variance). R includes an error scale at its prior median; a log-normal error is taken as
    Hx^b times its standard deviation. Infinite where a control without a prior of its own moves
    the prediction. Weights change nothing: it is what is expected of a reading there.

    Args:
        problem: the question.
        seed: of the random columns.

    Returns:
        by instrument, shape (m,), in the unit of its values.
    """
    problem = problem.as_forcing()
    flat = np.asarray(fixed(problem).weight) == 0
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
    if analysis.laplace is None:
        raise ValueError(
            "observation_impact: the analysis has no posterior, whose A⁻¹ is needed; ask for one: "
            "analyse(..., posterior=Laplace())"
        )
    problem, gaussian = analysis.problem, analysis.laplace.gaussian
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
