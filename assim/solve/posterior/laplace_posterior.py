"""The Laplace posterior as a value: a Gaussian at the minimum of J, and how far to trust it."""

import enum

import equinox as eqx
import jax
import numpy as np

from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.valleys import Lines
from assim.statistics.importance_weights import NO_WEIGHTS, ImportanceWeights
from assim.statistics.pareto import TRUSTED_K_HAT, USABLE_K_HAT

Array = jax.Array

FREE = 1e4  # variance of a flat coordinate above which nothing informs it
INFORMED = 0.1  # |λ| above which a direction counts as informed
ELSEWHERE = 1e-3  # share of the mass that may lie about other minima
LEFT_OUT = 1.0  # nats that may be left out without a warning
OUTSIDE = 0.01  # share of the certificate's draws that may meet a density of nothing
UNINFORMED = (
    "A coordinate without a prior of its own is not informed by the observations either: what "
    "depends on it is arbitrary; give it a proper prior."
)


WAYS_TO_MODES = 'run Tempering where controls are few, else chains (posterior = "auto" does so)'


class Trust(enum.IntEnum):
    """How far a posterior may be trusted, by its own certificates."""

    FAILED = 0
    DOUBTFUL = 1
    CERTIFIED = 2

    def __str__(self) -> str:
        return self.name.lower()


def in_doubt(trust: Trust, advice: str, why: str) -> tuple[Trust, str]:
    """Trust and advice where something else stands against a result."""
    besides = "But for that" if trust is Trust.CERTIFIED else "Besides"
    return min(trust, Trust.DOUBTFUL), f"{why} {besides}: {advice}"


