"""What the certificates of SVGD say, in words."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from assim.solve.posterior.ensemble import CHAIN, Trust
from assim.solve.posterior.laplace_posterior import LEFT_OUT, LaplacePosterior

RESIDUAL = 0.02  # of Stein's identity, up to which it counts as met
DISCREPANCY = 1.5  # times that of independent draws
NOISE = 0.05  # of a score of unit variance, below which the complement does not matter
NOISIEST = 0.2  # above which no number of particles makes up for it
PER_DIRECTION = 10  # particles for every informed direction
PER_NOISY = 30  # the same where the complement feeds noise into the score
BEYOND = 0.02  # share of moves, or of the Gaussian, that may meet a density of nothing
FURTHER = 2.0  # times Laplace's standard deviation, beyond which the start was too poor


@dataclass(frozen=True)
class Measured:
    """Certificates of a run."""

    stein_covariance: float  # |A|_F/√r of Stein's identity for linear functions
    stein_mean: float  # |s̄|, likewise
    ksd: float  # kernelised Stein discrepancy in the informed subspace
    ksd_of_draws: float  # that of as many independent draws
    noise: float  # by which the complement moves a score of unit variance, root mean square
    beyond: float  # share of Gaussian draws about the particles at which log p is -∞
    narrowest: float  # least standard deviation of an entry of χ, in Laplace's
    widest: float  # the largest
    stayed: float  # share of the last moves that would have led to where log p is -∞
    outside: float  # share of the members drawn at which log p is -∞; they are left out
    particles: int  # N
    rank: int  # r
    free: int  # dimension of the complement

    @property
    def residual(self) -> float:
        """The larger of both residuals of Stein's identity; NaN where one is."""
        return float(np.max([self.stein_covariance, self.stein_mean]))

    def certificates(self) -> dict[str, float]:
        """By name."""
        return {name: float(value) for name, value in dataclasses.asdict(self).items()}


def verdict(
    measured: Measured, around: LaplacePosterior, plain: bool, truncated: float
) -> tuple[Trust, str]:
    """Trust, and the first thing that stands against it with its way out.

    `truncated` are nats that eigenpairs of the averaged Hessian which were not computed may hold;
    ∞ where the smallest that was computed is still informed. Where no direction is, whether the
    Gaussian is the posterior is not looked at here.
    """
    if doubt := next(_doubts(measured, around, plain, truncated), ""):
        return Trust.DOUBTFUL, doubt
    if measured.rank == 0:
        return Trust.CERTIFIED, "No direction is informed above the cutoff: this is Laplace's own."
    return (
        Trust.CERTIFIED,
        f"Stein's identity holds to {measured.residual:.1e} in {measured.rank} informed "
        f"directions, with {measured.particles} particles.",
    )


def _doubts(
    measured: Measured, around: LaplacePosterior, plain: bool, truncated: float
) -> Iterator[str]:
    """What stands against the particles, each with its way out."""
    if around.indefinite or around.free:
        yield around.advice()
    if not around.is_whole():
        yield (
            f"Up to {around.left_out:.3g} nats lie in eigenpairs that were not computed: raise the "
            "rank of the Laplace posterior, or its dense_limit."
        )
    if not truncated <= LEFT_OUT:
        yield (
            "The averaged Hessian informs more directions than the eigenpairs that were computed, "
            "and what is left out is drawn from the prior: run MCLMC."
        )
    share = float(np.max([measured.beyond, measured.stayed, measured.outside]))
    if not share <= BEYOND:
        yield (
            f"Log p is -∞ in {100 * share:.0f} per cent of what was tried about the particles: at "
            "such an edge Stein's identity need not hold and nothing here is certain; check the "
            f"model there, or {CHAIN}."
        )
    yield from _of_number(measured)
    if measured.rank:
        yield from _of_identity(measured, plain)
    if not (measured.widest <= FURTHER and measured.narrowest >= 1 / FURTHER):
        yield (
            f"Spreads are {measured.narrowest:.2f} to {measured.widest:.2f} of Laplace's, too far "
            f"from where the particles started to be resolved by {measured.particles}: {CHAIN}."
        )


def _of_number(measured: Measured) -> Iterator[str]:
    """Whether there are particles enough."""
    number, rank = measured.particles, measured.rank
    if number < rank + 1:
        yield (
            f"{number} particles cannot span {rank} informed directions, and have no spread in "
            f"some: take at least {PER_DIRECTION * rank}, or {CHAIN}."
        )
    noisy = (
        "What the observations leave open changes the score of what they inform by "
        f"{measured.noise:.2f}"
    )
    if measured.free and not measured.noise <= NOISIEST:
        yield (
            f"{noisy}: both depend on each other, and are drawn apart here; lower the cutoff so "
            f"that both are moved, or {CHAIN}."
        )
    if measured.free and measured.noise > NOISE and number < (needed := PER_NOISY * rank):
        yield f"{noisy}: take at least {needed} particles, lower the cutoff, or {CHAIN}."
    if number < (needed := PER_DIRECTION * rank):
        yield (
            f"{number} particles are few for {rank} informed directions: take at least {needed}, "
            f"or {CHAIN}."
        )


def _of_identity(measured: Measured, plain: bool) -> Iterator[str]:
    if not measured.residual <= RESIDUAL:
        remedy = "use SVGD with its polish" if plain else "take more steps of polish or particles"
        yield (
            f"Stein's identity is missed by {measured.residual:.2g}, so that standard deviations "
            f"may be about as wrong: {remedy}, or {CHAIN}."
        )
    if not measured.ksd <= DISCREPANCY * measured.ksd_of_draws:
        yield (
            f"The Stein discrepancy {measured.ksd:.3g} is above that of independent draws, "
            f"{measured.ksd_of_draws:.3g}: take more particles, or {CHAIN}."
        )
