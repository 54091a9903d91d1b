"""Nested Laplace in more dimensions than a lattice has, against the Kalman filter's likelihood."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from assim import (
    AbstractModel,
    ErrorScale,
    Label,
    Labels,
    ModelError,
    Observations,
    Params,
    Points,
    State,
    Window,
    weak_constraint,
)
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal, Normal
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.nested.nested import Nested
from tests.solve.posterior.test_nested import sampled

STEPS = 24
DECAY, DRIVE, SCALE = Normal(0.8, 0.15), Normal(0.0, 0.5), LogNormal(0.5, 0.7)
KINDS = ("coarse", "fine")  # instruments, in turn at every step
NAMES = ("decay", "drive", "innovation", *KINDS)


class Damped(AbstractModel):
    """x(t+1) = a x(t) + b."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=lambda: {"decay": 0.8, "drive": 0.0})

    def labels(self) -> Labels:
        one = Label((), "1")
        return Labels({"x": one}, {"decay": one, "drive": one}, time_unit="1")

    def step(self, x: State, theta: Params, t: jax.Array) -> State:
        return {"x": theta["decay"] * x["x"] + theta["drive"]}


def values():
    """Of every step, seen by one instrument after the other."""
    rng = np.random.default_rng(11)
    x, seen = 1.0, []
    for k in range(STEPS):
        x = 0.85 * x + 0.3 + 0.4 * rng.normal()
        seen.append(x + (0.8, 0.3)[k % 2] * rng.normal())
    return np.array(seen)


def damped():
    model, seen = Damped(), values()
    instruments = [
        Observations(
            kind,
            seen[k::2],
            Points.at(np.arange(1.0 + k, STEPS + 1, 2)),
            PointSample("x"),
            1.0,
            scale=ErrorScale(kind, SCALE),
        )
        for k, kind in enumerate(KINDS)
    ]
    return weak_constraint(
        model,
        Window.regular(model, STEPS, 1),
        {"x": 1.0},
        observations=instruments,
        parameters={"decay": DECAY, "drive": DRIVE},
        model_error=ModelError(Diagonal(1.0), scale=ErrorScale("innovation", SCALE)),
    )


def kalman(psi):
    """log p(y | ψ) p(ψ) but for constants, ψ in the order of NAMES, each N(0, 1)."""
    decay, drive = 0.8 + 0.15 * psi[0], 0.5 * psi[1]
    innovation, *errors = 0.5 * jnp.exp(0.7 * psi[2:])

    def step(carry, inputs):
        (mean, variance, total), (value, error) = carry, inputs
        mean, variance = decay * mean + drive, decay**2 * variance + innovation**2
        spread = variance + error**2
        total = total - (value - mean) ** 2 / spread / 2 - jnp.log(spread) / 2
        gain = variance / spread
        return (mean + gain * (value - mean), variance * (1 - gain), total), None

    inputs = jnp.asarray(values()), jnp.tile(jnp.stack(errors), STEPS // 2)
    return jax.lax.scan(step, (1.0, 0.0, -jnp.sum(psi**2) / 2), inputs)[0][-1]


def exact():
    """Mean and deviation of ψ, summed in five dimensions in steps of a deviation of Laplace."""
    slope = jax.jit(jax.grad(lambda psi: -kalman(psi)))
    psi = scipy.optimize.minimize(lambda psi: -kalman(psi), np.zeros(5), jac=slope).x
    root = np.linalg.cholesky(np.linalg.inv(jax.hessian(lambda psi: -kalman(psi))(psi)))
    axis = np.arange(-8.0, 9.0)
    places = np.stack(np.meshgrid(*[axis] * 5, indexing="ij"), axis=-1).reshape(-1, 5)
    nodes = psi + places @ root.T
    run = jax.jit(lambda nodes: jax.lax.map(kalman, nodes, batch_size=10_000))
    density = np.asarray(run(jnp.asarray(nodes)))
    weights = np.exp(density - density.max())
    border = np.any(np.abs(places) == np.abs(axis).max(), axis=1)
    assert weights[border].sum() < 1e-3 * weights.sum()
    weights /= weights.sum()
    mean = weights @ nodes
    return mean, np.sqrt(weights @ (nodes - mean) ** 2)


def psi_of(chi):
    """In the order of NAMES."""
    simulated = damped().control(chi)
    theta, scales = simulated.parameters, simulated.scales
    logs = [jnp.log(scales[name] / 0.5) / 0.7 for name in NAMES[2:]]
    return jnp.stack([(theta["decay"] - 0.8) / 0.15, theta["drive"] / 0.5, *logs])


@pytest.mark.slow
def test_five_parameters_and_scales():
    """Certified, and moments within what that promises."""
    problem = damped()
    ensemble = sampled(problem, Nested(), jnp.zeros(problem.size()))
    assert ensemble.trust is Trust.CERTIFIED, ensemble.advice
    psi, weights = np.asarray(jax.vmap(psi_of)(ensemble.members)), np.asarray(ensemble.weights)
    mean = weights @ psi
    stdev = np.sqrt(weights @ (psi - mean) ** 2)
    known = exact()
    assert np.max(np.abs(mean - known[0]) / known[1]) < 0.05
    assert np.max(np.abs(stdev / known[1] - 1)) < 0.03
