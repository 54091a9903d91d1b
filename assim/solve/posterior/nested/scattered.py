"""ψ of more dimensions than a lattice may have: draws by methods that see its marginal alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import program
from assim.solve.posterior.chains.samplers import NUTS
from assim.solve.posterior.ensemble import CHAIN, AbstractPosterior, Ensemble, Report, Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.importance import Importance
from assim.solve.posterior.laplace_posterior import OUTSIDE, LaplacePosterior
from assim.solve.posterior.nested.exploring import (
    Starts,
    counts,
    minima_at,
    of_weight,
    solved_at,
)
from assim.solve.posterior.nested.lattice import Frame, Solver, Spent
from assim.solve.posterior.nested.marginal import Marginal, tilted
from assim.solve.posterior.nested.members import Drawn, Known, Placed, drawn, errors_of_draws
from assim.statistics.accuracy import ACCURATE

Array = jax.Array

SHARE, MORE = 0.8, 2  # of the error that members may have; draws of a chain for each by weights
DERIVED = 5  # products with H, for each of those that form it, in a derivative of the marginal


class Scattered(NamedTuple):
    """Draws of ψ, and what was met where they lie.

    Args:
        solver: of z, from near where it is.
        ensemble: of ψ; its trust is that in them as draws of the marginal density.
        method: that drew it.
        evaluations, gradients: of the marginal, by every method that was tried.
        before: what the solver had spent before it found z at every draw.
        several: whether minima of z count besides that which is followed.
    """

    solver: Solver
    ensemble: Ensemble
    method: str
    evaluations: int
    gradients: int
    before: Spent
    several: bool

    def members(self, number: int, rng: np.random.Generator) -> tuple[Drawn, Known]:
        """Two of every ψ, however many are asked for."""
        del number
        psi, weights = np.asarray(self.ensemble.members), np.asarray(self.ensemble.weights)
        starts = np.asarray(_firsts(self.solver.marginal, jnp.asarray(psi)))
        with np.errstate(divide="ignore"):
            log_share = np.log(weights)
        rows = np.zeros(len(psi), dtype=int)
        there = Placed(psi, starts, log_share, rows, weights, pairs=1, weighed=True)
        members = drawn(self.solver, there, rng)
        chains, marginal = self.ensemble.chains, self.solver.marginal
        return members, errors_of_draws(members, there, chains, marginal)

    def spent(self) -> Spent:
        """With what the methods spent: each of their minimisations costs what those of draws do."""
        now, number = self.solver.spent, len(self.ensemble.members)
        each, tries = ((a - b) / number for a, b in zip(now, self.before, strict=True))
        derivative = DERIVED * self.solver.marginal.pattern.products()
        runs = self.evaluations + self.gradients
        gradients = round(runs * each + self.gradients * derivative)
        return Spent(now.gradients + gradients, now.evaluations + round(runs * tries))

    def log_evidence(self) -> float:
        """That of the marginal; NaN where its method gives none."""
        return self.ensemble.log_evidence

    def lost(self) -> float:
        """None that is known: draws at which z* is not found have no weight."""
        return 0.0

    def certificates(self) -> dict[str, float]:
        """Of the draws of ψ."""
        of_psi = {f"psi_{name}": value for name, value in self.ensemble.certificates.items()}
        return {**of_psi, "minima": 2.0 if self.several else 1.0}

    def figures(self) -> str:
        """How many draws, in words."""
        return f"{len(self.ensemble.members)} draws by {self.method}"

    def holds(self) -> str:
        """Subject and verb of the verdict."""
        return "draws stand for"

    def doubt(self) -> str:
        """Where the method is not sure of them, or z has more minima than one."""
        outside = self.ensemble.certificates.get("outside", 0.0)
        if self.ensemble.trust is not Trust.CERTIFIED:
            return f"Of parameters and scales by {self.method}: {self.ensemble.advice}"
        if outside > OUTSIDE:
            return (
                f"The best trajectory was not found at {100 * outside:.1g} % of the parameters "
                f"and scales at which it was sought: {CHAIN}."
            )
        if self.several:
            return (
                "Given the same parameters and scales there are several trajectories that count, "
                f"of which draws in so many dimensions follow one: {CHAIN}."
            )
        return ""


@program
def _firsts(marginal: Marginal, psi: Array) -> Array:
    firsts: Array = jax.lax.map(marginal.first, psi)
    return firsts


def scattered(
    solver: Solver,
    frame: Frame,
    starts: Starts,
    settings: tuple[int, float, int],
    key: Array,
    report: Report | None,
) -> Scattered | str | None:
    """Draws by importance weights, or by NUTS where these may not be trusted.

    Args:
        solver: of z given ψ.
        frame: principal axes of a Gaussian of ψ.
        starts: first guesses of z.
        settings: how many of them at the centre; nats by which their minima may differ; draws.
        key: of the draws.
        report: told of progress.

    Returns:
        None where z* is found at no start; why, where every method fails.
    """
    number, drop, draws = settings
    minima = minima_at(solver, frame.centre, starts, number, drop)
    if not minima:
        return None
    marginal = tilted(solver.marginal, jnp.asarray(frame.centre), jnp.asarray(minima[0].z))
    tilting = frame.centre.size * (1 + marginal.pattern.products())
    spent = Spent(solver.spent.gradients + tilting, solver.spent.evaluations)
    solver = Solver(marginal, spent, solver.mismatch)
    around = _around(frame, marginal.proper())
    best, evaluations, gradients = None, 0, 0
    for turn, method in enumerate(_methods(draws)):
        now = jax.random.fold_in(key, turn)
        ensemble = method.sample(marginal, around, now, report)
        evaluations, gradients = evaluations + ensemble.evaluations, gradients + ensemble.gradients
        if best is None or ensemble.trust >= best[0].trust:
            best = ensemble, method.name()
        if ensemble.trust is Trust.CERTIFIED:
            break
    assert best is not None
    if best[0].trust is Trust.FAILED:
        return f"Of parameters and scales by {best[1]}: {best[0].advice}"
    several = any(counts(node, minima[:1]) for node in minima[1:])
    several = several or _several(solver, best[0], starts, number)
    return Scattered(solver, *best, evaluations, gradients, solver.spent, several)


def _methods(draws: int) -> list[AbstractPosterior]:
    """The cheapest first."""
    return [Importance(number=draws), NUTS(accuracy=SHARE * ACCURATE, members=MORE * draws)]


def _around(frame: Frame, proper: bool) -> LaplacePosterior:
    """The Gaussian of a frame, as methods start from it."""
    stdev = np.linalg.norm(frame.axes, axis=0)
    order = np.argsort(stdev)
    vectors = jnp.asarray((frame.axes / stdev)[:, order])
    gaussian = Gaussian(jnp.asarray(frame.centre), jnp.asarray(stdev[order] ** -2 - 1), vectors)
    return LaplacePosterior(gaussian, 0.0, np.nan, "block of that of all", proper=proper)


def _several(solver: Solver, ensemble: Ensemble, starts: Starts, number: int) -> bool:
    """Whether at some draw of weight another minimum of z counts beside that which is followed."""
    psi = np.asarray(ensemble.members)[of_weight(np.asarray(ensemble.weights))]
    followed = solved_at(solver, psi, np.asarray(_firsts(solver.marginal, jnp.asarray(psi))))
    met = solved_at(solver, np.repeat(psi, number, axis=0), starts(psi, number))
    return any(counts(node, [followed[k // number]]) for k, node in enumerate(met))
