"""Members of χ: ψ in the cells of a lattice or as drawn, then z given ψ, with weights."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its parts are imported when first used
from jax.scipy.linalg import solve_triangular

from assim.devices import program
from assim.solve.posterior.marginal import mean_is_luck, published, ruling_draws
from assim.solve.posterior.nested.lattice import Frame, Key, Solver, Summed
from assim.solve.posterior.nested.marginal import Marginal
from assim.statistics.accuracy import Errors
from assim.statistics.convergence import effective_draws
from assim.statistics.pareto import pareto_smooth
from assim.statistics.weighted import moved_quantiles, quantile_influence

Array = jax.Array

PAIRS = 5  # antithetic pairs of z for one ψ of a lattice
TAIL = 3e-5  # weight of the lowest cells that have no place
ENOUGH = 20  # draws for every entry of z, to have their covariance made exact
STEEPEST = 20.0  # nats a step by which the density within a cell may slope
EQUAL = 1e-3  # nats by which corrections of z given ψ may differ and count as none


class Placed(NamedTuple):
    """ψ at which z is to be drawn.

    Args:
        psi: shape (M, p).
        starts: z from which z*(ψ) is sought, shape (M, n).
        log_share: log of the part of ∫ p(ψ, y) dψ that each stands for, over p(ψ, y) but where
            `weighed`.
        rows: node of the lattice in whose cell it is, if any, shape (M,).
        weights: as known before, shape (M,), of sum one.
        pairs: antithetic pairs of z for each.
        weighed: whether p(ψ, y) is in `log_share`, as in the weights of draws.
    """

    psi: np.ndarray
    starts: np.ndarray
    log_share: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    pairs: int = PAIRS
    weighed: bool = False


def placed(lattice: Summed, frame: Frame, number: int, rng: np.random.Generator) -> Placed:
    """About `number` ψ in cells of a lattice, one at least in every cell but the lowest.

    Within a cell they follow the exponential that the neighbours' densities make, each axis in
    as many strata as there are places, so that sums over them differ little from integrals.
    """
    below = np.cumsum(np.sort(lattice.weights))
    least = np.sort(lattice.weights)[np.searchsorted(below, TAIL)]
    counts = np.maximum(np.rint(lattice.weights * number), lattice.weights >= least).astype(int)
    at = {key: row for row, key in enumerate(lattice.keys)}
    places, starts, shares = [], [], []
    for row in np.flatnonzero(counts > 0):
        key, count = lattice.keys[row], int(counts[row])
        slopes = [_slopes(lattice, at, key, axis) for axis in range(len(key) - 1)]
        offset = np.zeros((count, len(slopes)))
        log_share = np.full(count, frame.log_cell() - np.log(count))
        for axis, (slope, _) in enumerate(slopes):
            strata = (rng.permutation(count) + rng.uniform(size=count)) / count
            offset[:, axis], log_within = _exponential(slope, strata)
            log_share -= log_within
        places.append(np.array(key[1:]) + offset)
        starts.append(lattice.z[row] + offset @ np.stack([z for _, z in slopes]))
        shares.append(log_share)
    rows = np.repeat(np.arange(counts.size), counts)
    weights = lattice.weights[rows] / counts[rows]
    return Placed(
        frame.at(np.concatenate(places)),
        np.concatenate(starts),
        np.concatenate(shares),
        rows,
        weights / weights.sum(),
    )


def _slopes(lattice: Summed, at: dict[Key, int], key: Key, axis: int) -> tuple[float, np.ndarray]:
    """Of the log density and of z*, a step along an axis."""
    here = at[key]
    near = [(*key[: axis + 1], key[axis + 1] + side, *key[axis + 2 :]) for side in (-1, 1)]
    low, high = (at.get(k, here) for k in near)
    steps = max((low != here) + (high != here), 1)
    slope = (lattice.log_density[high] - lattice.log_density[low]) / steps
    away = (lattice.z[high] - lattice.z[low]) / steps
    return float(np.clip(slope, -STEEPEST, STEEPEST)), away


def _exponential(slope: float, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws in (-½, ½) of density ∝ exp(slope u) from uniform ones, and its log."""
    if abs(slope) < 1e-6:
        return uniform - 0.5, np.zeros_like(uniform)
    total = np.expm1(slope)
    u = np.log1p(uniform * total) / slope - 0.5
    return u, slope * (u + 0.5) + np.log(slope / total)


