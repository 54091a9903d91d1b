"""Numbers, quantities and scores as people read them in tables and lines."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from assim.files.names import AGREEMENT

ROWS = 12  # of a table by lead time
_Item = TypeVar("_Item")


def some_of(several: Sequence[_Item]) -> list[_Item]:
    """All of them where they are few, else some evenly spread, the last included."""
    places = np.linspace(0, len(several) - 1, min(len(several), ROWS)).round().astype(int)
    return [several[place] for place in places]


def number_text(value: Any, form: str = ".3f") -> str:
    """A number, or a dash where it is not known."""
    return "–" if value is None or not math.isfinite(value) else f"{float(value):{form}}"


def score_cells(scores: Any) -> tuple[str, ...]:
    """The scores of a forecast (`findings.verification.Scores`) as the cells of a table."""
    numbers = (scores.rmse, scores.bias, scores.spread, scores.crps, scores.log_score)
    return (
        f"{scores.number:,}",
        *map(four_digits, numbers),
        f"{100 * scores.coverage.covered:.0f} %",
    )


def agreement_words(scores: Any) -> str:
    """How well a forecast agrees with readings, beside its errors."""
    numbers = scores._asdict()
    names = [key for key in AGREEMENT if key not in ("bias", "rmse")]
    return ", ".join(f"{AGREEMENT[key]} {four_digits(numbers[key])}" for key in names)


def four_digits(value: float | None) -> str:
    """A number to four digits, or a dash."""
    return number_text(value, ".4g")


def quantity_row(name: str, q: Any) -> tuple[str, ...]:
    """The cells of one quantity."""
    numbers = (q.mean, q.stddev, q.q05, q.q95, q.map)
    return (name, *(number_text(number, ".5g") for number in numbers), q.units)


def with_stddev(q: Any) -> str:
    """Mean and standard deviation, or the median where that is ruled by a few draws."""
    if q.note:
        return f"median {q.q50:.4g}"
    return f"{q.mean:.4g} ± {q.stddev:.3g}" if q.stddev > 0 else "–"
