"""Departure functions without a model: all that a solver sees of a problem."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

Array = jax.Array


class Departures(NamedTuple):
    normalised: Array
    normaliser: Array
    volume: Array


class Misfit(eqx.Module):
    """d = function(χ, data), every coordinate of χ with this prior weight."""

    function: Callable[[Array, Array], Array] = eqx.field(static=True)
    n: int = eqx.field(static=True)
    prior: float = eqx.field(default=0.0, static=True)
    data: Array = eqx.field(default_factory=lambda: jnp.zeros(0))

    def __call__(self, chi: Array) -> Departures:
        return Departures(self.function(chi, self.data), jnp.zeros(()), jnp.zeros(()))

    def size(self) -> int:
        return self.n

    def weight(self) -> Array:
        return jnp.full(self.n, self.prior)

    def scalars(self, chi: Array) -> dict[str, Array]:
        return {}

    def has_normaliser(self) -> bool:
        return False

    def proper(self) -> bool:
        return self.prior > 0

    def workspace(self) -> int:
        return 2 * self.n


class UnknownScale(eqx.Module):
    """Gaussian values of mean zero and a scale σ = exp(χ) with the Jeffreys prior 1/σ."""

    values: Array

    def __call__(self, chi: Array) -> Departures:
        departures = self.values / jnp.exp(chi[0])
        return Departures(departures, self.values.size * chi[0], jnp.zeros(()))

    def size(self) -> int:
        return 1

    def weight(self) -> Array:
        return jnp.zeros(1)

    def scalars(self, chi: Array) -> dict[str, Array]:
        return {"sigma": jnp.exp(chi[0])}

    def has_normaliser(self) -> bool:
        return True

    def proper(self) -> bool:
        return False

    def workspace(self) -> int:
        return self.values.size + 1


def rosenbrock(chi: Array, data: Array) -> Array:
    """Minimum 0 at (1, …, 1), at the end of a curved valley."""
    del data
    return jnp.concatenate([10 * (chi[1:] - chi[:-1] ** 2), 1 - chi[:-1]])


def lorenz63(chi: Array, data: Array) -> Array:
    """Departures of x and z from data (m, 2) over m intervals of 0.1, 1.5 the background's sd."""
    background = jnp.array([1.509, -1.531, 25.46])

    def tendency(u: Array) -> Array:
        x, y, z = u
        return jnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    def step(u: Array, _: None) -> tuple[Array, None]:
        h = 0.02
        k1 = tendency(u)
        k2 = tendency(u + h / 2 * k1)
        k3 = tendency(u + h / 2 * k2)
        k4 = tendency(u + h * k3)
        return u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    def interval(u: Array, observed: Array) -> tuple[Array, Array]:
        u = jax.lax.scan(step, u, None, length=5)[0]
        return u, observed - u[::2]

    return jax.lax.scan(interval, background + 1.5 * chi, data)[1].ravel()


class RandomWalk(eqx.Module):
    """A walk from 0 seen through noise in its first and last third, both scales unknown.

    χ = (log innovation/2, log observation/2, 30 steps in units of the innovation): the posterior of
    `tests/solve/posterior/test_nested.py` without a model.
    """

    values: Array
    times: Array

    def __call__(self, chi: Array) -> Departures:
        scales = 2 * chi[:2]
        path = jnp.exp(scales[0]) * jnp.cumsum(chi[2:])
        departures = (self.values - path[self.times - 1]) / jnp.exp(scales[1])
        return Departures(departures, self.values.size * scales[1], self._volume(scales))

    def _volume(self, scales: Array) -> Array:
        reads = (self.times[:, None] > jnp.arange(30)[None]).astype(float)
        shared = jnp.exp(2 * (scales[0] - scales[1])) * reads.T @ reads
        return jnp.linalg.slogdet(jnp.eye(30) + shared)[1] / 2

    def size(self) -> int:
        return 32

    def scalars(self, chi: Array) -> dict[str, Array]:
        return {"innovation": jnp.exp(2 * chi[0]), "observation": jnp.exp(2 * chi[1])}

    def weight(self) -> Array:
        return jnp.ones(32)

    def has_normaliser(self) -> bool:
        return True

    def proper(self) -> bool:
        return True

    def workspace(self) -> int:
        return 82


class Ridge(eqx.Module):
    """Two half-Cauchy numbers a and b of scale 1 whose product is observed."""

    product: Array
    error: Array

    def __call__(self, chi: Array) -> Departures:
        a, b = self.scalars(chi).values()
        departures = (a * b - self.product) / self.error
        return Departures(departures[None], jnp.zeros(()), jnp.zeros(()))

    def size(self) -> int:
        return 2

    def scalars(self, chi: Array) -> dict[str, Array]:
        tails = jnp.pi / 2 * jax.scipy.special.ndtr(-chi)  # tan(π/2 Φ(χ)), exact far out too
        return {"a": 1 / jnp.tan(tails[0]), "b": 1 / jnp.tan(tails[1])}

    def weight(self) -> Array:
        return jnp.ones(2)

    def has_normaliser(self) -> bool:
        return False

    def proper(self) -> bool:
        return True

    def workspace(self) -> int:
        return 10