class LaplacePosterior(eqx.Module):
    """The Laplace posterior and how far to trust it.

    Args:
        gaussian: the approximation itself.
        left_out: estimate of Σ λ ≥ Σ ln(1 + λ) over the eigenpairs that were not computed.
        log_evidence: log p(y) but for the likelihood's constants; NaN for an improper prior, and
            where too much is left out.
        hessian: which Hessian A is, and why, in words.
        importance: what the weights of the certificate's draws say; NaN where there are none.
        sample: the certificate's draws of χ (N, n), the second half mirroring the first, with
            their smoothed weights (N,), where these correct it: k̂ < 0.5 and 400 effective draws
            or more; None otherwise.
        flat_variance: Σ (A⁻¹)_ii over the coordinates of χ that have no prior of their own.
        proper: whether the prior integrates to one, flat coordinates or not.
        indefinite: whether the exact Hessian has a negative eigenvalue at χ*, so that A is not it.
        spent: evaluations of J for the certificate.
        lines: J on lines through χ*; None where not looked.
        log_mass: v - J(χ*) - ½ log |A|, the log of the mass about χ* but for a constant.
        elsewhere: share of the mass about other minima that were met, by the same estimate.
        others: χ of those without which moments are wrong, shape (k, n); None for none.
        sought: where other minima were sought, a sentence; "" where along all controls, or unknown.
        members: trajectories that A was made from; 0 where the model brings its derivatives.
        failed: those of them that were not finite, and are left out.
    """

    gaussian: Gaussian
    left_out: float
    log_evidence: float
    hessian: str
    importance: ImportanceWeights = NO_WEIGHTS
    sample: tuple[np.ndarray, np.ndarray] | None = None
    flat_variance: float = 0.0
    proper: bool = True
    indefinite: bool = False
    spent: int = 0
    lines: Lines | None = None
    log_mass: float = float("nan")
    elsewhere: float = 0.0
    others: np.ndarray | None = None
    sought: str = ""
    members: int = 0
    failed: int = 0

    @property
    def chi(self) -> Array:
        """χ*."""
        return self.gaussian.chi

    @property
    def k_hat(self) -> float:
        """Pareto shape of the importance weights, NaN where not measured."""
        return self.importance.smoothed.k_hat

    @property
    def outside(self) -> float:
        """Share of the certificate's draws at which log p is -∞; 0 where there are none."""
        return self.importance.outside

    @property
    def eigenvalues(self) -> Array:
        """λ of A - I, largest first."""
        return self.gaussian.eigenvalues

    @property
    def eigenvectors(self) -> Array:
        """U, as columns."""
        return self.gaussian.eigenvectors

    @property
    def effective_parameters(self) -> float:
        """Coordinates that the data determine, tr((A - W)A⁻¹) = Σ λ/(1 + λ) + Σ_flat (A⁻¹)_ii.

        MacKay's γ; without estimated error scales the degrees of freedom for signal. Jumps that
        stand for a prior of states are counted as data.
        """
        values = np.asarray(self.eigenvalues)
        return float(np.sum(values / (1 + values))) + self.flat_variance

    @property
    def free(self) -> bool:
        """Whether neither a prior nor the data hold some coordinate: there is no posterior."""
        return self.flat_variance > FREE and not self.proper

    def rank(self) -> int:
        """Number of directions that the observations inform, |λ| > 0.1."""
        return int(np.sum(np.abs(np.asarray(self.eigenvalues)) > INFORMED))

    def certificates(self) -> dict[str, float]:
        """The numbers behind `trust`, by name."""
        return {
            **self.importance.certificates(),
            "left_out": self.left_out,
            "rank": float(self.rank()),
            "effective_parameters": self.effective_parameters,
            "elsewhere": self.elsewhere,
            "looked_along": 0.0 if self.lines is None else float(len(self.lines.entries)),
            **(
                {"members": float(self.members), "failed": float(self.failed)}
                if self.members
                else {}
            ),
        }

    def is_whole(self) -> bool:
        """Whether the eigenpairs that were left out hold next to nothing."""
        return self.left_out <= LEFT_OUT

    def trust(self) -> Trust:
        """CERTIFIED where weights surely correct it, all is in it and no edge is met."""
        whole = not self.indefinite and self.is_whole()
        sound = whole and not self.free and self.outside <= OUTSIDE and not self.several()
        return Trust.CERTIFIED if sound and self.importance.trusted() else Trust.DOUBTFUL

    def several(self) -> bool:
        """Whether moments are wrong without other minima, for their mass or their distance."""
        return self.others is not None and len(self.others) > 0

    def unvisited(self, members: Array) -> int:
        """To how many of them no member, shape (N, n), is nearer than to χ*."""
        if self.others is None:
            return 0
        away = np.sum((np.asarray(members) - np.asarray(self.chi)) ** 2, axis=1)
        near = (np.sum((np.asarray(members) - chi) ** 2, axis=1) < away for chi in self.others)
        return sum(not np.any(nearer) for nearer in near)

    def advice(self) -> str:
        """What edges, curvature, eigenpairs left out, else k̂ say, in a sentence or two."""
        if self.failed:
            failed = f"{self.failed} of {self.members} members failed and are left out."
            return f"{failed} {self._advice()}"
        return self._advice()

    def _advice(self) -> str:
        if self.outside > OUTSIDE:
            return (
                f"Log p is -∞ at {100 * self.outside:.0f} per cent of the draws: the posterior has "
                "an edge that a Gaussian does not, whatever k̂ says; check the model there, or run "
                "NUTS or Importance from here."
            )
        if self.indefinite:
            return (
                "The cost curves downwards here: this is a saddle and no minimum, so that "
                "standard deviations mean little; minimise with NewtonCG, or from several "
                "first guesses."
            )
        if self.free:
            return UNINFORMED
        if not self.is_whole():
            return self._of_what_is_left_out()
        if self.several():
            return f"{self.of_others()}: {WAYS_TO_MODES}."
        if np.isnan(self.k_hat):
            return "k̂ was not measured: nothing is known about how Gaussian the posterior is."
        if self.k_hat < TRUSTED_K_HAT:
            return self._of_weights()
        k = f"k̂ = {self.importance.smoothed.tail}"
        if self.k_hat < USABLE_K_HAT:
            return f"{k}: a rough answer: standard deviations may be 10 per cent off, or 30."
        return (
            f"{k} is above {USABLE_K_HAT}: the posterior is not Gaussian enough, these standard "
            "deviations may be far off, and are usually too small; for error bars to publish run a "
            'sampler from here (SVGD, NUTS or MCLMC; posterior = "auto" chooses one).'
        )

    def of_others(self) -> str:
        """How much lies about other minima, in words."""
        return (
            f"Other minima that were met hold about {100 * self.elsewhere:.2g} per cent of the "
            "posterior, which these moments leave out"
        )

    def _of_what_is_left_out(self) -> str:
        """How much that is, what follows, and the way out."""
        few, more = (
            f"{self.eigenvalues.size} eigenpairs are too few",
            "the posterior's rank, or its dense_limit to form all of them",
        )
        if self.members:
            few = f"{self.members} members are too few, or a radius too short"
            more = "the minimiser's `members` or `radius`"
        return (
            f"{few}: up to {self.left_out:.3g} nats of what the observations say are left out, so "
            f"that standard deviations are too large; raise {more}."
        )

    def _of_weights(self) -> str:
        """What weights of light tail correct, and whether that may be certified."""
        what = (
            "weights correct what is published"
            if self.sample is not None
            else "too few effective draws to correct the Gaussian, which is published as it is"
        )
        figures = f"{self.importance.figures()}: {what}"
        if self.importance.trusted():
            close = f"{figures}, and the Laplace posterior is close to the true one"
            return f"{close} about the minimum. {self.sought}" if self.sought else f"{close}."
        return (
            f"{figures}, but {self.importance.beyond()}: weigh more draws (raise `certificate`), "
            "or run Importance or a chain (NUTS or MCLMC)."
        )
