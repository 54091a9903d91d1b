"""Adjoint-based impact of each observation on a scalar measure of a forecast."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.gaussian import Gaussian

Array = jax.Array
Predictions = dict[str, Array]


@dataclass(frozen=True)
class Impact:
    """What each observation did to a scalar measure e of a forecast.

    Args:
        observations: by instrument, shape (m,): negative where the observation made e smaller.
        background: e of the forecast from the background.
        analysis: e of the forecast from the analysis.
    """

    observations: dict[str, np.ndarray]
    background: float
    analysis: float

    def total(self) -> float:
        """Σ over all observations, the linear estimate of e(x^a) - e(x^b)."""
        return float(sum(np.sum(part) for part in self.observations.values()))


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
    found = _sensitivity(measure, predict, gaussian)
    predicted = predict(gaussian.chi)
    d, push = jax.linearize(departures, predicted)
    pull = jax.linear_transpose(push, predicted)
    before, changes = push(found.increments), push(found.changes)
    (gained,) = pull(changes)
    parts = {
        name: (observed[name] - predicted[name] + found.increments[name]) * gained[name]
        if name in observed
        else -(d[name] - before[name]) * changes[name]
        for name in predicted
    }
    return parts, found.measure


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
