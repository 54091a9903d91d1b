"""A linear model observed in part, its cycle, and the Kalman filter and smoother that it equals."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import assim
from assim.analysis.cycle.cycle import Cycle
from assim.problem.cycled import Rows

N, STEP = 4, 0.5


def matrix():
    """M of one step: turning and growing, so that covariances matter."""
    generator = np.random.default_rng(3)
    a = generator.standard_normal((N, N))
    return np.linalg.qr(a)[0] * 1.05


traced = []  # one entry for every time that Python runs the step


class Linear(assim.AbstractModel):
    """x(t + dt) = M x(t) + θ, θ a constant drift of the first entry."""

    m: jax.Array = eqx.field(default_factory=lambda: jnp.asarray(matrix()))
    dt: float = eqx.field(default=STEP, static=True)
    parameters: dict = eqx.field(default_factory=lambda: {"drift": jnp.asarray(0.0)})

    def labels(self):
        place = assim.Coordinate(np.arange(float(N)), "1", "place")
        return assim.Labels(
            {"x": assim.Label(("place",))}, {"drift": assim.Label()}, {"place": place}
        )

    def step(self, x, theta, t):
        del t
        traced.append(1)
        return {"x": self.m @ x["x"] + theta["drift"] * jnp.eye(N)[0]}


H = np.eye(N)[:2]  # the first two places are observed
R = 0.3**2
B = np.diag([1.0, 0.5, 2.0, 0.8]) ** 2
BACKGROUND = np.array([1.0, -1.0, 0.5, 0.0])


class Twin(NamedTuple):
    """A cycle with its observations."""

    cycle: Cycle
    edges: jax.Array
    batches: tuple
    truth: dict
    observed: np.ndarray  # shape (windows, 2)


def twin(scheme, plan, windows, parameters=None, seed=0, error=None, formulation="forcing"):
    """Observations at the end of every slot, a batch a shift of one slot."""
    model = Linear()
    generator = np.random.default_rng(seed)
    total = windows - 1 + plan.slots
    edges = STEP * np.arange(total + 1)
    truth = [BACKGROUND + np.sqrt(np.diag(B)) * generator.standard_normal(N)]
    for _ in range(total):
        truth.append(matrix() @ truth[-1])
    truth = np.array(truth)
    values = truth[1 : windows + 1] @ H.T + np.sqrt(R) * generator.standard_normal((windows, 2))
    places = {"place": jnp.arange(2.0)}
    points = assim.Points.at(jnp.full(2, edges[1]), places)
    room = jax.tree.map(lambda leaf: jnp.tile(leaf, plan.seen), points)
    observations = assim.Observations(
        "x", np.tile(values[0], plan.seen), room, assim.operator.PointSample("x"), np.sqrt(R)
    )
    given = (
        model,
        assim.Window.at(model, edges[: plan.slots + 1]),
        {"x": BACKGROUND},
        assim.covariance.Dense(B),
        observations,
        parameters,
    )
    if error is None:
        problem = assim.strong_constraint(*given)
    else:
        problem = assim.weak_constraint(*given, model_error=error, formulation=formulation)
    one = Rows.of(
        assim.Observations("x", values[0], points, assim.operator.PointSample("x"), np.sqrt(R))
    )
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (windows, *leaf.shape)), one)
    times = jnp.asarray(np.repeat(edges[1 : windows + 1, None], 2, axis=1))
    where = lambda r: (r.values, r.points.times, r.points.starts, r.points.ends)  # noqa: E731
    rows = eqx.tree_at(where, rows, (jnp.asarray(values), times, times, times))
    cycle = Cycle(problem, scheme, plan, seed)
    return Twin(cycle, jnp.asarray(edges), (rows,), {"x": jnp.asarray(truth)}, values)


def kalman(observed, q=0.0, drift=0.0, forgetting=0.0):
    """Analysis means and covariances of the Kalman filter after every observation.

    Args:
        observed: shape (windows, 2).
        q: variance of the model error that every step adds.
        drift: prior standard deviation of the drift, which is the last entry of the state.
        forgetting: share of its prior's variance that it is given back after every window.
    """
    x, p = np.append(BACKGROUND, 0.0), np.zeros((N + 1, N + 1))
    p[:N, :N], p[N, N] = B, drift**2
    m, h = np.eye(N + 1), np.zeros((2, N + 1))
    m[:N, :N], m[0, N], h[:, :N] = matrix(), 1.0, H
    keep = np.diag([*np.ones(N), np.sqrt(1 - forgetting)])
    found = []
    for y in observed:
        x, p = m @ x, m @ p @ m.T + q * np.diag([*np.ones(N), 0.0])
        gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + R * np.eye(2))
        x, p = x + gain @ (y - h @ x), p - gain @ h @ p
        found.append((x, p))
        p = keep @ p @ keep
        p[N, N] += forgetting * drift**2
    return found


def batch_posterior(observed, weights=None):
    """Mean and covariance of the initial state from all observations at once."""
    weights = np.ones(len(observed)) if weights is None else weights
    information, right = np.linalg.inv(B), np.linalg.inv(B) @ BACKGROUND
    g = H
    for y, w in zip(observed, weights, strict=True):
        g = g @ matrix()
        information = information + w * g.T @ g / R
        right = right + w * g.T @ y / R
    covariance = np.linalg.inv(information)
    return covariance @ right, covariance


def in_turn(twin, windows):
    """Carry, analysed and measures of every window, by the loop."""
    carry, found = twin.cycle.start(), []
    plan = twin.cycle.plan
    for number in range(windows):
        edges = plan.stretch(twin.edges, number)
        first = int(plan.first_slot(number))
        truth = {"x": twin.truth["x"][first : first + plan.slots + 1]}
        rows = plan.rows(twin.batches, number)
        carry, analysed, measures = twin.cycle.window(carry, number, edges, rows, truth)
        found.append((carry, analysed, measures))
    return found
