"""Linear-Gaussian problems, with their answers from the Kalman filter in NumPy."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.stats

from assim import (
    AbstractModel,
    Array,
    Coordinate,
    Label,
    Labels,
    Observations,
    Params,
    Points,
    Problem,
    State,
    Window,
    strong_constraint,
)
from assim.models import AdvectionDiffusion
from assim.problem.covariance import Blocks, Dense
from assim.problem.operator import PointSample
from assim.problem.prior import Normal


class DrivenLinear(AbstractModel):
    """u(t + dt) = M u(t) + b g, with the strength b of the drive as parameter."""

    matrix: Array
    drive: Array
    parameters: Params
    dt: float = eqx.field(default=0.5, static=True)

    def labels(self) -> Labels:
        site = Coordinate(np.arange(float(self.drive.shape[0])))
        return Labels(
            state={"u": Label(("site",))}, parameters={"b": Label()}, coordinates={"site": site}
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        return {"u": self.matrix @ x["u"] + theta["b"] * self.drive}


class Case(NamedTuple):
    """A problem for the engine, and the same as matrices."""

    problem: Problem
    background: np.ndarray  # of the estimated vector z
    covariance: np.ndarray  # of z
    propagators: list[np.ndarray]  # of z from the start to every slot edge
    operators: dict[int, np.ndarray]  # H at the observed edges, on z
    errors: dict[int, np.ndarray]  # R there
    values: dict[int, np.ndarray]  # y there


class Smoothed(NamedTuple):
    start: tuple[np.ndarray, np.ndarray]  # mean and covariance of z at the window's start
    end: tuple[np.ndarray, np.ndarray]  # the same at its end: what the filter gives


def correlated(n: int, stdev: float, length: float) -> np.ndarray:
    i = np.arange(n)
    spread = stdev * (1 + 0.3 * np.sin(i))
    return np.exp(-np.abs(i[:, None] - i) / length) * spread[:, None] * spread


def interpolation(places: np.ndarray, n: int) -> np.ndarray:
    """Weights of linear interpolation on a ring of unit spacing; within n - 1 also on a line."""
    h = np.zeros((places.size, n))
    for row, place in enumerate(places):
        below = int(np.floor(place))
        h[row, below % n] += 1 - (place - below)
        h[row, (below + 1) % n] += place - below
    return h


def kalman(case: Case) -> Smoothed:
    """Kalman filter on (z at the start, z now): a fixed-point smoother of the start."""
    n = case.background.size
    mean = np.tile(case.background, 2)
    cov = np.tile(case.covariance, (2, 2))
    for k in range(len(case.propagators)):
        advance = np.eye(2 * n)
        advance[n:, n:] = case.propagators[min(k, 1)]  # every slot is as long as the first
        mean, cov = advance @ mean, advance @ cov @ advance.T
        if k not in case.operators:
            continue
        h = np.hstack([np.zeros_like(case.operators[k]), case.operators[k]])
        gain = np.linalg.solve(h @ cov @ h.T + case.errors[k], h @ cov).T
        mean = mean + gain @ (case.values[k] - h @ mean)
        keep = np.eye(2 * n) - gain @ h
        cov = keep @ cov @ keep.T + gain @ case.errors[k] @ gain.T  # Joseph
    return Smoothed((mean[:n], cov[:n, :n]), (mean[n:], cov[n:, n:]))


def stacked(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Innovation y - G z_b, G over the whole window, and R, all times together."""
    edges = sorted(case.operators)
    g = np.vstack([case.operators[k] @ case.propagators[k] for k in edges])
    y = np.concatenate([case.values[k] for k in edges])
    return y - g @ case.background, g, block_diagonal([case.errors[k] for k in edges])


def innovation_density(case: Case) -> tuple[float, float]:
    """½ |y - G z_b|² in (G B Gᵀ + R)⁻¹, and log N(y; G z_b, G B Gᵀ + R)."""
    innovation, g, r = stacked(case)
    total = g @ case.covariance @ g.T + r
    half = innovation @ np.linalg.solve(total, innovation) / 2
    return half, scipy.stats.multivariate_normal.logpdf(innovation, cov=total)


def block_diagonal(parts: list[np.ndarray]) -> np.ndarray:
    size = sum(len(part) for part in parts)
    whole, at = np.zeros((size, size)), 0
    for part in parts:
        whole[at : at + len(part), at : at + len(part)] = part
        at += len(part)
    return whole


def _observed(name, dim, spacing, values, errors, places, times) -> Observations:
    """One instrument from its values at each observed edge."""
    edges = sorted(values)
    points = Points.at(
        np.concatenate([np.full(len(values[k]), times[k]) for k in edges]),
        {dim: np.concatenate([places[k] * spacing for k in edges])},
    )
    covariance = Blocks([Dense(errors[k]) for k in edges], [len(values[k]) for k in edges])
    flat = np.concatenate([values[k] for k in edges])
    return Observations(name, flat, points, PointSample(name), covariance=covariance)


