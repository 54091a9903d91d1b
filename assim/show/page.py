"""Sections of a report, and pieces of HTML: what comes from a file is escaped here alone."""

import base64
import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from assim.show.finished import Run, raised
from assim.show.style import Picture

Cell = object  # text, or a number
Drawing = Callable[[Run], Picture | None]
GOOD, UNSURE, POOR = "good", "unsure", "poor"


@dataclass(frozen=True)
class Section:
    """Title, words and pictures of a topic, each made from the results of a run.

    Args:
        title: its heading.
        words: parts of HTML (see below); empty ones are left out.
        pictures: by the name of its PNG, what draws it; None where the results have nothing to
            draw. matplotlib is imported when one is called, not before.
        missing: what is said where there are neither words nor pictures; without it the section
            is left out then.
    """

    title: str
    words: Callable[[Run], Sequence[str]] = lambda _: ()
    pictures: Mapping[str, Drawing] = field(default_factory=dict)
    missing: str = ""


def escaped(text: object) -> str:
    """Text that shows as it is, whatever it holds."""
    return html.escape(str(text), quote=True)


def paragraph(text: object, kind: str = "") -> str:
    """One paragraph of plain text."""
    return f"<p{_class(kind)}>{escaped(text)}</p>"


def notice(text: object, verdict: str, lead: object = "") -> str:
    """A sentence that must be seen, coloured by `verdict`: good, unsure or poor."""
    assert verdict in {GOOD, UNSURE, POOR, ""}
    strong = f"<strong>{escaped(lead)}</strong> " if lead else ""
    return f'<p class="notice {verdict}">{strong}{escaped(text)}</p>'


def section(title: str, *parts: str) -> str:
    """A section with its heading; without any part there is no section."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escaped(title)}</h2>\n{body}\n</section>" if body else ""


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    caption: str = "",
    marked: int | None = None,
) -> str:
    """A table: first column to the left, others to the right; without rows there is none.

    Where a column is `marked`, it is shaded, and the table set closer, as it has many.
    """
    body = "\n".join(_row(row, marked) for row in rows)
    if not body:
        return ""
    above = f"<caption>{escaped(caption)}</caption>" if caption else ""
    head = "".join(
        f"<th{_class('marked' * (k == marked))}>{escaped(name)}</th>"
        for k, name in enumerate(header)
    )
    kind = "" if marked is None else "close"
    return (
        f'<div class="wide"><table{_class(kind)}>{above}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(cells: Sequence[Cell], marked: int | None) -> str:
    first, *rest = (escaped(cell if isinstance(cell, str) else number(cell)) for cell in cells)
    others = (
        f"<td{_class('marked' * (k == marked))}>{cell}</td>" for k, cell in enumerate(rest, 1)
    )
    return f"<tr><th>{first}</th>{''.join(others)}</tr>"


def figure(png: bytes, caption: str) -> str:
    """A picture inside the page."""
    data = base64.b64encode(png).decode("ascii")
    text = escaped(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def folded(title: str, text: object) -> str:
    """Long text that opens at a click."""
    return unfolding(title, f"<pre>{escaped(text)}</pre>")


def unfolding(title: str, part: str) -> str:
    """A part of the page that opens at a click; without one there is nothing."""
    return f"<details><summary>{escaped(title)}</summary>{part}</details>" if part else ""


def _class(kind: str) -> str:
    return f' class="{escaped(kind)}"' if kind else ""


# ---- numbers -------------------------------------------------------------------------------------


def known(value: object) -> float | None:
    """A finite number, or None for anything else (JSON has no NaN: it may be null or text)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def number(value: object, digits: int = 4) -> str:
    """A number for people: `digits` significant ones, a true minus, powers of ten spelt out."""
    parsed = known(value)
    if parsed is None:
        return "–" if value is None or isinstance(value, float) else str(value)
    if isinstance(value, int):
        return str(value).replace("-", "−")
    return _spelt(f"{parsed:.{digits}g}")


def with_spread(mean: object, stddev: object) -> tuple[str, str]:
    """Mean and standard deviation, both to the second significant digit of the latter."""
    centre, spread = known(mean), known(stddev)
    if centre is None or spread is None or spread <= 0:
        return number(mean), number(stddev)
    decimals = 1 - math.floor(math.log10(spread))
    if not -3 <= decimals <= 6 or abs(centre) >= 1e6:
        return number(centre), number(spread, 2)
    rounded = round(centre, decimals), round(spread, decimals)
    left, right = (f"{value:.{max(decimals, 0)}f}" for value in rounded)
    return _spelt(left), _spelt(right)


def alike(value: object, stddev: object) -> str:
    """A number to the precision that `with_spread` gives a mean of that `stddev`."""
    return with_spread(value, stddev)[0]


def _spelt(text: str) -> str:
    mantissa, exponent, power = text.partition("e")
    return mantissa.replace("-", "−") + (f" × 10{raised(int(power))}" if exponent else "")
