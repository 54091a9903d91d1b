"""The report of a window or of a cycle: a page and its PNGs, made from sections.

To add a topic, write a file with its `Section` and name that in `WINDOW` or in `CYCLE`.
"""

import json
from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from assim.files.errors import DataError, ReportError
from assim.files.netcdf import write_bytes, write_json
from assim.files.record import REPORT, rewrite, together
from assim.show import about, page
from assim.show.applied import APPLIED
from assim.show.consistency import CONSISTENCY
from assim.show.cycle import windows
from assim.show.cycle.errors import ERRORS, INTERVALS
from assim.show.cycle.estimates import ESTIMATES, INFLATION
from assim.show.cycle.innovations import COVARIANCES, INNOVATIONS
from assim.show.cycle.state import STATE
from assim.show.finished import FORECAST_JSON, Run, finished_run
from assim.show.forecast import FORECAST
from assim.show.forecast import heading as ahead
from assim.show.layout import is_cycle
from assim.show.methods import METHODS
from assim.show.minimisation import HESSIAN, MINIMISATION, SECONDS
from assim.show.observed import OBSERVATIONS
from assim.show.page import Section
from assim.show.posterior import POSTERIOR, QUANTITIES
from assim.show.predictive import PREDICTIVE
from assim.show.sloppy import SLOPPY
from assim.show.style import Picture, house_style
from assim.show.trajectory import MODEL_ERROR, TRAJECTORY

WINDOW: tuple[Section, ...] = (
    QUANTITIES,
    METHODS,
    TRAJECTORY,
    FORECAST,
    MODEL_ERROR,
    POSTERIOR,
    SLOPPY,
    OBSERVATIONS,
    PREDICTIVE,
    CONSISTENCY,
    about.FINDINGS,
    APPLIED,
    MINIMISATION,
    HESSIAN,
    SECONDS,
    about.PROVENANCE,
)
CYCLE: tuple[Section, ...] = (
    ERRORS,
    INTERVALS,
    INNOVATIONS,
    COVARIANCES,
    ESTIMATES,
    STATE,
    INFLATION,
    windows.WINDOWS,
    FORECAST,
    APPLIED,
    about.PROVENANCE,
)
AHEAD: tuple[Section, ...] = (FORECAST, about.PROVENANCE)  # a forecast in a directory of its own


def write_report(directory: Path) -> list[Path]:
    """Write `report.html` and `figures/*.png` into a run directory; return what was written.

    The page is self-contained. A file that the case did not keep costs its sections, which say so;
    the same files give the same bytes. A finished file never appears half-written.

    Args:
        directory: a run directory, holding at least `summary.json`.

    Raises:
        ReportError: no finished run there, a file that cannot be read or has another layout than
            the one that is written, or no matplotlib.
        DataError: it cannot be written, or a picture of an earlier report not be removed.
    """
    directory = Path(directory)
    with finished_run(directory) as run:
        pictures = draw(run)
        text = render(run, pictures)
    drawn = {f"figures/{name}.png": picture.png for name, picture in pictures.items()}
    content = {**drawn, "report.html": text.encode("utf-8")}
    with together(directory, REPORT) as batch:
        for name, page_or_picture in content.items():
            with batch.part(name) as path:
                write_bytes(page_or_picture, path)
    return [directory / name for name in ("report.html", *drawn)]


def report_of_results(
    directory: Path, keep: Collection[str] | None, say: Callable[[str], None]
) -> list[Path]:
    """The report of results that have just been written; a line, and their summary, say why not.

    Args:
        directory: where they are.
        keep: what the case keeps, with "report" among it where one is asked for; None for all.
        say: prints a line for a person.
    """
    if keep is not None and "report" not in keep:
        return []
    try:
        return write_report(directory)
    except KeyboardInterrupt:
        _note(directory, "interrupted")
        raise
    except (DataError, ReportError) as error:
        why = str(error)
    except Exception as error:  # a picture that fails costs the report, not the results
        why = (
            f"The report could not be drawn ({type(error).__name__}: {error}); the other files "
            f"stand. `assim report {directory} --debug` shows where, please report it."
        )
    say(why)
    if find_spec("matplotlib") is not None:
        _note(directory, why)
    return []


def _note(directory: Path, why: str) -> None:
    """Say in the summary, which is written before the report is made of it, why there is none."""

    def change(path: Path) -> None:
        summary = json.loads(path.read_text(encoding="utf-8"))
        write_json(summary | {"failures": summary.get("failures", {}) | {"report": why}}, path)

    summary = "summary.json"
    rewrite(directory, summary if (directory / summary).is_file() else FORECAST_JSON, change)


def sections_of(run: Run) -> tuple[Section, ...]:
    """The sections of a window's report, of a cycle's, or of a forecast alone."""
    if not run.summary:
        return AHEAD
    return CYCLE if is_cycle(run.summary) else WINDOW


def draw(run: Run) -> dict[str, Picture]:
    """Every picture that the results allow, by name.

    Raises:
        ReportError: matplotlib is not installed.
    """
    try:
        with house_style():
            drawn = {
                name: drawing(run)
                for section in sections_of(run)
                for name, drawing in section.pictures.items()
            }
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise ReportError(
            f"{run.directory or run.name()}: a report needs matplotlib, which is not installed: "
            "`pip install matplotlib`"
        ) from error
    return {name: picture for name, picture in drawn.items() if picture is not None}


def render(run: Run, pictures: Mapping[str, Picture]) -> str:
    """The page as text, with those of its pictures that are given."""
    template = Template(files("assim.show").joinpath("report.html").read_text(encoding="utf-8"))
    title = page.escaped(run.title())
    head = _heading(run)(run)
    sections = (_printed(section, run, pictures) for section in sections_of(run))
    body = "\n".join(part for part in (f"<h1>{title}</h1>", *head, *sections) if part)
    return template.substitute(title=title, body=body)


def _heading(run: Run) -> Callable[[Run], list[str]]:
    if not run.summary:
        return ahead
    return windows.heading if is_cycle(run.summary) else about.heading


def _printed(section: Section, run: Run, pictures: Mapping[str, Picture]) -> str:
    """A section, which says what is missing where it has nothing else."""
    shown = [pictures[name] for name in section.pictures if name in pictures]
    figures = [page.figure(picture.png, picture.caption) for picture in shown]
    printed = page.section(section.title, *section.words(run), *figures)
    if printed or not section.missing:
        return printed
    return page.section(section.title, page.paragraph(f"Left out: {section.missing}", "soft"))
