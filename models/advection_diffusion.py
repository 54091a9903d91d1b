"""Linear advection and diffusion of a tracer on a ring.

    ∂c/∂t + u ∂c/∂x = ν ∂²c/∂x²,    x in [0, length), periodic

SI units. The step multiplies each Fourier mode by exp(-(iku + νk²) dt), which is the exact
solution of the resolved modes: linear in c, stable for every dt, and the mean is conserved.
"""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Label, Labels, Params, State


def _defaults() -> Params:
    return {"speed": jnp.asarray(1.0, dtype=float), "diffusivity": jnp.asarray(0.01, dtype=float)}


class AdvectionDiffusion(AbstractModel):
    """Linear advection and diffusion of a tracer, exact in time.

    Args:
        n: number of grid points, at least 3.
        dt: time step, s.
        length: length of the ring, m.
        parameters: defaults of the speed (m s-1) and the diffusivity (m2 s-1).

    Raises:
        ValueError: too few points, or a step or length that is not positive.
    """

    n: Annotated[int, "size"] = eqx.field(default=64, static=True)
    dt: float = eqx.field(default=0.01, static=True)
    length: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 3:
            message = f"n must be a whole number of at least 3, got {self.n}"
            raise ValueError(f"AdvectionDiffusion: {message}")
        for name, value in (("dt", self.dt), ("length", self.length)):
            if not value > 0:
                raise ValueError(f"AdvectionDiffusion: {name} must be positive, got {value}")

    def labels(self) -> Labels:
        """One field `tracer` on the periodic dimension `x`."""
        points = np.arange(self.n) * (self.length / self.n)
        return Labels(
            state={"tracer": Label(("x",), "1", "tracer")},
            parameters={
                "speed": Label((), "m s-1", "speed of the flow"),
                "diffusivity": Label((), "m2 s-1", "diffusivity of the tracer"),
            },
            coordinates={"x": Coordinate(points, "m", "distance along the ring", self.length)},
            time_unit="seconds",
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One step, mode by mode."""
        del t
        wave = 2 * np.pi / self.length * np.arange(self.n // 2 + 1)
        # The shortest wave of an even grid has no odd derivative on the grid: it is not advected.
        advected = np.where(2 * np.arange(self.n // 2 + 1) == self.n, 0.0, wave)
        decay = jnp.exp(-theta["diffusivity"] * wave**2 * self.dt)
        angle = -theta["speed"] * advected * self.dt
        turn = jnp.cos(angle) + 1j * jnp.sin(angle)
        modes = jnp.fft.rfft(x["tracer"]) * decay * turn
        return {"tracer": jnp.fft.irfft(modes, self.n)}
