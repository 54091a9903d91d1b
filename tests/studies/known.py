"""Problems drawn at random whose posteriors are known, by family.

Every posterior comes by quadrature over one or two unknowns w ~ N(0, 1), with the rest integrated
out in closed form where there is more.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from assim import (
    AbstractModel,
    Array,
    Coordinate,
    ErrorScale,
    Label,
    Labels,
    ModelError,
    Observations,
    Params,
    Points,
    Problem,
    State,
    Window,
    likelihood,
    strong_constraint,
    weak_constraint,
)
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import AbstractPrior, HalfCauchy, LogNormal, Normal
from tests.solve.posterior.test_nested import Walk

LEVELS = (0.05, 0.5, 0.95)
TAIL = 1e-3  # of the mass
WIDE, NEGLIGIBLE = 8.0, 30.0  # of |w|, and nats below the highest
SHARP, SMOOTH = (641, 1601), (161, 401)  # points of an axis, at first and where there is mass
GAUSSIAN = likelihood.Gaussian()
Function = Callable[[Params, Array], Array]
Axes = tuple[np.ndarray, ...]
LogDensity = Callable[[Array], Array]  # of w, shape (axes,), but for a constant


class Exact(NamedTuple):
    """Moments and the quantiles at LEVELS of one scalar; ∞ for a standard deviation that a tail
    of a thousandth of the mass rules.
    """

    mean: float
    stdev: float
    quantiles: np.ndarray


class Known(NamedTuple):
    """A problem with the posteriors of its scalars, by name."""

    problem: Problem
    exact: dict[str, Exact]


class Curve(AbstractModel):
    """u(t + dt) = f(θ, data): what is read is a function of the parameters."""

    function: Function = eqx.field(static=True)
    data: Array
    parameters: Params
    number: int = eqx.field(static=True)
    dt: float = eqx.field(default=1.0, static=True)

    def labels(self) -> Labels:
        site = Coordinate(np.arange(float(self.number)))
        parameters = {name: Label((), "1") for name in self.parameters}
        return Labels({"u": Label(("site",), "1")}, parameters, {"site": site}, time_unit="1")

    def step(self, x: State, theta: Params, t: Array) -> State:
        return {"u": self.function(theta, self.data)}


def read(
    function: Function,
    data: np.ndarray,
    values: np.ndarray,
    stdev: float,
    priors: dict[str, AbstractPrior],
    law: likelihood.AbstractLikelihood = GAUSSIAN,
) -> Problem:
    """Values = f(θ, data) and errors of this law and standard deviation."""
    number = values.size
    model = Curve(function, jnp.asarray(data), dict.fromkeys(priors, jnp.asarray(1.0)), number)
    points = Points.at(np.ones(number), {"site": np.arange(float(number))})
    observed = Observations("u", values, points, PointSample("u"), stdev, law)
    window, start = Window.regular(model, 1, 1), {"u": jnp.zeros(number)}
    return strong_constraint(model, window, start, None, observed, priors)


# ---- truths --------------------------------------------------------------------------------------


def on_grid(
    log_density: LogDensity, axes: int, points: tuple[int, int] = SHARP
) -> tuple[Axes, np.ndarray]:
    """Points of every axis where the density is not negligible, and the mass at each."""
    density = jax.jit(lambda w: jax.lax.map(log_density, w, batch_size=2**16))

    def evaluated(ticks: Axes) -> np.ndarray:
        places = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)
        logs = np.asarray(density(jnp.asarray(places.reshape(-1, axes))))
        return logs.reshape(places.shape[:-1])

    coarse, number = points
    ticks = (np.linspace(-WIDE, WIDE, coarse),) * axes
    inside = (logs := evaluated(ticks)) > logs.max() - NEGLIGIBLE
    fine = []
    for k, axis in enumerate(ticks):
        where = np.flatnonzero(inside.any(tuple(j for j in range(axes) if j != k)))
        ends = max(where[0] - 1, 0), min(where[-1] + 1, coarse - 1)
        fine.append(np.linspace(axis[ends[0]], axis[ends[1]], number))
    mass = np.exp((logs := evaluated(tuple(fine))) - logs.max())
    return tuple(fine), mass / mass.sum()


def of_values(values: np.ndarray, mass: np.ndarray) -> Exact:
    """Moments and quantiles of values that rise, each with its mass."""
    mean = float(mass @ values)
    below = np.cumsum(mass) - mass / 2
    square = mass * (values - mean) ** 2
    ruled = square[below > 1 - TAIL].sum() > square.sum() / 2
    stdev = float("inf") if ruled else float(np.sqrt(square.sum()))
    return Exact(mean, stdev, np.interp(LEVELS, below, values))


def of_normals(mean: np.ndarray, stdev: np.ndarray, mass: np.ndarray) -> Exact:
    """The same of a mixture of normal distributions."""
    centre = float(mass @ mean)
    spread = float(np.sqrt(mass @ (stdev**2 + (mean - centre) ** 2)))
    x = centre + spread * np.linspace(-6.0, 6.0, 601)
    below = ndtr((x[:, None] - mean) / stdev) @ mass
    return Exact(centre, spread, np.interp(LEVELS, below, x))


def by_quadrature(
    log_density: LogDensity, priors: dict[str, AbstractPrior], points: tuple[int, int] = SHARP
) -> dict[str, Exact]:
    """Of one or two parameters, by w in the order of their priors."""
    axes, mass = on_grid(log_density, len(priors), points)
    exact = {}
    for k, (name, law) in enumerate(priors.items()):
        marginal = mass.sum(tuple(j for j in range(len(priors)) if j != k))
        exact[name] = of_values(np.asarray(law(jnp.asarray(axes[k]))), marginal)
    return exact


def curved(
    function: Function,
    values: np.ndarray,
    stdev: float,
    priors: dict[str, AbstractPrior],
    law: likelihood.AbstractLikelihood = GAUSSIAN,
) -> Known:
    """Of one or two parameters."""
    names, data = tuple(priors), jnp.zeros(values.size)

    def log_density(w: Array) -> Array:
        theta = {name: priors[name](w[k]) for k, name in enumerate(names)}
        away = (jnp.asarray(values) - function(theta, data)) / stdev
        if isinstance(law, likelihood.StudentT):
            misfit = (law.dof + 1) / 2 * jnp.log1p(away**2 / law.dof)
        else:
            misfit = away**2 / 2
        return -jnp.sum(misfit) - w @ w / 2

    problem = read(function, np.zeros(values.size), values, stdev, priors, law)
    return Known(problem, by_quadrature(log_density, priors))


# ---- families ------------------------------------------------------------------------------------


def product(theta: Params, data: Array) -> Array:
    return theta["a"] * theta["b"] + data


def ring(theta: Params, data: Array) -> Array:
    return theta["a"] ** 2 + theta["b"] ** 2 + data


def folded(theta: Params, data: Array) -> Array:
    return theta["a"] ** 2 + theta["b"] + data


def level(theta: Params, data: Array) -> Array:
    return theta["a"] + data


def saturating(theta: Params, data: Array) -> Array:
    return theta["a"] / (1 + theta["a"]) + data


def logarithm(theta: Params, data: Array) -> Array:
    return jnp.log1p(theta["a"]) + data


def affine(theta: Params, data: Array) -> Array:
    return data @ jnp.stack(list(theta.values()))


def groups(theta: Params, data: Array) -> Array:
    """Effects µ + τ z of groups about a common mean."""
    effects = jnp.stack([theta[f"z{k}"] for k in range(data.size)])
    return theta["mu"] + theta["tau"] * effects


def linear(rng: np.random.Generator) -> Known:
    """Six readings of four parameters; in closed form."""
    matrix, stdev = rng.normal(size=(6, 4)), float(rng.uniform(0.1, 2.0))
    width = rng.uniform(0.3, 3.0, size=4)
    values = matrix @ (width * rng.normal(size=4)) + stdev * rng.normal(size=6)
    covariance = np.linalg.inv(np.diag(width**-2) + matrix.T @ matrix / stdev**2)
    mean, spread = covariance @ matrix.T @ values / stdev**2, np.sqrt(np.diag(covariance))
    priors = {f"p{k}": Normal(0.0, width[k]) for k in range(4)}
    one = np.ones(1)
    exact = {name: of_normals(mean[[k]], spread[[k]], one) for k, name in enumerate(priors)}
    return Known(read(affine, matrix, values, stdev, priors), exact)


def funnel(rng: np.random.Generator) -> Known:
    """A random walk with both scales unknown, or groups whose spread is unknown."""
    return (walk, hierarchy)[int(rng.integers(2))](rng)


def hierarchy(rng: np.random.Generator) -> Known:
    """Five groups of one reading each; given τ all else is linear."""
    number, wide, law = 5, 5.0, LogNormal(1.0, 1.0)
    stdev = float(rng.uniform(0.3, 1.5))
    tau = np.exp(rng.normal())
    values = wide * rng.normal() + tau * rng.normal(size=number) + stdev * rng.normal(size=number)
    axis = np.linspace(-6.0, 6.0, 601)
    logs, means, variances = [], [], []
    for spread in np.asarray(law(jnp.asarray(axis))):
        columns = np.column_stack([np.full(number, wide), spread * np.eye(number)]) / stdev
        covariance = np.linalg.inv(np.eye(number + 1) + columns.T @ columns)
        mean = covariance @ columns.T @ values / stdev
        misfit = values @ values / stdev**2 - mean @ np.linalg.solve(covariance, mean)
        logs.append(-misfit / 2 + np.linalg.slogdet(covariance)[1] / 2)
        means.append(mean)
        variances.append(np.diag(covariance))
    logs = np.array(logs) - axis**2 / 2
    mass = np.exp(logs - logs.max())
    mass /= mass.sum()
    scale = np.array([wide, *[1.0] * number])
    mean, spread = scale * np.array(means), scale * np.sqrt(variances)
    priors = {"mu": Normal(0.0, wide), "tau": law}
    priors |= {f"z{k}": Normal(0.0, 1.0) for k in range(number)}
    exact = {"tau": of_values(np.asarray(law(jnp.asarray(axis))), mass)}
    for k, name in enumerate(("mu", *[f"z{k}" for k in range(number)])):
        exact[name] = of_normals(mean[:, k], spread[:, k], mass)
    return Known(read(groups, np.zeros(number), values, stdev, priors), exact)


def walk(rng: np.random.Generator) -> Known:
    """Twenty readings of a random walk of thirty steps; given the scales by the Kalman filter."""
    times = np.array([*range(1, 11), *range(21, 31)])
    innovation, error = np.exp(rng.normal(-1.5, 0.7, size=2))
    path = np.cumsum(innovation * rng.normal(size=30))
    values = path[times - 1] + error * rng.normal(size=20)
    law = LogNormal(0.3, 1.0)
    scale = ErrorScale("observation", law)
    points = Points.at(times.astype(float))
    observed = Observations("x", values, points, PointSample("x"), 1.0, scale=scale)
    forced = ModelError(Diagonal(1.0), scale=ErrorScale("innovation", law))
    model = Walk()
    problem = weak_constraint(
        model, Window.regular(model, 30, 1), {"x": 0.0}, observations=observed, model_error=forced
    )

    def log_density(w: Array) -> Array:
        innovation, error = law(w)

        def update(carry: tuple[Array, ...], seen: tuple[Array, Array]) -> tuple[object, None]:
            (mean, variance, total), (steps, value) = carry, seen
            variance = variance + steps * innovation**2
            spread = variance + error**2
            total = total - (value - mean) ** 2 / spread / 2 - jnp.log(spread) / 2
            gain = variance / spread
            return (mean + gain * (value - mean), variance * (1 - gain), total), None

        steps = jnp.diff(jnp.asarray(times), prepend=0)
        start = (jnp.zeros(()), jnp.zeros(()), -w @ w / 2)
        return jax.lax.scan(update, start, (steps, jnp.asarray(values)))[0][2]

    laws = {"innovation": law, "observation": law}
    return Known(problem, by_quadrature(log_density, laws, SMOOTH))


def ridge(rng: np.random.Generator) -> Known:
    """A product of two parameters, with priors of light or heavy tails, or a sum of squares."""
    kind, stdev = int(rng.integers(3)), float(rng.uniform(0.05, 0.5))
    law = (LogNormal(1.0, 1.0), HalfCauchy(1.0), Normal(0.0, 1.0))[kind]
    a, b = np.asarray(law(jnp.asarray(rng.normal(size=2))))
    value = a**2 + b**2 if kind == 2 else a * b
    stdev *= max(abs(value), 0.1)
    values = value + stdev * rng.normal(size=3)
    return curved(ring if kind == 2 else product, values, stdev, {"a": law, "b": law})


def two_modes(rng: np.random.Generator) -> Known:
    """Readings of a² + b: both signs of a fit, one better than the other."""
    priors = {"a": Normal(float(rng.uniform(0.0, 0.5)), 1.0), "b": Normal(0.0, 0.5)}
    stdev = float(rng.uniform(0.1, 0.5))
    value = rng.uniform(0.5, 1.8) ** 2 + 0.5 * rng.normal()
    return curved(folded, value + stdev * rng.normal(size=3), stdev, priors)


def heavy_tails(rng: np.random.Generator) -> Known:
    """Outliers of a t distribution, or a parameter that readings do not hold from above."""
    kind = int(rng.integers(3))
    stdev = float(rng.uniform(0.1, 0.5))
    if kind == 0:
        values = rng.normal() + stdev * rng.standard_t(2.0, size=5)
        return curved(level, values, stdev, {"a": Normal(0.0, 10.0)}, likelihood.StudentT(dof=2.0))
    function, law = ((saturating, HalfCauchy(1.0)), (logarithm, LogNormal(1.0, 1.5)))[kind - 1]
    truth = np.asarray(law(jnp.asarray(rng.normal())))
    value = np.log1p(truth) if kind == 2 else truth / (1 + truth)
    return curved(function, value + stdev * rng.normal(size=3), stdev, {"a": law})


FAMILIES = {
    "linear, Gaussian": linear,
    "funnels": funnel,
    "ridges": ridge,
    "two modes": two_modes,
    "heavy tails": heavy_tails,
}
