"""One constructor for everything that the laws are checked on: a new class is one line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.stats

from assim.models import (
    AdvectionDiffusion,
    Lorenz63,
    Lorenz96,
    LotkaVolterra,
    SIRWaterborne,
    TwoLayer,
)
from assim.problem.arrays import Array, State
from assim.problem.covariance import AbstractCovariance, Blocks, Dense, Diagonal
from assim.problem.forcing import Forcing
from assim.problem.integrator import Adaptive, FixedStep
from assim.problem.likelihood import (
    AbstractLikelihood,
    Gaussian,
    Huber,
    LogNormal,
    Poisson,
    StudentT,
    VariationalQC,
)
from assim.problem.model import AbstractDynamics, AbstractIntegrator
from assim.problem.operator import (
    AbstractOperator,
    Function,
    PointSample,
    TimeDifference,
    TimeIntegral,
    TimeMean,
    sample,
)
from assim.problem.prior import (
    AbstractPrior,
    HalfCauchy,
    HalfNormal,
    Jeffreys,
    Normal,
    TruncatedNormal,
    Uniform,
)
from assim.problem.prior import LogNormal as LogNormalPrior

# ---- covariances ---------------------------------------------------------------------------------


class CovarianceEntry(NamedTuple):
    make: Callable[[], AbstractCovariance]
    shape: tuple[int, ...]  # field that it is fitted to
    misfit: tuple[int, ...] | None  # field that it must refuse; None: it fits every field


def _spd(n: int) -> np.ndarray:
    """A matrix with correlations that decay over three points, and unequal variances."""
    i = np.arange(n)
    stdev = 0.5 + 0.3 * i
    return np.exp(-np.abs(i[:, None] - i) / 3) * stdev[:, None] * stdev


COVARIANCES = {
    "diagonal-number": CovarianceEntry(lambda: Diagonal(0.7), (3, 2), None),
    "diagonal-array": CovarianceEntry(lambda: Diagonal([0.5, 2.0, 3.0]), (3,), (4,)),
    "dense": CovarianceEntry(lambda: Dense(_spd(5)), (5,), (4,)),
    "dense-two-dimensions": CovarianceEntry(lambda: Dense(_spd(6)), (2, 3), (2, 2)),
    "blocks": CovarianceEntry(lambda: Blocks([Diagonal(0.7), Dense(_spd(3))], [2, 3]), (5,), (6,)),
    "blocks-two-dimensions": CovarianceEntry(
        lambda: Blocks([Dense(_spd(4)), Diagonal(2.0)], [2, 1]), (3, 2), (4, 2)
    ),
}

# ---- priors --------------------------------------------------------------------------------------


class PriorEntry(NamedTuple):
    make: Callable[[], AbstractPrior]
    distribution: Any  # of scipy.stats; None for an improper prior


def _truncated(mean: float, stdev: float, lower: float, upper: float) -> Any:
    a, b = (lower - mean) / stdev, (upper - mean) / stdev
    return scipy.stats.truncnorm(a, b, loc=mean, scale=stdev)


PRIORS = {
    "normal": PriorEntry(lambda: Normal(1.5, 0.4), scipy.stats.norm(1.5, 0.4)),
    "log-normal": PriorEntry(
        lambda: LogNormalPrior(median=10.0, log_stdev=0.8), scipy.stats.lognorm(0.8, scale=10.0)
    ),
    "half-normal": PriorEntry(lambda: HalfNormal(2.0), scipy.stats.halfnorm(scale=2.0)),
    "half-cauchy": PriorEntry(lambda: HalfCauchy(2.5), scipy.stats.halfcauchy(scale=2.5)),
    "truncated-below": PriorEntry(
        lambda: TruncatedNormal(0.05, 0.05, lower=0.0), _truncated(0.05, 0.05, 0.0, np.inf)
    ),
    "truncated-above": PriorEntry(
        lambda: TruncatedNormal(1.0, 2.0, upper=1.5), _truncated(1.0, 2.0, -np.inf, 1.5)
    ),
    "truncated-both": PriorEntry(
        lambda: TruncatedNormal(1.0, 0.5, lower=0.0, upper=3.0), _truncated(1.0, 0.5, 0.0, 3.0)
    ),
    "not-truncated": PriorEntry(lambda: TruncatedNormal(1.0, 0.5), scipy.stats.norm(1.0, 0.5)),
    "uniform": PriorEntry(lambda: Uniform(-1.0, 3.0), scipy.stats.uniform(-1.0, 4.0)),
    "jeffreys": PriorEntry(lambda: Jeffreys(2.0), None),
}

# Arguments that a prior must refuse, with the argument that its message must name.
BAD_PRIORS = [
    (Normal, (1.0, 0.0), "stdev"),
    (Normal, (1.0, float("nan")), "stdev"),
    (LogNormalPrior, (-1.0, 1.0), "median"),
    (LogNormalPrior, (1.0, 0.0), "log_stdev"),
    (HalfNormal, (0.0,), "scale"),
    (HalfCauchy, (-2.0,), "scale"),
    (TruncatedNormal, (1.0, -1.0), "stdev"),
    (TruncatedNormal, (-1.0, 1.0, 0.0), "lower"),
    (TruncatedNormal, (4.0, 1.0, 0.0, 3.0), "upper"),
    (Uniform, (1.0, 1.0), "lower"),
    (Jeffreys, (0.0,), "start"),
]

# ---- likelihoods ---------------------------------------------------------------------------------


class LikelihoodEntry(NamedTuple):
    make: Callable[[], AbstractLikelihood]
    log_density: Callable[[np.ndarray, np.ndarray, float], np.ndarray]  # y, Hx, stdev
    observed: list[float]  # one equal to its prediction, one far from it
    predicted: list[float]
    moments: Callable[[float, float], tuple[float, float]]  # mean and variance given Hx, stdev
    has_scale: bool = True


def _huber(y: np.ndarray, mu: np.ndarray, stdev: float, k: float = 1.5) -> np.ndarray:
    """Least favourable density of Huber (1964), normalised by quadrature of its own."""

    def rho(r: np.ndarray) -> np.ndarray:
        return np.where(np.abs(r) <= k, r**2 / 2, k * np.abs(r) - k**2 / 2)

    grid = np.linspace(-40.0, 40.0, 400_001)
    mass = np.sum(np.exp(-rho(grid))) * (grid[1] - grid[0])
    return -rho((y - mu) / stdev) - np.log(mass * stdev)


def _mixture(
    y: np.ndarray, mu: np.ndarray, stdev: float, probability: float = 0.02, width: float = 12.0
) -> np.ndarray:
    """A Gaussian with a uniform density of ± width, normalised by quadrature of its own."""

    def shape(r: np.ndarray) -> np.ndarray:
        good = (1 - probability) * scipy.stats.norm.pdf(r)
        return good + probability * scipy.stats.uniform.pdf(r, -width, 2 * width)

    grid = np.linspace(-width, width, 200_001)
    mass = np.trapezoid(shape(grid), grid)
    return np.log(shape((y - mu) / stdev) / (mass * stdev))


def _log_normal_moments(mu: float, s: float) -> tuple[float, float]:
    return mu * np.exp(s**2 / 2), mu**2 * np.exp(s**2) * np.expm1(s**2)


_Y, _HX = [1.0, 2.0, 2.0, 0.3, 9.0], [1.3, 2.0, 2.0001, 4.0, 1.0]

LIKELIHOODS = {
    "gaussian": LikelihoodEntry(
        Gaussian,
        lambda y, mu, s: scipy.stats.norm.logpdf(y, mu, s),
        _Y,
        _HX,
        lambda mu, s: (mu, s**2),
    ),
    "log-normal": LikelihoodEntry(
        LogNormal,
        lambda y, mu, s: scipy.stats.lognorm.logpdf(y, s, scale=mu),
        _Y,
        _HX,
        _log_normal_moments,
    ),
    "student-t": LikelihoodEntry(
        lambda: StudentT(5.0),
        lambda y, mu, s: scipy.stats.t.logpdf(y, 5.0, mu, s),
        _Y,
        _HX,
        lambda mu, s: (mu, s**2 * 5 / 3),
    ),
    "huber": LikelihoodEntry(lambda: Huber(1.5), _huber, _Y, _HX, lambda mu, s: (mu, s**2)),
    "variational-qc": LikelihoodEntry(
        lambda: VariationalQC(0.02, 12.0), _mixture, _Y, _HX, lambda mu, s: (mu, s**2)
    ),
    "variational-qc-wide": LikelihoodEntry(
        lambda: VariationalQC(1e-6, 100.0),
        lambda y, mu, s: _mixture(y, mu, s, 1e-6, 100.0),
        _Y,
        _HX,
        lambda mu, s: (mu, s**2),
    ),
    "poisson": LikelihoodEntry(
        Poisson,
        lambda y, mu, s: scipy.stats.poisson.logpmf(y, mu),
        [0.0, 3.0, 3.0, 5.0, 700.0, 1.0],
        [2.5, 3.0, 3.0001, 1.5, 650.0, 80.0],
        lambda mu, s: (mu, mu),
        has_scale=False,
    ),
}

# ---- operators -----------------------------------------------------------------------------------


def _square(trajectory: Any, points: Any) -> Array:
    return sample(trajectory, "u", points) ** 2


OPERATORS: dict[str, Callable[[], AbstractOperator]] = {
    "point-sample": lambda: PointSample("u"),
    "time-integral": lambda: TimeIntegral("u"),
    "time-mean": lambda: TimeMean("u"),
    "time-difference": lambda: TimeDifference("u", factor=-1.0),
    "function": lambda: Function(_square, unit="1", needs=("x",)),
}

# ---- integrators ---------------------------------------------------------------------------------


# One for each solver and each way to its derivatives; tight, so that Taylor tests see no tolerance.
INTEGRATORS: dict[str, Callable[[], AbstractIntegrator]] = {
    "tsit5-jacobian": lambda: Adaptive("Tsit5", rtol=1e-12, atol=1e-12),
    "tsit5-backpropagation": lambda: Adaptive("Tsit5", 1e-12, 1e-12, 256, max_columns=0),
    "kvaerno5-jacobian": lambda: Adaptive("Kvaerno5", rtol=1e-10, atol=1e-10),
    "kvaerno5-backpropagation": lambda: Adaptive("Kvaerno5", 1e-10, 1e-10, 256, max_columns=0),
    "tsit5-fixed": lambda: FixedStep(0.05),
    "kvaerno5-fixed": lambda: FixedStep(0.05, "Kvaerno5", 1e-13, 1e-13),
}

# ---- models --------------------------------------------------------------------------------------


class ModelEntry(NamedTuple):
    make: Callable[[], AbstractDynamics]
    state: Callable[[], State]
    edges: tuple[float, ...]  # a short window


def _wave(n: int) -> Array:
    return 3.0 + jnp.sin(2 * jnp.pi * jnp.arange(n) / n) + jnp.cos(6 * jnp.pi * jnp.arange(n) / n)


def _scalars(**values: float) -> Callable[[], State]:
    return lambda: {name: jnp.asarray(value, dtype=float) for name, value in values.items()}


_PREY = _scalars(hare=30.0, lynx=4.0)
_EPIDEMIC = _scalars(S=9000.0, I=300.0, R=700.0, B=10000.0)

MODELS = {
    "lorenz63": ModelEntry(Lorenz63, _scalars(x=1.5, y=-1.5, z=25.5), (0.0, 0.05, 0.1)),
    "lorenz96": ModelEntry(lambda: Lorenz96(n=6), lambda: {"x": _wave(6)}, (0.0, 0.1, 0.2)),
    "advection-diffusion": ModelEntry(
        lambda: AdvectionDiffusion(n=8), lambda: {"tracer": _wave(8)}, (0.0, 0.02, 0.04)
    ),
    "advection-diffusion-odd": ModelEntry(
        lambda: AdvectionDiffusion(n=7, length=3.0), lambda: {"tracer": _wave(7)}, (0.0, 0.02)
    ),
    "two-layer": ModelEntry(
        lambda: TwoLayer(
            Forcing([0.0, 5.0], [1.0, 3.0], "W m-2"),
            Forcing([0.0, 1.0, 2.0, 3.0], [-0.5, -1.5, -1.0], "W m-2", "steps"),
        ),
        _scalars(surface=0.8, deep=0.2, variability=-0.1),
        (0.0, 1.0, 2.0, 3.0),
    ),
    "sir-waterborne": ModelEntry(
        lambda: SIRWaterborne(INTEGRATORS["tsit5-fixed"]()), _EPIDEMIC, (0.0, 0.3, 1.0)
    ),
    **{
        f"lotka-volterra-{name}": ModelEntry(
            lambda make=make: LotkaVolterra(make()), _PREY, (0.0, 0.1, 0.25)
        )
        for name, make in INTEGRATORS.items()
    },
}
