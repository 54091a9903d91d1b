"""Members of equal weight from weighted ones."""

from typing import Any

import numpy as np


def systematic(weights: Any, number: int, offset: Any = 0.5) -> Any:
    """So many members by number, each as often as its weight says: systematic resampling.

    The l-th is where the weights add up to (l + offset)/L of their sum. Of equal weights that is
    every N/L-th member, so that a chain is thinned evenly. Traceable.

    Args:
        weights: of the members, not negative, shape (N,); NumPy's or JAX's.
        number: of those drawn, L.
        offset: between 0 and 1; drawn from it uniformly, expected numbers are exact.
    """
    share = weights.cumsum() / weights.sum()
    places = (np.arange(number) + offset) / number
    return share.searchsorted(places).clip(max=weights.shape[0] - 1)
