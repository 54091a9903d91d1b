"""Two-level Lorenz-96: slow variables on a ring, each coupled to fast ones of its own.

    dX_k/dt = (X_{k+1} - X_{k-2}) X_{k-1} - X_k + F - (h c/b) Σ_i Y_i         i in sector k
    dY_i/dt = c b (Y_{i-1} - Y_{i+2}) Y_{i+1} - c Y_i + (h c/b) X_k           k the sector of i
    k = 0 … K-1,    i = 0 … J K - 1,    both periodic

Non-dimensional: a time of 1 stands for about five days of weather; the fast variables are c times
faster and b times smaller. Source: Lorenz (1996), "Predictability: a problem partly solved", ECMWF
Seminar on Predictability, vol. 1, equations 2 and 3.
"""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Label, Labels, Params, State, rk4_step, shift

_DEFAULTS = {"F": 10.0, "h": 1.0, "c": 10.0, "b": 10.0}


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class Lorenz96TwoLevel(AbstractModel):
    """Two-level Lorenz-96, stepped by RK4.

    Args:
        n: number of slow variables K, at least 4.
        fast: number of fast variables J of each slow one, at least 1.
        dt: time step; that of Lorenz, 0.005, suits c = b = 10.
        parameters: defaults of the forcing F, the coupling h, and the ratios c and b.

    Raises:
        ValueError: too few variables, or a step that is not positive.
    """

    n: Annotated[int, "size"] = eqx.field(default=36, static=True)
    fast: Annotated[int, "size"] = eqx.field(default=10, static=True)
    dt: float = eqx.field(default=0.005, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        for name, size, least in (("n", self.n, 4), ("fast", self.fast, 1)):
            if not isinstance(size, int) or size < least:
                message = f"{name} must be a whole number of at least {least}, got {size}"
                raise ValueError(f"Lorenz96TwoLevel: {message}")
        if not self.dt > 0:
            raise ValueError(f"Lorenz96TwoLevel: dt must be positive, got {self.dt}")

    def labels(self) -> Labels:
        """Slow variables at whole sites, and fast ones evenly from each site to the next."""
        ring = float(self.n)
        between = np.arange(self.n * self.fast) / self.fast
        return Labels(
            state={
                "X": Label(("site",), "1", "slow variable"),
                "Y": Label(("fast_site",), "1", "fast variable"),
            },
            parameters={
                "F": Label((), "1", "forcing"),
                "h": Label((), "1", "coupling"),
                "c": Label((), "1", "ratio of the speeds of fast and slow variables"),
                "b": Label((), "1", "ratio of the sizes of slow and fast variables"),
            },
            coordinates={
                "site": Coordinate(np.arange(ring), "1", "site", ring),
                "fast_site": Coordinate(between, "1", "place of a fast variable, in sites", ring),
            },
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One RK4 step."""
        return rk4_step(self._tendency, x, theta, t, self.dt)

    def _tendency(self, x: State, theta: Params, t: Array) -> State:
        del t
        slow, fast = x["X"], x["Y"]
        c, coupling = theta["c"], theta["h"] * theta["c"] / theta["b"]
        of_sector = jnp.sum(fast.reshape(self.n, self.fast), axis=1)
        to_sector = jnp.repeat(slow, self.fast)
        advected = (shift(slow, -1) - shift(slow, 2)) * shift(slow, 1)
        advected_fast = (shift(fast, 1) - shift(fast, -2)) * shift(fast, -1)
        return {
            "X": advected - slow + theta["F"] - coupling * of_sector,
            "Y": c * theta["b"] * advected_fast - c * fast + coupling * to_sector,
        }
