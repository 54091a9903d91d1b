"""What a report says of the run itself: its head, findings without a topic, provenance."""

from collections.abc import Iterator
from typing import Any

from assim.show.finished import Run, span_of
from assim.show.layout import time_of
from assim.show.page import GOOD, POOR, UNSURE, Section, folded, notice, number, paragraph, table

MOST = 40  # rows of a finding


def heading(run: Run) -> list[str]:
    """The window, and how the minimisation ended."""
    status = run.summary["status"].replace("_", " ")
    verdict = GOOD if status == "converged" else POOR if "finite" in status else UNSURE
    file = run.files.get("trajectory")
    window = [] if file is None or time_of(file).size < 2 else span_of(time_of(file))
    return [
        paragraph(" · ".join([run.name(), *window]), "soft"),
        notice(run.summary["advice"], verdict, status.capitalize() + "."),
        *_fit(run),
        *(
            notice(why, POOR, f"Failed, and left out: {stage.replace('_', ' ')}.")
            for stage, why in run.summary["failures"].items()
        ),
    ]


def _fit(run: Run) -> list[str]:
    """That the data do not fit the problem as stated, what does not, and what was not tested."""
    fit = run.summary.get("fit")
    if fit is None:
        return [notice("So nothing is certified.", UNSURE, "Whether the data fit was not tested.")]
    untested = [notice(line, UNSURE) for line in fit["untested"]]
    if fit["verdict"] != "poor":
        return untested
    text = (
        "The error bars below are not those of what was measured, however well the posterior of "
        "the problem as stated is known:"
    )
    lines = [paragraph(f"– {remark}") for remark in fit["remarks"]]
    return [notice(text, POOR, "The data do not fit the problem as stated."), *lines, *untested]


def provenance(run: Run) -> list[str]:
    """Version, inputs and configuration, from the attributes of a file."""
    attributes = run.attributes()
    keys = ("assim_version", "assim_config_sha256", "source", "history")
    facts = [
        paragraph(f"{key.removeprefix('assim_').replace('_', ' ')}: {attributes[key]}", "soft")
        for key in keys
        if key in attributes
    ]
    long = {"Inputs and their SHA-256": "assim_inputs", "Configuration": "assim_config"}
    unfolded = (folded(title, attributes[key]) for title, key in long.items() if key in attributes)
    return ["\n".join(facts), *unfolded]


def findings(run: Run) -> list[str]:
    """Every number in the summary of the findings that no other topic shows, as a user's own."""
    parts = []
    for name in run.summary["findings"]:
        if name not in _SHOWN:
            rows = list(_rows(run.summary[name]))
            parts.append(table((name, ""), rows[:MOST]))
            if len(rows) > MOST:
                rest = f"{len(rows) - MOST} further numbers are in summary.json."
                parts.append(paragraph(rest, "soft"))
    return parts


_SHOWN = {
    "diagnostics",
    "fit",
    "impact",
    "sloppy",
    "predictive",
    "skill",
    "observables",
}  # each by a topic of its own


def _rows(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Words for the place of each number, and the number."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _rows(item, (*path, str(key)))
    elif isinstance(value, list):
        for place, item in enumerate(value, 1):
            yield from _rows(item, (*path, str(place)))
    else:
        yield " ".join(path).replace("_", " "), number(value)


FINDINGS = Section("Findings of your own", findings)
PROVENANCE = Section("Provenance", provenance, missing="no NetCDF file of this run has attributes.")
