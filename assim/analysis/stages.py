"""A run in stages, so that something else can drive it: a program that holds the engine."""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from assim.analysis.analysed import AnalysedWindow
from assim.problem.departure import Problem


class Due(NamedTuple):
    """A window that is to be analysed, in model time.

    Args:
        start: its first slot edge.
        newest: the slot edge of its newest observations, from which on it can be analysed.
    """

    start: float
    newest: float


class Stage(NamedTuple):
    """Where a run stands between two windows.

    Args:
        problem: that of the first window, as it was posed.
        due: the window that comes next; None after the last.
        analysed: the window that has just been finished; None before the first of this process.
        newest: the slot edge of that window which has its newest observations.
        resumed: time up to which windows are finished, by this process or an earlier one, and the
            folder with the files of the last of them.
    """

    problem: Problem
    due: Due | None
    analysed: AnalysedWindow | None = None
    newest: int = 0
    resumed: tuple[float, Path] | None = None


class Ended(NamedTuple):
    """How a run ended, as its exit code, and, where that is not well, in words."""

    code: int
    words: str = ""


Stages = Generator[Stage, None, Ended]


def to_the_end(stages: Stages) -> Ended:
    """How a run ends that nothing else drives."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            ended: Ended = end.value
            return ended
