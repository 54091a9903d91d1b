"""Markov chains of any kernel: starts, warm-up, blocks of draws, when to stop, certificates."""

import abc
import importlib
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.chains.starts import starts
from assim.solve.posterior.ensemble import AbstractPosterior
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.metric import Chart, averaged

Array = jax.Array

BLOCK = 20  # draws of every chain that one compiled call makes
PHASES = 3  # of the warm-up; after each, chains are regrouped and coordinates fitted
BEHIND = 10.0, 2.0  # nats, and nats for each √n, by which a mode that is left was smaller
FITTED = 10  # draws for each coordinate that a fitted covariance needs
PRIOR_DRAWS = 10.0  # draws that N(0, I) is worth beside those that a covariance is fitted to


class Coordinates(eqx.Module):
    """χ = χ* + A^(-1/2) S z, S² the covariance that draws were found to have, else 1.

    Args:
        chart: of the averaged Hessian.
        root: S, shape (n, n), or a scalar 1 where n is too large to fit a covariance.
    """

    chart: Chart
    root: Array

    def chi(self, z: Array) -> Array:
        """χ of z, shape (n,)."""
        return self.chart.chi(self._stretched(z))

    def z(self, chi: Array) -> Array:
        """z of χ, shape (n,)."""
        whitened = self.chart.z(chi)
        return jnp.linalg.solve(self.root, whitened) if self.root.ndim == 2 else whitened

    def log_density(self, problem: DepartureFunction, z: Array) -> Array:
        """log p, whose gradient is the score: -∞ and 0 where the model is not finite."""
        here = jax.lax.stop_gradient(z)
        density, score = self.chart.scored(problem, self._stretched(here))
        score = self.pulled(score)
        return jax.lax.stop_gradient(density) + jax.lax.stop_gradient(score) @ (z - here)

    def pulled(self, score: Array) -> Array:
        """∇ log p in z from that in the chart, Sᵀ s."""
        return self.root.T @ score if self.root.ndim == 2 else score

    def pushed(self, score: Array) -> Array:
        """The inverse of `pulled`."""
        return jnp.linalg.solve(self.root.T, score) if self.root.ndim == 2 else score

    def _stretched(self, z: Array) -> Array:
        return self.root @ z if self.root.ndim == 2 else z


class Tuning(eqx.Module):
    """What a kernel learns while it warms up, the same for all chains.

    Args:
        step: size of a step in z.
        length: of a trajectory, in z.
        average: logarithm of the step size, averaged.
        drift: what the last steps tell, averaged.
        towards: logarithm of the step size to which dual averaging is drawn.
        count: how often the step size was changed.
    """

    step: Array
    length: Array
    average: Array
    drift: Array
    towards: Array
    count: Array


class Step(NamedTuple):
    """What one draw of one chain cost and was like.

    Args:
        acceptance: probability with which the proposal was taken.
        energy: mean square change of the energy in a step, for each coordinate of z.
        divergent: whether the integration left the energy's level although the model was finite.
        outside: whether it came to where the model is not finite, and was rejected.
        gradients: evaluations of J with its gradient.
    """

    acceptance: Array
    energy: Array
    divergent: Array
    outside: Array
    gradients: Array


class AbstractChains(AbstractPosterior):
    """A Markov chain in coordinates z in which the posterior is nearly N(0, I)."""

    chains: eqx.AbstractVar[int]
    accuracy: eqx.AbstractVar[float]
    acceptance: eqx.AbstractVar[float]
    warm_up: eqx.AbstractVar[int]
    max_gradients: eqx.AbstractVar[int]
    members: eqx.AbstractVar[int]

    @abc.abstractmethod
    def exact(self) -> bool:
        """Whether a Metropolis test makes the posterior the limit of the chain."""

    @abc.abstractmethod
    def begin(self, z: Array, log_density: Array, score: Array, key: Array) -> Any:
        """State of a chain at z, with `position`, `logdensity` and `logdensity_grad`."""

    @abc.abstractmethod
    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """The next draw of a chain."""

    @abc.abstractmethod
    def first_tuning(self, n: int) -> Tuning:
        """Where tuning starts."""

    @abc.abstractmethod
    def tuned(self, tuning: Tuning, steps: Step) -> Tuning:
        """After one draw of every chain."""

    @abc.abstractmethod
    def settled(self, tuning: Tuning, z: Array) -> Tuning:
        """At the end of a phase, from the draws of z in it, shape (draws, n)."""


