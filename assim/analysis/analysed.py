"""What an analysed window is, whatever analysed it: fields, scalars and readings."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.problem.arrays import Labels, Params, State
from assim.problem.assumed import error_variance
from assim.problem.observation import Observations
from assim.problem.window import Window

Array = jax.Array


class Reading(NamedTuple):
    """What one instrument read, and what was predicted of it; all of shape (m,).

    Args:
        observed: the values.
        background: H(x^b).
        analysis: H(x^a).
        stdev: standard deviation of the errors about H(x^b), in the values' unit.
        background_stdev: of H(x^b), by its own covariance; NaN where it is not known.
        analysis_stdev: of H(x^a).
        weight: 0 for a value that only fills up the shape.
    """

    observed: Array
    background: Array
    analysis: Array
    stdev: Array
    background_stdev: Array
    analysis_stdev: Array
    weight: Array


def reading(
    o: Observations,
    scales: Params,
    background: Array,
    analysis: Array,
    background_stdev: Array,
    analysis_stdev: Array,
) -> Reading:
    """What one instrument read, with what is predicted of it and error scales of the background."""
    stdev = jnp.sqrt(o.likelihood.variance() * error_variance(o, background, scales))
    predicted = (background, analysis, stdev, background_stdev, analysis_stdev)
    return Reading(o.values, *predicted, o.powers())


class AnalysedWindow(eqx.Module):
    """The analysis of one window, by `analyse` or in a cycle.

    Args:
        labels: the model's.
        window: the slot edges.
        background: every field at every slot edge, from the background, shape (edges, …).
        analysis: the same of the analysis.
        background_stdev: standard deviations of the first, of the fields where they are known.
        analysis_stdev: and of the second.
        scalars: parameters, and in a cycle estimated error scales and bias coefficients too, in
            physical units.
        scalars_stdev: standard deviations of those that are estimated.
        readings: by instrument; empty where they are not asked for.
    """

    labels: Labels = eqx.field(static=True)
    window: Window
    background: State
    analysis: State
    background_stdev: State
    analysis_stdev: State
    scalars: dict[str, Array]
    scalars_stdev: dict[str, Array]
    readings: dict[str, Reading]
