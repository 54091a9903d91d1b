"""Markov chains of any kernel: coordinates, starts, blocks of draws, what a warm-up changes."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.arguments import a_share, check_settings, positive
from assim.devices import each_member, program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import AbstractPosterior
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.metric import averaged
from assim.solve.together import log_density

Array = jax.Array

BLOCK = 20  # draws of every chain that one compiled call makes
PHASES = 3  # of the warm-up; after each, chains are regrouped and coordinates fitted
BEHIND = 10.0, 2.0  # nats, and nats for each √n, by which a mode that is left was smaller
FITTED = 10  # draws for each coordinate that a fitted covariance needs
PRIOR_DRAWS = 10.0  # draws that N(0, I) is worth beside those that a covariance is fitted to
NEAR = 256  # draws of the Laplace Gaussian among which starts are chosen, at least, χ* being one
FAR = 8  # draws of the prior for every chain that starts from it
WIDENED = 2.0  # standard deviations of Laplace draws where there is no prior to draw from
DESCENT = 100  # steps down from the prior
SLOWEST = 0.02  # of them, the last one's size


class Coordinates(eqx.Module):
    """χ = χ* + A^(-1/2) S z, S² the covariance that draws were found to have, else 1."""

    chart: Gaussian  # by the averaged Hessian A
    root: Array  # S, shape (n, n), or a scalar 1 where n is too large to fit a covariance

    def chi(self, z: Array) -> Array:
        """χ of z, shape (n,)."""
        return self.chart.at(self._stretched(z))

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
    """What a kernel learns while it warms up, the same for all chains."""

    step: Array  # its size in z
    length: Array  # of a trajectory, in z
    average: Array  # logarithm of the step size, averaged
    drift: Array  # what the last steps tell, averaged
    towards: Array  # logarithm of the step size to which dual averaging is drawn
    count: Array  # how often the step size was changed


class Step(NamedTuple):
    """What one draw of one chain cost and was like."""

    acceptance: Array  # probability with which the proposal was taken
    energy: Array  # mean square change of the energy in a step, for each coordinate of z
    divergent: Array  # whether it left the energy's level although the model was finite
    outside: Array  # whether it came to where the model is not finite, and was rejected
    level: Array  # energy that it began with, momentum included; NaN where momenta have one length
    gradients: Array  # evaluations of J with its gradient


class AbstractChains(AbstractPosterior):
    """A Markov chain in coordinates z in which the posterior is nearly N(0, I)."""

    chains: eqx.AbstractVar[int]
    accuracy: eqx.AbstractVar[float]
    acceptance: eqx.AbstractVar[float]
    warm_up: eqx.AbstractVar[int]
    max_gradients: eqx.AbstractVar[int]
    members: eqx.AbstractVar[int]

    def __check_init__(self) -> None:
        positive(self, "accuracy")
        a_share(self, "acceptance")
        check_settings(self, chains=2, warm_up=1, max_gradients=1, members=self.chains)

    @abc.abstractmethod
    def exact(self) -> bool:
        """Whether a Metropolis test makes the posterior the limit of the chain."""

    @abc.abstractmethod
    def early(self) -> "AbstractChains":
        """What all phases of the warm-up but the last are made with."""

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

    def phase_draws(self) -> int:
        """Draws of one chain in a phase of the warm-up."""
        return BLOCK * max(1, -(-self.warm_up // (PHASES * BLOCK)))


class Walk(NamedTuple):
    """Chains on their way."""

    at: Coordinates
    state: Any  # of the kernel, leading dimension chains
    tuning: Tuning


class Block(NamedTuple):
    """Draws of all chains, leading dimensions (draws, chains)."""

    chi: Array
    log_density: Array  # v - J
    virial: Array  # -z·∇log p/n, of mean 1 where chains are right and p vanishes at all edges
    scalars: Array  # what the problem publishes, shape (draws, chains, scalars)
    steps: Step


# ---- starts --------------------------------------------------------------------------------------


def _starts(
    problem: DepartureFunction, chart: Gaussian, gaussian: Gaussian, key: Array, chains: int
) -> tuple[tuple[Array, Array, Array], Array]:
    """Draws of the Laplace Gaussian chosen by weight, and draws of the prior after a descent.

    The weights are exp(v - J)/q; choosing without replacement by Gumbel's maxima. Draws at which
    the model is not finite have no weight. Where a coordinate has no prior of its own, draws of
    the Gaussian q with twice its width stand for those of the prior. Traceable.

    Returns z in the chart (chains, n), the first ⌈chains/2⌉ near the minimum, with log p and its
    gradient there; and which from the prior are draws of it, others being χ*.
    """
    keys = jax.random.split(key, 4)
    far, drawn = chains // 2, max(NEAR, chains)
    white = jax.random.normal(keys[0], (drawn, problem.size())).at[0].set(0.0)
    near = jax.vmap(gaussian.at)(white)
    others = jax.random.normal(keys[1], (FAR * far, problem.size()))
    widened = gaussian.chi[None] + WIDENED * jax.vmap(gaussian.sqrt)(others)
    others = jnp.where(jnp.all(problem.weight() > 0), others, widened)
    densities = log_density(problem, jnp.concatenate([near, others]))
    weights = jnp.sum(white**2, axis=1) / 2 + densities[:drawn]
    finite = jnp.where(jnp.isfinite(densities[drawn:]), 0.0, -jnp.inf)
    near, fine = _chosen(near, weights, keys[2], chains - far)
    others, own = _chosen(others, finite, keys[3], far)
    chi = jnp.concatenate([near, others])
    chi = jnp.where(jnp.concatenate([fine, own])[:, None], chi, gaussian.chi[None])
    moving = jnp.arange(chains) >= chains - far
    descend = each_member(lambda chi, moving: _descended(problem, chart, chart.z(chi), moving))
    return descend(chi, moving), own


def cost_of_starts(chains: int) -> tuple[int, int]:
    """Gradients and evaluations of J alone that starts take."""
    return DESCENT * chains, max(NEAR, chains) + FAR * (chains // 2)


def _chosen(chi: Array, log_weights: Array, key: Array, number: int) -> tuple[Array, Array]:
    """As many rows, and which of them have a weight at all."""
    perturbed = log_weights + jax.random.gumbel(key, log_weights.shape)
    value, index = jax.lax.top_k(jnp.where(jnp.isnan(perturbed), -jnp.inf, perturbed), number)
    return chi[index], jnp.isfinite(value)


class _Descent(NamedTuple):
    z: Array
    log_density: Array
    score: Array
    first: Array  # moments of Adam
    second: Array
    shrunk: Array


def _descended(
    problem: DepartureFunction, chart: Gaussian, z: Array, moving: Array
) -> tuple[Array, Array, Array]:
    """Down from z by Adam (Kingma & Ba 2015), its rate falling from a twentieth of the way.

    A step to where the model is not finite is not made, and the next one is half as long. Without
    `moving` nothing but log p and its gradient at z.
    """
    fastest = jnp.maximum(0.1, jnp.sqrt(jnp.mean(z**2)) / 20)

    def step(now: _Descent, count: Array) -> tuple[_Descent, None]:
        rate = now.shrunk * fastest * (SLOWEST / fastest) ** (count / DESCENT)
        first = 0.9 * now.first + 0.1 * now.score
        second = 0.99 * now.second + 0.01 * now.score**2
        age = jnp.maximum(count, 1.0)
        ahead = first / (1 - 0.9**age) / (jnp.sqrt(second / (1 - 0.99**age)) + 1e-30)
        tried = jnp.where(moving & (count > 0), now.z + rate * ahead, now.z)
        density, score = chart.scored(problem, tried)
        fine = jnp.isfinite(density)
        z = jnp.where(fine, tried, now.z)
        density = jnp.where(fine, density, now.log_density)
        score = jnp.where(fine, score, now.score)
        shrunk = jnp.where(fine, now.shrunk, now.shrunk / 2)
        return _Descent(z, density, score, first, second, shrunk), None

    blank, zero = jnp.zeros_like(z), jnp.zeros(())
    begin = _Descent(z, zero - jnp.inf, blank, blank, blank, zero + 1)
    end, _ = jax.lax.scan(step, begin, jnp.arange(0.0, DESCENT))
    return end.z, end.log_density, end.score


# ---- blocks of draws, and phases of the warm-up --------------------------------------------------


def _begun(method: AbstractChains, z: Array, log_density: Array, score: Array, key: Array) -> Any:
    """States of all chains, leading dimension chains."""
    return jax.vmap(method.begin)(z, log_density, score, jax.random.split(key, z.shape[0]))


@program
def set_out(
    method: AbstractChains, problem: DepartureFunction, gaussian: Gaussian, key: Array
) -> tuple[Walk, Array]:
    """All chains where they start, and which of those from the prior are draws of it; S = 1."""
    keys, n = jax.random.split(key, 3), problem.size()
    chart = averaged(problem, gaussian, keys[0])
    small = FITTED * n <= method.chains * method.phase_draws() // 2
    at = Coordinates(chart, jnp.eye(n) if small else jnp.ones(()))
    where, own = _starts(problem, chart, gaussian, keys[1], method.chains)
    return Walk(at, _begun(method, *where, keys[2]), method.first_tuning(n)), own


@program
def advance(
    method: AbstractChains, problem: DepartureFunction, walk: Walk, key: Array, adapting: Array
) -> tuple[Walk, Block]:
    """The next draws of all chains; the tuning changes after each where they are adapting."""
    at, chains = walk.at, walk.state.position.shape[0]

    def draw(carry: tuple[Any, Tuning], key: Array) -> tuple[tuple[Any, Tuning], Block]:
        state, tuning = carry

        def step(state: Any, key: Array) -> tuple[Any, Step]:
            return method.step(problem, at, state, tuning, key)

        state, steps = each_member(step)(state, jax.random.split(key, chains))
        new = method.tuned(tuning, steps)
        tuning = jax.tree.map(lambda new, old: jnp.where(adapting, new, old), new, tuning)
        z = state.position
        virial = -jnp.mean(z * state.logdensity_grad, axis=1)
        chi = jax.vmap(at.chi)(z)
        scalars = each_member(lambda chi: _scalars(problem, chi))(chi)
        return (state, tuning), Block(chi, state.logdensity, virial, scalars, steps)

    start = walk.state, walk.tuning
    (state, tuning), block = jax.lax.scan(draw, start, jax.random.split(key, BLOCK))
    return Walk(at, state, tuning), block


def _scalars(problem: DepartureFunction, chi: Array) -> Array:
    """Those that the problem publishes, in the order of `scalar_names`."""
    values = problem.scalars(chi)
    return jnp.stack([values[name] for name in sorted(values)]) if values else jnp.zeros(0)


@program
def _blank(problem: DepartureFunction) -> dict[str, Array]:
    """No values of them: traced once for all problems of one structure."""
    blank = jax.ShapeDtypeStruct((problem.size(),), jnp.result_type(float))
    return {name: jnp.zeros(0) for name in jax.eval_shape(problem.scalars, blank)}


def scalar_names(problem: DepartureFunction) -> tuple[str, ...]:
    """What the problem publishes, by name."""
    return tuple(sorted(_blank(problem)))


class Regrouped(NamedTuple):
    """Chains after a phase of the warm-up."""

    walk: Walk
    source: Array  # the chain whose place each one took, its own where it was not moved
    behind: Array  # log of the mass of the largest mode over that of a chain's, nats


@program
def regroup(
    method: AbstractChains, walk: Walk, chi: Array, log_density: Array, key: Array
) -> Regrouped:
    """Move chains out of modes without mass, fit the coordinates to the draws, settle the tuning.

    The log mass of what a chain explores is about mean(log p) + ½ Σ log var(z), the first by its
    height and the second by its volume (of a Gaussian without correlations, hence too large where
    there are some). A chain more than 10 + 2√n nats below the best one goes on from the place of
    one of the others. Of the draws χ of the phase, shape (draws, chains, n), the first half is left
    out.
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
    state = _begun(method, place, log_density, score, keys[1])
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
