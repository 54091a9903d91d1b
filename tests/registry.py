"""One constructor for everything that the laws are checked on: a new class is one line here."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.stats

from assim.models import (
    Acoustic,
    AdvectionDiffusion,
    BarotropicVorticity,
    Burgers,
    ConfinedEpidemic,
    KuramotoSivashinsky,
    Lorenz63,
    Lorenz96,
    Lorenz96TwoLevel,
    LotkaVolterra,
    QuasiGeostrophic,
    RateAndState,
    ShallowWater,
    SIRWaterborne,
    Torus,
    Transport,
    TwoLayer,
)
from assim.problem.arrays import Array, Coordinate, Label, Labels, State
from assim.problem.covariance import (
    AbstractCovariance,
    AbstractStateCovariance,
    Autoregressive,
    Blocks,
    Dense,
    Diagonal,
    Diffusion,
    Ensemble,
    GaspariCohn,
    Independent,
    Joint,
    Kronecker,
    LowRank,
    Regression,
    Spectral,
    Sum,
)
from assim.problem.forcing import Forcing
from assim.problem.in_units import InUnits
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
from tests import closed_forms

# ---- covariances ---------------------------------------------------------------------------------


class CovarianceEntry(NamedTuple):
    make: Callable[[], AbstractCovariance]
    shape: tuple[int, ...]  # field that it is fitted to
    misfit: tuple[int, ...] | None  # field that it must refuse; None: it fits every field
    matrix: Callable[[], np.ndarray]  # C from its definition
    axes: tuple[Coordinate, ...] = ()


def _spd(n: int) -> np.ndarray:
    """A matrix with correlations that decay over three points, and unequal variances."""
    i = np.arange(n)
    stdev = 0.5 + 0.3 * i
    return np.exp(-np.abs(i[:, None] - i) / 3) * stdev[:, None] * stdev


_RING = Coordinate(np.arange(8) * 0.5, "km", period=4.0)
_SMALL_RING = Coordinate(np.arange(5) * 0.7, "km", period=3.5)
_LINE = Coordinate(np.array([0.0, 1.0, 1.5, 3.0, 4.2]), "km")
_EVEN = Coordinate(np.arange(9) * 0.5, "km")
_TIMES = Coordinate(np.array([0.0, 0.3, 1.0, 1.1, 4.0, 9.0]), "days")
_SEA = np.arange(40).reshape(5, 8) % 7 > 1
_LENGTHS = 0.5 + 0.1 * np.sin(np.arange(40.0)).reshape(5, 8)
_STDEV = 1.0 + 0.2 * np.cos(np.arange(40.0)).reshape(5, 8)
_MEMBERS = np.random.default_rng(5).normal(size=(4, 9))
_VECTORS = np.random.default_rng(6).normal(size=(2, 2, 3))


def _places(*axes: Coordinate) -> tuple[list[np.ndarray], list[float | None]]:
    return [np.asarray(axis.values) for axis in axes], [axis.period for axis in axes]


def _diffused(
    axes: tuple[Coordinate, ...], lengths: list, iterations: int, stdev: Any = 1.0, mask: Any = None
) -> np.ndarray:
    correlation = closed_forms.diffusion(*_places(*axes), lengths, iterations, mask)
    scale = np.broadcast_to(stdev, [len(axis.values) for axis in axes]).ravel()
    return np.outer(scale, scale) * correlation


def _torus(kind: str, lengths: list[float], *axes: Coordinate) -> np.ndarray:
    return closed_forms.on_torus(kind, *_places(*axes), lengths)


def _compact(axis: Coordinate, c: float, turns: int = 9) -> np.ndarray:
    places, span = np.asarray(axis.values), axis.period
    if span is None:
        return closed_forms.gaspari_cohn(np.subtract.outer(places, places), c)
    shifts = np.arange(-turns, turns + 1) * span
    total = sum(closed_forms.gaspari_cohn(np.subtract.outer(places, places) + s, c) for s in shifts)
    return total / sum(closed_forms.gaspari_cohn(s, c) for s in shifts)


def _outer(*factors: np.ndarray) -> np.ndarray:
    return functools.reduce(np.kron, factors)


_U = _VECTORS.reshape(2, 6)

COVARIANCES = {
    "diagonal-number": CovarianceEntry(
        lambda: Diagonal(0.7), (3, 2), None, lambda: 0.49 * np.eye(6)
    ),
    "diagonal-array": CovarianceEntry(
        lambda: Diagonal([0.5, 2.0, 3.0]), (3,), (4,), lambda: np.diag([0.25, 4.0, 9.0])
    ),
    "dense": CovarianceEntry(lambda: Dense(_spd(5)), (5,), (4,), lambda: _spd(5)),
    "dense-two-dimensions": CovarianceEntry(
        lambda: Dense(_spd(6)), (2, 3), (2, 2), lambda: _spd(6)
    ),
    "blocks": CovarianceEntry(
        lambda: Blocks([Diagonal(0.7), Dense(_spd(3))], [2, 3]),
        (5,),
        (6,),
        lambda: scipy.linalg.block_diag(0.49 * np.eye(2), _spd(3)),
    ),
    "blocks-two-dimensions": CovarianceEntry(
        lambda: Blocks([Dense(_spd(4)), Diagonal(2.0)], [2, 1]),
        (3, 2),
        (4, 2),
        lambda: scipy.linalg.block_diag(_spd(4), 4 * np.eye(2)),
    ),
    "blocks-on-axes": CovarianceEntry(
        lambda: Blocks([Autoregressive(2.0), Autoregressive(0.5, 3.0)], [2, 4]),
        (6,),
        (5,),
        lambda: scipy.linalg.block_diag(
            closed_forms.exponential(np.asarray(_TIMES.values)[:2], 2.0, np.ones(2)),
            closed_forms.exponential(np.asarray(_TIMES.values)[2:], 0.5, np.full(4, 3.0)),
        ),
        (_TIMES,),
    ),
    "autoregressive": CovarianceEntry(
        lambda: Autoregressive(2.0, [1.0, 2.0, 0.5, 0.7, 1.0, 3.0]),
        (6,),
        (2, 3),
        lambda: closed_forms.exponential(
            np.asarray(_TIMES.values), 2.0, [1.0, 2.0, 0.5, 0.7, 1.0, 3.0]
        ),
        (_TIMES,),
    ),
    "diffusion-line": CovarianceEntry(
        lambda: Diffusion(0.7, 1.2, iterations=4),
        (5,),
        None,
        lambda: _diffused((_LINE,), [1.2], 4, 0.7),
        (_LINE,),
    ),
    "diffusion-ring-odd": CovarianceEntry(
        lambda: Diffusion(0.7, 1.2, iterations=3),
        (8,),
        None,
        lambda: _diffused((_RING,), [1.2], 3, 0.7),
        (_RING,),
    ),
    "diffusion-two-dimensions": CovarianceEntry(
        lambda: Diffusion(_STDEV, [1.2, 0.6]),
        (5, 8),
        (5, 7),
        lambda: _diffused((_LINE, _RING), [1.2, 0.6], 10, _STDEV),
        (_LINE, _RING),
    ),
    "diffusion-one-dimension-of-two": CovarianceEntry(
        lambda: Diffusion(1.0, [0.0, 0.6]),
        (5, 8),
        None,
        lambda: _diffused((_LINE, _RING), [0.0, 0.6], 10),
        (_LINE, _RING),
    ),
    "diffusion-variable": CovarianceEntry(
        lambda: Diffusion(1.0, [_LENGTHS, 0.6], iterations=5),
        (5, 8),
        (4, 8),
        lambda: _diffused((_LINE, _RING), [_LENGTHS, 0.6], 5),
        (_LINE, _RING),
    ),
    "diffusion-masked": CovarianceEntry(
        lambda: Diffusion(_STDEV, _LENGTHS, mask=_SEA),
        (5, 8),
        (4, 8),
        lambda: _diffused((_LINE, _RING), [_LENGTHS, _LENGTHS], 10, _STDEV, _SEA),
        (_LINE, _RING),
    ),
    "diffusion-sampled": CovarianceEntry(
        lambda: Diffusion(1.0, 1.2, iterations=4, samples=10_000),
        (5,),
        None,
        lambda: _diffused((_LINE,), [1.2], 4),
        (_LINE,),
    ),
    "spectral": CovarianceEntry(
        lambda: Spectral(0.7, 0.4),
        (8,),
        (2, 2, 2, 2),
        lambda: 0.49 * _torus("Gaussian", [0.4], _RING),
        (_RING,),
    ),
    "spectral-long": CovarianceEntry(
        lambda: Spectral(1.0, 3.0), (8,), None, lambda: _torus("Gaussian", [3.0], _RING), (_RING,)
    ),
    "spectral-torus": CovarianceEntry(
        lambda: Spectral(_STDEV, [0.5, 1.0], "Matern32"),
        (5, 8),
        (8, 5),
        lambda: np.outer(_STDEV, _STDEV) * _torus("Matern32", [0.5, 1.0], _SMALL_RING, _RING),
        (_SMALL_RING, _RING),
    ),
    **{
        f"spectral-{kind}": CovarianceEntry(
            lambda kind=kind: Spectral(2.0, 0.8, kind),
            (5,),
            None,
            lambda kind=kind: 4 * _torus(kind, [0.8], _SMALL_RING),
            (_SMALL_RING,),
        )
        for kind in ("Matern12", "Matern52")
    },
    "gaspari-cohn-line": CovarianceEntry(
        lambda: GaspariCohn(1.3), (5,), None, lambda: _compact(_LINE, 1.3), (_LINE,)
    ),
    "gaspari-cohn-rings": CovarianceEntry(
        lambda: GaspariCohn([1.3, 0.9]),
        (8, 5),
        (5,),
        lambda: _outer(_compact(_RING, 1.3), _compact(_SMALL_RING, 0.9)),
        (_RING, _SMALL_RING),
    ),
    "gaspari-cohn-even-line": CovarianceEntry(
        lambda: GaspariCohn([1.1, 0.0]),
        (9, 2),
        (9,),
        lambda: _outer(_compact(_EVEN, 1.1), np.ones((2, 2))),
        (_EVEN, Coordinate(np.arange(2.0))),
    ),
    "ensemble": CovarianceEntry(lambda: Ensemble(_MEMBERS), (9,), (8,), lambda: np.cov(_MEMBERS.T)),
    "ensemble-localised": CovarianceEntry(
        lambda: Ensemble(_MEMBERS, GaspariCohn(1.1)),
        (9,),
        (3, 3),
        lambda: np.cov(_MEMBERS.T) * _compact(_EVEN, 1.1),
        (_EVEN,),
    ),
    "hybrid": CovarianceEntry(
        lambda: Sum([Diffusion(0.5, 1.0), Ensemble(_MEMBERS, GaspariCohn(1.1))], [0.3, 0.7]),
        (9,),
        (8,),
        lambda: (
            0.3 * _diffused((_EVEN,), [1.0], 10, 0.5)
            + 0.7 * np.cov(_MEMBERS.T) * _compact(_EVEN, 1.1)
        ),
        (_EVEN,),
    ),
    "low-rank": CovarianceEntry(
        lambda: LowRank(_VECTORS, [0.5, 2.0]), (2, 3), (6,), lambda: (_U.T * [0.5, 2.0]) @ _U
    ),
    "low-rank-and-diagonal": CovarianceEntry(
        lambda: LowRank(_VECTORS, [0.5, 2.0], 0.3),
        (2, 3),
        (6,),
        lambda: (_U.T * [0.5, 2.0]) @ _U + 0.09 * np.eye(6),
    ),
    "kronecker": CovarianceEntry(
        lambda: Kronecker([Dense(_spd(2)), Autoregressive(2.0), Diagonal(0.7)]),
        (2, 6, 2),
        (2, 6),
        lambda: _outer(
            _spd(2),
            closed_forms.exponential(np.asarray(_TIMES.values), 2.0, np.ones(6)),
            0.49 * np.eye(2),
        ),
        (Coordinate(np.arange(2.0)), _TIMES, Coordinate(np.arange(2.0))),
    ),
    "kronecker-of-roots-that-are-not-square": CovarianceEntry(
        lambda: Kronecker([Dense(_spd(2)), Ensemble(_MEMBERS)]),
        (2, 9),
        (9, 2),
        lambda: _outer(_spd(2), np.cov(_MEMBERS.T)),
    ),
    "kronecker-over-two-dimensions": CovarianceEntry(
        lambda: Kronecker([Autoregressive(2.0), Diffusion(0.7, 0.6, 2)], [1, 2]),
        (6, 5, 8),
        (6, 5),
        lambda: _outer(
            closed_forms.exponential(np.asarray(_TIMES.values), 2.0, np.ones(6)),
            _diffused((_LINE, _RING), [0.6, 0.6], 2, 0.7),
        ),
        (_TIMES, _LINE, _RING),
    ),
}

_PAIR = Coordinate(np.arange(2.0))
COVARIANCES |= {
    "kronecker-of-spectral": CovarianceEntry(
        lambda: Kronecker([Dense(_spd(2)), Spectral(0.7, 0.4), Diagonal(0.7)]),
        (2, 8, 2),
        (2, 8),
        lambda: _outer(_spd(2), 0.49 * _torus("Gaussian", [0.4], _RING), 0.49 * np.eye(2)),
        (_PAIR, _RING, _PAIR),
    ),
    "sum-of-spectral": CovarianceEntry(
        lambda: Sum([Spectral(0.7, 0.4), Diagonal(0.2)], [0.5, 1.0]),
        (8,),
        None,
        lambda: 0.245 * _torus("Gaussian", [0.4], _RING) + 0.04 * np.eye(8),
        (_RING,),
    ),
}

STATE_LABELS = Labels(
    {
        "u": Label(("x",), "m s-1"),
        "a": Label(("x",), "K"),
        "v": Label(("x",), "m s-1"),
        "c": Label((), "K"),
    },
    coordinates={"x": Coordinate(np.array([0.0, 1.0, 1.5, 3.0]), "m")},
)
VARIABLES = np.array([[1.0, 0.6], [0.6, 2.0]])  # covariance of u and a
SLOPES = np.array([0.5, -1.0, 2.0, 0.1])  # of v on u

# The regression's v depends on u, and a on both: their order is not alphabetical.
STATE_COVARIANCES: dict[str, Callable[[], AbstractStateCovariance]] = {
    "independent": lambda: Independent(
        {"v": Diffusion(1.5, 1.0, iterations=4), "a": Diagonal(0.3), "c": Diagonal(2.0)}
    ),
    "joint": lambda: Joint(
        ["u", "a"], Kronecker([Dense(VARIABLES), Diffusion(1.0, 1.0, iterations=4)])
    ),
    "regression": lambda: Regression(
        {"u": Diffusion(1.5, 1.0, iterations=4), "v": Diagonal(0.3), "a": Dense(np.eye(4) + 0.5)},
        {"v": {"u": SLOPES}, "a": {"u": 2.0, "v": -0.7}},
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
    (Normal, (1.0, float("inf")), "stdev"),
    (Normal, (float("nan"), 1.0), "mean"),
    (LogNormalPrior, (-1.0, 1.0), "median"),
    (LogNormalPrior, (1.0, 0.0), "log_stdev"),
    (HalfNormal, (0.0,), "scale"),
    (HalfCauchy, (-2.0,), "scale"),
    (HalfCauchy, (float("inf"),), "scale"),
    (TruncatedNormal, (float("inf"), 1.0), "mean"),
    (TruncatedNormal, (1.0, -1.0), "stdev"),
    (TruncatedNormal, (-1.0, 1.0, 0.0), "lower"),
    (TruncatedNormal, (4.0, 1.0, 0.0, 3.0), "upper"),
    (Uniform, (1.0, 1.0), "lower"),
    (Uniform, (0.0, float("inf")), "upper"),
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
    "in-units": lambda: InUnits(
        Adaptive("Tsit5", rtol=1e-12, atol=1e-12),
        {"hare": jnp.asarray(30.0), "lynx": jnp.asarray(4.0)},
    ),
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
_SLIDING = {"a": 1.0, "b": 0.8, "D_c": 1.3, "k": 0.7, "mu_0": 2.0, "v_0": 0.9}  # all of order one
_EPIDEMIC = _scalars(S=9000.0, I=300.0, R=700.0, B=10000.0)

_COUPLED = {"F": 3.0, "h": 1.0, "c": 2.0, "b": 1.5}
_TURBULENT = {
    "beta": 1.0,
    "drag": 0.1,
    "viscosity": 0.2,
    "hyperviscosity": 0.05,
    "forcing": 0.7,
}
_LAYERED = {
    "coriolis": 1.0,
    "beta": 0.5,
    "reduced_gravity": 0.8,
    "upper_thickness": 1.0,
    "lower_thickness": 2.0,
    "upper_flow": 1.5,
    "lower_flow": 0.3,
    "drag": 0.1,
    "hyperviscosity": 0.02,
}
_FLOWING = {
    name: jnp.asarray(value)
    for name, value in {
        "gravity": 1.0,
        "coriolis": 0.5,
        "beta": 0.1,
        "drag": 0.1,
        "viscosity": 0.05,
        "wind_stress": 300.0,
    }.items()
}


def _flow(nx: int = 4, ny: int = 3) -> State:
    wave = _wave(nx * ny).reshape(ny, nx)
    return {"h": 2 + 0.3 * wave, "u": 0.2 * wave[::-1], "v": 0.1 * wave[:, ::-1]}


def _sound(nx: int, ny: int) -> State:
    wave = _wave(nx * ny).reshape(ny, nx)
    return {"p": wave - 3, "u": 0.3 * wave[::-1], "v": 0.2 * wave[:, ::-1], "speed": 0.4 * wave}


_CARRIED = {
    "wind_x": 0.7,
    "wind_y": -0.5,
    "diffusivity": 0.3,
    "decay": 0.2,
    "deposition": 0.3,
    "release_rate": 2.0,
    "release_x": 2.2,
    "release_y": 1.7,
}


def _tracer(*shape: int) -> State:
    ground = _wave(shape[-2] * shape[-1]).reshape(shape[-2:])
    return {"concentration": _wave(int(np.prod(shape))).reshape(shape), "emission": 0.2 * ground}


MODELS = {
    "lorenz63": ModelEntry(Lorenz63, _scalars(x=1.5, y=-1.5, z=25.5), (0.0, 0.05, 0.1)),
    "lorenz96": ModelEntry(lambda: Lorenz96(n=6), lambda: {"x": _wave(6)}, (0.0, 0.1, 0.2)),
    "advection-diffusion": ModelEntry(
        lambda: AdvectionDiffusion(n=8), lambda: {"tracer": _wave(8)}, (0.0, 0.02, 0.04)
    ),
    "advection-diffusion-odd": ModelEntry(
        lambda: AdvectionDiffusion(n=7, length=3.0), lambda: {"tracer": _wave(7)}, (0.0, 0.02)
    ),
    "barotropic-vorticity": ModelEntry(
        lambda: BarotropicVorticity(
            8, 7, 0.8, 0.1, 2, {name: jnp.asarray(value) for name, value in _TURBULENT.items()}
        ),
        lambda: {"vorticity": _wave(56).reshape(7, 8)},
        (0.0, 0.1, 0.2),
    ),
    "burgers": ModelEntry(
        lambda: Burgers(5, 0.05, 4.0, {"viscosity": jnp.asarray(0.5)}),
        lambda: {"u": _wave(5)},
        (0.0, 0.1, 0.2),
    ),
    "kuramoto-sivashinsky": ModelEntry(
        lambda: KuramotoSivashinsky(8, 0.05, 10.0), lambda: {"u": _wave(8)}, (0.0, 0.1, 0.2)
    ),
    "lorenz96-two-level": ModelEntry(
        lambda: Lorenz96TwoLevel(
            4, 2, 0.05, {name: jnp.asarray(value) for name, value in _COUPLED.items()}
        ),
        lambda: {"X": _wave(4), "Y": _wave(8) / 3},
        (0.0, 0.05, 0.1),
    ),
    "quasi-geostrophic": ModelEntry(
        lambda: QuasiGeostrophic(
            6, 4, 0.9, 0.05, {name: jnp.asarray(value) for name, value in _LAYERED.items()}
        ),
        lambda: {"ssh": _wave(24).reshape(4, 6) / 9, "lower": _wave(24).reshape(4, 6)[::-1] / 15},
        (0.0, 0.1, 0.2),
    ),
    "shallow-water": ModelEntry(
        lambda: ShallowWater(nx=4, ny=3, dx=1.0, dt=0.1, parameters=_FLOWING),
        _flow,
        (0.0, 0.1, 0.2),
    ),
    "shallow-water-closed": ModelEntry(
        lambda: ShallowWater(10, 9, 1.0, 0.1, closed_x=True, closed_y=True, parameters=_FLOWING),
        lambda: _flow(10, 9),
        (0.0, 0.1),
    ),
    "acoustic": ModelEntry(
        lambda: Acoustic(
            *(6, 5, 1.0, 0.2, [[2.0, 1.5, 0.1], [4.0, 3.0, 0.3]], 2, 1.5),
            parameters={"density": 1.3, "amplitude": 2.0, "frequency": 1.1},
        ),
        lambda: _sound(6, 5),
        (0.0, 0.2, 0.4),
    ),
    "acoustic-fourth-order": ModelEntry(
        lambda: Acoustic(
            *(6, 5, 1.0, 0.2, [[2.0, 1.5, 0.1]], 2, 1.5, 4),
            parameters={"density": 1.3, "amplitude": 2.0, "frequency": 1.1},
        ),
        lambda: _sound(6, 5),
        (0.0, 0.2, 0.4),
    ),
    "torus": ModelEntry(
        lambda: Torus(
            *(5, 1.0, 0.05, 0.1, [0.0, 0.6, 1.0], 0.6),
            heating=Forcing([0.0, 1.0], [2e-3, 1e-3], "MW"),
            fuelling=Forcing.constant(0.7, "1e19 s-1"),
            parameters={
                **{f"chi_{j}": 1.0 - 0.2 * j for j in range(3)},
                **{f"V_{j}": -0.3 * j for j in range(3)},
                **{"heating_centre": 0.3, "heating_width": 0.4, "fuelling_width": 0.5},
            },
        ),
        lambda: {"n": 0.5 * _wave(5), "T": 2.0 - jnp.linspace(0.0, 1.0, 5) ** 2},
        (0.0, 0.1, 0.2),
    ),
    "transport": ModelEntry(
        lambda: Transport(
            *(5, 4, 1, 1.0, 2.0, 0.1, 1.0),
            wind_y=Forcing([0.0, 1.0], [0.1, -0.3], "m s-1"),
            parameters=_CARRIED,
        ),
        lambda: _tracer(4, 5),
        (0.0, 0.1, 0.2),
    ),
    "transport-levels": ModelEntry(
        lambda: Transport(
            *(4, 5, 3, 1.0, 0.8, 0.1, 1.2),
            release=Forcing([0.0, 0.1, 1.0], [1.0, 0.5], "1", "steps"),
            parameters={**_CARRIED, "release_z": 1.1, "vertical_diffusivity": 0.4, "shear": 0.3},
        ),
        lambda: _tracer(3, 5, 4),
        (0.0, 0.1, 0.2),
    ),
    "two-layer": ModelEntry(
        lambda: TwoLayer(
            Forcing([0.0, 5.0], [1.0, 3.0], "W m-2"),
            Forcing([0.0, 1.0, 2.0, 3.0], [-0.5, -1.5, -1.0], "W m-2", "steps"),
        ),
        _scalars(surface=0.8, deep=0.2, variability=-0.1),
        (0.0, 1.0, 2.0, 3.0),
    ),
    "rate-and-state-ageing": ModelEntry(
        lambda: RateAndState(
            step_times=[0.2],
            rise=0.5,
            integrator=INTEGRATORS["tsit5-jacobian"](),
            parameters={**_SLIDING, "load_velocity_0": 1.0, "load_velocity_1": 2.0},
        ),
        _scalars(friction=2.1, log_theta=0.3),
        (0.0, 0.3, 1.0),
    ),
    "rate-and-state-slip-inertia": ModelEntry(
        lambda: RateAndState(
            Forcing([0.0, 2.0], [1.0, 3.0], "m s-1"),
            law="slip",
            inertia=True,
            integrator=INTEGRATORS["tsit5-fixed"](),
            parameters={**_SLIDING, "period": 5.0},
        ),
        _scalars(friction=2.1, log_theta=0.3, log_velocity=0.2),
        (0.0, 0.3, 1.0),
    ),
    "confined-epidemic": ModelEntry(
        lambda: ConfinedEpidemic(2, INTEGRATORS["tsit5-fixed"]()),
        lambda: {
            **_scalars(susceptible=700.0, infectious=20.0, recovered=30.0)(),
            "in_bed": jnp.asarray([12.0, 5.0]),
            "convalescent": jnp.asarray([4.0, 2.0]),
        },
        (0.0, 0.3, 1.0),
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
