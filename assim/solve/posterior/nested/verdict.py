"""How far an ensemble of nested Laplace may be trusted."""

from typing import NamedTuple, Protocol

import numpy as np

from assim.solve.posterior.ensemble import CHAIN, Trust
from assim.solve.posterior.nested.lattice import Solver, Spent
from assim.solve.posterior.nested.members import Drawn, Known
from assim.solve.posterior.nested.pattern import MISMATCH
from assim.statistics.accuracy import Errors

LOST = 1e-3  # share of weight at which z* may not be found


class Source(Protocol):
    """The density of ψ as it was found: a lattice, or draws."""

    @property
    def solver(self) -> Solver:
        """Of z given ψ."""

    def members(self, number: int, rng: np.random.Generator) -> tuple[Drawn, Known]:
        """So many of χ, or about, as ψ's density asks, with their Monte Carlo errors."""

    def spent(self) -> Spent:
        """On the density of ψ, and on members."""

    def log_evidence(self) -> float:
        """What is to be added to that of members."""

    def lost(self) -> float:
        """Share of the weight of ψ at which z* may be missing."""

    def certificates(self) -> dict[str, float]:
        """Numbers behind the verdict."""

    def figures(self) -> str:
        """How many, in words."""

    def holds(self) -> str:
        """What it does to the density of parameters and scales where there is no doubt."""

    def doubt(self) -> str:
        """What stands against it, with the way out; "" where nothing does."""


class Measured(NamedTuple):
    """What the verdict goes by."""

    source: Source
    drawn: Drawn
    errors: Errors


def verdict(measured: Measured) -> tuple[Trust, str]:
    """CERTIFIED where nothing stands against it; else DOUBTFUL, why, and the way out."""
    if doubt := _of_minima(measured) or measured.source.doubt() or _of_members(measured):
        return Trust.DOUBTFUL, doubt
    return Trust.CERTIFIED, (
        f"{figures(measured)}: {measured.source.holds()} the density of parameters and scales, "
        "and moments and quantiles may be published."
    )


def figures(measured: Measured) -> str:
    """The numbers in words."""
    drawn, errors = measured.drawn, measured.errors
    return f"{measured.source.figures()}, k̂ = {drawn.k_hat:.2f}, {errors.words()}"


def not_found(measured: Measured) -> float:
    """Share of weight at which z* may be missing; NaN where it is not known."""
    return float(np.max([measured.source.lost(), measured.drawn.lost]))


def sound_pattern(solver: Solver) -> bool:
    """Whether H had the entries that its pattern says, wherever z* was found."""
    return solver.mismatch <= MISMATCH


def _of_minima(measured: Measured) -> str:
    if not sound_pattern(measured.source.solver):
        return f"The curvature of the trajectory was not formed rightly: {CHAIN}."
    if not (lost := not_found(measured)) <= LOST:
        return (
            "The best trajectory was not found at parameters and scales that hold "
            f"{100 * lost:.1g} % of the posterior: {CHAIN}."
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
        return f"{figures(measured)}, but {'; '.join(errors.beyond())}: raise `number`, or {CHAIN}."
    return ""
