"""Ensembles of χ that stand for a posterior, and what every method that draws one must do."""

import abc
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.laplace_posterior import LaplacePosterior, in_doubt
from assim.solve.posterior.laplace_posterior import Trust as Trust

Array = jax.Array
Report = Callable[[str], None]  # is told of progress, a line at a time
SEVERAL_MODES = 1.2  # R̂ above which more draws alone will hardly help
HEAVY_TAIL = "heavy_tail_"  # of certificates, before a scalar whose stdev a few draws rule
CHAIN = "run NUTS, or MCLMC where many directions are informed"


@dataclass(frozen=True)
class Ensemble:
    """Members of χ with weights, and how far to trust them.

    Args:
        members: χ, shape (N, n); all finite where the ensemble has not failed.
        weights: shape (N,), not negative, of sum one.
        trust: what the certificates say, as one value.
        advice: the same in a sentence or two, with the way out where it is not certified.
        certificates: the numbers behind it, by name; NaN where not measured.
        gradients: evaluations of J with its gradient that were spent, those of a metric included.
        evaluations: evaluations of J alone.
        log_evidence: log p(y) but for the likelihood's constants; NaN where the method gives none.
        chains: members are those of so many chains of equal length, one after the other.
        effective_size: independent draws that tell as much, where errors are left to be judged by
            members and weights; NaN where the method judges all that is published, or nothing is
            known.
        judged: whether the method judges scalars of one entry of χ itself.
    """

    members: Array
    weights: Array
    trust: Trust
    advice: str
    certificates: Mapping[str, float] = field(default_factory=dict)
    gradients: int = 0
    evaluations: int = 0
    log_evidence: float = float("nan")
    chains: int = 1
    effective_size: float = float("nan")
    judged: bool = False

    def doubted(self, why: str) -> "Ensemble":
        """Not certified, for a reason besides its own, a sentence."""
        trust, advice = in_doubt(self.trust, self.advice, why)
        return replace(self, trust=trust, advice=advice)

    def mean(self) -> Array:
        """Σ w χ, shape (n,)."""
        return self.weights @ self.members

    def stdev(self) -> Array:
        """√(Σ w (χ - mean)²), shape (n,)."""
        return jnp.sqrt(self.weights @ (self.members - self.mean()[None]) ** 2)

    def independent(self) -> bool:
        """Whether members are worth as many draws as their weights say."""
        return self.effective_size > 0.999 * self.weight_size()

    def weight_size(self) -> float:
        """1 / Σ w², the number of members that weights are worth; correlation is not counted."""
        return float(1 / np.sum(np.square(np.asarray(self.weights))))


class AbstractPosterior(eqx.Module):
    """Settings of a method that draws the posterior, starting from its Laplace approximation.

    Its stopping rule, checks and weights are part of it: what is published, compared and
    calibrated is one call of `sample`.

    Attributes:
        local: whether it looks about the minimum of J alone, and misses other modes.
        gradients: whether it asks for derivatives of the model.
    """

    local: ClassVar[bool] = False
    gradients: ClassVar[bool] = True

    @abc.abstractmethod
    def name(self) -> str:
        """Name in results and of files, as "svgd"."""

    @abc.abstractmethod
    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """The ensemble with its certificates; failure is its status, never an exception.

        Args:
            problem: the departure function.
            around: the Laplace posterior at the minimum.
            key: of the random draws.
            report: told of progress.
        """


def equal_weights(number: int) -> Array:
    """1/N each; no program is compiled for N."""
    return jax.device_put(np.full(number, 1 / number))


def failed(members: Array, advice: str, gradients: int = 0, evaluations: int = 0) -> Ensemble:
    """Members that stand for nothing, why, and what was spent on finding that out."""
    weights = equal_weights(len(members))
    return Ensemble(members, weights, Trust.FAILED, advice, {}, gradients, evaluations)


def blackjax() -> Any:
    """The library of Markov kernels, imported where it is first used: that takes a while."""
    return importlib.import_module("blackjax")
