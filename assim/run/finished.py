"""`assim check DIR`: what a finished run says of itself, from its summary."""

from pathlib import Path
from typing import Any

from assim.case.failure import Exit
from assim.run.terminal.screen import Screen
from assim.show.finished import finished_run, methods_of
from assim.show.layout import is_cycle


def check_finished(directory: Path, screen: Screen) -> Exit:
    """Repeat how a run ended: its minimisation, the verdict on its posterior, and what is odd.

    Raises:
        ReportError: no finished run is there.
    """
    with finished_run(directory) as run:
        screen.say(run.title(), "bold")
        summary = run.summary
        if is_cycle(summary):
            _cycle(summary, screen)
            return Exit.DONE
        screen.say(f"{summary['status'].replace('_', ' ').capitalize()}. {summary['advice']}")
        for name, about in methods_of(summary).items():
            screen.say(f"{name} ({about['verdict']}): {about['advice']}")
        if summary["posterior"] is None:
            screen.say("No posterior was asked for.")
        screen.fit(summary.get("fit"))
    return Exit.DONE


def _cycle(summary: dict[str, Any], screen: Screen) -> None:
    """How the windows of a cycle ended, and its χ² by value."""
    states = ", ".join(f"{number} {state}" for state, number in summary["statuses"].items())
    screen.say(f"{summary['windows']} windows: {states}.")
    screen.cycled(summary)
