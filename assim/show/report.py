"""The report of a run or a cycle: `report.html` and its PNGs, from finished files alone."""

import os
from collections.abc import Callable, Collection
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from assim.files.errors import ReportError
from assim.show import consistency, methods, page, passages, predictive, sloppy
from assim.show.cycle import page as cycle_page
from assim.show.cycle import words as cycle_words
from assim.show.finished import Run, finished_run

if TYPE_CHECKING:
    from assim.show.style import Picture

PICTURES = (
    *("trajectory", "hovmoeller", "initial_state", "model_error", "densities", "corner"),
    *("methods", "methods_trajectory", "sloppy", "predictive"),
    *("departures", "influence", "convergence", "spectrum"),
    *cycle_page.PICTURES,
)


NONE = "Left out: "


def write_report(directory: Path) -> list[Path]:
    """Write `report.html` and `figures/*.png` into a run directory; return what was written.

    The page is self-contained. A file that is missing costs its section, which says so; the same
    files give the same bytes. A finished file never appears half-written.

    Args:
        directory: a run directory, holding at least `summary.json`.

    Raises:
        ReportError: no finished run there, a file that cannot be read, or no matplotlib.
    """
    directory = Path(directory)
    with finished_run(directory) as run:
        pictures = _draw(run)
        text = render(run, pictures)
    figures = directory / "figures"
    figures.mkdir(exist_ok=True)
    for name in set(PICTURES) - set(pictures):
        (figures / f"{name}.png").unlink(missing_ok=True)
    drawn = [_write(figures / f"{name}.png", one.png) for name, one in pictures.items()]
    return [_write(directory / "report.html", text.encode("utf-8")), *drawn]


def report_of_results(
    directory: Path, keep: Collection[str] | None, say: Callable[[str], None]
) -> list[Path]:
    """The report of results that have just been written; a line says why there is none.

    Args:
        directory: where they are.
        keep: what the case keeps, with "report" among it where one is wanted; None for all.
        say: tells a person.
    """
    if keep is not None and "report" not in keep:
        return []
    try:
        return write_report(directory)
    except ReportError as error:
        say(str(error))
    except Exception as error:  # a picture that fails costs the report, not the results
        say(
            f"The report could not be drawn ({type(error).__name__}: {error}); the other files "
            f"stand. `assim report {directory} --debug` shows where, please report it."
        )
    return []


def _draw(run: Run) -> "dict[str, Picture]":
    try:
        from assim.show.cycle.plot import draw_cycle
        from assim.show.pictures import draw_pictures
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise ReportError(
            f"{run.directory}: a report needs matplotlib, which is not installed: "
            "`pip install 'assim[plot]'`"
        ) from error
    return draw_cycle(run) if cycle_page.is_cycle(run) else draw_pictures(run)


def _write(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


# ---- the page ------------------------------------------------------------------------------------


def render(run: Run, pictures: "dict[str, Picture]") -> str:
    """The page as text."""
    template = Template(files("assim.show").joinpath("report.html").read_text(encoding="utf-8"))
    if cycle_page.is_cycle(run):
        title, parts = cycle_words.title(run), cycle_page.sections(run, pictures)
    else:
        title, parts = passages.title(run), _sections(run, pictures)
    body = "\n".join(part for part in parts if part)
    return template.substitute(title=page.escaped(title), body=body)


def _sections(run: Run, pictures: "dict[str, Picture]") -> list[str]:
    return [
        passages.heading(run),
        *_of_posterior(run, pictures),
        *_of_observations(run, pictures),
        page.section("Time spent", passages.seconds(run)),
        _section("Provenance", NONE + passages.NO_PROVENANCE, *passages.provenance(run)),
    ]


def _of_posterior(run: Run, pictures: "dict[str, Picture]") -> list[str]:
    shown = partial(_shown, pictures)
    return [
        _section("Quantities", NONE + passages.NO_QUANTITIES, *passages.quantities(run)),
        page.section("Methods", *methods.methods(run), shown("methods", "methods_trajectory")),
        _section(
            "Trajectory",
            NONE + passages.NO_TRAJECTORY,
            shown("trajectory", "hovmoeller", "initial_state"),
            passages.twin(run),
        ),
        page.section("Model error", shown("model_error")),
        _section("Prior and posterior", NONE + passages.NO_DRAWS, shown("densities", "corner")),
        page.section("Stiff and sloppy directions", *sloppy.directions(run), shown("sloppy")),
    ]


def _of_observations(run: Run, pictures: "dict[str, Picture]") -> list[str]:
    shown = partial(_shown, pictures)
    return [
        _section(
            "Observations",
            NONE + passages.NO_OBSERVATIONS,
            passages.observations(run),
            shown("departures"),
        ),
        page.section("Predictive checks", *predictive.predictive(run), shown("predictive")),
        _section(
            "Consistency of errors",
            NONE + consistency.NO_DIAGNOSTICS,
            *consistency.consistency(run),
            shown("influence"),
        ),
        _section(
            "Minimisation",
            NONE + passages.NO_DIAGNOSTICS,
            passages.costs(run),
            shown("convergence"),
            passages.minima(run),
        ),
        _section("Hessian", NONE + passages.NO_SPECTRUM, shown("spectrum")),
    ]


def _shown(pictures: "dict[str, Picture]", *names: str) -> str:
    there = [pictures[name] for name in names if name in pictures]
    return "\n".join(page.figure(one.png, one.caption) for one in there)


def _section(title: str, missing: str, *parts: str) -> str:
    """A section, which says what is missing where it has no part."""
    return page.section(title, *parts) or page.section(title, page.paragraph(missing, "soft"))
