"""Values that two instruments share: data that would count twice."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np

from assim.files.read.observations import Instrument

_MOST = 0.5  # share of the smaller instrument's values from which it is told
_PLACES = 9  # decimals to which times and places that are the same agree


def shared_values(
    instruments: Sequence[Instrument], held_back: Sequence[Instrument] = ()
) -> Iterator[str]:
    """A note on every two instruments of one variable that have most of their values in common.

    Common are values that are equal and of the same time, or interval, and place.

    Args:
        instruments: those that are assimilated.
        held_back: those that verify what is predicted; they may have values in common.
    """
    for first, second in combinations(instruments, 2):
        if common := _common(first, second):
            yield f"{common}: data that count twice make error bars too small; leave one out"
    for first, second in product(instruments, held_back):
        if common := _common(first, second):
            yield f"{common}: what is held back is assimilated all the same, and verifies nothing"


def _common(first: Instrument, second: Instrument) -> str:
    """How many values they have in common, in words; "" where it is less than half of either."""
    if first.table.variable != second.table.variable:
        return ""
    rows = [_rows(instrument) for instrument in (first, second)]
    common, fewest = len(rows[0] & rows[1]), min(map(len, rows))
    if common < _MOST * fewest:
        return ""
    number = f"the same {common}" if common == fewest else f"{common} of {fewest}"
    names = " and ".join(i.observations.name for i in (first, second))
    return f"{names} have {number} values at the same times and places in common"


def _rows(instrument: Instrument) -> set[tuple[float, ...]]:
    """When, where and what every value is; two files may store it as different types."""
    points, values = instrument.observations.points, instrument.observations.values
    where = [points.coordinates[dim] for dim in sorted(points.coordinates)]
    columns = (np.round(np.asarray(c), _PLACES) for c in (points.starts, points.times, *where))
    return set(zip(*columns, np.asarray(values).astype(np.float32), strict=True))
