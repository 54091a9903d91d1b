"""The head of a window's report: title, time, and how the minimisation ended."""

from assim.show.finished import Run, span_of
from assim.show.layout import time_of
from assim.show.page import GOOD, POOR, UNSURE, escaped, notice, paragraph


def heading(run: Run) -> list[str]:
    """Title, window and how the minimisation ended."""
    status = run.summary["status"].replace("_", " ")
    verdict = GOOD if status == "converged" else POOR if "finite" in status else UNSURE
    return [
        f"<h1>{escaped(run.title())}</h1>",
        paragraph(" · ".join([run.name(), *_window(run)]), "soft"),
        notice(run.summary["advice"], verdict, status.capitalize() + "."),
    ]


def _window(run: Run) -> list[str]:
    file = run.files.get("trajectory")
    time = None if file is None else time_of(file)
    return [] if time is None or time.size < 2 else span_of(time)
