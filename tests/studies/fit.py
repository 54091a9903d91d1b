"""Faults of data found and missed, and sound data called faulty, over problems drawn at random.

make study NAME=fit

Three hundred problems, each under every fault: a linear model of two or five sites with an unknown
drive, or predator and prey; dynamics, truth, noise and number of times are drawn.
"""

from collections import Counter
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from assim import Observations, Points, Window, analyse, finding, likelihood, strong_constraint
from assim.models import LotkaVolterra
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal, Normal
from assim.solve.posterior.laplace import Laplace
from tests.solve.linear import DrivenLinear
from tests.studies.batches import Batches

PROBLEMS, BATCH = 300, 25
PLAIN = Laplace(certificate=0, members=20)
Errors = Callable[[np.random.Generator, int, int], np.ndarray]  # generator, times, places


def independent(rng: np.random.Generator, times: int, places: int) -> np.ndarray:
    """Standard normal errors."""
    return rng.normal(size=(times, places))


def dependent(rng: np.random.Generator, times: int, places: int) -> np.ndarray:
    """Errors of unit variance whose correlation from time to time is 0.8."""
    errors = rng.normal(size=(times, places))
    for k in range(1, times):
        errors[k] = 0.8 * errors[k - 1] + 0.6 * errors[k]
    return errors


def outlier(rng: np.random.Generator, times: int, places: int) -> np.ndarray:
    """Standard normal errors but for one of eight standard deviations."""
    errors = rng.normal(size=(times, places))
    errors[rng.integers(times), rng.integers(places)] = 8.0 * rng.choice([-1, 1])
    return errors


FAULTS: dict[str, tuple[Errors, float]] = {  # errors, and the factor on values
    "sound": (independent, 1.0),
    "errors twice as large": (lambda *given: 2 * independent(*given), 1.0),
    "errors half as large": (lambda *given: independent(*given) / 2, 1.0),
    "one gross error": (outlier, 1.0),
    "another unit (a factor of 1000)": (independent, 1000.0),
    "another unit (a factor of 1.8)": (independent, 1.8),
    "dependent residuals": (dependent, 1.0),
}


def linear(rng: np.random.Generator, fault: str) -> finding.Fit:
    """The fit of a linear model with an unknown drive."""
    n, slots = int(rng.choice([2, 5])), int(rng.choice([12, 36]))  # few shapes: compiled once
    matrix = 0.97 * np.linalg.qr(rng.normal(size=(n, n)))[0]
    drive, stdev = rng.normal(size=n), float(rng.uniform(0.1, 0.5))
    model = DrivenLinear(jnp.asarray(matrix), jnp.asarray(drive), {"b": jnp.asarray(0.3)})
    window = Window.regular(model, slots, 1)
    errors, factor = FAULTS[fault]
    state, b = rng.normal(size=n), rng.normal(0.3, 0.5)
    predicted = []
    for _ in range(slots):
        state = matrix @ state + b * drive
        predicted.append(state)
    values = factor * (np.array(predicted) + stdev * errors(rng, slots, n)).ravel()
    sites = {"site": np.tile(np.arange(float(n)), slots)}
    points = Points.at(np.repeat(np.asarray(window.edges[1:]), n), sites)
    observed = Observations("u", values, points, PointSample("u"), stdev)
    priors, background = {"b": Normal(0.3, 0.5)}, {"u": jnp.zeros(n)}
    problem = strong_constraint(model, window, background, Diagonal(1.0), observed, priors)
    return finding.goodness_of_fit(analyse(problem, posterior=PLAIN))


def predator_and_prey(rng: np.random.Generator, fault: str) -> finding.Fit:
    """The fit of four parameters of a nonlinear model with log-normal errors."""
    model, stdev = LotkaVolterra(), float(rng.uniform(0.05, 0.3))
    times = np.linspace(0.0, float(rng.uniform(8.0, 20.0)), int(rng.choice([10, 20])))
    window, points = Window.at(model, times), Points.at(jnp.asarray(times))
    start = {"hare": jnp.asarray(30.0), "lynx": jnp.asarray(4.0)}
    medians = {"alpha": 0.55, "beta": 0.028, "gamma": 0.8, "delta": 0.024}
    priors = {name: LogNormal(median, 0.2) for name, median in medians.items()}
    errors, factor = FAULTS[fault]

    def posed(values: dict[str, np.ndarray]) -> object:
        observed = [
            Observations(name, v, points, PointSample(name), stdev, likelihood.LogNormal(),
                         units="1000")
            for name, v in values.items()
        ]  # fmt: skip
        return strong_constraint(model, window, start, None, observed, priors)

    blank = posed({"hare": np.ones(times.size), "lynx": np.ones(times.size)})
    predicted = jax.jit(lambda chi: blank.simulate(chi).predictions)(
        jnp.asarray(rng.normal(size=4))
    )
    noise = np.exp(stdev * errors(rng, times.size, 2))
    values = {
        name: factor * np.asarray(predicted[name]) * noise[:, k]
        for k, name in enumerate(("hare", "lynx"))
    }
    return finding.goodness_of_fit(analyse(posed(values), posterior=PLAIN))


def judged(number: int, fault: str) -> str:
    """ "poor", "told" where a remark alone was made, or "good", of one problem."""
    rng = np.random.default_rng([number, sorted(FAULTS).index(fault)])
    fit = (linear, predator_and_prey)[number % 2](rng, fault)
    return "poor" if fit.verdict == "poor" else "told" if fit.remarks() else fit.verdict


def main() -> None:
    """Make the batches that are missing, then print the table."""
    batches = Batches("fit")
    for fault in FAULTS:
        for first in range(0, PROBLEMS, BATCH):
            if batches.of(fault=fault, first=first):
                continue
            counts = Counter(judged(number, fault) for number in range(first, first + BATCH))
            batches.keep({"counts": dict(counts)}, fault=fault, first=first)
            print(fault, first + BATCH, dict(counts), flush=True)
    print("| data | problems | poor | told, not poor | nothing said | commits |")
    print("|---|---|---|---|---|---|")
    for fault in FAULTS:
        lines = batches.of(fault=fault)
        counts = sum((Counter(line["counts"]) for line in lines), Counter())
        silent = counts["good"] + counts["untested"]
        commits = ", ".join(sorted({line["commit"] for line in lines}))
        cells = (counts.total(), counts["poor"], counts["told"], silent, commits)
        print(f"| {fault} | {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
