"""Simulation-based calibration: whether a method's posteriors mean what they say."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import over_members, program
from assim.findings.truths import Truths, draw_truths
from assim.problem.departure import Problem
from assim.problem.predictive import samples_its_density, with_values
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.minimise.status import Status
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Trust
from assim.solve.posterior.laplace import Laplace, is_small, laplace
from assim.solve.together import batch_size, log_density
from assim.statistics.resampling import systematic
from assim.statistics.scores import Coverage, covered, ranks
from assim.statistics.uniformity import (
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
Progress = Callable[[int, int], None]  # simulations done, of how many

LEVELS = (0.5, 0.9)
MOST_ENTRIES = 12  # of each array whose entries are ranked
TOGETHER = 10  # simulations of a small problem that are minimised together
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
        certified: posteriors that their own checks certify.
        doubtful: posteriors that they call doubtful; both are ranked.
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
    certified: int
    doubtful: int
    failed: int
    unsettled: int
    seconds: float

    @property
    def inside(self) -> tuple[bool, ...]:
        """Whether each quantity's distribution function stays within the band, shape (q,)."""
        return tuple(within(ecdf, self.band) for ecdf in self.ecdf)

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
        middle = np.mean([quantity.covered for quantity in self.coverage[level][:-1]])
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

    method: AbstractPosterior
    base: Laplace
    minimiser: AbstractMinimiser
    draws: int = eqx.field(static=True)
    starts: int = eqx.field(static=True)
    together: int = eqx.field(static=True)


