"""Minima of J and what follows of them, in NumPy alone: what assim is held against.

    python cases/lorenz95_oops/reference.py

Gauss-Newton with a tangent linear written by hand and matrices solved directly, on one vector χ of
white numbers: of the initial state, then of the jump between the two sub-windows.
"""

from math import comb
from pathlib import Path

import netCDF4
import numpy as np

HERE = Path(__file__).resolve().parent
DT, FORCING, SLOTS, MIDDLE, ALPHA = 0.0125, 8.0, 16, 8, 100.0


def read(file, name):
    """A variable of a file."""
    with netCDF4.Dataset(HERE / file) as dataset:
        return np.asarray(dataset[name][:], float)


def tendency(x, columns):
    """dx/dt, and its derivative on columns."""
    at = lambda v, k: np.roll(v, -k, axis=0)  # noqa: E731
    x = x[:, None]
    slope = (at(columns, 1) - at(columns, -2)) * at(x, -1)
    slope += (at(x, 1) - at(x, -2)) * at(columns, -1) - columns
    return ((at(x, 1) - at(x, -2)) * at(x, -1) - x + FORCING)[:, 0], slope


def step(x, columns):
    """One step of the classical Runge-Kutta method, and its derivative on columns."""
    slopes = [tendency(x, columns)]
    for share in (0.5, 0.5, 1.0):
        dx, dc = slopes[-1]
        slopes.append(tendency(x + share * DT * dx, columns + share * DT * dc))
    weights = np.array([1, 2, 2, 1]) / 6 * DT
    dx = sum(w * s[0] for w, s in zip(weights, slopes, strict=True))
    dc = sum(w * s[1] for w, s in zip(weights, slopes, strict=True))
    return x + dx, columns + dc


def departures(chi, weak, filtered):
    """d and G = ∂d/∂χ; observations see the state before the jump."""
    n = 40
    root = np.linalg.cholesky(read("B.nc", "x_covariance"))
    jump = np.linalg.cholesky(read("Q.nc", "x_covariance"))
    x, columns = read("background.nc", "x") + root @ chi[:n], np.zeros((n, chi.size))
    columns[:, :n] = root
    states, slopes = [x], [columns]
    for slot in range(1, SLOTS + 1):
        x, columns = step(x, columns)
        states.append(x)
        slopes.append(columns)
        if weak and slot == MIDDLE:
            x, columns = x + jump @ chi[n:], columns.copy()
            columns[:, n:] += jump
    time, site, value, stdev = (read("observations.nc", v) for v in ("t", "site", "x", "x_stddev"))
    where = np.rint(time / DT).astype(int), site.astype(int)
    d = (value - np.array(states)[where]) / stdev
    g = -np.array(slopes)[where] / stdev[:, None]
    if not filtered:
        return d, g
    weights = np.array([comb(SLOTS, k) for k in range(SLOTS + 1)]) / 2**SLOTS
    weights[MIDDLE] -= 1.0
    fast = [np.sqrt(ALPHA) * np.tensordot(weights, np.array(v), axes=1) for v in (states, slopes)]
    return np.concatenate([d, fast[0]]), np.concatenate([g, fast[1]])


def minimum(weak=False, filtered=False):
    """J at the minimum, and G there."""
    chi = np.zeros(80 if weak else 40)
    for _ in range(12):
        d, g = departures(chi, weak, filtered)
        chi = chi - np.linalg.solve(np.eye(chi.size) + g.T @ g, chi + g.T @ d)
    d, g = departures(chi, weak, filtered)
    return (chi @ chi + d @ d) / 2, g


if __name__ == "__main__":
    cost, g = minimum()
    root = np.linalg.cholesky(read("B.nc", "x_covariance"))
    covariance = root @ np.linalg.solve(np.eye(40) + g.T @ g, root.T)
    values = np.linalg.eigvalsh(g.T @ g)[::-1]
    print(f"strong constraint        J {cost:.14f}")
    print(f"  trace of P             {np.trace(covariance):.13f}")
    print(f"  degrees of freedom     {np.sum(values / (1 + values)):.12f}")
    print("  leading eigenvalues    " + ", ".join(f"{value:.12f}" for value in values[:3]))
    print(f"with a digital filter    J {minimum(filtered=True)[0]:.14f}")
    print(f"weak constraint          J {minimum(weak=True)[0]:.14f}")
