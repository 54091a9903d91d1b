"""Impact of each observation on a measure of a forecast, and what innovations are expected."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.evaluation import fixed
from assim.analysis.finding import AbstractFinding, RowColumn, Variable, flags
from assim.problem import assumed
from assim.problem.arrays import Trajectory
from assim.problem.departure import Problem, Simulation
from assim.problem.scalars import OfForecast, check_forecast
from assim.problem.window import Window
from assim.solve.columns import prior_variance
from assim.solve.posterior.gaussian import Gaussian

Array = jax.Array
Predictions = dict[str, Array]


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
        places, sums = (
            {"background": self.background, "analysis": self.analysis},
            self.by_instrument(),
        )
        measures = {
            f"forecast_measure_{place}": Variable(
                (), value, f"measure of the forecast from the {place}"
            )
            for place, value in places.items()
        }
        what = "sum of the impacts of values on the forecast"
        return {
            **measures,
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


class _Sensitivity(NamedTuple):
    """e at χ = 0 and at χ*, shape (2,); by instrument H′χ*, and H′A⁻¹ē with ē the mean of ∇e."""

    measure: Array
    increments: Predictions
    changes: Predictions


@eqx.filter_jit
def impacts(
    measure: Callable[[Array], Array],
    predict: Callable[[Array], Predictions],
    departures: Callable[[Predictions], Predictions],
    observed: Predictions,
    gaussian: Gaussian,
) -> tuple[Predictions, Array]:
    """δe_i = (y - Hx^b)_i (Kᵀē)_i, with Kᵀ = R⁻¹HA⁻¹ and Hx^b = Hx^a - H′χ*.

    Langland & Baker (2004, equations 8 to 11), with the gradient ē averaged over background and
    analysis, in a variational scheme linearised at the analysis (Trémolet 2008),
    and A the Hessian of the Laplace posterior. Σ δe_i over all instruments is ē·χ*. It takes two
    adjoint integrations of the measure and two tangent-linear ones of the predictions.

    Args:
        measure: χ ↦ e, a scalar.
        predict: χ ↦ predictions of every instrument.
        departures: predictions ↦ normalised departures of every instrument.
        observed: y of instruments with Gaussian errors; for others d takes the place of the
            whitened innovation, value by value.
        gaussian: the posterior, for χ* and A⁻¹.

    Returns:
        impacts by instrument, and e at χ = 0 and at χ*.
    """
    sensitivity = _sensitivity(measure, predict, gaussian)
    predicted = predict(gaussian.chi)
    d, push = jax.linearize(departures, predicted)
    pull = jax.linear_transpose(push, predicted)
    before, changes = push(sensitivity.increments), push(sensitivity.changes)
    (gained,) = pull(changes)
    parts = {
        name: (observed[name] - predicted[name] + sensitivity.increments[name]) * gained[name]
        if name in observed
        else -(d[name] - before[name]) * changes[name]
        for name in predicted
    }
    return parts, sensitivity.measure


def _sensitivity(
    measure: Callable[[Array], Array], predict: Callable[[Array], Predictions], gaussian: Gaussian
) -> _Sensitivity:
    chi = gaussian.chi
    both = jnp.stack([jnp.zeros_like(chi), chi])
    values, gradients = jax.lax.map(jax.value_and_grad(measure), both)
    mean = gaussian.covariance(jnp.mean(gradients, axis=0))
    push = lambda v: jax.jvp(predict, (chi,), (v,))[1]  # noqa: E731
    pushed = jax.vmap(push)(jnp.stack([chi, mean]))
    increments, changes = ({name: v[k] for name, v in pushed.items()} for k in (0, 1))
    return _Sensitivity(values, increments, changes)


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
            "analyse(..., posterior=assim.posterior.Laplace())"
        )
    problem, gaussian = analysis.problem, analysis.laplace.gaussian
    parts, e = _impact(OfForecast(problem, measure, forecast), gaussian, analysis.analysis)
    each = {o.name: np.asarray(parts[o.name]) for o in problem.observations}
    return Impact(each, float(e[0]), float(e[1]))


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