def check_chains(method: AbstractChains) -> None:
    """Refuse settings that no kernel can work with.

    Raises:
        ValueError: for a setting below what it must at least be.
    """
    kind = type(method).__name__
    if not method.accuracy > 0:
        raise ValueError(f"{kind}: accuracy must be above 0, got {method.accuracy}")
    if not 0 < method.acceptance < 1:
        raise ValueError(f"{kind}: acceptance must be between 0 and 1, got {method.acceptance}")
    for name, least in (
        ("chains", 2),
        ("warm_up", 1),
        ("max_gradients", 1),
        ("members", method.chains),
    ):
        if (given := getattr(method, name)) < least:
            raise ValueError(f"{kind}: {name} must be at least {least}, got {given}")


def blackjax(method: str) -> Any:
    """The library that has the kernels.

    Raises:
        ImportError: where it is not installed.
    """
    try:
        return importlib.import_module("blackjax")
    except ImportError as error:
        raise ImportError(
            f"{method} needs blackjax, which is not installed: pip install 'assim[mcmc]'"
        ) from error


class Walk(NamedTuple):
    """Chains on their way.

    Args:
        at: their coordinates.
        state: of the kernel, leading dimension chains.
        tuning: of the kernel.
    """

    at: Coordinates
    state: Any
    tuning: Tuning


class Block(NamedTuple):
    """Draws of all chains, leading dimensions (draws, chains).

    Args:
        chi: (draws, chains, n).
        log_density: v - J.
        virial: -z·∇log p/n, whose mean is 1 where chains are right and p vanishes at all edges.
        steps: what they cost.
    """

    chi: Array
    log_density: Array
    virial: Array
    steps: Step


def first_coordinates(
    method: AbstractChains, problem: DepartureFunction, gaussian: Gaussian, key: Array
) -> Coordinates:
    """By the averaged Hessian; S = 1."""
    chart = Chart(averaged(problem, gaussian, key))
    n = problem.size()
    small = FITTED * n <= method.chains * phase_draws(method) // 2
    return Coordinates(chart, jnp.eye(n) if small else jnp.ones(()))


def begun(method: AbstractChains, z: Array, log_density: Array, score: Array, key: Array) -> Any:
    """States of all chains, leading dimension chains."""
    return jax.vmap(method.begin)(z, log_density, score, jax.random.split(key, z.shape[0]))


@eqx.filter_jit
def set_out(
    method: AbstractChains, problem: DepartureFunction, gaussian: Gaussian, key: Array
) -> tuple[Walk, Array]:
    """All chains where they start, and which of those from the prior are draws of it."""
    keys = jax.random.split(key, 3)
    at = first_coordinates(method, problem, gaussian, keys[0])
    initial = starts(problem, at.chart, gaussian, keys[1], method.chains)
    state = begun(method, initial.z, initial.log_density, initial.score, keys[2])
    return Walk(at, state, method.first_tuning(problem.size())), initial.own


@eqx.filter_jit
def advance(
    method: AbstractChains,
    problem: DepartureFunction,
    walk: Walk,
    key: Array,
    adapting: Array,
) -> tuple[Walk, Block]:
    """The next draws of all chains; the tuning changes after each where they are adapting."""
    at, chains = walk.at, walk.state.position.shape[0]

    def draw(carry: tuple[Any, Tuning], key: Array) -> tuple[tuple[Any, Tuning], Block]:
        state, tuning = carry

        def step(state: Any, key: Array) -> tuple[Any, Step]:
            return method.step(problem, at, state, tuning, key)

        state, steps = jax.vmap(step)(state, jax.random.split(key, chains))
        new = method.tuned(tuning, steps)
        tuning = jax.tree.map(lambda new, old: jnp.where(adapting, new, old), new, tuning)
        z = state.position
        virial = -jnp.mean(z * state.logdensity_grad, axis=1)
        return (state, tuning), Block(jax.vmap(at.chi)(z), state.logdensity, virial, steps)

    start = walk.state, walk.tuning
    (state, tuning), block = jax.lax.scan(draw, start, jax.random.split(key, BLOCK))
    return Walk(at, state, tuning), block


