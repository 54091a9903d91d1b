"""Run chains until they are accurate enough."""

import math
from operator import itemgetter
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
    Walk,
    advance,
    cost_of_starts,
    regroup,
    scalar_names,
    set_out,
)
from assim.solve.posterior.chains.verdict import R_HAT, Made, certificates_of, judged
from assim.solve.posterior.ensemble import Ensemble, Report, equal_weights, failed
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.metric import averaged_cost
from assim.solve.together import HELD
from assim.statistics.convergence import Convergence, carried_on, convergence

Array = jax.Array

FIRST_CHECK, ALL = 100, 800  # draws of every chain, or of all, before a first look
GROWTH = 1.5  # of the number of draws between two looks, at most
CONFIRMED = 1.1  # the same where accuracy is reached, and must be found again
STRIDE = 1.1  # by which the draws aimed at exceed those that seem to be needed


class _Run:
    """One run of chains and what it spent."""

    def __init__(
        self, method: AbstractChains, problem: DepartureFunction, report: Report | None
    ) -> None:
        self.method, self.problem, self.report = method, problem, report
        spent, self.evaluations = cost_of_starts(method.chains)
        self.gradients, self.last = spent + averaged_cost(problem), 0

    def advance(
        self, walk: Walk, key: Array, adapting: AbstractChains | None = None
    ) -> tuple[Walk, Block]:
        method = adapting or self.method
        walk, block = advance(method, self.problem, walk, key, jnp.asarray(adapting is not None))
        self.last = int(np.sum(np.asarray(block.steps.gradients)))
        self.gradients += self.last
        return walk, jax.tree.map(np.asarray, block)

    def over(self) -> bool:
        """Whether another block would be one too many."""
        return self.gradients + self.last > self.method.max_gradients

    def tell(self, line: str) -> None:
        if self.report is not None:
            self.report(f"{self.method.name()}: {line}")


