"""An ensemble against importance weights: an independent check of its moments."""

from dataclasses import replace

import jax
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.ensemble import Ensemble
from assim.solve.importance import Importance, corrected
from assim.solve.laplace import LaplacePosterior
from assim.solve.method import Trust

Array = jax.Array

DRAWS = 10_000
APART = 0.06  # largest change of a standard deviation by weights, beside twice their error
KNOWN_K_HAT, KNOWN_DRAWS, KNOWN = 0.7, 400, 0.03  # of weights that tell something
SHIFT = 0.15  # largest change of a mean, in standard deviations


def crosschecked(
    problem: DepartureFunction, ensemble: Ensemble, around: LaplacePosterior, key: Array
) -> Ensemble:
    """A certified ensemble, doubtful where weighted draws about it have other moments.

    Draws from a t with the ensemble's mean and covariance, weighted to the posterior, have
    moments of their own. Where k̂, of squares too, is below 0.7 and standard deviations
    are known within 3 per cent, they must agree with the ensemble's; elsewhere the weights say
    nothing, and `weights_apart` is NaN.

    Args:
        problem: the departure function.
        ensemble: what is checked.
        around: the Laplace posterior, in whose informed directions the proposal is fitted.
        key: of the draws.
    """
    if ensemble.trust is not Trust.CERTIFIED:
        return ensemble
    weighted = corrected(problem, ensemble, around, key, Importance(DRAWS, rounds=1))
    found = weighted.certificates
    known = (
        max(found["k_hat"], found["moment_k_hat"]) < KNOWN_K_HAT
        and found["effective_draws"] >= KNOWN_DRAWS
        and found["accuracy"] <= KNOWN
    )
    stdev = np.asarray(ensemble.stdev())
    apart = float(np.max(np.abs(np.asarray(weighted.stdev()) / stdev - 1))) if known else np.nan
    shift = np.max(np.abs(np.asarray(weighted.mean() - ensemble.mean())) / stdev)
    told = replace(
        ensemble,
        certificates={**ensemble.certificates, "weights_apart": apart},
        evaluations=weighted.evaluations,
    )
    if known and (apart > APART + 2 * found["accuracy"] or shift > SHIFT):
        advice = (
            f"Importance weights change standard deviations by {100 * apart:.0f} % and means by "
            f"{shift:.2f} of one: the particles miss the shape of the posterior; take Importance, "
            "or run NUTS."
        )
        return replace(told, trust=Trust.DOUBTFUL, advice=advice)
    return told
