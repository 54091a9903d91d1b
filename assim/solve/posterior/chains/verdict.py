"""What chains say of themselves: their certificates, and how far to trust them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from assim.solve.posterior.chains.chains import AbstractChains, Block
from assim.solve.posterior.ensemble import HEAVY_TAIL, SEVERAL_MODES, Trust
from assim.statistics.convergence import Convergence, carried_on, energy_fraction

R_HAT = 1.01  # Vehtari et al. (2021, section 4)
DIVERGENT = 0.01  # share of divergent trajectories above which tails are not reached
EDGE = 0.01  # share of draws that met the model's edge above which that edge matters
OF_EDGE = 2.0  # times that share, by which an edge may move the virial: 0.9 to 1.7 were measured
ENERGY_FRACTION = 0.3  # below which energies are explored slowly (Betancourt 2016, section 4)
FEWEST = 20  # of its draws
TAIL = 0.01  # share of draws at either end of a column that are its tails
ACCEPTED = 0.75  # of the mean acceptance, below which a tail is too narrow for the steps
STRAINED = 0.006  # mean square of the energy's change, for each coordinate, above which it is
NARROW = "integrate the trajectory out (Nested), or raise acceptance towards 1"


class Made(NamedTuple):
    """Draws after the warm-up, and what was seen of them."""

    block: Block  # leading dimensions (draws, chains)
    convergence: Convergence  # of scalars that are finite at all, then of χ
    names: tuple[str, ...]  # of those scalars
    number: int  # of draws of each chain that were made
    confirmed: bool  # whether accuracy was reached twice


def certificates_of(made: Made) -> dict[str, float]:
    """By name; `heavy_tail_NAME` is k̂ of a scalar whose standard deviation few draws rule."""
    steps, seen = made.block.steps, made.convergence
    chains = steps.acceptance.shape[1]
    bias = np.asarray(made.block.virial).mean(0) / 2 - 0.5
    heavy = {
        HEAVY_TAIL + name: float(shape)
        for name, shape, is_heavy in zip(made.names, seen.tail_shape, seen.heavy(), strict=False)
        if is_heavy
    }
    accepted = _in_tails(made.block, np.where(steps.outside, np.nan, steps.acceptance))
    changes = np.where(steps.outside, np.nan, steps.energy)
    return {
        "r_hat": float(np.max(seen.r_hat)),
        "effective_draws": float(np.min(seen.bulk)),
        "effective_draws_tail": float(np.min(seen.tail)),
        "accuracy": seen.accuracy(),
        "confirmed": float(made.confirmed),
        "tail_shape": float(np.max(seen.tail_shape)),
        "heavy_controls": float(np.sum(seen.heavy()[len(made.names) :])),
        **heavy,
        "draws": float(chains * made.number),
        "acceptance": float(np.mean(steps.acceptance)),
        "divergences": float(np.mean(steps.divergent)),
        "outside": float(np.mean(steps.outside)),
        "energy_fraction": energy_fraction(np.asarray(steps.level).T),
        "energy_variance": float(np.mean(steps.energy)),
        "acceptance_in_tails": float(np.min(accepted, initial=1.0)),
        "energy_in_tails": float(np.max(_in_tails(made.block, changes), initial=0.0)),
        "bias": float(np.mean(bias)),
        "bias_noise": float(np.std(bias, ddof=1) / np.sqrt(chains)),
    }


def _in_tails(block: Block, values: np.ndarray) -> np.ndarray:
    """Means over the draws in the lower and in the upper tail of each column, NaN left out.

    Tails of which no more than half have a value are left out.
    """
    columns = np.concatenate([carried_on(np.asarray(block.scalars)), block.chi], axis=2)
    columns = columns.reshape(values.size, -1)
    count = max(FEWEST, int(TAIL * values.size))
    order = np.argsort(columns, axis=0)
    tails = values.ravel()[np.stack([order[:count], order[-count:]])]
    known = np.isfinite(tails)
    enough = known.sum(1) > count / 2
    means = np.where(known, tails, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    inside: np.ndarray = means[enough]
    return inside


def narrows(certificates: Mapping[str, float]) -> bool:
    """Whether a tail is too narrow for the steps, which shorter ones may mend."""
    accepted = ACCEPTED * certificates["acceptance"]
    strained = certificates["energy_in_tails"] > STRAINED
    return certificates["acceptance_in_tails"] < accepted or strained


def judged(method: AbstractChains, certificates: dict[str, float], free: bool) -> tuple[Trust, str]:
    """Trust in the draws and advice from the certificates, the worst doubt first."""
    r_hat, accuracy = certificates["r_hat"], certificates["accuracy"]
    reached = f"R̂ = {r_hat:.3f}, deviations and quantiles within {100 * accuracy:.2g} %"
    left = ""
    if certificates["moved"] > 0:
        left = (
            f" {round(certificates['moved'] * method.chains)} of {method.chains} chains began in "
            f"modes at least {certificates['moved_behind']:.3g} nats less probable and were moved."
        )
    if doubt := next(_doubts(method, certificates, free), ""):
        return Trust.DOUBTFUL, f"{reached}{doubt}{left}"
    if not certificates["confirmed"]:
        return Trust.DOUBTFUL, (
            f"{reached} when max_gradients = {method.max_gradients} were spent, short of "
            f"{100 * method.accuracy:.2g} % and R̂ < {R_HAT}, found twice; raise "
            f"max_gradients.{left}"
        )
    return Trust.CERTIFIED, f"{reached}: the chains agree.{left}"


def _doubts(method: AbstractChains, certificates: dict[str, float], free: bool) -> Iterator[str]:
    """Why draws need have nothing to do with the posterior, then why they may be biased."""
    yield from _of_regions(method, certificates, free)
    yield from _of_bias(method, certificates)
    yield from _of_places_not_reached(certificates)
    yield from _of_tails(certificates)


def _of_regions(
    method: AbstractChains, certificates: dict[str, float], free: bool
) -> Iterator[str]:
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


def _of_places_not_reached(certificates: dict[str, float]) -> Iterator[str]:
    """Narrow places, as the neck of a funnel: steps of one size that suits the rest stop there."""
    if certificates["divergences"] > DIVERGENT:
        yield (
            f", but {100 * certificates['divergences']:.2g} % of trajectories diverged: a "
            f"narrow region is not reached; {NARROW}."
        )
    if certificates["energy_fraction"] < ENERGY_FRACTION:
        yield (
            f", but momenta drawn anew hardly change the energy (E-BFMI = "
            f"{certificates['energy_fraction']:.2g}), so that tails are reached slowly and what "
            f"lies there may be missed; {NARROW}."
        )
    if certificates["acceptance_in_tails"] < ACCEPTED * certificates["acceptance"]:
        yield (
            f", but of steps in one of its tails {100 * certificates['acceptance_in_tails']:.2g} % "
            f"are accepted, of all {100 * certificates['acceptance']:.2g} %: the posterior narrows "
            f"there, and chains turn back where it is too narrow for their steps; {NARROW}."
        )
    if certificates["energy_in_tails"] > STRAINED:
        yield (
            f", but in one of its tails the energy of steps changes by "
            f"{certificates['energy_in_tails']:.2g} in the mean square of each coordinate, of all "
            f"by {certificates['energy_variance']:.2g}: the posterior narrows there, and chains "
            f"turn back where it is too narrow for their steps; integrate the trajectory out "
            "(Nested), run MCLMC with adjusted = true, or NUTS."
        )


def _of_bias(method: AbstractChains, certificates: dict[str, float]) -> Iterator[str]:
    outside, bias = certificates["outside"], certificates["bias"]
    if outside > EDGE and not method.exact():
        yield (
            f", but {100 * outside:.2g} % of draws came to where the model is not finite, which "
            "biases a chain without a Metropolis test; run NUTS, or MCLMC with adjusted = true."
        )
    sure = abs(bias) - 2 * certificates["bias_noise"] - OF_EDGE * outside
    if sure > method.accuracy and not method.exact():
        yield (
            ", but steps are too long for this posterior: its virial says that standard "
            f"deviations are {100 * bias:.2g} % off on average; ask for more accuracy, "
            "or run MCLMC with adjusted = true."
        )


def _of_tails(certificates: dict[str, float]) -> Iterator[str]:
    if certificates["confirmed"] and certificates["heavy_controls"]:
        yield (
            f", but the standard deviation of {certificates['heavy_controls']:.0f} entries of the "
            "control is ruled by few draws, far out in a tail (k̂ = "
            f"{certificates['tail_shape']:.2f}): take medians and intervals, which are known so "
            "well, not means and standard deviations."
        )
