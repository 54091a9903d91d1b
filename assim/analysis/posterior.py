"""The posterior of one method in physical terms, and how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.quantities import (
    OfPrior,
    batch_of,
    quantities_of_ensemble,
    quantities_of_laplace,
)
from assim.problem.arrays import State
from assim.problem.control import Physical
from assim.problem.departure import Problem
from assim.problem.scalars import Derived
from assim.solve.posterior.ensemble import Ensemble, Trust
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.marginal import Pushed, Quantity

Array = jax.Array


@dataclass(frozen=True)
class Posterior:
    """The posterior as one method has it.

    Args:
        method: its name in results, as "laplace" or "svgd_400".
        kind: the method's own name, as "laplace" or "svgd".
        trust: what its certificates say, as one value.
        advice: the same in a sentence or two.
        certificates: the numbers behind it, by name.
        log_evidence: log p(y); NaN where the method gives none.
        quantities: posterior of every estimated scalar and of derived quantities.
        chi: members, shape (N, n).
        draws: the same in physical units, leading dimension = members.
        weights: of the members, shape (N,), of sum one.
        derived: values of derived quantities for each member, and for prior draws.
        trajectory_mean: posterior mean of every field at every slot edge; empty for Laplace, whose
            tangent linear has it at the minimum.
        trajectory_stdev: posterior standard deviations there.
        model_error_stdev: the same of η; empty under strong constraint.
        gradients: evaluations of J with its gradient, those of the minimisation not counted.
        evaluations: evaluations of J alone.
        seconds: wall time, compilation included.
        chains: members are those of so many chains of equal length, one after the other.
    """

    method: str
    kind: str
    trust: Trust
    advice: str
    certificates: Mapping[str, float]
    log_evidence: float
    quantities: dict[str, Quantity]
    chi: Array
    draws: Physical
    weights: np.ndarray
    derived: dict[str, Pushed] = field(default_factory=dict)
    trajectory_mean: State = field(default_factory=dict)
    trajectory_stdev: State = field(default_factory=dict)
    model_error_stdev: State = field(default_factory=dict)
    gradients: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    chains: int = 1

    @property
    def state_stdev(self) -> State:
        """Posterior standard deviation of every initial field; zero where fixed."""
        return {name: value[0] for name, value in self.trajectory_stdev.items()}


class Fields(NamedTuple):
    """Of the Laplace approximation.

    Args:
        trajectory_stdev: standard deviations of the trajectory, by the tangent linear.
        model_error_stdev: those of η.
    """

    trajectory_stdev: State
    model_error_stdev: State


def of_laplace(
    name: str,
    fitted: LaplacePosterior,
    settings: Laplace,
    asked: "PosteriorRequest",
    fields: Fields,
    key: Array,
) -> Posterior:
    """The Laplace posterior; trajectories are those of the tangent linear.

    Args:
        name: in results.
        fitted: the posterior in χ.
        settings: what was asked of it.
        asked: the problem and the scalars wanted.
        fields: of the approximation.
        key: of the draws.
    """
    ensemble = settings.sample(asked.problem, fitted, key)
    drawn = quantities_of_laplace(
        asked.problem, fitted, ensemble, settings.members, asked.wanted, asked.prior, key
    )
    return Posterior(
        name,
        "laplace",
        ensemble.trust,
        ensemble.advice,
        ensemble.certificates,
        ensemble.log_evidence + asked.log_constant,
        drawn.quantities,
        drawn.chi,
        drawn.draws,
        drawn.weights,
        drawn.derived,
        trajectory_stdev=fields.trajectory_stdev,
        model_error_stdev=fields.model_error_stdev,
        gradients=ensemble.gradients,
        evaluations=ensemble.evaluations,
    )


class PosteriorRequest(NamedTuple):
    """What is asked of every posterior of one problem.

    Args:
        problem: the problem.
        wanted: derived quantities, by name.
        prior: draws from the prior, and derived quantities of them.
        log_constant: log p(y | χ) + ½ dᵀd + c.
        chi: χ at the minimum of J.
    """

    problem: Problem
    wanted: Mapping[str, Derived]
    prior: OfPrior
    log_constant: float
    chi: Array


def of_ensemble(name: str, ensemble: Ensemble, asked: PosteriorRequest, kind: str) -> Posterior:
    """The posterior that an ensemble of χ stands for, every member pushed through the model.

    Args:
        name: in results.
        ensemble: members of χ.
        asked: the problem and the scalars wanted.
        kind: the method's own name.
    """
    drawn = quantities_of_ensemble(
        asked.problem, ensemble.members, ensemble.weights, asked.chi, asked.wanted, asked.prior
    )
    mean, variance, error = _trajectory_moments(
        asked.problem, ensemble.members, ensemble.weights, asked.chi
    )
    stdev, error_stdev = jax.tree.map(lambda v: np.sqrt(np.maximum(v, 0.0)), (variance, error))
    return Posterior(
        name,
        kind,
        ensemble.trust,
        ensemble.advice,
        dict(ensemble.certificates),
        ensemble.log_evidence + asked.log_constant,
        drawn.quantities,
        drawn.chi,
        drawn.draws,
        drawn.weights,
        drawn.derived,
        mean,
        stdev,
        error_stdev,
        ensemble.gradients,
        ensemble.evaluations,
        chains=ensemble.chains,
    )


def _trajectory_moments(
    problem: Problem, members: Array, weights: Array, chi: Array
) -> tuple[State, State, State]:
    """Mean and variance of the trajectory and variance of η, about what χ gives.

    Members whose trajectory is not finite are left out.
    """
    number, batch = members.shape[0], batch_of(problem)
    extra = -(-number // batch) * batch - number
    padded = jnp.pad(members, ((0, extra), (0, 0)), mode="edge")
    w = jnp.pad(weights, (0, extra))
    here = _fields(problem, chi)
    blank = jax.tree.map(np.zeros_like, here)
    total: Any = (blank, blank, jnp.zeros(()))
    for at in range(0, number, batch):
        part = slice(at, at + batch)
        total = _added(problem, here, total, padded[part], w[part])
    first, second, mass = jax.tree.map(np.asarray, total)
    mass = np.where(mass > 0, mass, np.nan)  # no member has a finite trajectory
    mean = jax.tree.map(lambda a: a / mass, first)
    variance = jax.tree.map(lambda a, m: a / mass - m**2, second, mean)
    states = {name: np.asarray(here[0][name]) + value for name, value in mean[0].items()}
    return states, variance[0], variance[1]


@eqx.filter_jit
def _fields(problem: Problem, chi: Array) -> tuple[State, State]:
    simulation = problem.simulate(chi)
    return simulation.trajectory.states, simulation.control.model_error


@eqx.filter_jit
def _added(problem: Problem, here: Any, total: Any, chi: Array, w: Array) -> Any:
    """Σ w, Σ w (x - x*) and Σ w (x - x*)² with several χ more."""
    fields = jax.vmap(lambda chi: _fields(problem, chi))(chi)
    away = jax.tree.map(lambda a, b: a - b[None], fields, here)
    finite = [jnp.isfinite(a).reshape(w.size, -1).all(axis=1) for a in jax.tree.leaves(away)]
    w = jnp.where(jnp.all(jnp.stack(finite), axis=0), w, 0.0)
    safe = jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0.0), away)
    first = jax.tree.map(lambda a: jnp.tensordot(w, a, 1), safe)
    second = jax.tree.map(lambda a: jnp.tensordot(w, a**2, 1), safe)
    return jax.tree.map(jnp.add, total, (first, second, jnp.sum(w)))


def timed(posterior: Posterior, seconds: float) -> Posterior:
    """The same with its wall time."""
    return replace(posterior, seconds=seconds)
