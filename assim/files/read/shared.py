"""Values that two instruments share: data that would count twice."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from assim.files.read.observations import Instrument

_MOST = 0.5  # share of the smaller instrument's values from which it is told
_PLACES = 9  # decimals to which times and places that are the same agree


def shared_values(instruments: Sequence[Instrument]) -> Iterator[str]:
    """A note on every two instruments of one variable that have most of their values in common.

    Common are values that are equal and of the same time, or interval, and place.
    """
    for first, second in combinations(instruments, 2):
        if first.table.variable != second.table.variable:
            continue
        rows = [_rows(instrument) for instrument in (first, second)]
        common, fewest = len(rows[0] & rows[1]), min(map(len, rows))
        if common < _MOST * fewest:
            continue
        number = f"the same {common}" if common == fewest else f"{common} of {fewest}"
        names = " and ".join(i.observations.name for i in (first, second))
        yield (
            f"{names} have {number} values at the same times and places in common: data that count "
            "twice make error bars too small; leave one of them out"
        )


def _rows(instrument: Instrument) -> set[tuple[float, ...]]:
    """When, where and what every value is; two files may store it as different types."""
    points, values = instrument.observations.points, instrument.observations.values
    where = [points.coordinates[dim] for dim in sorted(points.coordinates)]
    columns = (np.round(np.asarray(c), _PLACES) for c in (points.starts, points.times, *where))
    return set(zip(*columns, np.asarray(values).astype(np.float32), strict=True))
