"""Kuramoto–Sivashinsky: long waves grow, short ones decay, and advection carries from one to other.

    ∂u/∂t + u ∂u/∂x + a ∂²u/∂x² + b ∂⁴u/∂x⁴ = 0,    x in [0, length), periodic

Non-dimensional; with a = b = 1 chaotic for lengths above about 20. Fourier modes are stepped by
ETDRK4 (Cox & Matthews 2002, J. Comput. Phys. 176, 430-455, equations 26 to 29), exact for the
linear terms however stiff, with coefficients free of cancellation (Kassam & Trefethen 2005, SIAM J.
Sci. Comput. 26, 1214-1233, who take them from contour integrals and Taylor's series from this).
"""

import math
from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Label, Labels, Params, State

_TERMS = 18  # of Taylor's series of φ₃, whose next one is 1e-21 at z = 1


def _defaults() -> Params:
    return {name: jnp.asarray(1.0, dtype=float) for name in ("instability", "hyperviscosity")}


class KuramotoSivashinsky(AbstractModel):
    """Kuramoto–Sivashinsky, stepped by ETDRK4.

    Products are de-aliased by the rule of two thirds: waves shorter than three spacings decay
    without part in the advection. The mean is conserved.

    Args:
        n: number of grid points, at least 4.
        dt: time step.
        length: length of the ring.
        parameters: defaults of a and b.

    Raises:
        ValueError: too few points, or a step or length that is not positive.
    """

    n: Annotated[int, "size"] = eqx.field(default=128, static=True)
    dt: float = eqx.field(default=0.25, static=True)
    length: float = eqx.field(default=32 * math.pi, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 4:
            message = f"n must be a whole number of at least 4, got {self.n}"
            raise ValueError(f"KuramotoSivashinsky: {message}")
        for name, value in (("dt", self.dt), ("length", self.length)):
            if not value > 0:
                raise ValueError(f"KuramotoSivashinsky: {name} must be positive, got {value}")

    def labels(self) -> Labels:
        """One field `u` on the periodic dimension `x`."""
        points = np.arange(self.n) * (self.length / self.n)
        return Labels(
            state={"u": Label(("x",), "1", "Kuramoto-Sivashinsky variable")},
            parameters={
                "instability": Label((), "1", "strength of the instability"),
                "hyperviscosity": Label((), "1", "hyperviscosity"),
            },
            coordinates={"x": Coordinate(points, "1", "distance along the ring", self.length)},
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One step of ETDRK4: four advections a, b, c, d of ever better guesses of u."""
        del t
        wave = 2 * np.pi / self.length * np.arange(self.n // 2 + 1)
        z = self.dt * (theta["instability"] * wave**2 - theta["hyperviscosity"] * wave**4)
        whole, half = jnp.exp(z), jnp.exp(z / 2)
        to_half = self.dt / 2 * _phi(z / 2)[0]
        phi1, phi2, phi3 = _phi(z)
        u = jnp.fft.rfft(x["u"])
        a = self._advection(u)
        guess = half * u + to_half * a
        b = self._advection(guess)
        c = self._advection(half * u + to_half * b)
        d = self._advection(half * guess + to_half * (2 * c - a))
        first, middle = phi1 - 3 * phi2 + 4 * phi3, 2 * phi2 - 4 * phi3
        advected = first * a + middle * (b + c) + (4 * phi3 - phi2) * d
        return {"u": jnp.fft.irfft(whole * u + self.dt * advected, self.n)}

    def _advection(self, modes: Array) -> Array:
        """Modes of -∂(u²/2)/∂x."""
        index = np.arange(self.n // 2 + 1)
        kept = 3 * index < self.n
        u = jnp.fft.irfft(modes * kept, self.n)
        return jnp.fft.rfft(u**2) * (-1j * np.pi / self.length * index * kept)


def _phi(z: Array) -> tuple[Array, Array, Array]:
    """φ₁ = (e^z - 1)/z, φ₂ = (φ₁ - 1)/z and φ₃ = (φ₂ - 1/2)/z of real z, to rounding.

    Where |z| < 1, differences would cancel: there from Taylor's series of φ₃ down.
    """
    small = jnp.abs(z) < 1
    near, far = jnp.where(small, z, 0), jnp.where(small, 1, z)
    phi3 = jnp.zeros_like(z)
    for n in reversed(range(_TERMS)):
        phi3 = near * phi3 + 1 / math.factorial(n + 3)
    phi2 = near * phi3 + 1 / 2
    series = near * phi2 + 1, phi2, phi3
    phi1 = jnp.expm1(far) / far
    phi2 = (phi1 - 1) / far
    formulas = phi1, phi2, (phi2 - 1 / 2) / far
    phi1, phi2, phi3 = (jnp.where(small, *pair) for pair in zip(series, formulas, strict=True))
    return phi1, phi2, phi3
