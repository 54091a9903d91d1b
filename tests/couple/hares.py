"""Lynx and hare by a NumPy step without derivatives, and the same in JAX."""

import jax.numpy as jnp
import numpy as np

import assim

DT = 0.1
LABELS = assim.Labels(
    {"hare": assim.Label((), "1"), "lynx": assim.Label((), "1")},
    {name: assim.Label((), "years-1") for name in ("alpha", "beta", "gamma", "delta")},
    time_unit="years",
)
DEFAULTS = {"alpha": 0.55, "beta": 0.028, "gamma": 0.8, "delta": 0.024}
START = {"hare": 30.0, "lynx": 4.0}


def advanced(x, theta):
    """Four stages of Runge and Kutta."""

    def slope(hare, lynx):
        born, eaten = theta["alpha"] * hare, hare * lynx
        return born - theta["beta"] * eaten, theta["delta"] * eaten - theta["gamma"] * lynx

    h, p = x["hare"], x["lynx"]
    a = slope(h, p)
    b = slope(h + DT / 2 * a[0], p + DT / 2 * a[1])
    c = slope(h + DT / 2 * b[0], p + DT / 2 * b[1])
    d = slope(h + DT * c[0], p + DT * c[1])
    return {
        name: x[name] + DT / 6 * (a[i] + 2 * b[i] + 2 * c[i] + d[i])
        for i, name in enumerate(("hare", "lynx"))
    }


def step(x, theta, t):
    """One step, of the state alone."""
    return advanced(x, theta)


class _InJax(assim.AbstractModel):
    parameters: assim.Params
    dt: float = DT

    def labels(self):
        return LABELS

    def step(self, x, theta, t):
        return advanced(x, theta)


def in_jax():
    """The same with all derivatives."""
    return _InJax({name: jnp.asarray(value) for name, value in DEFAULTS.items()})


def model():
    """The step alone."""
    return assim.foreign.PythonModel(step, LABELS, DT, DEFAULTS)


def problem(given):
    """Both species, with errors of a tenth, once a year for twelve years."""
    x, years, values = START, np.arange(1.0, 13.0), {"hare": [], "lynx": []}
    for number in range(1, 121):
        x = advanced(x, DEFAULTS)
        if number % 10 == 0:
            for name, several in values.items():
                several.append(x[name])
    rng = np.random.default_rng(1)
    seen = [
        assim.Observations(
            name,
            np.array(several) * np.exp(0.1 * rng.standard_normal(12)),
            assim.Points.at(years),
            assim.operator.PointSample(name),
            0.1,
            likelihood=assim.likelihood.LogNormal(),
        )
        for name, several in values.items()
    ]
    start = {name: assim.prior.LogNormal(value, 0.2) for name, value in START.items()}
    priors = {name: assim.prior.LogNormal(value, 0.2) for name, value in DEFAULTS.items()}
    window = assim.Window.regular(given, slots=12, steps=10)
    return assim.strong_constraint(given, window, start, observations=seen, parameters=priors)
