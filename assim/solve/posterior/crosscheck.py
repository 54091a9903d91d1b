"""An ensemble against short chains that start from its members: an independent check."""

from dataclasses import replace
from statistics import NormalDist
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import over_members, program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import CHAIN, Ensemble, Report, Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.informed import Informed
from assim.solve.together import batch_size
from assim.statistics.accuracy import ACCURATE
from assim.statistics.resampling import systematic

Array = jax.Array

CHAINS, MOVES, SETTLING = 100, 40, 5  # moves of each chain in a round, and before the first
ROUNDS = 8  # at most, until the standard deviations are accurate
LEAPFROGS, JITTER = 5, 0.2  # steps of a trajectory of a quarter period, and how it varies
APART, SHIFT = 0.05, 0.1  # of standard deviations, and means in them, beside twice the error
FALSE = 0.01  # probability that chance alone raises a doubt, over all directions
STUCK, MOVING = 0.05, 0.2  # no more than this share of the chains accept less than this
VAGUE = 0.03  # relative error of a standard deviation above which chains tell too little of it
NAMES = ("chains_apart", "chains_shift", "chains_accuracy", "chains_acceptance")


class Stated(NamedTuple):
    """The Gaussian of an ensemble's moments, and these along its axes and of the entries of χ."""

    gaussian: Gaussian  # whose axes are its k eigenvectors; chains move in its coordinates
    mean: Array  # along the axes from its centre, and of χ, shape (k + n,)
    stdev: Array  # likewise; 0 for an axis that is there to fill up


@program
def stated_moments(subspace: Informed, a: Array) -> Stated:
    """Moments of particles a, with all of the complement and not only with the draws of it."""
    laplace, shrink = subspace.gaussian, subspace.shrink
    centre = laplace.chi + subspace.basis @ (shrink * jnp.mean(a, axis=0))
    away = shrink[None] * (a - jnp.mean(a, axis=0)[None])
    covariance = away.T @ away / a.shape[0] + jnp.diag(1 - subspace.mask)
    values, axes = jnp.linalg.eigh(covariance)
    filling = (1 - subspace.mask) @ axes**2 > 0.5
    precision = jnp.where(filling, 0.0, 1 / jnp.maximum(values, 1e-12) - 1)
    gaussian = Gaussian(centre, precision, subspace.basis @ axes)
    rest = jnp.maximum(laplace.stdev() ** 2 - subspace.basis**2 @ shrink**2, 0.0)
    informed = jnp.mean((away @ subspace.basis.T) ** 2, axis=0)
    along = jnp.where(filling, 0.0, jnp.sqrt(values))
    stdev = jnp.concatenate([along, jnp.sqrt(informed + rest)])
    return Stated(gaussian, jnp.concatenate([jnp.zeros_like(along), centre]), stdev)


def crosschecked(
    problem: DepartureFunction,
    ensemble: Ensemble,
    stated: Stated,
    key: Array,
    report: Report | None = None,
) -> Ensemble:
    """A certified ensemble, doubtful where chains that start from it find other moments.

    A hundred chains of Hamiltonian Monte Carlo (Duane et al. 1987, Phys. Lett. B 195, 216) take 45
    trajectories of a quarter period each, and up to seven times 40 more until standard deviations
    are known within 1.5 per cent. Their limit is the posterior whatever the ensemble is, and the
    first five, left out, forget most of where they began. Standard deviations must agree
    within 5 per cent and twice the Monte Carlo error, means within 0.1 of a standard deviation and
    as much; what is more must be significant at 1 per cent over all directions. Where more than
    5 per cent of the chains accept less than a fifth of their moves, or an error is above 3 per
    cent, nothing is checked and doubt remains. The moments stated are those of the ensemble.
    """
    unknown = dict.fromkeys(NAMES, float("nan"))
    if ensemble.trust is not Trust.CERTIFIED:
        return replace(ensemble, certificates={**ensemble.certificates, **unknown})
    if report is not None:
        report(f"{CHAINS} short chains check the members")
    check, rounds = _compared_in_rounds(problem, ensemble, stated, key)
    checked = replace(
        ensemble,
        certificates={**ensemble.certificates, **check.certificates()},
        gradients=ensemble.gradients + CHAINS * ((rounds * MOVES + SETTLING) * LEAPFROGS + rounds),
    )
    if doubt := check.doubt():
        return checked.doubted(doubt)
    return replace(checked, advice=f"{ensemble.advice} {check.agreement()}")


