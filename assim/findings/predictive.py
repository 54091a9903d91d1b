"""What a posterior predicts of readings, those held back included, and how that scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.finding import AbstractFinding, RowColumn, Variable
from assim.analysis.posterior import Posterior
from assim.problem.observation import Observations
from assim.problem.predictive import Predictive, predictive, prior_predictive
from assim.statistics.resampling import systematic
from assim.statistics.scores import compared, coverage, crps, pit


class Predicted(NamedTuple):
    """Quantiles of predictive draws of one instrument, each of shape (m,), and ranks in them.

    Args:
        q05: 5 per cent quantile of new readings at the same places, errors included: the lower
            end of the interval whose coverage is counted.
        q50: median.
        q95: 95 per cent quantile, the upper end.
        pit: probability integral transform of what was observed: uniform where the posterior
            and the errors are right and the reading was held back.
    """

    q05: np.ndarray
    q50: np.ndarray
    q95: np.ndarray
    pit: np.ndarray


@dataclass(frozen=True)
class PredictiveCheck:
    """How the readings of one instrument compare with their predictive distribution.

    Args:
        observations: the instrument.
        held_back: whether its readings were not assimilated, so that scores are honest.
        predicted: quantiles and ranks, by reading.
        coverage: share of readings within the central 50 and 90 per cent intervals.
        band: of the share, 99 per cent of binomial numbers lie in, likewise.
        crps: mean fair continuous ranked probability score, in the unit of the readings.
        crps_prior: the same of the prior; NaN where it has none.
        log_score: mean log density of a reading, in nats; NaN where errors are correlated.
    """

    observations: Observations
    held_back: bool
    predicted: Predicted
    coverage: tuple[float, float]
    band: tuple[tuple[float, float], tuple[float, float]]
    crps: float
    crps_prior: float
    log_score: float

    def scores(self) -> dict[str, Any]:
        """Coverage and scores, in numbers."""
        half, ninety = self.coverage
        return {
            "coverage_50": half,
            "coverage_90": ninety,
            "coverage_50_band": list(self.band[0]),
            "coverage_90_band": list(self.band[1]),
            "crps": self.crps,
            "crps_prior": self.crps_prior,
            "log_score": self.log_score,
            "count": int(self.observations.counted().sum()),
            "held_back": self.held_back,
        }


@dataclass(frozen=True)
class PredictiveChecks(AbstractFinding):
    """Predictive checks of every instrument, by name."""

    name: ClassVar[str] = "predictive"

    instruments: Mapping[str, PredictiveCheck]

    def variables(self) -> dict[str, Variable]:
        """None: all of it is in feedback.nc and in the summary."""
        return {}

    def columns(self, instrument: str) -> list[RowColumn]:
        """Quantiles of new readings in place of those made, and the rank of these among them."""
        if instrument not in self.instruments:
            return []
        predicted = self.instruments[instrument].predicted
        quantile = "per cent quantile of what the posterior predicts of"
        return [
            RowColumn("_predictive_q05", predicted.q05, f"5 {quantile}", False),
            RowColumn("_predictive_q50", predicted.q50, f"50 {quantile}", False),
            RowColumn("_predictive_q95", predicted.q95, f"95 {quantile}", False),
            RowColumn("_predictive_pit", predicted.pit, "probability integral transform of", True),
        ]

    def summary(self) -> dict[str, Any]:
        """Coverage and scores by instrument."""
        return {name: check.scores() for name, check in self.instruments.items()}


DRAWS = 1000
LEVELS = (0.5, 0.9)


def predictive_checks(
    analysis: Analysis,
    held_back: Sequence[Observations] = (),
    *,
    draws: int = DRAWS,
    seed: int = 0,
    posterior: Posterior | None = None,
) -> PredictiveChecks:
    """Posterior predictive checks of every instrument, and of readings that were held back.

    New readings y ~ p(y | χ) are drawn for each of `draws` members (Gelman et al. 2013, Bayesian
    Data Analysis, section 6.3) and compared with those made. Each reading counts once whatever its
    weight, but those of weight 0 do not: they have no part in scores, and NaN in their rows.

    Args:
        analysis: an analysis with a posterior.
        held_back: instruments that were not assimilated; the window must cover them.
        draws: how many; where the posterior has fewer members or their weights are unequal,
            members are repeated by weight, each time with errors of its own.
        seed: of the draws.
        posterior: which; the one reported where None.

    Raises:
        ValueError: the analysis has no posterior, or two instruments have one name.
    """
    posterior = posterior or analysis.posterior
    if posterior is None:
        raise ValueError("predictive_checks: the analysis has no posterior; ask for one")
    problem = analysis.problem
    everything = [*problem.observations, *held_back]
    names = [o.name for o in everything]
    if len(set(names)) < len(names):
        raise ValueError(
            f"predictive_checks: instruments must have names of their own, got {', '.join(names)}"
        )
    judged = [_counted(o) for o in everything if o.counted().any()]
    keys = jax.random.split(jax.random.key(seed), 2)
    chi = posterior.chi[jnp.asarray(systematic(posterior.weights, draws))]
    predicted = predictive(problem, chi, keys[0], judged)
    prior = None
    if np.all(np.asarray(problem.as_forcing().weight()) > 0):
        prior = prior_predictive(problem, draws, keys[1], judged)
    held, rng = {o.name for o in held_back}, np.random.default_rng(seed)
    return PredictiveChecks(
        {o.name: _check(o, o.name in held, predicted, prior, rng) for o in everything}
    )


def _counted(o: Observations) -> Observations:
    """The readings that count, each once."""
    return o if o.weight is None else eqx.tree_at(lambda o: o.weight, o.subset(o.counted()), None)


def _check(
    o: Observations,
    held_back: bool,
    predicted: Predictive,
    prior: Predictive | None,
    rng: np.random.Generator,
) -> PredictiveCheck:
    """NaN throughout where nothing counts, or where the model is finite at no member."""
    nan, counted = float("nan"), o.counted()
    observed, blank = np.asarray(o.values)[counted], np.full(counted.size, np.nan)
    expected, _ = _finite(prior, o.name)
    crps_prior = float(np.mean(crps(expected, observed, fair=True))) if len(expected) else nan
    drawn, finite = _finite(predicted, o.name)
    if not len(drawn):
        pair, rows = (nan, nan), Predicted(blank, blank, blank, blank)
        return PredictiveCheck(o, held_back, rows, pair, (pair, pair), nan, crps_prior, nan)
    densities = predicted.log_densities.get(o.name)
    each = None if densities is None else np.asarray(densities)[finite]
    readings = compared(drawn, observed, LEVELS[-1], each)
    shares = coverage(drawn, observed, LEVELS)
    columns = (readings.low, readings.median, readings.high, pit(drawn, observed, rng))
    rows = Predicted(*(blank.copy() for _ in columns))
    for row, column in zip(rows, columns, strict=True):
        row[counted] = column
    return PredictiveCheck(
        o,
        held_back,
        rows,
        (shares[0].covered, shares[1].covered),
        ((shares[0].low, shares[0].high), (shares[1].low, shares[1].high)),
        float(np.mean(readings.crps)),
        crps_prior,
        float(np.mean(readings.log_score)),
    )


def _finite(draws: Predictive | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws of an instrument at which the model is finite, none where nothing counts, and which."""
    readings = np.zeros((0, 0)) if draws is None else draws.readings.get(name, np.zeros((0, 0)))
    drawn = np.asarray(readings)
    finite = np.isfinite(drawn).all(axis=1)
    return drawn[finite], finite
