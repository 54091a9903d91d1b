"""Heat on a ring by a NumPy step without derivatives, and the same in JAX."""

import jax.numpy as jnp
import numpy as np

import assim

N = 12
LABELS = assim.Labels(
    {"T": assim.Label(("x",), "K")},
    {"k": assim.Label((), "m2 s-1")},
    {"x": assim.Coordinate(np.arange(float(N)), "m", period=float(N))},
)
DEFAULTS = {"k": 0.2}
FAILS_ABOVE = 1e3  # K, where the code gives up


def heated(x, k, xp):
    return x + k * (xp.roll(x, 1) - 2 * x + xp.roll(x, -1)) + 0.1 * (xp.roll(x, 1) - x)


def step(x, theta, t):
    """One step, of the state alone."""
    if np.max(x["T"]) > FAILS_ABOVE:
        raise FloatingPointError("too hot")
    return {"T": heated(x["T"], theta["k"], np)}


class InJax(assim.AbstractModel):
    """The same with all derivatives."""

    parameters: assim.Params
    dt: float = 1.0

    def labels(self):
        return LABELS

    def step(self, x, theta, t):
        return {"T": heated(x["T"], theta["k"], jnp)}


def model():
    """The step alone."""
    return assim.foreign.PythonModel(step, LABELS, 1.0, DEFAULTS)


def problem(given, parameters=None, every=1, length=1.5):
    """Three snapshots of the ring, from a background of zero."""
    rng = np.random.default_rng(3)
    places = np.arange(0.0, N, every)
    times = np.repeat([1.0, 2.0, 4.0], places.size)
    points = assim.Points.at(times, {"x": np.tile(places, 3)})
    values = 1.0 + rng.standard_normal(times.size)
    seen = assim.Observations("T", values, points, assim.operator.PointSample("T"), stdev=0.4)
    return assim.strong_constraint(
        given,
        assim.Window.regular(given, slots=4),
        background={"T": jnp.zeros(N)},
        covariance=assim.covariance.GaspariCohn(length),
        observations=seen,
        parameters=parameters,
    )