class _Kept:
    """Draws after the warm-up, every second one dropped again and again as memory fills."""

    def __init__(self, run: _Run) -> None:
        self.blocks: list[Block] = []
        self.number, self.stride = 0, 1
        self.most = max(2 * BLOCK, HELD // (run.method.chains * run.problem.size()))

    def add(self, block: Block) -> None:
        offset = -self.number % self.stride
        self.blocks.append(jax.tree.map(lambda a: a[offset :: self.stride], block))
        self.number += BLOCK
        if sum(len(block.chi) for block in self.blocks) > self.most:
            self.blocks = [jax.tree.map(lambda a: a[::2], self.whole())]
            self.stride *= 2

    def whole(self) -> Block:
        """All of them, leading dimensions (draws, chains)."""
        if len(self.blocks) > 1:
            self.blocks = [jax.tree.map(lambda *parts: np.concatenate(parts), *self.blocks)]
        return self.blocks[0]


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
    """Warm up, then draw until `accuracy` and R̂ < 1.01 are met twice, or gradients are spent."""
    keys = jax.random.split(key, 3)
    run = _Run(method, problem, report)
    if run.gradients > method.max_gradients:
        return failed(
            around.chi[None],
            f"The metric and the starts of {method.name()} take {run.gradients} gradients, and "
            f"max_gradients = {method.max_gradients}: raise it.",
        )
    walk, own = set_out(method.early(), problem, around.gaussian, keys[0])
    if not np.all(np.isfinite(np.asarray(walk.state.logdensity))):
        return failed(
            around.chi[None],
            f"The model is not finite at the minimum, so that {method.name()} has nowhere to "
            "start; minimise again from other first guesses.",
            run.gradients,
            run.evaluations,
        )
    warmed = _warm(run, walk, keys[1])
    kept = _Kept(run)
    confirmed = False
    if warmed.share < 1:  # nothing but the last draws of a warm-up that was not ended
        kept.add(warmed.last)
    else:
        confirmed = _drawn(run, warmed.walk, kept, keys[2])
    block = kept.whole()
    published, seen = _published(method, block, confirmed)
    finite = np.isfinite(published.scalars).any((0, 1))
    names = tuple(np.array(scalar_names(problem))[finite])
    made = certificates_of(Made(block, seen, names, kept.number, confirmed))
    certificates = {**made, **_of_warm_up(block, np.asarray(own), warmed)}
    return _ensemble(run, published, certificates, around.free)


def _ensemble(run: _Run, published: Block, certificates: dict[str, float], free: bool) -> Ensemble:
    chains, n = published.chi.shape[1:]
    members = jnp.asarray(np.swapaxes(published.chi, 0, 1).reshape(-1, n))
    return Ensemble(
        members,
        equal_weights(len(members)),
        *judged(run.method, certificates, free),
        certificates,
        run.gradients,
        run.evaluations,
        chains=chains,
        effective_size=certificates["effective_draws"],
    )


def _published(method: AbstractChains, block: Block, confirmed: bool) -> tuple[Block, Convergence]:
    """As many draws as `members` allows, or as many more as accuracy needs, and what they say.

    What is stated is what is known from the draws that are kept.
    """
    stride = -(-len(block.chi) // (method.members // method.chains))
    while True:
        thinned = jax.tree.map(itemgetter(slice(None, None, stride)), block)
        seen = _looked_at(thinned)
        if stride == 1 or not confirmed or seen.accuracy() <= method.accuracy:
            return thinned, seen
        stride //= 2


def _warm(run: _Run, walk: Walk, key: Array) -> _Warmed:
    """All phases, or as much of them as max_gradients allows."""
    method = run.method
    source, behind = np.arange(method.chains), math.nan
    length = method.phase_draws() // BLOCK
    for phase in range(PHASES):
        kernel = method.early() if phase < PHASES - 1 else method
        following = method.early() if phase < PHASES - 2 else method
        blocks: list[Block] = []
        for _ in range(length):
            key, first = jax.random.split(key)
            walk, block = run.advance(walk, first, kernel)
            blocks.append(block)
            if run.over():
                share = (phase + len(blocks) / length) / PHASES
                return _Warmed(walk, source, float(behind), min(share, 0.99), block)
        key, second = jax.random.split(key)
        chi = jnp.concatenate([block.chi for block in blocks])
        log_density = jnp.concatenate([block.log_density for block in blocks])
        group = regroup(following, walk, chi, log_density, second)
        walk, moved = group.walk, np.asarray(group.source)
        left = np.asarray(group.behind)[moved != np.arange(moved.size)]
        behind = np.fmin(behind, np.min(left)) if left.size else behind
        source = source[moved]
        done = f"warm-up {phase + 1}/{PHASES}, {run.gradients} gradients"
        run.tell(f"{done}, {left.size} chains moved")
    return _Warmed(walk, source, float(behind), 1.0, blocks[-1])


def _drawn(run: _Run, walk: Walk, kept: _Kept, key: Array) -> bool:
    """Draw until two looks in turn are content, or gradients are spent: whether they were."""
    method = run.method
    look, before = max(2 * BLOCK, min(FIRST_CHECK, ALL // method.chains)), False
    while True:
        key, now = jax.random.split(key)
        walk, block = run.advance(walk, now)
        kept.add(block)
        if kept.number < look and not run.over():
            continue
        diagnostics = _looked_at(kept.whole())
        reached, r_hat = diagnostics.accuracy(), float(np.max(diagnostics.r_hat))
        made = f"{kept.number * method.chains} draws, {run.gradients} gradients"
        run.tell(f"{made}, accuracy {reached:.3f}, R̂ {r_hat:.3f}")
        content = reached <= method.accuracy and r_hat < R_HAT
        if run.over() or (content and before):
            return content and before
        needed = min(GROWTH, STRIDE * (reached / method.accuracy) ** 2)
        before = content
        look = max(kept.number + BLOCK, int(kept.number * (CONFIRMED if content else needed)))


def _looked_at(block: Block) -> Convergence:
    """Convergence of scalars, by their finite values, and of every entry of χ, in this order."""
    columns = np.concatenate([carried_on(np.asarray(block.scalars)), block.chi], axis=2)
    return convergence(np.swapaxes(columns, 0, 1))


def _of_warm_up(block: Block, drawn: np.ndarray, warmed: _Warmed) -> dict[str, float]:
    """Certificates of the warm-up: which chains were moved, and whether both kinds agree."""
    draws = np.swapaxes(block.chi, 0, 1)
    chains = len(draws)
    own = warmed.source == np.arange(chains)
    prior = own & (np.arange(chains) >= chains - chains // 2)
    prior[chains - chains // 2 :] &= drawn
    return {
        "chains": float(chains),
        "chains_from_prior": float(np.sum(prior)),
        "chains_from_prior_agree": _disagreement(draws, prior),
        "moved": float(np.mean(~own)),
        "moved_behind": warmed.behind,
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
