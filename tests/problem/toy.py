"""Small models with which to break things."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import (
    AbstractIntegrator,
    AbstractModel,
    AbstractODE,
    Adaptive,
    Array,
    Coordinate,
    Label,
    Labels,
    Params,
    State,
)


def rate() -> Params:
    return {"rate": jnp.asarray(0.5)}


class Decay(AbstractModel):
    """A field `u` of three points and a scalar `total`, with one parameter."""

    parameters: Params = eqx.field(default_factory=rate)
    dt: float = eqx.field(default=0.25, static=True)
    wrong: Callable[[State], State] | None = eqx.field(default=None, static=True)

    def labels(self) -> Labels:
        x = Coordinate(np.arange(3.0), "m")
        return Labels(
            {"u": Label(("x",), "K"), "total": Label((), "J")}, {"rate": Label((), "s-1")}, {"x": x}
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        after = {name: value * (1 - theta["rate"] * self.dt) for name, value in x.items()}
        return after if self.wrong is None else self.wrong(after)


class Tendency(AbstractODE):
    """dx/dt = f(x, θ, t) of scalar fields x0, x1, … in the order of the vector f."""

    function: Callable[[Array, Params, Array], Array] = eqx.field(static=True)
    n: int = eqx.field(static=True)
    parameters: Params = eqx.field(default_factory=rate)
    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)

    def labels(self) -> Labels:
        return Labels(
            {f"x{i}": Label() for i in range(self.n)}, {name: Label() for name in self.parameters}
        )

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        vector = jnp.stack([x[f"x{i}"] for i in range(self.n)])
        return {f"x{i}": part for i, part in enumerate(self.function(vector, theta, t))}


BACKGROUND = {"u": np.array([1.0, 2.0, 3.0]), "total": 6.0}
