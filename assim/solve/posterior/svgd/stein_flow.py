"""Particles that move by Stein's operator: transport by a kernel, and affine polish."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.informed import Informed
from assim.solve.posterior.svgd.kernels import kernel_matrix, median_bandwidth, stein_force
from assim.solve.together import batch_size

Array = jax.Array

LONGEST = 50.0  # length at which a score is cut, in units of the whitened coordinates
DECAY = 100.0  # by which the step shrinks from first to last
RETREATS = 30  # times that a particle outside the support is moved half-way to the minimum


class Particles(NamedTuple):
    """Particles of an ensemble in the informed subspace.

    Args:
        a: whitened coordinates, shape (N, r).
        rest: what the subspace leaves out of χ, shape (N, n).
        density: log p, shape (N,).
        score: its gradient in a, shape (N, r).
    """

    a: Array
    rest: Array
    density: Array
    score: Array


def sharding(number: int) -> NamedSharding | None:
    """Rows of particles over as many devices as divide their number; None for one device."""
    devices = jax.devices()
    many = max(k for k in range(1, len(devices) + 1) if number % k == 0)
    if many == 1:
        return None
    mesh = Mesh(devices[:many], ("particle",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("particle"))


def scored(
    problem: DepartureFunction, informed: Informed, a: Array, rest: Array
) -> tuple[Array, Array]:
    """log p and score of every particle, as many together as memory allows."""
    batch = batch_size(problem) * jax.device_count()

    def density_and_score(particle: tuple[Array, Array]) -> tuple[Array, Array]:
        return informed.scored(problem, *particle)

    if a.shape[0] <= batch:
        return jax.vmap(density_and_score)((a, rest))
    return jax.lax.map(density_and_score, (a, rest), batch_size=batch)


def started(
    problem: DepartureFunction, informed: Informed, a: Array, rest: Array
) -> tuple[Particles, Array]:
    """Particles where they are, those of log p = -∞ drawn half-way to χ* until it is finite.

    Returns:
        the particles, and how many rounds of evaluations it took.
    """

    def placed(a: Array, rest: Array) -> Particles:
        return Particles(a, rest, *scored(problem, informed, a, rest))

    def lost(state: tuple[Particles, Array]) -> Array:
        particles, rounds = state
        return jnp.any(jnp.isinf(particles.density)) & (rounds <= RETREATS)

    def retreat(state: tuple[Particles, Array]) -> tuple[Particles, Array]:
        particles, rounds = state
        nearer = jnp.where(jnp.isinf(particles.density), 0.5, 1.0)[:, None]
        return placed(nearer * particles.a, nearer * particles.rest), rounds + 1

    return jax.lax.while_loop(lost, retreat, (placed(a, rest), jnp.ones((), int)))


def moved(
    problem: DepartureFunction, informed: Informed, particles: Particles, a: Array
) -> tuple[Particles, Array]:
    """Particles at a; those whose log p would not be finite stay. And the share that stayed."""
    density, score = scored(problem, informed, a, particles.rest)
    fine = jnp.isfinite(density) & jnp.all(jnp.isfinite(a), axis=1)
    keep = lambda new, old: jnp.where(fine[:, None], new, old)  # noqa: E731
    after = Particles(
        keep(a, particles.a),
        particles.rest,
        jnp.where(fine, density, particles.density),
        keep(score, particles.score),
    )
    return after, 1 - jnp.mean(fine)


class Transport(eqx.Module):
    """SVGD by Adam, its step decayed geometrically, or by Euler steps with noise.

    Args:
        kernel: "rbf" or "imq".
        steps: how many in all.
        step: length of the first.
        share: bandwidth in units of the median squared distance.
        stochastic: with noise √(2εK/N), no decay and the bandwidth of the start.
    """

    kernel: str = eqx.field(static=True)
    steps: Array
    step: Array
    share: Array
    stochastic: bool = eqx.field(default=False, static=True)

    def init(self, particles: Particles) -> tuple[optax.OptState, Array]:
        """State of Adam, and the bandwidth of the start."""
        return optax.scale_by_adam().init(particles.a), self.bandwidth(particles.a)

    def bandwidth(self, a: Array) -> Array:
        """h."""
        return self.share * median_bandwidth(a)

    def increment(
        self, particles: Particles, state: tuple[optax.OptState, Array], number: Array, key: Array
    ) -> tuple[Array, tuple[optax.OptState, Array]]:
        """By how much every particle moves in the step of this number."""
        adam, initial = state
        length = jnp.linalg.norm(particles.score, axis=1)
        score = particles.score * jnp.minimum(1.0, LONGEST / jnp.maximum(length, 1.0))[:, None]
        if self.stochastic:
            force = stein_force(particles.a, score, self.kernel, initial)
            return self.step * force + self._noise(particles.a, initial, key), state
        force = stein_force(particles.a, score, self.kernel, self.bandwidth(particles.a))
        direction, adam = optax.scale_by_adam().update(force, adam)
        return self.step * DECAY ** (-number / self.steps) * direction, (adam, initial)

    def _noise(self, a: Array, bandwidth: Array, key: Array) -> Array:
        """√(2εK/N) ξ (Gallego & Insua 2018, arXiv:1812.00071): K as a matrix, N³ operations."""
        number = a.shape[0]
        k = kernel_matrix(a, self.kernel, bandwidth) + 1e-10 * jnp.eye(number)
        root = jnp.linalg.cholesky(2 * self.step * k / number)
        return root @ jax.random.normal(key, a.shape)
