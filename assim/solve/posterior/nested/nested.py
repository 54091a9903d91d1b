"""Integrated nested Laplace: the trajectory integrated out, parameters and scales explored."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings, positive
from assim.devices import over_members, program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import (
    CHAIN,
    AbstractPosterior,
    Ensemble,
    Report,
    Trust,
    failed,
)
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.nested.exploring import Starts, explored, framed, marginal_of
from assim.solve.posterior.nested.lattice import Frame, Solver
from assim.solve.posterior.nested.marginal import Nesting
from assim.solve.posterior.nested.members import Drawn
from assim.solve.posterior.nested.pattern import dense_pattern
from assim.solve.posterior.nested.scattered import scattered
from assim.solve.posterior.nested.verdict import (
    Measured,
    Source,
    not_found,
    sound_pattern,
    verdict,
)
from assim.solve.together import affordable, batch_size

Array = jax.Array

DIMENSIONS = 3  # of ψ, that a lattice may have
LEAST = 100  # draws of ψ in more
LARGEST = 2000  # entries of z whose matrix is formed


class Nested(AbstractPosterior):
    """Integrated nested Laplace for parameters and error scales ψ over a trajectory z.

        log p(ψ, y) ≈ -φ(ψ, z*(ψ)) - ½ log |H(ψ)|,      z | ψ, y ~ N(z*, H⁻¹)

    with φ = J - v and H = ∂²φ/∂z², exact where z given ψ is Gaussian (Rue, Martino & Chopin 2009,
    J. R. Stat. Soc. B 71, 319). ψ of one to three dimensions is summed on a lattice in the frame of
    its Laplace block, grown from solved neighbours, in whose cells members have it; ψ of more is
    drawn from its marginal by `Importance`, or by `NUTS` where that is not certified. Then z given
    ψ, and weights that correct both by the exact density where these may be trusted.

    Args:
        number: members; in a lattice ten of one ψ, and up to four times as many where moments and
            quantiles are not known within 1.5 per cent; in more dimensions so many ψ by weights,
            twice as many at most by NUTS, with two members each. Fewer where they would hold over
            20 million numbers.
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
        n = int(np.sum(inside))
        if n == inside.size:
            return "No parameter and no error scale is estimated: what this would give is Laplace."
        if n == 0:
            return "There is no trajectory to integrate out: run Importance, or NUTS."
        if n > LARGEST:
            return (
                f"A matrix of {n} entries of a trajectory, over {LARGEST}, is too large: run MCLMC."
            )
        return ""

    def by_lattice(self, problem: DepartureFunction) -> bool:
        """Whether ψ has few enough entries for a lattice, which costs far less than draws."""
        few = isinstance(problem, Nesting) and np.sum(~problem.of_trajectory()) <= DIMENSIONS
        return bool(few)

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Members, certified by what was met on the way to ψ and by their weights."""
        refusal = self.refuses(problem)
        if refusal or not isinstance(problem, Nesting):
            return failed(around.chi[None], refusal)
        form = _form(problem)
        marginal, spent = marginal_of(form, _moved(problem, form, around.chi[None])[0])
        solver = Solver(marginal, spent)
        first, second = jax.random.split(key)
        frame = framed(around.gaussian, np.flatnonzero(~problem.of_trajectory()))
        starts = _guesses(problem, form, solver, first)
        ways = _Ways(frame, starts, jax.random.fold_in(second, 1), report)
        source = self._explored(solver, ways)
        if not isinstance(source, str) and not sound_pattern(source.solver):
            solver = _without_pattern(source.solver)
            source = self._explored(solver, ways)
        if isinstance(source, str):
            return failed(around.chi[None], source, *solver.spent)
        ensemble = _ensemble(problem, source, affordable(self.number, problem.size()), second)
        return _within(problem, ensemble, around)

    def _explored(self, solver: Solver, ways: "_Ways") -> Source | str:
        """The density of ψ on a lattice, or draws of it; or why there is none."""
        frame, starts, key, report = ways
        nowhere = (
            "The trajectory that fits best at the parameters and scales of the minimum was "
            f"found from none of {self.starts} first guesses: {CHAIN}."
        )
        if frame.centre.size > DIMENSIONS:
            n = int(solver.marginal.problem.size())
            number = max(affordable(2 * self.number, n) // 2, LEAST)
            settings = (self.starts, self.drop, number)
            draws = scattered(solver, frame, starts, settings, key, report)
            return draws or nowhere
        steps = frame.stretched(self.step)
        lattice = explored(solver, steps, starts, self.starts, self.drop, self.most)
        if lattice is not None and report is not None:
            report(f"{lattice.figures()}, {solver.spent.gradients} gradients")
        return lattice or nowhere


class _Ways(NamedTuple):
    """Axes of a Gaussian of ψ, first guesses of z, a key of draws, who is told of progress."""

    frame: Frame
    starts: Starts
    key: Array
    report: Report | None


def _ensemble(problem: Nesting, source: Source, number: int, key: Array) -> Ensemble:
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    members, known = source.members(number, rng)
    measured = Measured(source, members, known.errors)
    form, spent = source.solver.marginal.problem, source.spent()
    return Ensemble(
        _moved(form, problem, jnp.asarray(members.chi)),
        jnp.asarray(members.weights),
        *verdict(measured),
        _certificates(measured),
        spent.gradients,
        spent.evaluations + members.chi.shape[0],
        source.log_evidence() + _log_evidence(problem, form, members),
        effective_size=known.effective_size,
        judged=True,
    )


def _within(problem: Nesting, ensemble: Ensemble, around: LaplacePosterior) -> Ensemble:
    """Doubtful where another minimum of J that counts has a ψ beyond all members'."""
    if around.others is None or ensemble.trust is not Trust.CERTIFIED:
        return ensemble
    psi = ~problem.of_trajectory()
    members, others = np.asarray(ensemble.members)[:, psi], around.others[:, psi]
    beyond = (others < members.min(axis=0)) | (others > members.max(axis=0))
    if not beyond.any():
        return ensemble
    return ensemble.doubted(f"{around.of_others()}: {CHAIN}.")


def _form(problem: Nesting) -> Nesting:
    """With states as the control where it has that form, as its H is banded and z* found best."""
    try:
        states = problem.as_states()
    except ValueError:
        return problem.as_forcing()
    return states if states.size() == problem.as_forcing().size() else problem.as_forcing()


@program
def _moved(problem: Nesting, to: Nesting, chi: Array) -> Array:
    """χ (N, n) of one form in the other."""
    move = partial(problem.moved, to=to)
    moved: Array = over_members(move, chi, batch_size(problem))
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


def _certificates(measured: Measured) -> dict[str, float]:
    members, accuracy = measured.drawn, measured.errors
    return {
        "k_hat": members.k_hat,
        "effective_draws": float(1 / np.sum(members.weights**2)),
        "accuracy": accuracy.stdev,
        "mean_error": accuracy.mean,
        "quantile_error": accuracy.quantile,
        "not_found": not_found(measured),
        "mean_log_weight": members.mean_log_weight,
        "shift": members.shift,
        **measured.source.certificates(),
    }
