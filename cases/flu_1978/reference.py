"""Moments of the posterior without assim: python reference.py, a few minutes.

RK4 steps of a tenth of a day, and the affine-invariant ensemble sampler of Goodman & Weare (2010),
Commun. Appl. Math. Comput. Sci. 5, 65-80, on the logarithms of the seven unknowns.
"""

import csv
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).resolve().parent / "source" / "influenza_england_1978_school.csv"
NAMES = ("infectious", "beta", "infectious_time", "bed_time", "convalescent_time")
NAMES += ("sigma_in_bed", "sigma_convalescent")
MEDIANS = np.log([1.0, 2.0, 1.0, 3.0, 2.0, 10.0, 10.0])
LOG_STDEVS = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 1.0, 1.0])
STAGES, STEPS = 3, 10  # of a day
WALKERS, SWEEPS, DISCARDED = 256, 6000, 1000


def tendency(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Of S, I, three stages in bed and three of convalescence, shape (8, walkers)."""
    persons, beta, infectious_time, bed_time, convalescent_time = theta
    infection = beta * x[0] * x[1] / persons
    flows = [infection, x[1] / infectious_time]
    flows += list(STAGES * x[2:5] / bed_time) + list(STAGES * x[5:8] / convalescent_time)
    gained = np.concatenate([np.zeros((1, x.shape[1])), np.stack(flows[:-1])])
    return gained - np.stack(flows)


def counts(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boys in bed and convalescent on fourteen days, (14, walkers), and all who fell ill."""
    start, x, dt = np.exp(z[:, 0]), np.zeros((8, len(z))), 1 / STEPS
    x[0], x[1], x[2] = 760.0, start, 3.0
    theta = np.stack([763.0 + start, *np.exp(z[:, 1:5]).T])
    days = [x]
    for _ in range(13):
        for _ in range(STEPS):
            k1 = tendency(x, theta)
            k2 = tendency(x + dt / 2 * k1, theta)
            k3 = tendency(x + dt / 2 * k2, theta)
            x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + tendency(x + dt * k3, theta))
        days.append(x)
    all_days = np.stack(days)
    return all_days[:, 2:5].sum(axis=1), all_days[:, 5:8].sum(axis=1), 763 - x[0]


def log_density(z: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Of the posterior of the logarithms but for a constant, shape (walkers,)."""
    prior = -0.5 * np.sum(((z - MEDIANS) / LOG_STDEVS) ** 2, axis=1)
    likelihood = 0.0
    for predicted, values, log_stdev in zip(counts(z), observed, z[:, 5:].T, strict=False):
        residual = np.sum((values[:, None] - predicted) ** 2, axis=0)
        likelihood = likelihood - 0.5 * residual * np.exp(-2 * log_stdev) - 14 * log_stdev
    return prior + likelihood


def sample(observed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sweeps of both halves of the walkers, each moved along lines to the other one."""
    best = np.log([1.0, 4.0, 0.4, 3.3, 2.2, 15.0, 15.0])
    z = best + 0.05 * rng.normal(size=(WALKERS, 7))
    density, half, kept = log_density(z, observed), WALKERS // 2, []
    for sweep in range(SWEEPS):
        for moved in (np.arange(half), np.arange(half, WALKERS)):
            others = z[(moved + half) % WALKERS][rng.integers(half, size=half)]
            stretch = (1 + rng.random(half)) ** 2 / 2  # density ∝ 1/√s between a half and two
            proposal = others + stretch[:, None] * (z[moved] - others)
            proposed = log_density(proposal, observed)
            log_ratio = 6 * np.log(stretch) + proposed - density[moved]
            accepted = moved[np.log(rng.random(half)) < log_ratio]
            at = accepted - moved[0]
            z[accepted], density[accepted] = proposal[at], proposed[at]
        if sweep >= DISCARDED and sweep % 10 == 0:
            kept.append(z.copy())
    return np.stack(kept)


def main() -> None:
    """Print mean, standard deviation and standard error of the mean of every quantity."""
    rows = list(csv.DictReader(SOURCE.read_text().splitlines()))
    observed = np.array([[float(row[k]) for row in rows] for k in ("in_bed", "convalescent")])
    draws = sample(observed, np.random.default_rng(0))
    flat = draws.reshape(-1, 7)
    in_bed, convalescent, ill = counts(flat)
    values = dict(zip(NAMES, np.exp(flat).T, strict=True))
    values["reproduction_number"] = values["beta"] * values["infectious_time"]
    values["cases"] = ill
    for name, value in values.items():
        parts = value.reshape(10, -1).mean(axis=1)  # ten stretches of the chain
        error = parts.std(ddof=1) / np.sqrt(10)
        print(f"{name}: {value.mean():.6g} ± {value.std():.4g}, to {error:.2g}")
    print("in_bed", in_bed.mean(axis=1).round(2).tolist(), in_bed.std(axis=1).round(2).tolist())
    print("convalescent", convalescent.mean(axis=1).round(2).tolist())


if __name__ == "__main__":
    main()
