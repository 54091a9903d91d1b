"""How far an ensemble of nested Laplace may be trusted."""

from typing import NamedTuple

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.nested.exploring import Explored
from assim.solve.posterior.nested.lattice import APART
from assim.solve.posterior.nested.members import Drawn
from assim.statistics.accuracy import ACCURATE, CENTRED, Errors

LOST = 1e-3  # share of weight at which z* may not be found
CHAIN = "run NUTS, or MCLMC where many directions are informed"


class Measured(NamedTuple):
    """What the verdict goes by: the lattice, the members, their errors, and H's pattern."""

    explored: Explored
    drawn: Drawn
    errors: Errors
    sound_pattern: bool


def verdict(measured: Measured) -> tuple[Trust, str]:
    """CERTIFIED where nothing stands against it; else DOUBTFUL, why, and the way out."""
    if doubt := _of_lattice(measured) or _of_members(measured):
        return Trust.DOUBTFUL, doubt
    return Trust.CERTIFIED, (
        f"{figures(measured)}: the lattice holds the density of parameters and scales, and "
        "moments and quantiles may be published."
    )


def figures(measured: Measured) -> str:
    """The numbers in words."""
    found, drawn, errors = measured.explored, measured.drawn, measured.errors
    return f"{len(found.lattice.keys)} nodes, k̂ = {drawn.k_hat:.2f}, {errors.words()}"


def _of_lattice(measured: Measured) -> str:
    found = measured.explored
    lost = max(found.lattice.lost, measured.drawn.lost)
    if not measured.sound_pattern:
        return f"The curvature of the trajectory was not formed rightly: {CHAIN}."
    if found.truncated:
        return f"The lattice was not finished, as it has too many nodes: raise `most`, or {CHAIN}."
    if lost > LOST:
        return (
            "The best trajectory was not found at parameters and scales that hold "
            f"{100 * lost:.1g} % of the posterior: {CHAIN}."
        )
    if not found.apart <= APART:
        return (
            f"The two halves of the lattice differ by {found.apart:.2g} standard deviations, more "
            f"than {APART}: give a smaller `step`."
        )
    if found.unsettled:
        return (
            "First guesses still lead to trajectories that no node has: there are many minima "
            f"given the same parameters and scales; raise `starts`, or {CHAIN}."
        )
    return ""


def _of_members(measured: Measured) -> str:
    drawn, errors = measured.drawn, measured.errors
    if not drawn.corrected:
        return (
            f"k̂ = {drawn.k_hat:.2f}: given parameters and scales the trajectory is not Gaussian "
            f"enough to be corrected by weights, and these are not; {CHAIN}."
        )
    if not errors.excess() <= 1:
        return (
            f"{figures(measured)}, but wanted are {100 * ACCURATE:.1f} % and {CENTRED}: raise "
            f"`number`, or {CHAIN}."
        )
    return ""
