"""The evidence of an analysis by every method that gives one, and of several problems."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.posterior import Posterior
from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import Ensemble, Trust
from assim.solve.posterior.laplace_posterior import LaplacePosterior

Array = jax.Array


@dataclass(frozen=True)
class Evidence:
    """Log p(y) of one problem as one method has it.

    Args:
        method: "laplace", "importance", "bic", or the name of an ensemble's method.
        log_evidence: in nats; NaN where the method gives none.
        stdev: its Monte Carlo standard deviation, in nats; NaN where it is not known.
        trust: how far to trust it; BIC is always doubtful.
    """

    method: str
    log_evidence: float
    stdev: float = float("nan")
    trust: Trust = Trust.DOUBTFUL

    def completed(self, log_constant: float) -> "Evidence":
        """The same with the likelihood's constants, needed to compare problems.

        Args:
            log_constant: log p(y | χ) + ½ dᵀd + c.
        """
        return replace(self, log_evidence=self.log_evidence + log_constant)


def of_laplace(posterior: LaplacePosterior) -> Evidence:
    """Laplace's own evidence, v - J(χ*) - ½ Σ ln(1 + λ), which has no error estimate."""
    return Evidence("laplace", posterior.log_evidence, trust=posterior.trust())


def of_ensemble(method: str, ensemble: Ensemble | Posterior) -> Evidence:
    """What an ensemble's method says, with the certificate `log_evidence_stdev` where it has one.

    An ensemble whose method gives no evidence gives NaN.
    """
    stdev = ensemble.certificates.get("log_evidence_stdev", float("nan"))
    return Evidence(method, ensemble.log_evidence, stdev, ensemble.trust)


def bic(
    problem: DepartureFunction,
    chi: Array,
    controls: int | None = None,
    observations: float | None = None,
) -> Evidence:
    """Log p(y) ≈ log L(χ*) - (k/2) ln m (Schwarz 1978, Ann. Stat. 6, 461).

    log L = -½ dᵀd - c is that at the minimum χ* of J, where the prior has its say, not at the
    maximum of L, which may not exist. Unless told otherwise k counts all entries of χ, however
    little the observations inform them, and m all departures, jumps between states that are the
    control included.

    Args:
        problem: the departure function.
        chi: χ*.
        controls: k.
        observations: m; the evidence is NaN where it is 0.
    """
    log_likelihood, departures = _log_likelihood(problem, chi)
    k = problem.size() if controls is None else controls
    m = departures.size if observations is None else observations
    penalty = k / 2 * math.log(m) if m > 0 else math.nan
    return Evidence("bic", float(log_likelihood) - penalty)


@program
def _log_likelihood(problem: DepartureFunction, chi: Array) -> tuple[Array, Array]:
    value = problem(chi)
    return -jnp.sum(value.normalised**2) / 2 - value.normaliser, value.normalised


def preferred(table: tuple[Evidence, ...]) -> Evidence:
    """The evidence to go by: certified before doubtful, then of the smallest error.

    Where trust is equal one whose error is not known, as of Laplace, comes last. BIC is never
    taken: it is no estimate of p(y) that could be weighed against another. NaN where nothing else
    is known.
    """
    known = [
        estimate
        for estimate in table
        if np.isfinite(estimate.log_evidence) and estimate.method != "bic"
    ]
    if not known:
        return Evidence("none", float("nan"), trust=Trust.FAILED)

    def rank(estimate: Evidence) -> tuple[int, float]:
        return -int(estimate.trust), estimate.stdev if np.isfinite(estimate.stdev) else float("inf")

    return min(known, key=rank)


# ---- several problems ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparedProblem:
    """One of several problems that explain the same observations.

    Args:
        name: of the problem.
        evidence: what it is judged by, the likelihood's constants included.
        log_bayes_factor: log p(y) less that of the best of them, in nats: 0 for the best.
        log_bayes_factor_stdev: its standard deviation; NaN where one of the two is not known.
        probability: posterior probability among the problems compared.
        probability_stdev: its standard deviation to first order; NaN where one is not known.
    """

    name: str
    evidence: Evidence
    log_bayes_factor: float
    log_bayes_factor_stdev: float
    probability: float
    probability_stdev: float


