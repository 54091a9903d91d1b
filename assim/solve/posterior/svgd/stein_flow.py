"""Particles that move by Stein's operator: transport by a kernel, and affine polish."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.informed import Informed
from assim.solve.posterior.svgd.kernels import kernel_matrix, median_bandwidth, stein_force

if TYPE_CHECKING:
    import optax

Array = jax.Array

LONGEST = 50.0  # length at which a score is cut, in units of the whitened coordinates
DECAY = 100.0  # by which the step shrinks from first to last
RETREATS = 30  # times that a particle outside the support is moved half-way to the minimum
POLISH_STEP = 0.1
POLISHED = 3e-3  # residual at which the polish ends
GROWN = 1.5  # times its least by which a residual may grow before the polish ends


class Particles(NamedTuple):
    """Particles of an ensemble in the informed subspace."""

    a: Array  # whitened coordinates, shape (N, r)
    rest: Array  # what the subspace leaves out of χ, shape (N, n)
    density: Array  # log p, shape (N,)
    score: Array  # its gradient in a, shape (N, r)


def sharding(number: int) -> NamedSharding | None:
    """Rows of particles over as many devices as divide their number; None for one device."""
    devices = jax.devices()
    many = max(k for k in range(1, len(devices) + 1) if number % k == 0)
    if many == 1:
        return None
    mesh = Mesh(devices[:many], ("particle",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("particle"))


@program
def started(
    problem: DepartureFunction, informed: Informed, a: Array, rest: Array
) -> tuple[Particles, Array]:
    """Particles where they are, those of log p = -∞ drawn half-way to χ* until it is finite.

    And how many rounds of evaluations that took.
    """

    def placed(a: Array, rest: Array) -> Particles:
        return Particles(a, rest, *informed.scored(problem, a, rest))

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
    density, score = informed.scored(problem, a, particles.rest)
    fine = jnp.isfinite(density) & jnp.all(jnp.isfinite(a), axis=1)
    keep = lambda new, old: jnp.where(fine[:, None], new, old)  # noqa: E731
    after = Particles(
        keep(a, particles.a),
        particles.rest,
        jnp.where(fine, density, particles.density),
        keep(score, particles.score),
    )
    return after, 1 - jnp.mean(fine)


def _adam() -> "optax.GradientTransformation":
    import optax  # when particles move

    return optax.scale_by_adam()


class Transport(eqx.Module):
    """SVGD by Adam, its step decayed geometrically, or by Euler steps with noise."""

    kernel: str = eqx.field(static=True)
    steps: Array  # how many in all
    step: Array  # length of the first
    share: Array  # bandwidth in units of the median squared distance
    stochastic: bool = eqx.field(static=True)  # with noise, no decay, the bandwidth of the start

    @program
    def init(self, particles: Particles) -> tuple["optax.OptState", Array]:
        """State of Adam, and the bandwidth of the start."""
        return _adam().init(particles.a), self.bandwidth(particles.a)

    def bandwidth(self, a: Array) -> Array:
        """h."""
        return self.share * median_bandwidth(a)

    def increment(
        self, particles: Particles, state: tuple["optax.OptState", Array], number: Array, key: Array
    ) -> tuple[Array, tuple["optax.OptState", Array]]:
        """By how much every particle moves in the step of this number."""
        adam, initial = state
        length = jnp.linalg.norm(particles.score, axis=1)
        score = particles.score * jnp.minimum(1.0, LONGEST / jnp.maximum(length, 1.0))[:, None]
        if self.stochastic:
            force = stein_force(particles.a, score, self.kernel, initial)
            return self.step * force + self._noise(particles.a, initial, key), state
        force = stein_force(particles.a, score, self.kernel, self.bandwidth(particles.a))
        direction, adam = _adam().update(force, adam)
        return self.step * DECAY ** (-number / self.steps) * direction, (adam, initial)

    def _noise(self, a: Array, bandwidth: Array, key: Array) -> Array:
        """√(2εK/N) ξ (Gallego & Insua 2018, arXiv:1812.00071): K as a matrix, N³ operations."""
        number = a.shape[0]
        k = kernel_matrix(a, self.kernel, bandwidth) + 1e-10 * jnp.eye(number)
        root = jnp.linalg.cholesky(2 * self.step * k / number)
        return root @ jax.random.normal(key, a.shape)


class SteinResidual(NamedTuple):
    """What is left of Stein's identity for linear functions."""

    matrix: Array  # A = I + (1/N) Σ_j s_j (a_j - m)ᵀ, shape (r, r); the unit of the subspace alone
    mean: Array  # s̄ = (1/N) Σ_j s_j, shape (r,)
    centre: Array  # m = (1/N) Σ_j a_j, shape (r,)

    def norms(self, rank: Array) -> Array:
        """|A|_F/√r and |s̄|, shape (2,)."""
        covariance = jnp.linalg.norm(self.matrix) / jnp.sqrt(jnp.maximum(rank, 1.0))
        return jnp.stack([covariance, jnp.linalg.norm(self.mean)])


def stein_residual(informed: Informed, particles: Particles) -> SteinResidual:
    """Both residuals of Stein's identity; 0 for draws of the posterior as N grows.

    E[s] = 0 and E[s (a - m)ᵀ] = -I wherever the density falls to 0 at infinity and nowhere jumps.
    """
    centre, mean = jnp.mean(particles.a, axis=0), jnp.mean(particles.score, axis=0)
    product = particles.score.T @ (particles.a - centre[None]) / particles.a.shape[0]
    return SteinResidual(jnp.diag(informed.mask) + product, mean, centre)


class Polish(NamedTuple):
    """Progress of a polish."""

    particles: Particles  # with the least residual so far
    current: Particles
    least: Array  # of the larger of both residuals
    worst: Array  # that of the current particles
    steps: Array


@program
def polished(
    problem: DepartureFunction, informed: Informed, particles: Particles, steps: int
) -> Polish:
    """a_i += ε [A (a_i - m) + s̄], until |A|_F/√r and |s̄| are small, one grows or steps end."""
    rank = jnp.sum(informed.mask)

    def worst(particles: Particles) -> Array:
        return jnp.max(stein_residual(informed, particles).norms(rank))

    def unfinished(p: Polish) -> Array:
        return (p.steps < steps) & (p.worst > POLISHED) & (p.worst <= GROWN * p.least)

    def step(p: Polish) -> Polish:
        residual = stein_residual(informed, p.current)
        away = p.current.a - residual.centre[None]
        a = p.current.a + POLISH_STEP * (away @ residual.matrix.T + residual.mean[None])
        after, _ = moved(problem, informed, p.current, a)
        now = worst(after)
        better = now < p.least
        keep = jax.tree.map(lambda new, old: jnp.where(better, new, old), after, p.particles)
        return Polish(keep, after, jnp.minimum(now, p.least), now, p.steps + 1)

    now = worst(particles)
    begin = Polish(particles, particles, now, now, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, step, begin)
