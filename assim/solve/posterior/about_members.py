"""The Laplace posterior by the sensitivities of member trajectories."""

import math
from dataclasses import replace

import jax

from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import LEFT_OUT, LaplacePosterior
from assim.solve.sensitivity import Sampled

Array = jax.Array


def laplace_of(
    problem: DepartureFunction,
    chi: Array,
    settings: Laplace,
    key: Array,
    minimiser: AbstractMinimiser,
    exact: Array | None = None,
) -> LaplacePosterior:
    """The Laplace posterior about χ with the derivatives that a minimiser goes by.

    Where these are of members, A = W + ĜᵀĜ, and what members that Ĝ was not made from say of it
    counts as left out: with more than one nat the posterior is doubtful, and without evidence.

    Args:
        problem: the departure function.
        chi: χ*, a minimum of J.
        settings: what to compute, and how.
        key: of the random draws.
        minimiser: how χ was found.
        exact: ∇²J at χ* as a matrix, where the minimiser already has it.
    """
    if not minimiser.by_members:
        return laplace(problem, chi, settings, key, exact)
    sampled = _sampled(problem, minimiser, chi)
    fitted = laplace(sampled.problem, chi, settings, key)
    left_out = fitted.left_out + float(sampled.unseen)
    members, failed = int(sampled.members), int(sampled.failed)
    return replace(
        fitted,
        left_out=left_out,
        log_evidence=fitted.log_evidence if left_out <= LEFT_OUT else math.nan,
        hessian=f"Gauss-Newton Hessian by {members} member trajectories",
        members=members,
        failed=failed,
    )


@program
def _sampled(problem: DepartureFunction, minimiser: AbstractMinimiser, chi: Array) -> Sampled:
    return minimiser.sampled(problem, chi)