class Logs(NamedTuple):
    """What weights are made of, at every ψ at which z* was found.

    Args:
        psi: shape (M, p).
        density: log weight of ψ, shape (M,).
        ratio: log of the correction of z given ψ, shape (M, 2·pairs).
    """

    psi: np.ndarray
    density: np.ndarray
    ratio: np.ndarray


class Drawn(NamedTuple):
    """Members with weights, 2·pairs of one ψ after the other.

    Args:
        chi: shape (N, n), of the form in which z was sought.
        places: of every ψ among those that were wanted, shape (N / (2·pairs),).
        weights: that are published, of sum one.
        corrected: whether they correct z given ψ too, by its exact density.
        k_hat: Pareto shape of weights that do; 0 where z given ψ is Gaussian.
        mean_log_weight: mean of the log of that correction.
        shift: of a mean of ψ by that correction, the largest, in standard deviations.
        log_evidence: log p(y) but for the likelihood's constants.
        lost: share of weight at which z* was not found.
        logs: that all of this follows from.
    """

    chi: np.ndarray
    places: np.ndarray
    weights: np.ndarray
    corrected: bool
    k_hat: float
    mean_log_weight: float
    shift: float
    log_evidence: float
    lost: float
    logs: Logs


def drawn(solver: Solver, there: Placed, rng: np.random.Generator) -> Drawn:
    """z ~ N(z*, H⁻¹) at every ψ in antithetic pairs, with its weight.

    The log weight of (ψ, z) is that of ψ, log p(ψ, y) by Laplace's method and its share, and
    log p(ψ, z, y) - log p(ψ, y) N(z; z*, H⁻¹) = φ(ψ, z*) + |e|²/2 - φ(ψ, z): 0 for every draw
    where z given ψ is Gaussian.
    """
    psi, chi, ratios, densities = there.psi, [], [], []
    whole = _white(there, rng)
    for part, solved in solver(psi, there.starts):
        extra = solver.rows - (part.stop - part.start)
        rows = (psi[part], solved.z, solved.root, solved.phi, whole[part])
        padded = [np.pad(v, ((0, extra), *[(0, 0)] * (v.ndim - 1)), mode="edge") for v in rows]
        members, ratio = _lifted(solver.marginal, *map(jnp.asarray, padded))
        chi.append(np.asarray(members)[: part.stop - part.start])
        ratios.append(np.asarray(ratio)[: part.stop - part.start])
        densities.append(solved.log_density)
    density = np.concatenate(densities)
    of_psi = np.zeros_like(density) if there.weighed else density
    density = np.where(np.isfinite(density), of_psi + there.log_share, -np.inf)
    good = np.isfinite(density)
    logs = Logs(psi[good], density[good], np.concatenate(ratios)[good])
    lost = float(there.weights[~good].sum())
    return weighted(np.concatenate(chi)[good], np.flatnonzero(good), logs, lost)


def _white(there: Placed, rng: np.random.Generator) -> np.ndarray:
    """e ~ N(0, I) for every ψ in antithetic pairs, shape (M, 2·pairs, n).

    Where there are many more of them than entries they are stretched to a covariance, by the
    weights of ψ, of I: what they miss of it by chance would be in every deviation.
    """
    n, pairs = there.starts.shape[1], there.pairs
    white = rng.standard_normal((there.weights.size, pairs, n))
    if n * ENOUGH <= there.weights.size * pairs:
        rows = white.reshape(-1, n)
        covariance = rows.T @ (np.repeat(there.weights / pairs, pairs)[:, None] * rows)
        root = np.linalg.cholesky(covariance)
        white = scipy.linalg.solve_triangular(root, rows.T, lower=True).T.reshape(white.shape)
    both: np.ndarray = np.concatenate([white, -white], axis=1)
    return both