def driven(seed: int = 0, n: int = 6, slots: int = 5, steps: int = 2) -> Case:
    """Random dynamics with an unknown drive; half-observed at three edges, the start included."""
    rng = np.random.default_rng(seed)
    matrix = 0.9 * np.linalg.qr(rng.normal(size=(n, n)))[0] + 0.1 * rng.normal(size=(n, n))
    drive = rng.normal(size=n)
    model = DrivenLinear(jnp.asarray(matrix), jnp.asarray(drive), {"b": jnp.asarray(0.3)})
    window = Window.regular(model, slots, steps, start=3.0)
    b, stdev = correlated(n, 1.2, 2.0), 0.7
    one = np.block([[matrix, drive[:, None]], [np.zeros((1, n)), np.ones((1, 1))]])
    step = np.linalg.matrix_power(one, steps)
    propagators = [np.linalg.matrix_power(step, k) for k in range(slots + 1)]
    background = np.append(rng.normal(size=n), 0.3)
    covariance = block_diagonal([b, np.array([[stdev**2]])])
    places = {0: np.array([1.0, 3.25]), 2: np.array([0.5, 2.0, 4.0]), 5: np.array([1.75, 3.0, 4.5])}
    operators = {
        k: np.hstack([interpolation(p, n), np.zeros((p.size, 1))]) for k, p in places.items()
    }
    errors = {k: correlated(p.size, 0.4, 1.5) for k, p in places.items()}
    truth = background + np.linalg.cholesky(covariance) @ rng.normal(size=n + 1)
    values = {
        k: operators[k] @ propagators[k] @ truth
        + np.linalg.cholesky(errors[k]) @ rng.normal(size=places[k].size)
        for k in places
    }
    obs = _observed("u", "site", 1.0, values, errors, places, np.asarray(window.edges))
    problem = strong_constraint(
        model,
        window,
        {"u": background[:n]},
        Dense(b),
        obs,
        {"b": Normal(background[n], stdev)},
    )
    return Case(problem, background, covariance, propagators, operators, errors, values)


def ring(seed: int = 1, n: int = 24, slots: int = 4, steps: int = 3, sites: int = 5) -> Case:
    """Advection and diffusion on a ring, its matrix from the discrete Fourier transform."""
    rng = np.random.default_rng(seed)
    model = AdvectionDiffusion(n=n, dt=0.03)
    window = Window.regular(model, slots, steps)
    wave = 2 * np.pi * np.fft.fftfreq(n, 1 / n)
    advected = np.where(2 * np.arange(n) == n, 0.0, wave)
    symbol = np.exp(-(1j * advected + 0.01 * wave**2) * 0.03 * steps)
    slot = np.real(np.fft.ifft(symbol[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0))
    propagators = [np.linalg.matrix_power(slot, k) for k in range(slots + 1)]
    background, b = rng.normal(size=n), correlated(n, 0.8, 3.0)
    places = {k: rng.uniform(0, n, sites) for k in range(1, slots + 1)}
    operators = {k: interpolation(p, n) for k, p in places.items()}
    errors = {k: correlated(sites, 0.3, 2.0) for k in places}
    truth = background + np.linalg.cholesky(b) @ rng.normal(size=n)
    values = {
        k: operators[k] @ propagators[k] @ truth
        + np.linalg.cholesky(errors[k]) @ rng.normal(size=sites)
        for k in places
    }
    obs = _observed("tracer", "x", 1 / n, values, errors, places, np.asarray(window.edges))
    problem = strong_constraint(model, window, {"tracer": background}, Dense(b), obs)
    return Case(problem, background, b, propagators, operators, errors, values)


def smooth(case: Case, noise: np.ndarray, every: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rauch–Tung–Striebel smoother: mean and covariance of z at every slot edge.

    Model noise of covariance `noise` is added to z at the end of every group of slots.
    """
    advance = case.propagators[1]
    edges = len(case.propagators)
    forecasts, analyses = [], []
    mean, cov = case.background, case.covariance
    for k in range(edges):
        if k:
            q = noise if k % every == 0 else np.zeros_like(noise)
            mean, cov = advance @ mean, advance @ cov @ advance.T + q
        forecasts.append((mean, cov))
        if k in case.operators:
            h = case.operators[k]
            gain = np.linalg.solve(h @ cov @ h.T + case.errors[k], h @ cov).T
            keep = np.eye(mean.size) - gain @ h
            mean = mean + gain @ (case.values[k] - h @ mean)
            cov = keep @ cov @ keep.T + gain @ case.errors[k] @ gain.T
        analyses.append((mean, cov))
    smoothed = [analyses[-1]]
    for k in range(edges - 2, -1, -1):
        (mean, cov), (ahead, spread) = analyses[k], forecasts[k + 1]
        gain = np.linalg.solve(spread, advance @ cov).T
        after, after_cov = smoothed[0]
        smoothed.insert(
            0, (mean + gain @ (after - ahead), cov + gain @ (after_cov - spread) @ gain.T)
        )
    return smoothed
