"""How often a certificate is right, over problems with known posteriors drawn at random.

make study NAME=trust

Sixty problems of each of five families at default settings, posterior = "auto" (known.py). A
result is wrong where a mean is off by more than 0.1 standard deviations, or a standard deviation
by more than 5 per cent, and by more than three of its own stated standard errors; so is one whose
stated error is too small: off by more than four of them, and by a third of these bounds. Where
the exact standard deviation is ruled by a tail, or none is published, quantiles must lie within
0.05 of the width from 5 to 95 per cent, and a standard deviation must not be certified.
"""

import sys
import time
from collections import Counter

import numpy as np

from assim import analyse
from assim.analysis.posterior import Posterior
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.marginal import Quantity
from tests.studies.batches import Batches
from tests.studies.known import FAMILIES, Exact

PROBLEMS, BATCH = 60, 6
SHIFT, RATIO, ERRORS = 0.1, 0.05, 3.0  # of means, of standard deviations, and stated errors
TOO_SMALL, THIRD = 4.0, 3.0  # stated errors that no estimate is off by, beyond a third of a bound
QUANTILE = 0.05  # of the width from 5 to 95 per cent


def stated_errors(posterior: Posterior) -> tuple[float, float]:
    """Standard errors of means, in standard deviations, and relative ones of these."""
    certificates = posterior.certificates
    of_mean = 1 / np.sqrt(certificates.get("effective_draws", np.inf))
    of_mean = certificates.get("mean_error", of_mean)
    return float(of_mean), float(certificates.get("accuracy", of_mean / np.sqrt(2)))


def fault(quantity: Quantity, exact: Exact, stated: tuple[float, float]) -> str:
    """What is wrong with one scalar, in a word; "" where nothing is."""
    known = np.isfinite(exact.stdev)
    if not known and np.isfinite(quantity.stddev):
        return "tail"
    if not np.isfinite(quantity.stddev):
        quantiles = np.array([quantity.q05, quantity.q50, quantity.q95])
        width = exact.quantiles[2] - exact.quantiles[0]
        off = np.max(np.abs(quantiles - exact.quantiles)) / width
        return "" if off <= QUANTILE else "quantiles"
    shift = abs(quantity.mean - exact.mean) / exact.stdev
    ratio = abs(quantity.stddev / exact.stdev - 1)
    pairs = zip(("mean", "stdev"), (shift, ratio), (SHIFT, RATIO), stated, strict=True)
    for name, off, bound, error in pairs:
        if not off <= max(bound, ERRORS * error):
            return name
        if not off <= max(bound / THIRD, TOO_SMALL * error):
            return f"error of {name}"
    return ""


def judged(family: str, number: int) -> dict[str, object]:
    """Trust, what is wrong, and how it was reached, of one problem."""
    known = FAMILIES[family](np.random.default_rng([number, sorted(FAMILIES).index(family)]))
    began = time.perf_counter()
    analysis = analyse(known.problem, posterior="auto")
    posterior = analysis.posterior
    stated = stated_errors(posterior)
    faults = {
        name: what
        for name, exact in known.exact.items()
        if (what := fault(posterior.quantities[name], exact, stated))
    }
    return {
        "number": number,
        "trust": str(posterior.trust),
        "method": posterior.kind,
        "faults": faults,
        "gradients": sum(each.gradients for each in analysis.posteriors.values()),
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(batches: Batches) -> None:
    """Counts by family, as rows of Markdown."""
    print(
        "| family | problems | certified, right | certified, wrong | doubtful, right "
        "| doubtful, wrong | failed | commits |\n|---|---|---|---|---|---|---|---|"
    )
    for family in FAMILIES:
        lines = batches.of(family=family)
        results = [result for line in lines for result in line["results"]]
        counts = Counter((result["trust"], bool(result["faults"])) for result in results)
        failed = sum(counts[str(Trust.FAILED), wrong] for wrong in (False, True))
        cells = (
            len(results),
            *(counts[str(trust), wrong] for trust in (Trust.CERTIFIED, Trust.DOUBTFUL)
              for wrong in (False, True)),
            failed,
            ", ".join(sorted({line["commit"] for line in lines})),
        )  # fmt: skip
        print(f"| {family} | {' | '.join(map(str, cells))} |")


def main() -> None:
    """Make the batches that are missing, of one family if it is named, then print the table."""
    batches = Batches("trust")
    for first in range(0, PROBLEMS, BATCH):
        for family in FAMILIES:
            if batches.of(family=family, first=first) or family not in (sys.argv[1:] or FAMILIES):
                continue
            results = [judged(family, number) for number in range(first, first + BATCH)]
            batches.keep({"results": results}, family=family, first=first)
            print(family, first + BATCH, results, flush=True)
    table(batches)


if __name__ == "__main__":
    main()