def _compared_in_rounds(
    problem: DepartureFunction, ensemble: Ensemble, stated: Stated, key: Array
) -> tuple["CrossCheck", int]:
    """The comparison with the chains' moments, and how many rounds it took."""
    first, *keys = jax.random.split(key, 1 + ROUNDS)
    z = _starts(stated.gaussian, ensemble.members, ensemble.weights, first)
    total: Moved | None = None
    for number, key in enumerate(keys, 1):
        z, moved = _moved(problem, stated, z, key, jnp.asarray(SETTLING if number == 1 else 0))
        total = moved if total is None else jax.tree.map(jnp.add, total, moved)
        check = _compared(Moved(*(value / number for value in total)), stated)
        if not np.max(check.error) > ACCURATE:
            break
    return check, number


class Moved(NamedTuple):
    """Means over the moves of every chain, leading dimension chains."""

    mean: Array  # of the distance from the stated mean, along the axes and of χ
    square: Array  # of its square
    acceptance: Array


class CrossCheck(NamedTuple):
    """Chains against an ensemble, along every direction."""

    ratio: np.ndarray  # standard deviations of the chains over those of the ensemble
    error: np.ndarray  # relative Monte Carlo error of the former
    shift: np.ndarray  # difference of the means, in standard deviations
    error_of_shift: np.ndarray  # its Monte Carlo error
    acceptance: float  # which all but a twentieth of the chains exceed

    def certificates(self) -> dict[str, float]:
        """By name."""
        worst = (float(np.max(v)) for v in (np.abs(self.ratio - 1), self.shift, self.error))
        return dict(zip(NAMES, (*worst, self.acceptance), strict=True))

    def doubt(self) -> str:
        """What stands against the ensemble, and the way out; "" where they agree."""
        if not self.acceptance >= MOVING:
            return (
                "Some of the chains that start from the members hardly move, which checks "
                f"nothing: {CHAIN}."
            )
        if not np.max(self.error) <= VAGUE:
            return (
                f"Chains that start from the members know a standard deviation to "
                f"{100 * np.max(self.error):.0f} % only, as where a long tail holds much of it, "
                f"which checks nothing: {CHAIN}."
            )
        wide = _beyond(np.abs(self.ratio - 1), APART, self.error)
        if not np.any(wide | _beyond(self.shift, SHIFT, self.error_of_shift)):
            return ""
        return f"{self.agreement()[:-1]}: the members miss the shape of the posterior; {CHAIN}."

    def agreement(self) -> str:
        """How far they are apart, in a sentence."""
        return (
            "Short chains that start from the members find standard deviations "
            f"{np.min(self.ratio):.2f} to {np.max(self.ratio):.2f} of theirs, and means up to "
            f"{np.max(self.shift):.2f} of one away."
        )


def _beyond(apart: np.ndarray, allowed: float, error: np.ndarray) -> np.ndarray:
    """Where a difference is more than allowed, and more than chance alone."""
    chance = NormalDist().inv_cdf(1 - FALSE / (2 * apart.size))
    significant: np.ndarray = apart > np.maximum(allowed + 2 * error, chance * error)
    return significant


def _compared(moved: Moved, stated: Stated) -> CrossCheck:
    known = np.asarray(stated.stdev) > 0
    stdev = np.asarray(stated.stdev)[known]
    away, error = _mean(moved.mean, known)
    square, error_of_square = _mean(moved.square, known)
    chain_stdev = np.sqrt(np.maximum(square - away**2, 0.0))
    return CrossCheck(
        chain_stdev / stdev,
        error_of_square / (2 * square) * chain_stdev / stdev,
        np.abs(away) / chain_stdev,
        error / chain_stdev,
        float(np.quantile(np.asarray(moved.acceptance), STUCK)),
    )