def compare(
    evidence: Mapping[str, Evidence], prior: Mapping[str, float] | None = None
) -> tuple[ComparedProblem, ...]:
    """Bayes factors and posterior probabilities, the best first; problems without evidence last.

    p_i = π_i p_i(y) / Σ π_j p_j(y); dp_i = p_i (dl_i - Σ p_j dl_j) with l = log p(y) gives its
    standard deviation from independent errors of l.

    Args:
        evidence: of each problem, of the same observations and with the likelihood's constants.
        prior: probabilities π before the observations, positive; equal by default.

    Raises:
        ValueError: no problem, or prior probabilities that do not fit.
    """
    weight = _prior(tuple(evidence), prior)
    judged = [name for name, estimate in evidence.items() if np.isfinite(estimate.log_evidence)]
    log_z = np.array([evidence[name].log_evidence for name in judged])
    stdev = np.array([evidence[name].stdev for name in judged])
    score = log_z + np.log([weight[name] for name in judged])
    p = np.exp(score - score.max(initial=-np.inf)) if judged else score
    p = p / p.sum()
    slopes = p[:, None] * (np.eye(p.size) - p[None])
    spread = np.sqrt(slopes**2 @ stdev**2)
    best = int(np.argmax(log_z)) if judged else 0
    compared = [
        ComparedProblem(
            name,
            evidence[name],
            float(log_z[i] - log_z[best]),
            0.0 if i == best else float(np.hypot(stdev[i], stdev[best])),
            float(p[i]),
            float(spread[i]),
        )
        for i, name in enumerate(judged)
    ]
    compared.sort(key=lambda problem: -problem.log_bayes_factor)
    unknown = [math.nan] * 4
    rest = [name for name in evidence if name not in judged]
    return (*compared, *(ComparedProblem(name, evidence[name], *unknown) for name in rest))


def _prior(names: tuple[str, ...], prior: Mapping[str, float] | None) -> dict[str, float]:
    if not names:
        raise ValueError("compare: at least one problem is needed, got none")
    if prior is None:
        return {name: 1 / len(names) for name in names}
    if set(prior) != set(names) or not all(value > 0 for value in prior.values()):
        raise ValueError(
            f"compare: prior must give a positive probability to each of {sorted(names)}, "
            f"got {dict(prior)}"
        )
    return dict(prior)


def _no_densities(analysis: Analysis) -> Iterator[str]:
    """Instruments whose likelihood is no density at the minimum's departures, in words."""
    best = analysis.analysis
    for o in analysis.problem.observations:
        outside = ~np.asarray(o.is_density(best.predictions[o.name], best.control.scales))
        if outside.any():
            yield (
                f"{o.name}: {type(o.likelihood).__name__} is no normalised density at the "
                f"departures of {outside.sum()} of {outside.size} values, the first number "
                f"{np.argmax(outside)} of those used, so that there is no evidence that compares: "
                "leave these values out of all problems, or give a likelihood that is a density "
                "everywhere, such as StudentT"
            )


def evidence_table(analysis: Analysis) -> tuple[Evidence, ...]:
    """log p(y) by Laplace, BIC and every other method of the analysis, constants included.

    BIC counts every entry of χ as a parameter and observations as their weights do.

    Raises:
        ValueError: the analysis has no posterior, or likelihoods are no densities where its
            departures lie, of which there is no evidence that compares with another.
    """
    if analysis.laplace is None:
        raise ValueError("evidence_table: the analysis has no posterior; ask for one")
    for line in _no_densities(analysis):
        raise ValueError(f"evidence_table: {line}")
    problem, constant = analysis.problem, analysis.log_constant
    values = sum(float(o.count()) for o in problem.observations)
    own = (of_laplace(analysis.laplace), bic(problem, analysis.solution.chi, observations=values))
    taken = [estimate.method for estimate in own]
    others = (
        of_ensemble(posterior.kind if name in taken else name, posterior)
        for name, posterior in analysis.posteriors.items()
        if posterior.kind != "laplace" and np.isfinite(posterior.log_evidence)
    )
    return (*(estimate.completed(constant) for estimate in own), *others)
