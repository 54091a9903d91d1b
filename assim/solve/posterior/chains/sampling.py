"""Run chains until they are accurate enough, and say how far to trust them."""

import math
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
    phase_draws,
    regroup,
    set_out,
)
from assim.solve.posterior.chains.starts import cost_of_starts
from assim.solve.posterior.ensemble import Ensemble, Report, equal_weights
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.method import Trust
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


class _Account:
    """What was spent, and what all draws after the warm-up were like."""

    def __init__(self, gradients: int, evaluations: int) -> None:
        self.gradients, self.evaluations = gradients, evaluations
        self.last = 0
        self.steps: list[Step] = []
        self.virials: list[np.ndarray] = []

    def spend(self, block: Block) -> None:
        self.last = int(np.sum(np.asarray(block.steps.gradients)))
        self.gradients += self.last

    def note(self, block: Block) -> None:
        self.steps.append(jax.tree.map(lambda a: np.mean(np.asarray(a)), block.steps))
        self.virials.append(np.asarray(block.virial).mean(0))

    def mean(self, name: str) -> float:
        return float(np.mean([getattr(step, name) for step in self.steps]))


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
    """Warm up, then draw blocks until `accuracy` and R̂ < 1.01 are reached or gradients spent.

    Args:
        method: the kernel and its settings.
        problem: the departure function.
        around: the Laplace posterior at the minimum.
        key: of all random draws.
        report: told of progress.
    """
    keys = jax.random.split(key, 3)
    spent, looked = cost_of_starts(method.chains)
    first = spent + averaged_cost(problem)
    if first > method.max_gradients:
        return _failed(
            around,
            f"The metric and the starts of {method.name()} take {first} gradients, and "
            f"max_gradients = {method.max_gradients}: raise it.",
            _Account(0, 0),
        )
    account = _Account(first, looked)
    walk, own = set_out(method, problem, around.gaussian, keys[0])
    if not np.all(np.isfinite(np.asarray(walk.state.logdensity))):
        return _failed(
            around,
            f"The model is not finite at the minimum, so that {method.name()} has nowhere to "
            "start; minimise again from other first guesses.",
            account,
        )
    warmed = _warm(method, problem, walk, keys[1], account, report)
    if warmed.share < 1:
        draws, diagnostics = _cut_short(warmed.last, account)
    else:
        draws, diagnostics = _drawn(method, problem, warmed.walk, keys[2], account, report)
    certificates = _certificates(draws, diagnostics, np.asarray(own), warmed, account)
    judged = _judged(method, certificates, around.free)
    return _ensemble(method, draws, certificates, judged, account)


def _warm(
    method: AbstractChains,
    problem: DepartureFunction,
    walk: Walk,
    key: Array,
    account: _Account,
    report: Report | None,
) -> _Warmed:
    """All phases, or as much of them as max_gradients allows."""
    source, behind = np.arange(method.chains), math.nan
    length = phase_draws(method) // BLOCK
    for phase in range(PHASES):
        blocks: list[Block] = []
        for _ in range(length):
            key, first = jax.random.split(key)
            walk, block = advance(method, problem, walk, first, jnp.asarray(True))
            account.spend(block)
            blocks.append(block)
            if account.gradients + account.last > method.max_gradients:
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
        if report is not None:
            report(
                f"{method.name()}: warm-up {phase + 1}/{PHASES}, {account.gradients} gradients, "
                f"{left.size} chains moved"
            )
    return _Warmed(walk, source, float(behind), 1.0, blocks[-1])


def _cut_short(block: Block, account: _Account) -> tuple[np.ndarray, Convergence]:
    """The last draws of a warm-up that was not ended, (chains, draws, n)."""
    account.note(block)
    draws = np.swapaxes(np.asarray(block.chi), 0, 1)
    return draws, convergence(draws)


