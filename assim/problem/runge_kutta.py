"""The classical Runge-Kutta step, for models that are written with a tendency and a fixed dt."""

from collections.abc import Callable

import jax

from assim.problem.arrays import Array, Params, State

Tendency = Callable[[State, Params, Array], State]


def rk4_step(tendency: Tendency, x: State, theta: Params, t: Array, dt: float) -> State:
    """x(t + dt) = x + dt (k1 + 2 k2 + 2 k3 + k4)/6, the classical fourth-order step (Kutta 1901).

    Args:
        tendency: dx/dt = tendency(x, θ, t).
        x: state at time t.
        theta: parameters, passed on.
        t: time.
        dt: length of the step.
    """

    def moved(k: State, by: float) -> State:
        return jax.tree.map(lambda x, k: x + by * k, x, k)

    k1 = tendency(x, theta, t)
    k2 = tendency(moved(k1, dt / 2), theta, t + dt / 2)
    k3 = tendency(moved(k2, dt / 2), theta, t + dt / 2)
    k4 = tendency(moved(k3, dt), theta, t + dt)
    weighted = jax.tree.map(lambda a, b, c, d: (a + 2 * (b + c) + d) / 6, k1, k2, k3, k4)
    return moved(weighted, dt)
