"""What the certificates of SVGD say, in words."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from assim.solve.posterior.crosscheck import WAY_OUT
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.laplace_posterior import LEFT_OUT, LaplacePosterior
from assim.statistics.pareto import TRUSTED_K_HAT

RESIDUAL = 0.02  # of Stein's identity, up to which it counts as met
DISCREPANCY = 1.5  # times that of independent draws
NOISE = 0.05  # of a score of unit variance, below which the complement does not matter
NOISIEST = 0.2  # above which no number of particles makes up for it
PER_DIRECTION = 10  # particles for every informed direction
PER_NOISY_DIRECTION = 30  # the same where the complement feeds noise into the score
BEYOND = 0.02  # share of moves, or of the Gaussian, that may meet a density of nothing
FURTHER = 2.0  # times Laplace's standard deviation, beyond which the start was too poor


@dataclass(frozen=True)
class Measured:
    """Certificates of a run.

    Args:
        stein_covariance: |A|_F/√r of Stein's identity for linear functions.
        stein_mean: |s̄|, likewise.
        ksd: kernelised Stein discrepancy in the informed subspace.
        ksd_of_draws: that of as many independent draws.
        noise: by how much the complement moves a score of unit variance, root mean square.
        beyond: share of Gaussian draws about the particles at which log p is -∞.
        narrowest: least standard deviation of an entry of χ, in Laplace's.
        widest: the largest.
        stayed: share of the last moves that would have led there.
        outside: share of the members drawn at which log p is -∞; they are left out.
        particles: N.
        rank: r.
        free: dimension of the complement.
    """

    stein_covariance: float
    stein_mean: float
    ksd: float
    ksd_of_draws: float
    noise: float
    beyond: float
    narrowest: float
    widest: float
    stayed: float
    outside: float
    particles: int
    rank: int
    free: int

    @property
    def residual(self) -> float:
        """The larger of both residuals of Stein's identity; NaN where one is."""
        return float(np.max([self.stein_covariance, self.stein_mean]))

    def certificates(self) -> dict[str, float]:
        """By name."""
        return {name: float(value) for name, value in dataclasses.asdict(self).items()}


def verdict(
    found: Measured, around: LaplacePosterior, plain: bool, truncated: float = 0.0
) -> tuple[Trust, str]:
    """Trust, and the first thing that stands against it with its way out.

    Args:
        found: certificates of the run.
        around: the Laplace posterior.
        plain: whether it was the textbook's SVGD.
        truncated: nats that eigenpairs of the averaged Hessian which were not computed may hold;
            ∞ where the smallest that was computed is still informed.
    """
    doubts = (
        _problem(around),
        _truncated(truncated),
        _support(found),
        _particles(found),
        _identity(found, plain),
        _spread(found),
        _unmoved(found, around),
    )
    for doubt in doubts:
        if doubt:
            return Trust.DOUBTFUL, doubt
    if found.rank == 0:
        return Trust.CERTIFIED, "No direction is informed above the cutoff: this is Laplace's own."
    return (
        Trust.CERTIFIED,
        f"Stein's identity holds to {found.residual:.1e} in {found.rank} informed "
        f"directions, with {found.particles} particles.",
    )


def _problem(around: LaplacePosterior) -> str:
    if around.indefinite or around.free:
        return around.advice()
    if around.left_out > LEFT_OUT:
        return (
            f"Up to {around.left_out:.3g} nats lie in eigenpairs that were not computed: raise the "
            "rank of the Laplace posterior, or its dense_limit."
        )
    return ""


def _truncated(nats: float) -> str:
    if nats <= LEFT_OUT:
        return ""
    return (
        "The averaged Hessian informs more directions than the eigenpairs that were computed, "
        "and what is left out is drawn from the prior: run MCLMC."
    )


def _particles(measured: Measured) -> str:
    if measured.particles < measured.rank + 1:
        return (
            f"{measured.particles} particles cannot span {measured.rank} informed directions, "
            "and have no spread in some: take at least "
            f"{PER_DIRECTION * measured.rank}, or {WAY_OUT}."
        )
    if measured.free and not measured.noise <= NOISIEST:
        return (
            "What the observations leave open changes the score of what they inform by "
            f"{measured.noise:.2f}: both depend on each other, and are drawn apart here; lower the "
            f"cutoff so that both are moved, or {WAY_OUT}."
        )
    if measured.free and measured.noise > NOISE:
        needed = PER_NOISY_DIRECTION * measured.rank
        if measured.particles < needed:
            return (
                "What the observations leave open changes the score of what they inform by "
                f"{measured.noise:.2f}: take at least {needed} particles, lower the cutoff, or "
                f"{WAY_OUT}."
            )
    if measured.particles < (needed := PER_DIRECTION * measured.rank):
        return (
            f"{measured.particles} particles are few for {measured.rank} informed directions: take "
            f"at least {needed}, or {WAY_OUT}."
        )
    return ""


def _support(measured: Measured) -> str:
    share = max(measured.beyond, measured.stayed, measured.outside)
    if share > BEYOND:
        return (
            f"Log p is -∞ in {100 * share:.0f} per cent of what was tried about the particles: at "
            "such an edge Stein's identity need not hold and nothing here is certain; check the "
            f"model there, or {WAY_OUT}."
        )
    return ""


def _identity(measured: Measured, plain: bool) -> str:
    if measured.rank == 0:
        return ""
    if not measured.residual <= RESIDUAL:
        remedy = "use SVGD with its polish" if plain else "take more steps of polish or particles"
        return (
            f"Stein's identity is missed by {measured.residual:.2g}, so that standard deviations "
            f"may be about as wrong: {remedy}, or {WAY_OUT}."
        )
    if not measured.ksd <= DISCREPANCY * measured.ksd_of_draws:
        return (
            f"The Stein discrepancy {measured.ksd:.3g} is above that of independent draws, "
            f"{measured.ksd_of_draws:.3g}: take more particles, or {WAY_OUT}."
        )
    return ""


def _spread(measured: Measured) -> str:
    if measured.widest <= FURTHER and measured.narrowest >= 1 / FURTHER:
        return ""
    return (
        f"Spreads are {measured.narrowest:.2f} to {measured.widest:.2f} of Laplace's, too far from "
        f"where the particles started to be resolved by {measured.particles}: {WAY_OUT}."
    )


def _unmoved(measured: Measured, around: LaplacePosterior) -> str:
    """Where nothing is moved, the result is no better than Laplace's."""
    return "" if measured.rank or around.k_hat < TRUSTED_K_HAT else around.advice()