def _drawn(
    method: AbstractChains,
    problem: DepartureFunction,
    walk: Walk,
    key: Array,
    account: _Account,
    report: Report | None,
) -> tuple[np.ndarray, Convergence]:
    """Draws (chains, draws, n), every second one dropped where they would not fit in memory."""
    stored: list[np.ndarray] = []
    stride, number, look = 1, 0, FIRST_CHECK
    most = max(2 * BLOCK, HELD // (method.chains * problem.size()))
    while True:
        key, now = jax.random.split(key)
        walk, block = advance(method, problem, walk, now, jnp.asarray(False))
        account.spend(block)
        account.note(block)
        offset = -number % stride
        stored.append(np.asarray(block.chi)[offset::stride])
        number += BLOCK
        if sum(map(len, stored)) > most:
            stored, stride = [np.concatenate(stored)[::2]], 2 * stride
        over = account.gradients + account.last > method.max_gradients
        if number < look and not over:
            continue
        draws = np.concatenate(stored)
        stored = [draws]
        diagnostics = convergence(np.swapaxes(draws, 0, 1))
        reached, r_hat = diagnostics.accuracy(), float(np.max(diagnostics.r_hat))
        if report is not None:
            report(
                f"{method.name()}: {number * method.chains} draws, {account.gradients} gradients, "
                f"accuracy {reached:.3f}, R̂ {r_hat:.3f}"
            )
        if over or (reached <= method.accuracy and r_hat < R_HAT):
            return np.swapaxes(draws, 0, 1), diagnostics
        needed = number * min(GROWTH, STRIDE * (reached / method.accuracy) ** 2)
        look = max(number + BLOCK, int(needed))


def _ensemble(
    method: AbstractChains,
    draws: np.ndarray,
    certificates: dict[str, float],
    judged: tuple[Trust, str],
    account: _Account,
) -> Ensemble:
    chains, number, n = draws.shape
    stride = -(-number // (method.members // chains))
    members = jnp.asarray(draws[:, ::stride].reshape(-1, n))
    return Ensemble(
        members,
        equal_weights(len(members)),
        *judged,
        certificates,
        account.gradients,
        account.evaluations,
        chains=chains,
    )


def _certificates(
    draws: np.ndarray,
    diagnostics: Convergence,
    drawn: np.ndarray,
    warmed: _Warmed,
    account: _Account,
) -> dict[str, float]:
    return {
        **_of_draws(draws, diagnostics, drawn, warmed),
        **_of_steps(account, len(draws)),
        "step_size": float(warmed.walk.tuning.step),
        "warm_up": warmed.share,
    }


def _of_draws(
    draws: np.ndarray, diagnostics: Convergence, drawn: np.ndarray, warmed: _Warmed
) -> dict[str, float]:
    chains = len(draws)
    own = warmed.source == np.arange(chains)
    prior = own & (np.arange(chains) >= chains - chains // 2)
    prior[chains - chains // 2 :] &= drawn
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
    }


def _of_steps(account: _Account, chains: int) -> dict[str, float]:
    bias = np.mean(account.virials, axis=0) / 2 - 0.5
    return {
        "draws": float(BLOCK * chains * len(account.steps)),
        "acceptance": account.mean("acceptance"),
        "divergences": account.mean("divergent"),
        "outside": account.mean("outside"),
        "energy_variance": account.mean("energy"),
        "bias": float(np.mean(bias)),
        "bias_noise": float(np.std(bias, ddof=1) / np.sqrt(chains)),
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
    for doubt in (_astray(method, certificates, free), _off(method, certificates)):
        if doubt:
            return Trust.DOUBTFUL, f"{reached}{doubt}{left}"
    if not (r_hat < R_HAT and accuracy <= method.accuracy):
        return Trust.DOUBTFUL, (
            f"{reached} when max_gradients = {method.max_gradients} were spent, short of "
            f"{100 * method.accuracy:.2g} % and R̂ < {R_HAT}; raise max_gradients.{left}"
        )
    return Trust.CERTIFIED, f"{reached}: the chains agree.{left}"


def _astray(method: AbstractChains, certificates: dict[str, float], free: bool) -> str:
    """Why the draws need have nothing to do with the posterior."""
    if free:
        return (
            ". A coordinate without a prior of its own is not informed by the observations "
            "either, so that chains wander along it without end: what depends on it is arbitrary; "
            "give it a proper prior."
        )
    if certificates["warm_up"] < 1:
        return (
            f" of the last draws of a warm-up that was not ended: max_gradients = "
            f"{method.max_gradients} were spent after {certificates['warm_up']:.0%} of the "
            "warm-up, and they need have nothing to do with the posterior; raise max_gradients, "
            "or lower warm_up."
        )
    if not certificates["r_hat"] < SEVERAL_MODES:
        return (
            ": the chains explore different regions: there may be several modes, whose weights "
            "they do not know; run tempering, or the minimiser from more starts."
        )
    return ""


def _off(method: AbstractChains, certificates: dict[str, float]) -> str:
    """Why the draws may be biased."""
    if certificates["divergences"] > DIVERGENT:
        return (
            f", but {100 * certificates['divergences']:.2g} % of trajectories diverged: a "
            "narrow region is not reached; raise acceptance towards 1, or change the parameters."
        )
    if method.exact():
        return ""
    if certificates["outside"] > EDGE:
        return (
            f", but {100 * certificates['outside']:.2g} % of draws came to where the model is "
            "not finite, which biases a chain without a Metropolis test; run NUTS, or MCLMC "
            "with adjusted = true."
        )
    bias, noise = certificates["bias"], certificates["bias_noise"]
    if certificates["outside"] == 0 and abs(bias) - 2 * noise > method.accuracy:
        return (
            ", but steps are too long for this posterior: its virial says that standard "
            f"deviations are {100 * bias:.2g} % off on average; ask for more accuracy, "
            "or run MCLMC with adjusted = true."
        )
    return ""


def _failed(around: LaplacePosterior, advice: str, account: _Account) -> Ensemble:
    return Ensemble(
        around.chi[None],
        equal_weights(1),
        Trust.FAILED,
        advice,
        {},
        account.gradients,
        account.evaluations,
    )