def weighted(chi: np.ndarray, places: np.ndarray, logs: Logs, lost: float) -> Drawn:
    """Members χ, of shape (M, 2·pairs, n) or (N, n), with the weights that follow from the logs."""
    psi, density, ratio = logs
    plain = np.repeat(density, ratio.shape[1]) - np.log(ratio.shape[1])
    flat, top = ratio.ravel(), plain.max()
    of_psi = np.exp(plain - top)
    log_evidence = float(np.log(of_psi.sum()) + top)
    of_psi /= of_psi.sum()
    members = chi.reshape(-1, chi.shape[-1])
    if np.ptp(flat) < EQUAL:
        none = (True, 0.0, 0.0, 0.0, log_evidence, lost, logs)
        return Drawn(members, places, of_psi, *none)
    smoothed = pareto_smooth(plain + flat)
    corrected = smoothed.tail.light()
    exact = smoothed.log_mean + np.log(flat.size) if corrected else log_evidence
    of_each = np.repeat(psi, ratio.shape[1], axis=0)
    mean, moved = of_psi @ of_each, smoothed.weights @ of_each
    stdev = np.sqrt(of_psi @ (of_each - mean) ** 2)
    inside = np.isfinite(flat)
    return Drawn(
        members,
        places,
        smoothed.weights if corrected else of_psi,
        corrected,
        smoothed.k_hat,
        float(of_psi[inside] @ flat[inside] / of_psi[inside].sum()),
        float(np.max(np.abs(moved - mean) / stdev)),
        float(exact),
        lost,
        logs,
    )


