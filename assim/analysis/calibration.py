"""Simulation-based calibration: whether a method's posteriors mean what they say."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.departure import Problem
from assim.problem.predictive import (
    Readings,
    drawn_readings,
    prior_draws,
    samples_its_density,
    with_values,
)
from assim.solve.cost import negative_log_density
from assim.solve.curvature import local_gaussian
from assim.solve.ensemble import AbstractPosterior
from assim.solve.gauss_newton import GaussNewton, NewtonCG
from assim.solve.laplace import BATCH_VALUES, SMALL, Laplace
from assim.solve.minimise import AbstractMinimiser, minimise_compiled
from assim.solve.scores import Coverage, covered
from assim.solve.status import Status
from assim.solve.uniformity import (
    SIMULATED,
    Band,
    binomial_interval,
    chi_squared_uniform,
    choose_bins,
    ecdf,
    ecdf_band,
    ecdf_p_value,
    rank_histogram,
    within,
)

Array = jax.Array
Method = Laplace | AbstractPosterior
Progress = Callable[[int, int], None]  # simulations done, of how many

LEVELS = (0.5, 0.9)
MOST_ENTRIES = 12  # of each array whose entries are ranked
BATCHES = 2  # run one after the other between two reports of progress
TOGETHER = 10  # simulations side by side, of a small problem
TIRED = 20  # prior draws for each simulation wanted, after which the model fails too often
REJECTED = 0.01  # probability of a verdict against a method that is right
FAILED = 0.05  # share of simulations without a posterior above which the rest says little
DENSITY = "log_density"


@dataclass(frozen=True)
class Calibration:
    """Ranks of true values among posterior draws, over data simulated from the prior.

    Args:
        method: its name.
        names: of the quantities ranked, q of them; the last is the log density of χ itself.
        ranks: of each truth among its draws, 0 to `draws`, shape (simulations, q).
        draws: L, of each posterior.
        histogram: number of ranks in each bin, shape (q, bins).
        histogram_band: counts between which a bin is in 99 of 100 cases, where ranks are uniform.
        p_values: of the χ² test that the bins are equal, shape (q,).
        ecdf_p_values: of how far the distribution function strays from the uniform one, likewise.
        coverage: of the central intervals of each quantity, by level.
        ecdf: share of ranks below k, k = 1, …, L, shape (q, L).
        band: in which uniform ranks have each of them everywhere, in 95 of 100 cases.
        redrawn: draws of the prior at which the model fails, in place of which others were taken.
        failed: simulations for which the method has no posterior; they have no rank.
        unsettled: simulations whose minimisation ended early.
        seconds: wall time.
    """

    method: str
    names: tuple[str, ...]
    ranks: np.ndarray
    draws: int
    histogram: np.ndarray
    histogram_band: tuple[int, int]
    p_values: np.ndarray
    ecdf_p_values: np.ndarray
    coverage: dict[float, tuple[Coverage, ...]]
    ecdf: np.ndarray
    band: Band
    redrawn: int
    failed: int
    unsettled: int
    seconds: float

    @property
    def inside(self) -> tuple[bool, ...]:
        """Whether each quantity's distribution function stays within the band, shape (q,)."""
        return tuple(within(one, self.band) for one in self.ecdf)

    @property
    def uniform(self) -> bool:
        """Whether no test of any quantity rejects, at 1 per cent for all of them together."""
        least = np.minimum(self.p_values, self.ecdf_p_values)
        return bool(np.min(least) > REJECTED / (2 * least.size))

    def verdict(self) -> str:
        """What the ranks say of the method, in a sentence or two."""
        total = len(self.ranks) + self.failed
        if self.failed > FAILED * total:
            return (
                f"{self.method}: {self.failed} of {total} simulations have no posterior; the "
                "ranks of the others say little."
            )
        each = np.minimum(self.p_values, self.ecdf_p_values)
        worst = int(np.argmin(each))
        least = f"the least p of {2 * each.size} tests is {each[worst]:.2g}"
        if self.uniform:
            low, high = binomial_interval(total, 0.9, 0.99)
            return (
                f"{self.method}: ranks are uniform ({least}): {total} simulations show no error of "
                f"the error bars; 90 % intervals that hold {100 * low / total:.0f} to "
                f"{100 * high / total:.0f} % would pass, too."
            )
        level = max(self.coverage)
        middle = np.mean([one.covered for one in self.coverage[level][:-1]])
        held = (
            f"central intervals of {100 * level:.0f} % hold the truth in {100 * middle:.0f} % of "
            f"{len(self.ranks)} simulations."
        )
        if np.min(each[:-1]) > REJECTED / (2 * each.size):
            return (
                f"{self.method}: ranks of the log density are not uniform ({least}), those of "
                "single quantities pass: members do not spread as draws of the posterior do, so "
                f"take joint statements from a chain; {held}"
            )
        what = "are not right"
        if abs(middle - level) > 0.01:
            what = "are too narrow" if middle < level else "are too wide"
        return (
            f"{self.method}: ranks are not uniform ({least}, of {self.names[worst]}): error bars "
            f"{what}; {held}"
        )


