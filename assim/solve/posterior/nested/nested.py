"""Integrated nested Laplace: the trajectory integrated out, parameters and scales on a lattice."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings, positive
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Report, failed
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.nested.exploring import (
    Explored,
    Starts,
    explored,
    framed,
    marginal_of,
    sound_pattern,
)
from assim.solve.posterior.nested.lattice import Solver
from assim.solve.posterior.nested.marginal import Nesting
from assim.solve.posterior.nested.members import PAIRS, Drawn, drawn, errors, placed
from assim.solve.posterior.nested.pattern import dense_pattern
from assim.solve.posterior.nested.verdict import CHAIN, Measured, verdict
from assim.solve.together import affordable, batch_size
from assim.statistics.accuracy import Errors, more_draws

Array = jax.Array

DIMENSIONS = 3  # of ψ, that a lattice may have
LARGEST = 2000  # entries of z whose matrix is formed


class Nested(AbstractPosterior):
    """Integrated nested Laplace for parameters and error scales ψ over a trajectory z.

        log p(ψ, y) ≈ -φ(ψ, z*(ψ)) - ½ log |H(ψ)|,      z | ψ, y ~ N(z*, H⁻¹)

    with φ = J - v and H = ∂²φ/∂z², exact where z given ψ is Gaussian (Rue, Martino & Chopin 2009,
    J. R. Stat. Soc. B 71, 319). ψ of one to three dimensions is summed on a lattice in the frame of
    its Laplace block, grown from solved neighbours; members have ψ in its cells, z given ψ, and
    weights that correct both by the exact density where these may be trusted.

    Args:
        number: members, ten of one ψ; up to four times as many where their moments are not known
            within 1.5 per cent, fewer where they would hold over 20 million numbers.
        step: of the lattice, in standard deviations of the Laplace posterior; halved along an axis
            where the two half lattices differ.
        drop: nats below the highest node at which the lattice ends.
        starts: first guesses of z at the centre; draws from the prior but for the first.
        most: nodes of the lattice.
    """

    number: Size = eqx.field(default=10_000, static=True)
    step: float = eqx.field(default=0.75, static=True)
    drop: float = eqx.field(default=13.0, static=True)
    starts: Size = eqx.field(default=8, static=True)
    most: Size = eqx.field(default=4000, static=True)

    def __check_init__(self) -> None:
        check_settings(self, number=100, starts=1, most=10)
        positive(self, "step", "drop")

    def name(self) -> str:
        """Nested."""
        return "nested"

    def refuses(self, problem: DepartureFunction) -> str:
        """Why there is nothing to do for it here, and what to do; "" where there is."""
        if not isinstance(problem, Nesting):
            return f"Which of the unknowns make a trajectory is not known here: {CHAIN}."
        inside = problem.of_trajectory()
        p, n = int(np.sum(~inside)), int(np.sum(inside))
        if p == 0:
            return "No parameter and no error scale is estimated: what this would give is Laplace."
        if n == 0:
            return "There is no trajectory to integrate out: run Importance, or NUTS."
        if p > DIMENSIONS:
            return (
                f"{p} parameters and error scales are too many for a lattice, which has at most "
                f"{DIMENSIONS} dimensions: fix some, or {CHAIN}."
            )
        if n > LARGEST:
            return (
                f"A matrix of {n} entries of a trajectory, over {LARGEST}, is too large: run MCLMC."
            )
        return ""

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Members from the lattice, certified by what was met on the way and by their weights."""
        refusal = self.refuses(problem)
        if refusal or not isinstance(problem, Nesting):
            return failed(around.chi[None], refusal)
        form = _form(problem)
        marginal, spent = marginal_of(form, _moved(problem, form, around.chi[None])[0])
        solver = Solver(marginal, spent)
        first, second = jax.random.split(key)
        frame = framed(around.gaussian, np.flatnonzero(~problem.of_trajectory()), self.step)
        guesses = _guesses(problem, form, solver, first)
        settings = (self.starts, self.drop, self.most)
        found = explored(solver, frame, guesses, *settings)
        if not sound_pattern(solver):
            solver = _without_pattern(solver)
            found = explored(solver, frame, guesses, *settings)
        if found is None:
            return failed(
                around.chi[None],
                "The trajectory that fits best at the parameters and scales of the minimum was "
                f"found from none of {self.starts} first guesses: {CHAIN}.",
                solver.spent.gradients,
                solver.spent.evaluations,
            )
        if report is not None:
            report(f"{len(found.lattice.keys)} nodes, {solver.spent.gradients} gradients")
        return self._ensemble(problem, form, solver, found, second)

    def _ensemble(
        self, problem: Nesting, form: Nesting, solver: Solver, found: Explored, key: Array
    ) -> Ensemble:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        number = affordable(self.number, problem.size())
        members, accuracy = _members(solver, found, number, rng)
        if members.corrected and accuracy.excess() > 1:
            more = affordable(more_draws(number, accuracy), problem.size())
            members, accuracy = _members(solver, found, more, rng)
        chi = _moved(form, problem, jnp.asarray(members.chi))
        trust, advice = verdict(Measured(found, members, accuracy, sound_pattern(solver)))
        return Ensemble(
            chi,
            jnp.asarray(members.weights),
            trust,
            advice,
            _certificates(found, members, accuracy),
            solver.spent.gradients,
            solver.spent.evaluations + members.chi.shape[0],
            _log_evidence(problem, form, members),
        )


