"""Importance correction: draws about a Gaussian, weighted by the posterior over their proposal."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Report, Trust
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.proposal import Proposal, about, fitted, weighted_draws
from assim.solve.together import affordable
from assim.statistics.importance_weights import ImportanceWeights, importance_weights
from assim.statistics.pareto import FEWEST_TRUSTED, TRUSTED_K_HAT, USABLE_K_HAT

Array = jax.Array

FEWEST_DRAWS = 10  # effective draws below which an ensemble is none


class Importance(AbstractPosterior):
    """Draws about the Laplace approximation, weighted to the posterior itself.

    w = exp(v - J(χ))/q(χ), smoothed by their Pareto tail (Vehtari et al. 2024, JMLR 25, 72). Where
    k̂ or too few effective draws refuse them, the proposal is fitted to the weighted draws and
    drawn from anew (adaptive importance sampling: Cappé et al. 2008, Stat. Comput. 18, 447).

    Args:
        number: draws of each round; fewer where they would hold over 20 million numbers.
        proposal: "t" with 5 degrees of freedom in what the data inform, or "gaussian".
        rounds: most fits of the proposal, 0 for none.
    """

    local = True
    gradients = False
    number: Size = eqx.field(default=10_000, static=True)
    proposal: str = eqx.field(default="t", static=True)
    rounds: int = eqx.field(default=2, static=True)

    def __check_init__(self) -> None:
        check_settings(self, proposal=("t", "gaussian"), number=100, rounds=0)

    def name(self) -> str:
        """Importance."""
        return "importance"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Weighted draws; certified by k̂, also of squares, and by errors of moments."""
        start = about(around.gaussian, self.proposal == "t")
        return _in_rounds(problem, self, start, key, report)


def corrected(
    problem: DepartureFunction,
    ensemble: Ensemble,
    around: LaplacePosterior,
    key: Array,
    settings: Importance | None = None,
    report: Report | None = None,
) -> Ensemble:
    """An ensemble of another method, corrected: its mean and covariance make the first proposal.

    Its members are replaced by weighted draws; what it cost is added to what they cost.

    Args:
        problem: the departure function.
        ensemble: what to correct, with finite members.
        around: the Laplace posterior, in whose informed directions moments are taken.
        key: of the draws.
        settings: draws, tails and rounds.
        report: told of progress.
    """
    settings = settings or Importance()
    if ensemble.trust is Trust.FAILED:
        return ensemble
    fine = jnp.all(jnp.isfinite(ensemble.members), axis=1)
    weights = jnp.where(fine, ensemble.weights, 0.0)
    members = jnp.where(fine[:, None], ensemble.members, 0.0)
    start = about(around.gaussian, settings.proposal == "t")
    start = fitted(start, members, weights / jnp.sum(weights))
    better = _in_rounds(problem, settings, start, key, report)
    return replace(
        better,
        gradients=better.gradients + ensemble.gradients,
        evaluations=better.evaluations + ensemble.evaluations,
    )


# ---- rounds --------------------------------------------------------------------------------------


class _Round(NamedTuple):
    members: Array
    importance: ImportanceWeights  # by moments along informed directions
    number: int  # of the round, from 0

    def poorness(self) -> tuple[bool, float, float]:
        """By which rounds are ordered, the best first: draws enough, k̂, and errors at last.

        The latter, by the delta method, say nothing where few draws count or tails are heavy.
        """
        smoothed, errors, squares, _ = self.importance
        few = smoothed.effective_draws < FEWEST_TRUSTED
        worst = float(np.max([smoothed.tail.surely(), squares.surely()]))
        worst = worst if np.isfinite(worst) else np.inf
        return few, worst if few else max(worst, TRUSTED_K_HAT), errors.excess()


def _in_rounds(
    problem: DepartureFunction,
    settings: Importance,
    proposal: Proposal,
    key: Array,
    report: Report | None,
) -> Ensemble:
    """Draw, weigh and fit until the weights may be trusted; the round of the least poorness."""
    number = affordable(settings.number, proposal.gaussian.chi.shape[0])
    best: _Round | None = None
    spent = 0
    for turn, now in enumerate(jax.random.split(key, settings.rounds + 1)):
        latest = _one_round(problem, proposal, now, number, turn)
        spent += number
        if report is not None:
            report(f"round {turn}: {latest.importance.figures()}")
        if best is None or latest.poorness() < best.poorness():
            best = latest
        smoothed = latest.importance.smoothed
        if latest.importance.trusted() or smoothed.effective_draws == 0:
            break
        proposal = fitted(proposal, latest.members, jnp.asarray(smoothed.weights))
    assert best is not None
    return _ensemble(problem, best, spent)


def _one_round(
    problem: DepartureFunction, proposal: Proposal, key: Array, number: int, turn: int
) -> _Round:
    members, log_weights = weighted_draws(problem, proposal, key, number)
    along = np.asarray(proposal.along(members))
    return _Round(members, importance_weights(along, np.asarray(log_weights)), turn)


def _ensemble(problem: DepartureFunction, best: _Round, spent: int) -> Ensemble:
    smoothed = best.importance.smoothed
    number = smoothed.weights.size
    trust, advice = _verdict(best.importance)
    some = smoothed.effective_draws > 0
    weights = smoothed.weights if some else np.full(number, 1 / number)
    known = problem.proper() and smoothed.k_hat < USABLE_K_HAT
    variance = max(np.sum(np.square(weights)) - 1 / number, 0.0)  # of log (1/N) Σ w, delta method
    certificates = {
        **best.importance.certificates(),
        "log_evidence_stdev": float(np.sqrt(variance)) if known else float("nan"),
        "rounds": float(best.number),
    }
    return Ensemble(
        best.members,
        jnp.asarray(weights),
        trust,
        advice,
        certificates,
        evaluations=spent,
        effective_size=smoothed.effective_draws,
        log_evidence=smoothed.log_mean if known else float("nan"),
    )


def _verdict(best: ImportanceWeights) -> tuple[Trust, str]:
    smoothed, figures = best.smoothed, best.figures()
    if smoothed.effective_draws == 0:
        return Trust.FAILED, (
            "The density is finite at none of the draws: the model fails everywhere about the "
            "minimum; check it there with `assim check`, and start from several first guesses."
        )
    if smoothed.effective_draws < FEWEST_DRAWS:
        return Trust.FAILED, (
            f"{figures}: the proposal misses the posterior, and these weights say nothing; run a "
            "chain instead (NUTS or MCLMC)."
        )
    if not smoothed.k_hat < USABLE_K_HAT:
        return Trust.DOUBTFUL, (
            f"{figures}: the weights have too heavy a tail to be averaged, and moments may be far "
            "off; run a chain instead (NUTS or MCLMC)."
        )
    if not smoothed.k_hat < TRUSTED_K_HAT:
        return Trust.DOUBTFUL, (
            f"{figures}: a rough answer: standard deviations may be several per cent off; for "
            "error bars to publish run a chain (NUTS or MCLMC), or draw more."
        )
    if not best.trusted():
        return Trust.DOUBTFUL, (
            f"{figures}, but {best.beyond()}: raise `number`, or run a chain (NUTS or MCLMC)."
        )
    return Trust.CERTIFIED, f"{figures}: these moments and quantiles may be published."
