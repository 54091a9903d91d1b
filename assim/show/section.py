"""One section of a report: words and pictures of one topic.

A topic is one file with a `SECTION`; `assim.show.report` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from assim.show.finished import Run
from assim.show.style import Picture

Drawing = Callable[[Run], Picture | None]


def no_words(run: Run) -> list[str]:
    """Those of a section of pictures only."""
    del run
    return []


@dataclass(frozen=True)
class Section:
    """Title, words and pictures of a topic, each made from the results of a run.

    Args:
        title: its heading.
        words: parts of HTML (see `page`); empty ones are left out.
        pictures: by the name of its PNG, what draws it; None where the results have nothing to
            draw. matplotlib is imported when one is called, not before.
        missing: what is said where there are neither words nor pictures; without it the section
            is left out then.
    """

    title: str
    words: Callable[[Run], Sequence[str]] = no_words
    pictures: Mapping[str, Drawing] = field(default_factory=dict)
    missing: str = ""
