"""Two independent sets of members as one, with weights of one kind."""

import math

import numpy as np

from assim.solve.posterior.nested.members import Drawn, Known, Logs, weighted
from assim.statistics.accuracy import Errors


def pooled(first: Drawn, second: Drawn) -> Drawn:
    """Two independent sets of members as one, each by its share s of all.

    Whether z given ψ is corrected is decided by all of them together: weights of one kind.
    """
    both = (first, second)
    shares = [len(one.chi) / (len(first.chi) + len(second.chi)) for one in both]
    each = [
        one.logs._replace(density=one.logs.density + np.log(share))
        for one, share in zip(both, shares, strict=True)
    ]
    return weighted(
        np.concatenate([one.chi for one in both]),
        np.concatenate([one.places for one in both]),
        Logs(*(np.concatenate(parts) for parts in zip(*each, strict=True))),
        sum(share * one.lost for one, share in zip(both, shares, strict=True)),
    )


def parted(whole: Drawn, first: Drawn, second: Drawn) -> tuple[Drawn, Drawn]:
    """Both sets that were pooled, with the weights that they have there, each of sum one."""
    a, b = (w / w.sum() for w in np.split(whole.weights, [len(first.chi)]))
    corrected = whole.corrected
    return (
        first._replace(weights=a, corrected=corrected),
        second._replace(weights=b, corrected=corrected),
    )


def known_of_both(first: Known, second: Known, share: float) -> Known:
    """How well both know moments together, the first having so large a share."""
    s, t = share, 1 - share
    both = zip(first.errors, second.errors, strict=True)
    errors = Errors(*(math.hypot(s * of_first, t * of_second) for of_first, of_second in both))
    return Known(errors, 1 / (s**2 / first.effective_size + t**2 / second.effective_size))
