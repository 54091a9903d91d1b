"""How long each stage took."""

from assim.show.finished import Run
from assim.show.page import number, table
from assim.show.section import Section


def seconds(run: Run) -> list[str]:
    """Wall time by stage."""
    rows = [
        (stage.replace("_", " "), number(value, 3))
        for stage, value in run.summary.get("seconds", {}).items()
    ]
    return [table(("Stage", "seconds"), rows)]


SECTION = Section("Time spent", seconds)