def _members(
    solver: Solver, found: Explored, number: int, rng: np.random.Generator
) -> tuple[Drawn, Errors]:
    there = placed(found.lattice, found.frame, max(number // (2 * PAIRS), 1), rng)
    members = drawn(solver, found.frame, there, rng)
    return members, errors(members, there, found.lattice, solver.marginal)


def _form(problem: Nesting) -> Nesting:
    """With states as the control where it has that form, as its H is banded and z* found best."""
    try:
        states = problem.as_states()
    except ValueError:
        return problem.as_forcing()
    return states if states.size() == problem.as_forcing().size() else problem.as_forcing()


@eqx.filter_jit
def _moved(problem: Nesting, to: Nesting, chi: Array) -> Array:
    """χ (N, n) of one form in the other."""
    moved: Array = jax.lax.map(
        partial(problem.moved, to=to), chi, batch_size=batch_size(problem, chi.shape[0])
    )
    return moved


def _guesses(problem: Nesting, form: Nesting, solver: Solver, key: Array) -> Starts:
    """The z of the minimum first, then of draws from the prior."""
    forcing, start = problem.as_forcing(), np.asarray(solver.marginal.start)
    psi_at = np.flatnonzero(~forcing.of_trajectory())
    keys = iter(jax.random.split(key, 16))

    def starts(psi: np.ndarray, number: int) -> np.ndarray:
        many = np.repeat(psi, number, axis=0)
        chi = jax.random.normal(next(keys), (len(many), forcing.size()))
        z = np.array(_moved(forcing, form, chi.at[:, psi_at].set(many)))[:, solver.marginal.z_at]
        z = np.where(np.isfinite(z).all(axis=1, keepdims=True), z, start)
        z[0] = start
        return z

    return starts


def _without_pattern(solver: Solver) -> Solver:
    """A solver that forms every column of H."""
    dense = dense_pattern(int(solver.marginal.z_at.size))
    return Solver(eqx.tree_at(lambda m: m.pattern, solver.marginal, dense), solver.spent)


def _log_evidence(problem: Nesting, form: Nesting, members: Drawn) -> float:
    """log p(y) but for the constants of `problem`, whose form may be another."""
    if not problem.proper():
        return float("nan")
    constants = float(form.log_constant()) - float(problem.log_constant())
    return members.log_evidence + constants


def _certificates(found: Explored, members: Drawn, accuracy: Errors) -> dict[str, float]:
    return {
        "k_hat": members.k_hat,
        "effective_draws": float(1 / np.sum(members.weights**2)),
        "accuracy": accuracy.stdev,
        "mean_error": accuracy.mean,
        "halves_apart": found.apart,
        "not_found": max(found.lattice.lost, members.lost),
        "minima": float(found.minima),
        "nodes": float(len(found.lattice.keys)),
        "mean_log_weight": members.mean_log_weight,
        "shift": members.shift,
    }
