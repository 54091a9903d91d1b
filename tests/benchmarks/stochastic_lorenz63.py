"""A stochastic Lorenz-63 with both scales unknown, by a particle filter: an answer without Laplace.

    python -m tests.benchmarks.stochastic_lorenz63 [--particles 4000] [--runs 6]

Thirty Euler-Maruyama steps, x seen through noise in the first and last third. The likelihood of
both scales is estimated without bias at the nodes of a lattice by a fully adapted particle filter
(Pitt & Shephard 1999, J. Am. Stat. Assoc. 94, 590), in runs of their own, from whose scatter the
standard errors follow (jackknife). `tests/solve/posterior/test_nested_lorenz.py` has what it gave.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim import ErrorScale, ModelError, Observations, Points, Window, weak_constraint
from assim.models import Lorenz63
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal
from assim.run.terminal.runtime import configure
from tests.benchmarks.particle_filter import resampled

STEPS, DT, SEED = 30, 0.02, 7
TRUE = {"innovation": 1.0, "observation": 0.5}
PRIOR = LogNormal(0.5, 1.0)  # of both
START = {"x": -6.0, "y": -9.0, "z": 20.0}  # ± 1 in each
SEEN = np.concatenate([np.arange(1, 11), np.arange(21, 31)])
KEPT = (0, 15, 30)  # steps whose states are reported: first, amid the gap, last
NAMES = ("x", "y", "z")


class EulerLorenz63(Lorenz63):
    """Lorenz-63 in Euler's steps."""

    dt: float = eqx.field(default=DT, static=True)

    def step(self, x, theta, t):
        """x + f(x) dt."""
        there = drift(jnp.stack([x[name] for name in NAMES]))
        return dict(zip(NAMES, there, strict=True))


def drift(state):
    """Of x, y and z stacked."""
    x, y, z = state
    return state + DT * jnp.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


def observations():
    """Values at SEEN of a truth that is drawn with a fixed seed."""
    rng = np.random.default_rng(SEED)
    state, seen = np.array([START[name] for name in NAMES]) + rng.normal(size=3), []
    for _ in range(STEPS):
        noise = TRUE["innovation"] * np.sqrt(DT) * rng.normal(size=3)
        state = np.asarray(drift(state)) + noise
        seen.append(state[0] + TRUE["observation"] * rng.normal())
    return np.array(seen)[SEEN - 1]


def posed():
    """The problem for the engine."""
    model = EulerLorenz63()
    observed = Observations(
        "x",
        observations(),
        Points.at(SEEN * DT),
        PointSample("x"),
        1.0,
        scale=ErrorScale("observation", PRIOR),
    )
    return weak_constraint(
        model,
        Window.regular(model, STEPS, 1),
        START,
        Diagonal(1.0),
        observed,
        model_error=ModelError(Diagonal(DT**0.5), scale=ErrorScale("innovation", PRIOR)),
    )


def filtered(log_scales, values, key, particles, moved=drift):
    """Estimate of log p(y | scales) but for constants, with mean and mean square of states of KEPT.

    Every particle is weighed by what it predicts before it moves, and moves given what is seen.
    """
    innovation, observation = jnp.exp(log_scales) ** 2
    jump = innovation * DT
    key, first = jax.random.split(key)
    start = jnp.array([START[name] for name in NAMES])[:, None]
    start = start + jax.random.normal(first, (3, particles))

    def step(carry, inputs):
        kept, total, key = carry
        number, seen, value = inputs
        key, for_rows, for_moves = jax.random.split(key, 3)
        spread = jump + observation
        log_weight = -((value - moved(kept[-1])[0]) ** 2) / spread / 2
        log_weight = jnp.where(seen, log_weight, 0.0)
        top = jnp.max(log_weight)
        weight = jnp.exp(log_weight - top)
        density = jnp.log(jnp.mean(weight)) + top - jnp.log(spread) / 2
        total = total + jnp.where(seen, density, 0.0)
        chosen = resampled(for_rows, weight / jnp.sum(weight))
        kept = jnp.where(seen, kept[:, :, chosen], kept)
        there = moved(kept[-1])
        gain = jnp.where(seen, jump / spread, 0.0)
        moves = jnp.sqrt(jump) * jax.random.normal(for_moves, there.shape)
        to = there[0] + gain * (value - there[0]) + jnp.sqrt(1 - gain) * moves[0]
        there = (there + moves).at[0].set(to)
        kept = kept.at[-1].set(there)
        amid = jnp.where(number == KEPT[1], there, kept[1])
        return (kept.at[1].set(amid), total, key), None

    number = jnp.arange(1, STEPS + 1)
    seen = jnp.asarray(np.isin(np.arange(1, STEPS + 1), SEEN))
    value = jnp.zeros(STEPS).at[SEEN - 1].set(values)
    begin = (jnp.stack([start] * 3), jnp.zeros(()), key)
    (kept, total, _), _ = jax.lax.scan(step, begin, (number, seen, value))
    return total, jnp.mean(kept, axis=-1), jnp.mean(kept**2, axis=-1)