def _mean(values: Array, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over chains, which are independent, and its standard error."""
    of_chains = np.asarray(values)[:, known]
    return of_chains.mean(axis=0), of_chains.std(axis=0, ddof=1) / np.sqrt(len(of_chains))


@program
def _starts(gaussian: Gaussian, members: Array, weights: Array, key: Array) -> Array:
    """Members as often as their weights say, no more than once each where those allow it."""
    first, second = jax.random.split(key)
    order = jax.random.permutation(first, members.shape[0])
    chosen = systematic(weights[order], CHAINS, jax.random.uniform(second))
    return jax.vmap(gaussian.z)(members[order[chosen]])


class _Place(NamedTuple):
    z: Array
    density: Array
    score: Array


@program
def _moved(
    problem: DepartureFunction, stated: Stated, starts: Array, key: Array, settling: Array
) -> tuple[Array, Moved]:
    """A round of all chains, as many together as memory allows, and where they end."""
    gaussian = stated.gaussian

    def chain(start: tuple[Array, Array]) -> tuple[Array, Moved]:
        z, key = start

        def move(number: Array, carry: tuple[_Place, Moved]) -> tuple[_Place, Moved]:
            place, moved = carry
            now = jax.random.fold_in(key, number)
            place, acceptance = _trajectory(problem, gaussian, place, now)
            chi = gaussian.at(place.z)
            away = (chi - gaussian.chi) @ gaussian.eigenvectors
            along = jnp.concatenate([away, chi]) - stated.mean
            share = jnp.where(number < settling, 0.0, 1 / MOVES)
            new = Moved(along, along**2, acceptance)
            return place, jax.tree.map(lambda total, value: total + share * value, moved, new)

        blank = jnp.zeros_like(stated.mean)
        begin = _Place(z, *gaussian.scored(problem, z)), Moved(blank, blank, jnp.zeros(()))
        place, moved = jax.lax.fori_loop(0, settling + MOVES, move, begin)
        return place.z, moved

    number = starts.shape[0]
    batch, keys = batch_size(problem), jax.random.split(key, number)
    ends_and_moments: tuple[Array, Moved] = over_members(chain, (starts, keys), batch)
    return ends_and_moments


def _trajectory(
    problem: DepartureFunction, gaussian: Gaussian, place: _Place, key: Array
) -> tuple[_Place, Array]:
    """A trajectory, taken or not by its change of energy.

    Half a kick by what log p has beyond -|z|²/2, a rotation of (z, p), half a kick: exact for
    N(0, I), so that acceptance does not fall with the dimension alone.
    """
    first, second, third = jax.random.split(key, 3)
    momentum = jax.random.normal(first, place.z.shape)
    step = jnp.pi / 2 / LEAPFROGS * jax.random.uniform(second, minval=1 - JITTER, maxval=1 + JITTER)

    def leap(_: Array, carry: tuple[_Place, Array]) -> tuple[_Place, Array]:
        at, p = carry
        p = p + step / 2 * (at.score + at.z)
        z, p = at.z * jnp.cos(step) + p * jnp.sin(step), p * jnp.cos(step) - at.z * jnp.sin(step)
        there = _Place(z, *gaussian.scored(problem, z))
        return there, p + step / 2 * (there.score + z)

    there, p = jax.lax.fori_loop(0, LEAPFROGS, leap, (place, momentum))
    rise = there.density - place.density - (p @ p - momentum @ momentum) / 2
    acceptance = jnp.where(jnp.isfinite(rise), jnp.exp(jnp.minimum(rise, 0.0)), 0.0)
    taken = jax.random.uniform(third) < acceptance
    return jax.tree.map(lambda new, old: jnp.where(taken, new, old), there, place), acceptance