class _Settings(eqx.Module):
    """What is fixed over all simulations."""

    method: Method
    minimiser: AbstractMinimiser
    draws: int = eqx.field(static=True)
    starts: int = eqx.field(static=True)
    together: int = eqx.field(static=True)


def calibrate(
    problem: Problem,
    method: Method,
    number: int,
    key: Array,
    *,
    draws: int = 99,
    minimiser: AbstractMinimiser | None = None,
    starts: int = 4,
    together: int | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Draw χ from the prior and y from p(y | χ), infer χ again, and rank the truth: N times.

    For the posterior itself ranks are uniform on 0, …, L (Cook, Gelman & Rubin 2006, J. Comput.
    Graph. Stat. 15, 675; Talts et al. 2018, arXiv:1804.06788). The log density of χ given y is
    ranked too, which sees what no single coordinate does (Modrák et al. 2025, Bayesian Anal. 20,
    461). J is minimised from the prior median, draws of the prior, and the truth: what is tested is
    the method about the right minimum, not the search for it. Where states are the control, model
    errors are in their place.

    Args:
        problem: what is asked; its own values are not used.
        method: settings of a posterior.
        number: simulations.
        key: of all draws.
        draws: L of each posterior; 99 or 63, since bins must divide L + 1.
        minimiser: NewtonCG up to 64 controls or with an error scale, else GaussNewton.
        starts: first guesses besides the truth, the prior median being the first.
        together: simulations that run side by side in one program; ten where None, fewer of a large
            problem.
        progress: called after every batch.

    Raises:
        ValueError: a flat prior, a likelihood that does not draw from its own density, to the
            power of its weights, or numbers that cannot be.
        ArithmeticError: a model that fails at nearly all draws of the prior.
    """
    begin = time.perf_counter()
    problem = problem.as_forcing()
    if together is None:
        together = max(1, min(TOGETHER, BATCH_VALUES // problem.workspace()))
    _check(problem, number, draws, starts, together)
    if minimiser is None:
        exact = problem.size() <= SMALL or problem.has_normaliser()
        minimiser = NewtonCG() if exact else GaussNewton()
    settings = _Settings(method, minimiser, draws, starts, together)
    first, second = jax.random.split(key)
    truths, redrawn = _truths(problem, number, first)
    found = _ranked(problem, settings, truths, second, progress)
    seconds = time.perf_counter() - begin
    return _calibration(problem, settings, found, redrawn, seconds)


def _check(problem: Problem, number: int, draws: int, starts: int, together: int) -> None:
    for name, given in (("number", number), ("starts", starts), ("together", together)):
        if given < 1:
            raise ValueError(f"calibrate: {name} must be at least 1, got {given}")
    choose_bins(draws, number)
    for name, honest in samples_its_density(problem).items():
        if not honest:
            raise ValueError(
                f"calibrate: the likelihood of {name!r} draws good data alone, or has weights "
                "other than 0 and 1: not from the density that it evaluates; calibrate with "
                "Gaussian or StudentT errors of full weight"
            )


class _Truths(NamedTuple):
    """χ with the readings drawn about it, leading dimension simulations."""

    chi: Array
    readings: Readings


def _truths(problem: Problem, number: int, key: Array) -> tuple[_Truths, int]:
    """As many as are wanted at which the model does not fail, and how often it did."""
    kept: list[_Truths] = []
    had = tried = 0
    while had < number:
        if tried >= TIRED * number:
            raise ArithmeticError(
                f"calibrate: the model fails at {tried - had} of {tried} draws of the prior, so "
                "that there is nothing to infer; narrow the prior to what the model can bear"
            )
        key, *two = jax.random.split(key, 3)
        chi = prior_draws(problem, number, two[0])
        drawn, fine = _readings(problem, chi, two[1])
        keep = np.flatnonzero(np.asarray(fine))[: number - had]
        last = int(keep[-1]) + 1 if keep.size == number - had else number
        tried, had = tried + last, had + keep.size
        kept.append(_Truths(chi[keep], {name: y[keep] for name, y in drawn.items()}))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *kept), tried - had


@eqx.filter_jit
def _readings(problem: Problem, chi: Array, key: Array) -> tuple[Readings, Array]:
    """One set of readings for each χ, and whether all of them are finite and possible."""

    def one(pair: tuple[Array, Array]) -> tuple[Readings, Array]:
        drawn = drawn_readings(problem, *pair)
        density = negative_log_density(with_values(problem, drawn), pair[0])
        return drawn, jnp.isfinite(density)

    batch = max(1, min(chi.shape[0], BATCH_VALUES // problem.workspace()))
    return jax.lax.map(one, (chi, jax.random.split(key, chi.shape[0])), batch_size=batch)


class _Ranked(NamedTuple):
    """Outcome of simulations.

    Args:
        ranks: shape (simulations, q).
        has_draws: whether the method gave a posterior.
        settled: whether the minimisation did.
    """

    ranks: Array
    has_draws: Array
    settled: Array


def _ranked(
    problem: Problem, settings: _Settings, truths: _Truths, key: Array, progress: Progress | None
) -> _Ranked:
    """All simulations, in batches of one size, so that one compilation serves all."""
    number = truths.chi.shape[0]
    size = min(BATCHES * settings.together, number)
    keys = jax.random.split(key, number)
    entries = jnp.asarray(ranked_entries(problem)[0])
    parts = []
    for start in range(0, number, size):
        rows = np.arange(start, start + size) % number  # the last batch is filled up
        batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (truths, keys))
        found = jax.tree.map(np.asarray, _batch(problem, settings, entries, *batch))
        done = min(start + size, number)
        parts.append(jax.tree.map(lambda leaf, done=done, at=start: leaf[: done - at], found))
        if progress is not None:
            progress(done, number)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@eqx.filter_jit
def _batch(
    problem: Problem, settings: _Settings, entries: Array, truths: _Truths, keys: Array
) -> _Ranked:
    def one(given: tuple[_Truths, Array]) -> _Ranked:
        return _simulation(problem, settings, entries, *given)

    side_by_side = None if settings.together == 1 else settings.together
    return jax.lax.map(one, (truths, keys), batch_size=side_by_side)


def _simulation(
    problem: Problem, settings: _Settings, entries: Array, truth: _Truths, key: Array
) -> _Ranked:
    """Minimum, Laplace approximation, draws and ranks for one set of readings."""
    posed, keys = with_values(problem, truth.readings), jax.random.split(key, 4)
    guesses = jax.random.normal(keys[0], (settings.starts + 1, problem.size()))
    guesses = guesses.at[0].set(0.0).at[-1].set(truth.chi)

    def minimum(guess: Array) -> tuple[Array, Array, Array]:
        state = minimise_compiled(posed, settings.minimiser, guess)
        return state.chi, state.cost, state.status

    chi, cost, status = jax.lax.map(minimum, guesses)
    best = jnp.argmin(jnp.where(jnp.isfinite(cost), cost, jnp.inf))
    laplace = settings.method if isinstance(settings.method, Laplace) else Laplace()
    gaussian = local_gaussian(posed, chi[best], laplace, keys[1])
    if isinstance(settings.method, Laplace):  # half of the antithetic pairs are independent
        drawn = gaussian.draws(keys[2], 2 * settings.draws)[: settings.draws]
    else:
        drawn = settings.method.draws(posed, gaussian, keys[2], settings.draws)
    fine = jnp.all(jnp.isfinite(drawn), axis=1) & jnp.isfinite(cost[best])
    members = jnp.where(fine[:, None], drawn, truth.chi[None])
    batch = max(1, min(settings.draws, BATCH_VALUES // problem.workspace()))
    everything = jnp.concatenate([truth.chi[None], members])
    density = -jax.lax.map(
        lambda chi: negative_log_density(posed, chi), everything, batch_size=batch
    )
    columns = jnp.concatenate([everything[:, entries], density[:, None]], axis=1)
    ranks = _ranks(columns[1:], columns[0], fine, keys[3])
    return _Ranked(ranks, 2 * jnp.sum(fine) > fine.size, status[best] == Status.CONVERGED)


def _ranks(draws: Array, truth: Array, fine: Array, key: Array) -> Array:
    """Number of draws below the truth, ties broken at random, shape (q,).

    Where fewer than all L draws are there, a uniform place between two of them is scaled to L.
    """
    first, second = jax.random.split(key)
    below = jnp.sum((draws < truth[None]) & fine[:, None], axis=0)
    tied = jnp.sum((draws == truth[None]) & fine[:, None], axis=0)
    found = below + jnp.floor(jax.random.uniform(first, below.shape) * (tied + 1)).astype(int)
    there, number = jnp.sum(fine), fine.size
    place = (found + jax.random.uniform(second, below.shape)) / (there + 1)
    scaled = jnp.floor(place * (number + 1)).astype(int)
    return jnp.where(there == number, found, scaled)


def ranked_entries(problem: Problem) -> tuple[list[int], list[str]]:
    """Entries of χ that are ranked, with their names: scalars, and up to 12 of each array."""
    names = problem.control.names()
    of_array: dict[str, list[int]] = {}
    for entry, name in enumerate(names):
        of_array.setdefault(name.partition("[")[0], []).append(entry)
    chosen = []
    for places in of_array.values():
        picked = np.unique(np.linspace(0, len(places) - 1, min(MOST_ENTRIES, len(places))).round())
        chosen += [places[int(i)] for i in picked]
    return chosen, [names[entry] for entry in chosen]


def _calibration(
    problem: Problem, settings: _Settings, found: _Ranked, redrawn: int, seconds: float
) -> Calibration:
    good = np.asarray(found.has_draws)
    ranks, draws = np.asarray(found.ranks)[good], settings.draws
    columns = ranks.T
    bins = choose_bins(draws, max(len(ranks), 1))
    histogram = np.array([rank_histogram(column, draws, bins) for column in columns])
    samples = max(SIMULATED, round(10 * 2 * len(columns) / REJECTED))  # so that one can reject
    return Calibration(
        settings.method.name(),
        (*ranked_entries(problem)[1], DENSITY),
        ranks,
        draws,
        histogram,
        binomial_interval(len(ranks), 1 / bins, 0.99),
        np.array([chi_squared_uniform(counts) if len(ranks) else np.nan for counts in histogram]),
        np.array([ecdf_p_value(c, draws, 0, samples) if len(ranks) else np.nan for c in columns]),
        {level: tuple(_covered(c, draws, level) for c in columns) for level in LEVELS},
        np.array([ecdf(column, draws) for column in columns]),
        ecdf_band(len(ranks), draws),
        redrawn,
        int(np.sum(~good)),
        int(np.sum(~np.asarray(found.settled))),
        seconds,
    )


def _covered(ranks: np.ndarray, draws: int, level: float) -> Coverage:
    """Ranks k with (L + 1)(1 - level)/2 ≤ k < (L + 1)(1 + level)/2 are within."""
    low, high = (0.5 * (draws + 1) * (1 + side * level) for side in (-1, 1))
    return covered((ranks >= low) & (ranks < high), level)