def moments(log_weights, log_scales, first, second):
    """Means and deviations of log scales, scales and states from nodes with weights.

    Shapes: (nodes,), (nodes, 2), (nodes, 3, 3) twice; the results (13,) each.
    """
    scales = np.exp(log_scales)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    states = (first.reshape(-1, 9), second.reshape(-1, 9))
    mean = weights @ np.concatenate([log_scales, scales, states[0]], axis=1)
    square = weights @ np.concatenate([log_scales**2, scales**2, states[1]], axis=1)
    return mean, np.sqrt(square - mean**2)


def lattice(step):
    """Nodes of both log scales, shape (nodes, 2), and their log prior."""
    axes = np.arange(LOWEST[0], HIGHEST[0], step[0]), np.arange(LOWEST[1], HIGHEST[1], step[1])
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return nodes, -np.sum((nodes - np.log(0.5)) ** 2, axis=1) / 2


LOWEST, HIGHEST = (-5.0, -4.0), (3.0, 0.8)


def main():
    """Print mean and deviation of every quantity, each with its standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=4_000)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--step", type=float, nargs=2, default=[0.4, 0.15])
    given = parser.parse_args()
    configure("cpu", "float64")
    nodes, log_prior = lattice(given.step)
    values = jnp.asarray(observations())
    run = jax.jit(
        lambda keys: jax.lax.map(
            lambda inputs: filtered(inputs[0], values, inputs[1], given.particles),
            (jnp.asarray(nodes), keys),
        )
    )
    parts = []
    for turn in range(given.runs):
        parts.append(
            tuple(map(np.asarray, run(jax.random.split(jax.random.key(turn), len(nodes)))))
        )
        print(f"run {turn + 1} of {given.runs}", flush=True)
    report(nodes, log_prior, parts)


def pooled(nodes, log_prior, parts):
    """Moments of several runs together: their likelihoods are averaged, states by them."""
    total, first, second = (np.stack(part) for part in zip(*parts, strict=True))
    top = total.max(axis=0)
    shares = np.exp(total - top)
    whole = shares.sum(axis=0)
    average = (np.einsum("rn,rnij->nij", shares / whole, part) for part in (first, second))
    return moments(log_prior + top + np.log(whole), nodes, *average)


def report(nodes, log_prior, parts):
    """The table, with the lattice's borders: what lies there is left out."""
    total = log_prior + np.logaddexp.reduce([part[0] for part in parts], axis=0)
    edge = np.any((nodes == nodes.min(axis=0)) | (nodes == nodes.max(axis=0)), axis=1)
    print(f"{len(nodes)} nodes; highest at the border {total[edge].max() - total.max():.1f} nats")
    spread = np.std([part[0] for part in parts], axis=0)
    weights = np.exp(total - total.max())
    print(f"scatter of log likelihoods {np.sqrt(weights @ spread**2 / weights.sum()):.3f}")
    mean, stdev = pooled(nodes, log_prior, parts)
    runs = len(parts)
    left = [pooled(nodes, log_prior, parts[:k] + parts[k + 1 :]) for k in range(runs)]
    error = [
        np.sqrt((runs - 1) * np.mean((np.stack(v) - np.mean(v, axis=0)) ** 2, axis=0))
        for v in zip(*left, strict=True)
    ]
    names = ["log innovation", "log observation", "innovation", "observation"]
    names += [f"{name} at step {k}" for k in KEPT for name in NAMES]
    for name, m, s, e, f in zip(names, mean, stdev, *error, strict=True):
        print(f'    "{name}": ({m:.4f}, {s:.4f}),  # {e / s:.4f} sd, {100 * f / s:.2f} %')


if __name__ == "__main__":
    main()