def calibrate(
    problem: Problem,
    method: AbstractPosterior,
    number: int,
    key: Array,
    *,
    draws: int = 99,
    minimiser: AbstractMinimiser | None = None,
    base: Laplace | None = None,
    starts: int = 4,
    together: int | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Draw χ from the prior and y from p(y | χ), infer χ again, and rank the truth: N times.

    For the posterior itself ranks are uniform on 0, …, L (Cook, Gelman & Rubin 2006, J. Comput.
    Graph. Stat. 15, 675; Talts et al. 2018, arXiv:1804.06788). The log density of χ given y is
    ranked too, which sees what no single coordinate does (Modrák et al. 2025, Bayesian Anal. 20,
    461). What is judged is what is published: the method's own `sample`, with its stopping rule,
    checks and weights, of whose members L are drawn systematically. J is minimised from the prior
    median, draws of the prior, and the truth: what is tested is the method about the right
    minimum, not the search for it. Where states are the control, model errors are in their place.

    Args:
        problem: what is asked; its own values are not used.
        method: settings of a posterior.
        number: simulations.
        key: of all draws.
        draws: L of each posterior, odd; 99 or 63, since bins must divide L + 1.
        minimiser: NewtonCG up to 64 controls or with an error scale, else GaussNewton.
        base: settings of the Laplace approximation that the method starts from; `Laplace()` where
            None, and those of the method where it is Laplace itself.
        starts: first guesses besides the truth, the prior median being the first.
        together: simulations that are minimised together; ten where None, fewer of a large problem.
        progress: called after every batch.

    Raises:
        ValueError: a flat prior, a likelihood that does not draw from its own density, to the
            power of its weights, or numbers that cannot be.
        ArithmeticError: a model that fails at nearly all draws of the prior.
    """
    begin = time.perf_counter()
    problem = problem.as_forcing()
    together = batch_size(problem, TOGETHER) if together is None else together
    _check(problem, number, draws, starts, together)
    if minimiser is None:
        minimiser = NewtonCG() if is_small(problem) else GaussNewton()
    base = method if isinstance(method, Laplace) else base or Laplace()
    settings = _Settings(method, base, minimiser, draws, starts, together)
    first, second = jax.random.split(key)
    truths, redrawn = draw_truths(problem, number, first)
    simulations = _simulated(problem, settings, truths, second, progress)
    seconds = time.perf_counter() - begin
    return _calibration(problem, settings, simulations, redrawn, seconds)


def _check(problem: Problem, number: int, draws: int, starts: int, together: int) -> None:
    for name, given in (("number", number), ("starts", starts), ("together", together)):
        if given < 1:
            raise ValueError(f"calibrate: {name} must be at least 1, got {given}")
    choose_bins(draws, number)
    if draws % 2 == 0:
        raise ValueError(
            f"calibrate: draws must be odd, got {draws}: every second one would be the mirror "
            "image of another where members come in pairs; take 99 or 63"
        )
    for name, honest in samples_its_density(problem).items():
        if not honest:
            raise ValueError(
                f"calibrate: the likelihood of {name!r} draws good data alone, or has weights "
                "other than 0 and 1: not from the density that it evaluates; calibrate with "
                "another one, as Gaussian, LogNormal, StudentT or Poisson, and weights of 0 and 1"
            )


class _Simulation(NamedTuple):
    """Ranks, shape (q,), or None without a posterior; its own verdict; whether J was minimised."""

    ranks: np.ndarray | None
    trust: Trust
    settled: bool


def _simulated(
    problem: Problem, settings: _Settings, truths: Truths, key: Array, progress: Progress | None
) -> list[_Simulation]:
    """All simulations: minimised in batches of one size, then sampled one after the other."""
    number = truths.chi.shape[0]
    size = min(settings.together, number)
    keys = jax.random.split(key, number)
    simulations: list[_Simulation] = []
    for start in range(0, number, size):
        rows = np.arange(start, start + size) % number  # the last batch is filled up
        several, own = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (truths, keys))
        minima = _minima(problem, settings, several, own)
        for k in range(min(size, number - start)):
            truth, minimum = jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], (several, minima))
            simulations.append(_simulation(problem, settings, truth, minimum, own[k]))
        if progress is not None:
            progress(len(simulations), number)
    return simulations


class _Minimum(NamedTuple):
    """The lowest minimum of J from all first guesses."""

    chi: Array
    cost: Array
    status: Array


@program
def _minima(problem: Problem, settings: _Settings, truths: Truths, keys: Array) -> _Minimum:
    """The lowest minimum for each set of readings, leading dimension simulations."""

    def lowest_minimum(simulation: tuple[Truths, Array]) -> _Minimum:
        truth, key = simulation
        posed = with_values(problem, truth.readings)
        first = jax.random.fold_in(key, 0)
        guesses = jax.random.normal(first, (settings.starts + 1, problem.size()))
        guesses = guesses.at[0].set(0.0).at[-1].set(truth.chi)

        def minimum(guess: Array) -> _Minimum:
            state = minimise_compiled(posed, settings.minimiser, guess)
            return _Minimum(state.chi, state.cost, state.status)

        several = jax.lax.map(minimum, guesses)
        best = jnp.argmin(jnp.where(jnp.isfinite(several.cost), several.cost, jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], several)

    if settings.together == 1:
        return jax.lax.map(lowest_minimum, (truths, keys))
    minima: _Minimum = over_members(lowest_minimum, (truths, keys), settings.together)
    return minima


def _simulation(
    problem: Problem, settings: _Settings, truth: Truths, minimum: _Minimum, key: Array
) -> _Simulation:
    """The posterior of one set of readings as it would be published, and the rank of the truth."""
    settled = bool(minimum.status == Status.CONVERGED)
    if not np.isfinite(minimum.cost):
        return _Simulation(None, Trust.FAILED, settled)
    readings = {name: jnp.asarray(values) for name, values in truth.readings.items()}
    posed, keys = with_values(problem, readings), jax.random.split(key, 4)
    around = laplace(posed, jnp.asarray(minimum.chi), settings.base, keys[1])
    ensemble = settings.method.sample(posed, around, keys[2])
    members = _members(ensemble, settings.draws)
    if members is None:
        return _Simulation(None, Trust.FAILED, settled)
    chi = np.concatenate([truth.chi[None], members])
    density = _densities(posed, jnp.asarray(chi))
    columns = np.concatenate([chi[:, ranked_entries(problem)[0]], density[:, None]], axis=1)
    ties = np.random.default_rng(np.asarray(jax.random.key_data(keys[3])))
    return _Simulation(ranks(columns[1:], columns[0], ties), ensemble.trust, settled)


def _members(ensemble: Ensemble, number: int) -> np.ndarray | None:
    """So many members in equal weights, chains thinned evenly; None where the method failed."""
    members = np.asarray(ensemble.members)
    weights = np.where(np.isfinite(members).all(axis=1), np.asarray(ensemble.weights), 0.0)
    if ensemble.trust is Trust.FAILED or not weights.sum() > 0:
        return None
    chosen: np.ndarray = members[systematic(weights, number)]
    return chosen


_densities = program(log_density)


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
    problem: Problem,
    settings: _Settings,
    simulations: list[_Simulation],
    redrawn: int,
    seconds: float,
) -> Calibration:
    judged = [simulation for simulation in simulations if simulation.ranks is not None]
    names = (*ranked_entries(problem)[1], DENSITY)
    ranks = np.array([simulation.ranks for simulation in judged], dtype=int).reshape(-1, len(names))
    draws, trusts = settings.draws, [simulation.trust for simulation in judged]
    columns = ranks.T
    bins = choose_bins(draws, max(len(ranks), 1))
    histogram = np.array([rank_histogram(column, draws, bins) for column in columns])
    samples = max(SIMULATED, round(10 * 2 * len(columns) / REJECTED))  # so that one can reject
    return Calibration(
        settings.method.name(),
        names,
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
        trusts.count(Trust.CERTIFIED),
        trusts.count(Trust.DOUBTFUL),
        len(simulations) - len(judged),
        sum(not simulation.settled for simulation in simulations),
        seconds,
    )


def _covered(ranks: np.ndarray, draws: int, level: float) -> Coverage:
    """Ranks k with (L + 1)(1 - level)/2 ≤ k < (L + 1)(1 + level)/2 are within."""
    low, high = (0.5 * (draws + 1) * (1 + side * level) for side in (-1, 1))
    return covered((ranks >= low) & (ranks < high), level)