@program
def _lifted(
    marginal: Marginal, psi: Array, z: Array, root: Array, phi: Array, white: Array
) -> tuple[Array, Array]:
    def lift(inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        psi, z, root, phi, white = inputs
        away = solve_triangular(root, white.T, lower=True, trans=1).T

        def weighed(away: Array, white: Array) -> tuple[Array, Array]:
            ratio = phi + jnp.sum(white**2) / 2 - marginal.phi(psi, z + away)
            return marginal.chi(psi, z + away), ratio

        return jax.vmap(weighed)(away, white)

    lifted: tuple[Array, Array] = jax.lax.map(lift, (psi, z, root, phi, white))
    return lifted


class Known(NamedTuple):
    """How well members are known to tell moments.

    Args:
        errors: of means and standard deviations of χ and of scalars, and of quantiles of the
            latter, the largest.
        effective_size: independent draws that know the variance of the worst entry of χ as well.
    """

    errors: Errors
    effective_size: float


def errors(drawn: Drawn, there: Placed, lattice: Summed, marginal: Marginal) -> Known:
    """From how successive ψ, each with all its members, differ from what their nodes expect.

    Members of one ψ, and antithetic ones, are one draw; what the lattice knows is without error.
    √(Σ (c_k - c_(k-1))²/2) of the sums c over each ψ, as for strata in their order (Wolter 2007,
    Introduction to Variance Estimation, chapter 8). Of scalars a node expects their values at z*;
    those of ψ alone are in order within each cell.
    """
    at = np.concatenate([np.asarray(marginal.psi_at), np.asarray(marginal.z_at)])
    values, weights = drawn.chi[:, at], drawn.weights
    rows = np.repeat(there.rows[drawn.places], 2 * there.pairs)
    nodes = np.concatenate([lattice.psi, lattice.z], axis=1)
    expected = nodes[rows]
    within = np.concatenate([np.zeros_like(lattice.psi), lattice.variance], axis=1)[rows]
    mean = weights @ values
    square = (values - mean) ** 2 - (expected - mean) ** 2 - within

    def error(terms: np.ndarray, order: slice | np.ndarray = slice(None)) -> np.ndarray:
        steps = np.diff(_of_psi(terms, there)[order], axis=0)
        return np.sqrt(np.sum(steps**2, axis=0) / 2)

    each = [error(weights[:, None] * v) for v in (values - expected, square)]
    of_nodes = published(marginal.problem, jnp.asarray(nodes[:, np.argsort(at)]))
    of_scalars = (
        _of_scalar(f, weights, partial(error, order=_strata(f, there, drawn)), of_nodes[name][rows])
        for name, f in published(marginal.problem, jnp.asarray(drawn.chi)).items()
    )
    return _known(values, weights, each, of_scalars)


def _strata(f: np.ndarray, there: Placed, drawn: Drawn) -> slice | np.ndarray:
    """ψ cell by cell, in each by the scalar f of ψ alone, up and down in turn; else as they are."""
    each, cells = f.reshape(-1, 2 * there.pairs), there.rows[drawn.places]
    if not np.all(each == each[:, :1]):
        return slice(None)
    turn = np.cumsum(np.diff(cells, prepend=cells[:1]) != 0) % 2
    return np.lexsort((np.where(turn, -each[:, 0], each[:, 0]), cells))


def errors_of_draws(drawn: Drawn, there: Placed, chains: int, marginal: Marginal) -> Known:
    """From the sums over each ψ, which are independent, or correlated along so many chains.

    √(Σ c²) of the sums c over each ψ, times that of how many they are over how many they are worth.
    """
    values, weights = drawn.chi, drawn.weights
    mean = weights @ values
    variance = weights @ (values - mean) ** 2

    def error(terms: np.ndarray) -> np.ndarray:
        sums = _of_psi(terms, there)
        whole = np.zeros((len(there.psi), sums.shape[1]))
        whole[drawn.places] = sums
        several = whole.reshape(chains, -1, whole.shape[1])
        worth = effective_draws(several) if chains > 1 else np.full(whole.shape[1], len(whole))
        return np.sqrt(np.sum(whole**2, axis=0) * len(whole) / worth)

    each = [error(weights[:, None] * v) for v in (values - mean, (values - mean) ** 2 - variance)]
    scalars = published(marginal.problem, jnp.asarray(values)).values()
    return _known(values, weights, each, (_of_scalar(f, weights, error) for f in scalars))


def _of_scalar(
    f: np.ndarray,
    weights: np.ndarray,
    error: Callable[[np.ndarray], np.ndarray],
    expected: np.ndarray | None = None,
) -> Errors:
    """Errors of one scalar by its finite values; 0 of moments that are not stated.

    Args:
        f: its values for members.
        weights: of these.
        error: of sums, from their terms, shape (N, k).
        expected: values whose sums are known; None for none.
    """
    finite = np.isfinite(f) & (True if expected is None else np.isfinite(expected))
    mass = weights @ finite
    w, f = np.where(finite, weights, 0.0), np.where(finite, f, 0.0)
    if not mass > 0 or not np.ptp(f[finite & (w > 0)]) > 0:
        return Errors(0.0, 0.0)
    w = w / mass
    mean = w @ f
    variance = w @ (f - mean) ** 2

    def terms(values: np.ndarray) -> np.ndarray:
        away = values[:, None] - mean
        return np.hstack([w[:, None] * away, w[:, None] * (away**2 - variance),
                          quantile_influence(f, w, values)])  # fmt: skip

    known = 0.0 if expected is None else terms(np.where(finite, expected, 0.0))
    of_mean, of_variance, *of_levels = error(terms(f) - known)
    ruled = math.isfinite(ruling_draws(f, w))
    return Errors(
        0.0 if ruled and mean_is_luck(f, w) else float(of_mean / np.sqrt(variance)),
        0.0 if ruled else float(of_variance / (2 * variance)),
        moved_quantiles(f, w, np.array(of_levels)),
    )


def _known(
    values: np.ndarray,
    weights: np.ndarray,
    errors: list[np.ndarray],
    of_scalars: Iterable[Errors],
) -> Known:
    """From errors of means and of variances; that of N independent draws is √((m₄ - v²)/N)."""
    away = values - weights @ values
    variance, fourth = weights @ away**2, weights @ away**4
    of_chi = Errors(
        float(np.max(errors[0] / np.sqrt(variance))), float(np.max(errors[1] / (2 * variance)))
    )
    largest = Errors(*map(float, np.max([of_chi, *of_scalars], axis=0)))  # NaN where one is
    square = np.maximum(errors[1], 1e-300) ** 2
    return Known(largest, float(np.min((fourth - variance**2) / square)))


def _of_psi(values: np.ndarray, there: Placed) -> np.ndarray:
    sums: np.ndarray = values.reshape(-1, 2 * there.pairs, values.shape[1]).sum(axis=1)
    return sums
