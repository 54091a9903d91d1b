"""Chains on a funnel with known moments: right, doubtful, or wrong without a word.

make study NAME=chains [ARGS="20"]

A random walk seen through noise, both scales unknown. Of every seed: certified and right, the logs
of both scales being within 0.1 of a standard deviation in the mean and 5 per cent in the standard
deviation, or within three of the standard errors that the chains state; doubtful; or certified and
not right, which must not be.
"""

import sys
from collections import Counter

import jax
import numpy as np

from assim.run.terminal.runtime import configure
from assim.solve.posterior.chains.laps import LAPS
from assim.solve.posterior.chains.samplers import MCLMC, NUTS
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Trust
from tests.solve.targets import SCALES, random_walk
from tests.studies.batches import Batches

METHODS: dict[str, AbstractPosterior] = {
    "NUTS": NUTS(),
    "MCLMC": MCLMC(),
    "MCLMC, adjusted": MCLMC(adjusted=True),
    "LAPS": LAPS(),
}


def judged(found: Ensemble) -> str:
    """ "right", "wrong" where it is certified and not right, or how far it trusts itself."""
    if found.trust is not Trust.CERTIFIED:
        return str(found.trust)
    members, accuracy = 2 * np.asarray(found.members)[:, :2], found.certificates["accuracy"]
    mean, stdev = SCALES.T
    off = np.abs(members.mean(0) - mean) / stdev, np.abs(members.std(0) / stdev - 1)
    right = np.max(off[0]) < max(0.1, 6 * accuracy) and np.max(off[1]) < max(0.05, 3 * accuracy)
    return "right" if right else "wrong"


def main(seeds: int = 20) -> None:
    """Make what is missing, then print the table."""
    configure("cpu", "float64")
    batches, walk = Batches("chains"), None
    for seed in range(seeds):
        for name, method in METHODS.items():
            if batches.of(method=name, seed=seed):
                continue
            walk = walk or random_walk()
            found = method.sample(*walk, jax.random.key(seed))
            scales = 2 * np.asarray(found.members)[:, :2]
            moments = {"mean": scales.mean(0).tolist(), "stdev": scales.std(0).tolist()}
            result = {"judged": judged(found), "gradients": found.gradients, **moments}
            print(name, seed, result, found.advice, flush=True)
            result["certificates"] = dict(found.certificates)
            batches.keep(result, method=name, seed=seed)
    print("| method | seeds | right | doubtful | wrong | gradients, median | commits |")
    print("|---|---|---|---|---|---|---|")
    for name in METHODS:
        lines = batches.of(method=name)
        counts = Counter(line["judged"] for line in lines)
        gradients = np.median([line["gradients"] for line in lines]) if lines else 0
        commits = ", ".join(sorted({line["commit"] for line in lines}))
        cells = [len(lines), *(counts[word] for word in ("right", "doubtful", "wrong"))]
        print(f"| {name} | {' | '.join(map(str, cells))} | {gradients:.0f} | {commits} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
