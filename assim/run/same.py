"""Whether cases assimilate the same observations: only then do their evidences compare."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from assim.files.observations import Instrument
from assim.files.times import NON_PHYSICAL
from assim.run.build import Posed
from assim.run.failure import CaseError, Fault

EPOCH = "2000-01-01"
PLACES = 6  # decimals of days, a tenth of a second, to which times are the same


class Reading(NamedTuple):
    """One value that is assimilated: when and where, whatever its instrument is called.

    Args:
        value: as observed.
        times: its time and the ends of its interval, days since 2000 or numbers.
        positions: along the dimensions that all cases have, by their names.
    """

    value: float
    times: tuple[float, ...]
    positions: tuple[float, ...]


def check_same(posed: Mapping[str, Posed]) -> None:
    """See that all cases assimilate the same values, at the same times and places.

    Args:
        posed: the cases by name.

    Raises:
        CaseError: a case whose readings are not those of the first.
    """
    known = [{*i.table.coordinates} for one in posed.values() for i in one.instruments]
    dims = sorted(set.intersection(*known))
    rows = {name: readings(one, dims) for name, one in posed.items()}
    first, *others = rows
    for name in others:
        if rows[name] != rows[first]:
            what = (
                f"assimilates other values ({len(rows[name])}) than {first} ({len(rows[first])}), "
                "or at other times or places: evidences compare only for the same observations, "
                "rejected ones included"
            )
            raise CaseError([Fault("observations", what)], name)


def readings(posed: Posed, dims: list[str]) -> list[Reading]:
    """All values assimilated, in the order of value, time and place.

    Args:
        posed: the case.
        dims: dimensions along which positions count.
    """
    unit = posed.problem.model.labels().time_unit
    return sorted(
        reading for one in posed.instruments for reading in _of_instrument(one, unit, dims)
    )


def _of_instrument(one: Instrument, unit: str, dims: list[str]) -> list[Reading]:
    table = one.table
    dated = unit != NON_PHYSICAL
    clocks = [stamp or table.times for stamp in (table.times, table.starts, table.ends)]
    numbers = [c.to_model("days" if dated else unit, EPOCH if dated else None) for c in clocks]
    times = np.round(np.stack(numbers, axis=1), PLACES)[one.used].tolist()
    places = [table.coordinates[dim][one.used].tolist() for dim in dims]
    values = table.values[one.used].tolist()
    return [
        Reading(value, tuple(when), where)
        for value, when, where in zip(
            values, times, zip(*places, strict=True) if places else [()] * len(values), strict=True
        )
    ]
