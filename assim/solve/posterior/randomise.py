"""Randomised maximum likelihood: an ensemble of analyses of perturbed priors and observations."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings
from assim.devices import each_member, program
from assim.solve.cost import DepartureFunction, Values
from assim.solve.minimise.gauss_newton import DENSE_LIMIT, GaussNewton, NewtonCG
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.minimise.status import Status
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Report, Trust, equal_weights
from assim.solve.posterior.laplace_posterior import OUTSIDE, LaplacePosterior
from assim.solve.posterior.unweighted import misses, moved_of_laplace
from assim.statistics.accuracy import Errors

Array = jax.Array

CERTIFIED_SHARE = 0.99  # of members that must have converged: those that do not are not random
FAILED_SHARE = 0.5
CORRECT = "correct it by importance weights, or run a chain (NUTS or MCLMC)"


class Perturbed(eqx.Module):
    """χ' ↦ d(χ' + ξ) + ε, whose J has its minimum at χ' = χ - ξ of one perturbed analysis.

    ½|χ'|² + ½|d(χ' + ξ) + ε|² is the cost of χ with the background moved by ξ and the observations
    by R^(1/2) ε (Oliver, He & Reynolds 1996; Bardsley et al. 2014, SIAM J. Sci. Comput. 36, A1895).
    """

    problem: DepartureFunction  # d
    prior: Array  # ξ, shape (n,), zero where W is
    noise: Array  # ε, shape (m,)

    def __call__(self, chi: Array) -> Values:
        """Perturbed departures, with the normaliser and volume there."""
        value = self.problem(chi + self.prior)
        return Values(value.normalised + self.noise, value.normaliser, value.volume)

    def size(self) -> int:
        """Length of χ."""
        return self.problem.size()

    def scalars(self, chi: Array) -> dict[str, Array]:
        """As the problem."""
        return self.problem.scalars(chi)

    def weight(self) -> Array:
        """Diagonal of W."""
        return self.problem.weight()

    def has_normaliser(self) -> bool:
        """Whether c or v depends on χ."""
        return self.problem.has_normaliser()

    def proper(self) -> bool:
        """Whether the prior integrates to one."""
        return self.problem.proper()

    def workspace(self) -> int:
        """Numbers that one evaluation holds."""
        return self.problem.workspace()


class Randomise(AbstractPosterior):
    """Perturbed analyses: each member minimises J with prior and observations moved by their noise.

    Independent draws from the posterior where the departures are linear; the ensemble of data
    assimilations, or randomised maximum likelihood (Kitanidis 1995, Water Resour. Res. 31, 2411).

    Args:
        members: how many.
        minimiser: of each, from χ*; by default NewtonCG where an error scale is estimated, else
            GaussNewton.
        together: members that are minimised together.
    """

    local = True
    members: Size = eqx.field(default=100, static=True)
    minimiser: AbstractMinimiser | None = None
    together: Size = eqx.field(default=20, static=True)

    def __check_init__(self) -> None:
        check_settings(self, members=2, together=1)

    def name(self) -> str:
        """Randomised."""
        return "randomised"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Members that converged, in equal weights; exact only for linear problems."""
        keys = jax.random.split(key, self.members)
        parts: list[_Member] = []
        for start in range(0, self.members, self.together):
            rows = np.arange(start, start + self.together) % self.members  # the last wraps round
            analyses = _analyses(problem, self._chosen(problem), around.chi, keys[rows])
            parts.append(jax.tree.map(np.asarray, analyses))
            if report is not None:
                done = min(start + self.together, self.members)
                report(f"{done} of {self.members} perturbed analyses")
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: self.members], *parts)
        return _ensemble(problem, around, whole)

    def _chosen(self, problem: DepartureFunction) -> AbstractMinimiser:
        if self.minimiser is not None:
            return self.minimiser
        return NewtonCG() if problem.has_normaliser() else GaussNewton()


class _Member(NamedTuple):
    chi: Array
    status: Array
    loops: Array
    inner: Array


