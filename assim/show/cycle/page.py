"""The page of a cycle: its sections, in order."""

from functools import partial
from typing import TYPE_CHECKING

from assim.show import page, passages
from assim.show.cycle import windows as cycle_windows
from assim.show.cycle import words as cycle_words
from assim.show.cycle.series import is_cycle as is_cycle
from assim.show.finished import Run

if TYPE_CHECKING:
    from assim.show.style import Picture

PICTURES = (
    *("errors", "spread_skill", "reliability", "innovations", "chi_squared", "desroziers"),
    *("ranks", "inflation", "estimates", "hovmoeller"),
)
NO_SERIES = "Left out: the directory holds no diagnostics.nc with series over windows."


def sections(run: Run, pictures: "dict[str, Picture]") -> list[str]:
    """Every section of which the files have something."""
    shown, section = partial(_shown, pictures), page.section
    return [
        cycle_words.heading(run),
        section("Errors and spread", cycle_words.errors(run), shown("errors", "spread_skill"))
        or section("Errors and spread", page.paragraph(NO_SERIES, "soft")),
        section("Intervals", shown("reliability")),
        section("Innovations", cycle_words.innovations(run), shown("innovations", "ranks")),
        section("Covariances", shown("chi_squared", "desroziers")),
        section("Estimates", cycle_words.estimates(run), shown("estimates")),
        section("State", shown("hovmoeller")),
        section("Inflation and information", cycle_words.inflation(run), shown("inflation")),
        section("Windows", *cycle_windows.windows(run)),
        section("Provenance", *passages.provenance(run)),
    ]


def _shown(pictures: "dict[str, Picture]", *names: str) -> str:
    there = [pictures[name] for name in names if name in pictures]
    return "\n".join(page.figure(one.png, one.caption) for one in there)
