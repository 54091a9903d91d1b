"""Run chains until they are accurate enough, and say how far to trust them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.chains.chains import (
    BLOCK,
    PHASES,
    AbstractChains,
    Block,
    Step,
    Walk,
    advance,
    cost_of_starts,
    regroup,
    set_out,
)
from assim.solve.posterior.ensemble import Ensemble, Report, Trust, equal_weights, failed
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.metric import averaged_cost
from assim.solve.together import HELD
from assim.statistics.convergence import Convergence, convergence

Array = jax.Array

R_HAT = 1.01  # Vehtari et al. (2021, section 4)
FIRST_CHECK = 100  # draws of every chain before convergence is looked at
GROWTH = 1.5  # of the number of draws between two looks, at most
SEVERAL_MODES = 1.2  # R̂ above which more draws alone will hardly help
DIVERGENT = 0.01  # share of divergent trajectories above which tails are not reached
EDGE = 0.01  # share of draws that met the model's edge above which that edge matters
STRIDE = 1.1  # by which the draws aimed at exceed those that seem to be needed


class _Run:
    """One run of chains: what it spent, and what all draws after the warm-up were like."""

    def __init__(
        self, method: AbstractChains, problem: DepartureFunction, report: Report | None
    ) -> None:
        self.method, self.problem, self.report = method, problem, report
        spent, self.evaluations = cost_of_starts(method.chains)
        self.gradients, self.last = spent + averaged_cost(problem), 0
        self.steps: list[Step] = []
        self.virials: list[np.ndarray] = []

    def advance(self, walk: Walk, key: Array, adapting: bool) -> tuple[Walk, Block]:
        walk, block = advance(self.method, self.problem, walk, key, jnp.asarray(adapting))
        self.last = int(np.sum(np.asarray(block.steps.gradients)))
        self.gradients += self.last
        return walk, block

    def over(self) -> bool:
        """Whether another block would be one too many."""
        return self.gradients + self.last > self.method.max_gradients

    def note(self, block: Block) -> None:
        self.steps.append(jax.tree.map(lambda a: np.mean(np.asarray(a)), block.steps))
        self.virials.append(np.asarray(block.virial).mean(0))

    def mean(self, name: str) -> float:
        return float(np.mean([getattr(step, name) for step in self.steps]))

    def tell(self, line: str) -> None:
        if self.report is not None:
            self.report(f"{self.method.name()}: {line}")


class _Warmed(NamedTuple):
    walk: Walk
    source: np.ndarray  # chain that each one goes on from, composed over all phases
    behind: float  # nats by which the largest mode that was left was smaller, NaN if none was
    share: float  # of its draws that were made
    last: Block


def sample_chains(
    method: AbstractChains,
    problem: DepartureFunction,
    around: LaplacePosterior,
    key: Array,
    report: Report | None = None,
) -> Ensemble:
    """Warm up, then draw blocks until `accuracy` and R̂ < 1.01 are reached or gradients spent."""
    keys = jax.random.split(key, 3)
    run = _Run(method, problem, report)
    if run.gradients > method.max_gradients:
        return failed(
            around.chi[None],
            f"The metric and the starts of {method.name()} take {run.gradients} gradients, and "
            f"max_gradients = {method.max_gradients}: raise it.",
        )
    walk, own = set_out(method, problem, around.gaussian, keys[0])
    if not np.all(np.isfinite(np.asarray(walk.state.logdensity))):
        return failed(
            around.chi[None],
            f"The model is not finite at the minimum, so that {method.name()} has nowhere to "
            "start; minimise again from other first guesses.",
            run.gradients,
            run.evaluations,
        )
    warmed = _warm(run, walk, keys[1])
    if warmed.share < 1:  # nothing but the last draws of a warm-up that was not ended
        run.note(warmed.last)
        draws = np.swapaxes(np.asarray(warmed.last.chi), 0, 1)
        diagnostics = convergence(draws)
    else:
        draws, diagnostics = _drawn(run, warmed.walk, keys[2])
    certificates = _certificates(run, draws, diagnostics, np.asarray(own), warmed)
    return _ensemble(run, draws, certificates, _judged(method, certificates, around.free))


def _ensemble(
    run: _Run, draws: np.ndarray, certificates: dict[str, float], judged: tuple[Trust, str]
) -> Ensemble:
    chains, number, n = draws.shape
    stride = -(-number // (run.method.members // chains))
    members = jnp.asarray(draws[:, ::stride].reshape(-1, n))
    return Ensemble(
        members,
        equal_weights(len(members)),
        *judged,
        certificates,
        run.gradients,
        run.evaluations,
        chains=chains,
    )


def _warm(run: _Run, walk: Walk, key: Array) -> _Warmed:
    """All phases, or as much of them as max_gradients allows."""
    method = run.method
    source, behind = np.arange(method.chains), math.nan
    length = method.phase_draws() // BLOCK
    for phase in range(PHASES):
        blocks: list[Block] = []
        for _ in range(length):
            key, first = jax.random.split(key)
            walk, block = run.advance(walk, first, adapting=True)
            blocks.append(block)
            if run.over():
                share = (phase + len(blocks) / length) / PHASES
                return _Warmed(walk, source, float(behind), min(share, 0.99), block)
        key, second = jax.random.split(key)
        chi = jnp.concatenate([block.chi for block in blocks])
        log_density = jnp.concatenate([block.log_density for block in blocks])
        group = regroup(method, walk, chi, log_density, second)
        walk, moved = group.walk, np.asarray(group.source)
        left = np.asarray(group.behind)[moved != np.arange(moved.size)]
        behind = np.fmin(behind, np.min(left)) if left.size else behind
        source = source[moved]
        done = f"warm-up {phase + 1}/{PHASES}, {run.gradients} gradients"
        run.tell(f"{done}, {left.size} chains moved")
    return _Warmed(walk, source, float(behind), 1.0, blocks[-1])


def _drawn(run: _Run, walk: Walk, key: Array) -> tuple[np.ndarray, Convergence]:
    """Draws (chains, draws, n), every second one dropped where they would not fit in memory."""
    method = run.method
    stored: list[np.ndarray] = []
    stride, number, look = 1, 0, FIRST_CHECK
    most = max(2 * BLOCK, HELD // (method.chains * run.problem.size()))
    while True:
        key, now = jax.random.split(key)
        walk, block = run.advance(walk, now, adapting=False)
        run.note(block)
        offset = -number % stride
        stored.append(np.asarray(block.chi)[offset::stride])
        number += BLOCK
        if sum(map(len, stored)) > most:
            stored, stride = [np.concatenate(stored)[::2]], 2 * stride
        if number < look and not run.over():
            continue
        draws = np.concatenate(stored)
        stored = [draws]
        diagnostics = convergence(np.swapaxes(draws, 0, 1))
        reached, r_hat = diagnostics.accuracy(), float(np.max(diagnostics.r_hat))
        made = f"{number * method.chains} draws, {run.gradients} gradients"
        run.tell(f"{made}, accuracy {reached:.3f}, R̂ {r_hat:.3f}")
        if run.over() or (reached <= method.accuracy and r_hat < R_HAT):
            return np.swapaxes(draws, 0, 1), diagnostics
        needed = number * min(GROWTH, STRIDE * (reached / method.accuracy) ** 2)
        look = max(number + BLOCK, int(needed))


def _certificates(
    run: _Run, draws: np.ndarray, diagnostics: Convergence, drawn: np.ndarray, warmed: _Warmed
) -> dict[str, float]:
    chains = len(draws)
    own = warmed.source == np.arange(chains)
    prior = own & (np.arange(chains) >= chains - chains // 2)
    prior[chains - chains // 2 :] &= drawn
    bias = np.mean(run.virials, axis=0) / 2 - 0.5
    return {
        "r_hat": float(np.max(diagnostics.r_hat)),
        "effective_draws": float(np.min(diagnostics.effective)),
        "effective_draws_squared": float(np.min(diagnostics.effective_squared)),
        "accuracy": diagnostics.accuracy(),
        "chains": float(chains),
        "chains_from_prior": float(np.sum(prior)),
        "chains_from_prior_agree": _disagreement(draws, prior),
        "moved": float(np.mean(~own)),
        "moved_behind": warmed.behind,
        "draws": float(BLOCK * chains * len(run.steps)),
        "acceptance": run.mean("acceptance"),
        "divergences": run.mean("divergent"),
        "outside": run.mean("outside"),
        "energy_variance": run.mean("energy"),
        "bias": float(np.mean(bias)),
        "bias_noise": float(np.std(bias, ddof=1) / np.sqrt(chains)),
        "step_size": float(warmed.walk.tuning.step),
        "warm_up": warmed.share,
    }


def _disagreement(draws: np.ndarray, prior: np.ndarray) -> float:
    """Largest difference between means of the two groups of chains, in standard deviations."""
    if not prior.any() or prior.all():
        return math.nan
    means, spread = draws.mean(1), draws.std((0, 1))
    gap = np.abs(means[prior].mean(0) - means[~prior].mean(0))
    return float(np.max(np.divide(gap, spread, out=np.full_like(gap, np.inf), where=spread > 0)))


def _judged(
    method: AbstractChains, certificates: dict[str, float], free: bool
) -> tuple[Trust, str]:
    """Trust in the draws and advice from the certificates, the worst doubt first."""
    r_hat, accuracy = certificates["r_hat"], certificates["accuracy"]
    reached = f"R̂ = {r_hat:.3f}, standard errors of means and deviations {100 * accuracy:.2g} %"
    left = ""
    if certificates["moved"] > 0:
        left = (
            f" {round(certificates['moved'] * method.chains)} of {method.chains} chains began in "
            f"modes at least {certificates['moved_behind']:.3g} nats less probable and were moved."
        )
    if doubt := next(_doubts(method, certificates, free), ""):
        return Trust.DOUBTFUL, f"{reached}{doubt}{left}"
    if not (r_hat < R_HAT and accuracy <= method.accuracy):
        return Trust.DOUBTFUL, (
            f"{reached} when max_gradients = {method.max_gradients} were spent, short of "
            f"{100 * method.accuracy:.2g} % and R̂ < {R_HAT}; raise max_gradients.{left}"
        )
    return Trust.CERTIFIED, f"{reached}: the chains agree.{left}"


def _doubts(method: AbstractChains, certificates: dict[str, float], free: bool) -> Iterator[str]:
    """Why draws need have nothing to do with the posterior, then why they may be biased."""
    if free:
        yield (
            ". A coordinate without a prior of its own is not informed by the observations "
            "either, so that chains wander along it without end: what depends on it is arbitrary; "
            "give it a proper prior."
        )
    if certificates["warm_up"] < 1:
        yield (
            f" of the last draws of a warm-up that was not ended: max_gradients = "
            f"{method.max_gradients} were spent after {certificates['warm_up']:.0%} of the "
            "warm-up, and they need have nothing to do with the posterior; raise max_gradients, "
            "or lower warm_up."
        )
    if not certificates["r_hat"] < SEVERAL_MODES:
        yield (
            ": the chains explore different regions: there may be several modes, whose weights "
            "they do not know; run tempering, or the minimiser from more starts."
        )
    if certificates["divergences"] > DIVERGENT:
        yield (
            f", but {100 * certificates['divergences']:.2g} % of trajectories diverged: a "
            "narrow region is not reached; raise acceptance towards 1, or change the parameters."
        )
    outside, bias = certificates["outside"], certificates["bias"]
    if outside > EDGE and not method.exact():
        yield (
            f", but {100 * outside:.2g} % of draws came to where the model is not finite, which "
            "biases a chain without a Metropolis test; run NUTS, or MCLMC with adjusted = true."
        )
    sure = abs(bias) - 2 * certificates["bias_noise"]
    if outside == 0 and sure > method.accuracy and not method.exact():
        yield (
            ", but steps are too long for this posterior: its virial says that standard "
            f"deviations are {100 * bias:.2g} % off on average; ask for more accuracy, "
            "or run MCLMC with adjusted = true."
        )