def perturbed_analysis(
    problem: DepartureFunction, minimiser: AbstractMinimiser, chi: Array, key: Array
) -> _Member:
    """The minimum of one perturbed J, reached from χ; traceable."""
    first, second = jax.random.split(key)
    value = jax.eval_shape(problem, chi)
    flat = problem.weight() == 0
    prior = jnp.where(flat, 0.0, jax.random.normal(first, chi.shape, chi.dtype))
    shape = value.normalised
    noise = jax.random.normal(second, shape.shape, shape.dtype)
    perturbed = Perturbed(problem, prior, noise)
    none = jnp.zeros((), int)

    def unfinished(carry: tuple[Array, Array, Any]) -> Array:
        loops, _, state = carry
        return (loops < minimiser.n_outer) & (state.status == Status.RUNNING)

    def advance(carry: tuple[Array, Array, Any]) -> tuple[Array, Array, Any]:
        loops, inner, state = carry
        state = minimiser.step(perturbed, state)
        return loops + 1, inner + state.inner_iterations, state

    start = minimiser.init(perturbed, chi - prior)
    loops, inner, end = jax.lax.while_loop(unfinished, advance, (none, none, start))
    return _Member(end.chi + prior, end.status, loops, inner)


@program
def _analyses(
    problem: DepartureFunction, minimiser: AbstractMinimiser, chi: Array, keys: Array
) -> _Member:
    return each_member(lambda key: perturbed_analysis(problem, minimiser, chi, key))(keys)


def _ensemble(problem: DepartureFunction, around: LaplacePosterior, analyses: _Member) -> Ensemble:
    fine = (analyses.status == Status.CONVERGED) & np.all(np.isfinite(analyses.chi), axis=1)
    share = float(np.mean(fine))
    members = jnp.asarray(analyses.chi[fine] if fine.any() else np.asarray(around.chi)[None])
    moved = moved_of_laplace(problem, around)
    trust, advice = _verdict(problem, around, share, members, moved)
    n = members.shape[1]
    products = np.sum(analyses.loops) * n if n <= DENSE_LIMIT else np.sum(analyses.inner)
    loops = int(np.sum(analyses.loops))
    certificates = {
        "converged": share,
        "loops": loops / fine.size,
        "laplace_k_hat": around.k_hat,
        "laplace_mean_moved": moved.mean,
        "laplace_stdev_moved": moved.stdev,
    }
    return Ensemble(
        members,
        equal_weights(len(members)),
        trust,
        advice,
        certificates,
        gradients=loops + int(products),
        evaluations=loops,
        effective_size=float(len(members)) if fine.any() else math.nan,
    )


def _verdict(
    problem: DepartureFunction,
    around: LaplacePosterior,
    share: float,
    members: Array,
    moved: Errors,
) -> tuple[Trust, str]:
    figures, number = f"{share:.0%} of the perturbed analyses converged", len(members)
    if share < FAILED_SHARE or number < 2:
        return Trust.FAILED, (
            f"{figures}: give the minimiser more loops (n_outer), or check the model's derivatives."
        )
    whole = around.is_whole() and around.outside <= OUTSIDE
    if around.indefinite or around.free or not whole:  # Laplace's minimum is none, or not all
        return Trust.DOUBTFUL, f"{figures}. {around.advice()}"
    if problem.has_normaliser():
        return Trust.DOUBTFUL, (
            f"{figures}. With an estimated error scale their spread is not that of the posterior, "
            f"for scales too small: {CORRECT}."
        )
    if nonlinear := _nonlinear(around, members, moved):
        return Trust.DOUBTFUL, (
            f"{figures}. They are draws from the posterior of a linear problem, and {nonlinear}, "
            f"so that this one is not nearly so: {CORRECT}."
        )
    if share < CERTIFIED_SHARE:
        return Trust.DOUBTFUL, (
            f"{figures}; those left out may have something in common: give the minimiser more "
            "loops (n_outer)."
        )
    sampling = Errors(1 / math.sqrt(number), 1 / math.sqrt(2 * (number - 1)))
    linear = (
        f"{figures}, and the problem is nearly linear (weights of Laplace's draws move "
        f"{moved.moves()}): {number} members know {sampling.words()}"
    )
    if not sampling.excess() <= 1:
        return Trust.DOUBTFUL, f"{linear} only; raise `members`."
    return Trust.CERTIFIED, f"{linear}."


def _nonlinear(around: LaplacePosterior, members: Array, moved: Errors) -> str:
    """What says that members are not draws of the posterior; "" where nothing does."""
    if not np.isfinite(moved.mean):
        return f"the weights of Laplace's draws (k̂ = {around.k_hat:.2f}) do not tell its moments"
    if not moved.excess() <= 1:
        return f"weights move moments of Laplace's draws, {moved.moves()}"
    if misses(around, members):
        return "they miss its moments by the weights of Laplace's draws"
    return ""