class Regrouped(NamedTuple):
    """Chains after a phase of the warm-up.

    Args:
        walk: all chains, where they go on.
        source: the chain whose place each one took, its own where it was not moved.
        behind: log of the mass of the largest mode over that of a chain's, nats.
    """

    walk: Walk
    source: Array
    behind: Array


@eqx.filter_jit
def regroup(
    method: AbstractChains,
    walk: Walk,
    chi: Array,
    log_density: Array,
    key: Array,
) -> Regrouped:
    """Move chains out of modes without mass, fit the coordinates to the draws, settle the tuning.

    The log mass of what a chain explores is about mean(log p) + ½ Σ log var(z), the first by its
    height and the second by its volume (of a Gaussian without correlations, hence too large where
    there are some). A chain more than 10 + 2√n nats below the best one goes on from the place of
    one of the others.

    Args:
        method: the kernel and its settings.
        walk: the chains.
        chi: draws of the phase, shape (draws, chains, n); its first half is left out.
        log_density: at them.
        key: of the choice among the others.
    """
    half, n = chi.shape[0] // 2, chi.shape[2]
    z = jax.vmap(jax.vmap(walk.at.z))(chi[half:])
    volume = jnp.sum(jnp.log(jnp.var(z, axis=0) + 1e-30), axis=1) / 2
    mass = jnp.mean(log_density[half:], axis=0) + volume
    mass = jnp.where(jnp.isnan(mass), -jnp.inf, mass)
    behind = jnp.max(mass) - mass
    good = ~(behind > BEHIND[0] + BEHIND[1] * n**0.5)
    keys = jax.random.split(key, 2)
    replacement = jax.random.categorical(keys[0], jnp.where(good, 0.0, -jnp.inf), shape=good.shape)
    source = jnp.where(good, jnp.arange(good.shape[0]), replacement)
    at, pooled = _fitted(walk.at, z, good)
    tuning = method.settled(walk.tuning, pooled)
    position, log_density = walk.state.position[source], walk.state.logdensity[source]
    place = jax.vmap(lambda z: at.z(walk.at.chi(z)))(position)
    score = jax.vmap(lambda s: at.pulled(walk.at.pushed(s)))(walk.state.logdensity_grad[source])
    state = begun(method, place, log_density, score, keys[1])
    return Regrouped(Walk(at, state, tuning), source, behind)


def _fitted(at: Coordinates, z: Array, good: Array) -> tuple[Coordinates, Array]:
    """Coordinates whitened by the draws of good chains, and these draws in them, (rows, n).

    The covariance is shrunk towards 1. Bad chains' draws are replaced by the mean.
    """
    rows, chains, n = z.shape
    weight = jnp.tile(good, (rows, 1)) / (rows * jnp.sum(good))
    mean = jnp.einsum("rc,rcn->n", weight, z)
    centred = jnp.where(good[None, :, None], z - mean[None, None], 0.0).reshape(-1, n)
    count = rows * jnp.sum(good)
    if at.root.ndim == 0:
        return at, centred * jnp.sqrt(rows * chains / count)
    covariance = centred.T @ centred / count
    shrunk = (count * covariance + PRIOR_DRAWS * jnp.eye(n)) / (count + PRIOR_DRAWS)
    values, vectors = jnp.linalg.eigh(shrunk)
    root = (vectors * jnp.sqrt(values)[None]) @ vectors.T
    whitened = (centred @ vectors) / jnp.sqrt(values)[None] @ vectors.T
    return Coordinates(at.chart, at.root @ root), whitened * jnp.sqrt(rows * chains / count)


def phase_draws(method: AbstractChains) -> int:
    """Draws of one chain in a phase of the warm-up."""
    return BLOCK * max(1, -(-method.warm_up // (PHASES * BLOCK)))
