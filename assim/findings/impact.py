"""Impact of each observation on a measure of a forecast, and what innovations are expected."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.finding import AbstractFinding, RowColumn, Variable, flags
from assim.devices import program
from assim.problem import assumed
from assim.problem.arrays import Trajectory
from assim.problem.departure import Problem, Simulation
from assim.problem.scalars import OfForecast, check_forecast
from assim.problem.window import Window
from assim.solve.columns import prior_variance
from assim.solve.posterior.gaussian import Gaussian

Array = jax.Array


@dataclass(frozen=True)
class Impact(AbstractFinding):
    """What each observation did to a scalar measure e of a forecast.

    Args:
        observations: by instrument, shape (m,): negative where the observation made e smaller.
        background: e of the forecast from the background.
        analysis: e of the forecast from the analysis.
    """

    name: ClassVar[str] = "impact"

    observations: dict[str, np.ndarray]
    background: float
    analysis: float

    def total(self) -> float:
        """Σ over all observations, the linear estimate of e(x^a) - e(x^b)."""
        return float(sum(np.sum(part) for part in self.observations.values()))

    def by_instrument(self) -> dict[str, float]:
        """Σ over the observations of each instrument."""
        return {name: float(np.sum(part)) for name, part in self.observations.items()}

    def variables(self) -> dict[str, Variable]:
        """e from background and analysis, and the sum of impacts of every instrument."""
        sums, what = self.by_instrument(), "sum of the impacts of values on the forecast"
        measure = "measure of the forecast from the"
        return {
            "forecast_measure_background": Variable((), self.background, f"{measure} background"),
            "forecast_measure_analysis": Variable((), self.analysis, f"{measure} analysis"),
            "instrument": flags("instrument", list(sums), "instrument"),
            "instrument_impact": Variable(("instrument",), [*sums.values()], what),
        }

    def columns(self, instrument: str) -> list[RowColumn]:
        """The impact of every value of one instrument."""
        if instrument not in self.observations:
            return []
        values = np.asarray(self.observations[instrument])
        return [RowColumn("_impact", values, "impact on the forecast of", True)]

    def summary(self) -> dict[str, Any]:
        """e from background and analysis, and what the observations did, by instrument."""
        return {
            "background": self.background,
            "analysis": self.analysis,
            "total": self.total(),
            "instruments": self.by_instrument(),
        }


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
    flat = np.asarray(problem.weight()) == 0
    free = jnp.asarray(flat, dtype=float) if flat.any() else None
    return _innovation_stdev(problem, free, jax.random.key(seed))


@program
def _innovation_stdev(problem: Problem, flat: Array | None, key: Array) -> dict[str, Array]:
    origin = jnp.zeros(problem.size())
    signal = prior_variance(lambda chi: problem.simulate(chi).predictions, origin, flat, key)
    errors = assumed.error_variances(problem, problem.simulate(origin))
    return {name: jnp.sqrt(signal[name] + errors[name]) for name in errors}


def observation_impact(
    analysis: Analysis, measure: Callable[[Trajectory], Array], forecast: Window | None = None
) -> Impact:
    """δe_i = (y - Hx^b)_i (Kᵀē)_i, what each observation did to a measure e of the forecast.

    ē is the mean of ∇e from background and analysis (Langland & Baker 2004, Tellus A 56, 189-201,
    equations 8 to 11), K = A⁻¹HᵀR⁻¹ the gain at the analysis with A the Hessian of the Laplace
    posterior (Trémolet 2008), and Hx^b = Hx^a - H′χ*. For a linear model, Gaussian errors and a
    quadratic e the sum over all observations is e(x^a) - e(x^b).

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
            "analyse(..., posterior=assim.posterior.Laplace())"
        )
    problem, gaussian = analysis.problem, analysis.laplace.gaussian
    parts, e = _impact(OfForecast(problem, measure, forecast), gaussian, analysis.analysis)
    each = {o.name: np.asarray(parts[o.name]) for o in problem.observations}
    return Impact(each, float(e[0]), float(e[1]))


@program
def _impact(
    measure: OfForecast, gaussian: Gaussian, analysis: Simulation
) -> tuple[dict[str, Array], Array]:
    """Impacts by instrument, and e at χ = 0 and at χ*.

    Two adjoint integrations of the measure, and two tangent-linear ones of the predictions. Σ δe_i
    over all instruments is ē·χ*. Where errors are not Gaussian, d takes the place of the whitened
    innovation, value by value.
    """
    problem, scales, chi = measure.problem, analysis.control.scales, gaussian.chi
    predict = lambda chi: problem.simulate(chi).predictions  # noqa: E731
    departures = lambda predicted: assumed.departures(problem, scales, predicted)  # noqa: E731
    both = jnp.stack([jnp.zeros_like(chi), chi])
    values, gradients = jax.lax.map(jax.value_and_grad(measure), both)
    mean = gaussian.covariance(jnp.mean(gradients, axis=0))  # A⁻¹ē
    tangent = jax.vmap(lambda v: jax.jvp(predict, (chi,), (v,))[1])(jnp.stack([chi, mean]))
    increments, changes = ({name: v[k] for name, v in tangent.items()} for k in (0, 1))
    observed, predicted = assumed.gaussian_values(problem), predict(chi)
    d, push = jax.linearize(departures, predicted)
    before, pushed = push(increments), push(changes)
    (gained,) = jax.linear_transpose(push, predicted)(pushed)
    parts = {
        name: (observed[name] - predicted[name] + increments[name]) * gained[name]
        if name in observed
        else -(d[name] - before[name]) * pushed[name]
        for name in predicted
    }
    return parts, values
