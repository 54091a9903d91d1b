"""Tables of the pages that the code knows, too: kinds of χ, terms of J, statuses, exit codes."""

import dataclasses
import json
import re
import tomllib

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import assim
from assim import posterior
from assim.case.failure import Exit
from assim.case.names import names
from assim.files.names import FLAGS
from assim.problem.control import Control
from assim.run.cli import main
from assim.show.layout import _OF_CYCLE, _OF_WINDOW
from assim.solve.minimise.status import Status
from assim.statistics.uniformity import chi_squared_uniform, choose_bins, rank_histogram
from tests.docs.pages import PAGES, README, ROOT, rows
from tests.docs.toy import Walk

DOCS = ROOT / "docs"
INSTALLED = re.compile(r"pip install[^\n]*?[\s\"'](\.|\w+)\[([\w,]+)\]")


def words(cell):
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def numbers(text):
    """Whole numbers that stand alone."""
    return {int(number) for number in re.findall(r"(?<![\w.])\d+(?![\w.])", text)}


def test_statuses():
    """All that a minimisation may end with, and the exit codes that follow."""
    table = rows(DOCS / "methods" / "minimising.md", "Status")
    codes = {words(row[0])[0]: int(row[2]) for row in table}
    others = set(Status) - {Status.RUNNING}
    assert set(codes) == {status.name for status in others}
    of = {Status.CONVERGED: Exit.DONE, Status.NON_FINITE: Exit.NON_FINITE}
    assert codes == {s.name: int(of.get(s, Exit.NOT_CONVERGED)) for s in others}
    written = {str(status) for status in others if status is not Status.NON_FINITE}
    (cell,) = [row[1] for row in rows(DOCS / "file-formats.md", "Key") if row[0] == "`status`"]
    assert set(words(cell)) == written


def test_exit_codes():
    codes = {int(code) for code in Exit}
    assert {int(row[0]) for row in rows(DOCS / "file-formats.md", "Code")} == codes
    for text in (README.read_text(encoding="utf-8"), CliRunner().invoke(main, ["--help"]).output):
        sentence = text[text.index("Exit codes:") :].split("\n\n")[0]
        assert numbers(sentence) == codes


def test_quality_flags():
    table = rows(DOCS / "file-formats.md", "Flag")
    assert {int(row[0]): words(row[1])[0] for row in table} == FLAGS


def test_summary_keys():
    """Every key that readers of summary.json rely on is on the page."""
    page = (DOCS / "file-formats.md").read_text(encoding="utf-8")
    keys = {key.removesuffix("_by_field") for key in (*_OF_WINDOW, *_OF_CYCLE)}
    assert not [key for key in keys if f"`{key}`" not in page]


@pytest.fixture(scope="module")
def walk():
    """A walk with every term of J, its amplitude and the scale of its errors estimated."""
    model, scale = Walk(), assim.prior.LogNormal(1.0, 0.5)
    observed = assim.Observations(
        "x",
        [0.2, -0.1, 0.4],
        assim.Points.at([1.0, 2.0, 4.0]),
        assim.operator.PointSample("x"),
        0.5,
        scale=assim.ErrorScale("noise", scale),
    )
    return assim.weak_constraint(
        model,
        assim.Window.regular(model, 4, 1),
        {"x": 0.0, "y": 0.0},
        assim.covariance.Diagonal(1.0),
        observed,
        model_error=assim.ModelError(
            assim.covariance.Diagonal(0.3),
            in_time=assim.covariance.Autoregressive(2.0),
            scale=assim.ErrorScale("step", scale),
        ),
        digital_filter=assim.DigitalFilter(weight=1.0, cutoff=2.0),
    )


def test_terms_of_the_cost(walk):
    terms = jax.eval_shape(walk.cost_terms, jax.numpy.zeros(walk.size()))
    listed = [words(row[0])[0] for row in rows(DOCS / "file-formats.md", "Term")]
    assert set(listed) == set(terms)
    (cell,) = [row[1] for row in rows(DOCS / "file-formats.md", "Key") if row[0] == "`cost`"]
    assert set(words(cell)) == set(terms)


def test_kinds_of_the_control(walk):
    """In the order in which χ stacks them."""
    listed = [words(row[0])[0] for row in rows(DOCS / "methods" / "strong-constraint.md", "Kind")]
    assert listed == sorted(walk.control.blank())
    assert set(walk.control.blank()) == set(Control.blank(walk.as_states().control))


ROOMS = ("problem", "solve", "analysis", "case", "host")


@pytest.mark.parametrize("room", ROOMS)
def test_files_of_a_room(room):
    """The architecture page names every file of these rooms, and no other."""
    table, folder = rows(DOCS / "architecture.md", f"File of `{room}/`"), ROOT / "assim" / room
    listed = {name for row in table for name in words(row[0]) if re.fullmatch(r"[\w/]+", name)}
    whole = {name.rstrip("/") for name in listed if name.endswith("/")}
    paths = [path.relative_to(folder) for path in python_files(folder)]
    single = {path.stem for path in paths if path.parent.as_posix() not in whole}
    assert single == {name.rpartition("/")[2] for name in listed if not name.endswith("/")}
    assert whole <= {path.parent.as_posix() for path in paths}


def python_files(folder):
    return [path for path in folder.rglob("*.py") if path.stem != "__init__"]


def test_extras():
    """What is to be installed is an extra of this project, from the clone, or another project."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for path in [*PAGES, *python_files(ROOT / "assim")]:
        for name, named in INSTALLED.findall(path.read_text(encoding="utf-8")):
            assert name != "." or set(named.split(",")) <= set(extras), path
            assert name != "assim" or named == "mcmc", f"{path}: assim is on no package index"


def test_twins_have_one_table():
    """What checked.md says of assim on published twins is what the table on cycling says."""
    table = rows(DOCS / "methods" / "cycling.md", "Twin")
    measured = {number for row in table for number in numbers_with_points(row[5])}
    for row in rows(DOCS / "checked.md", "Case"):
        if len(row) == 4 and row[0].startswith("`lorenz"):
            assert numbers_with_points(row[3]) <= measured, row[0]


def numbers_with_points(text):
    return set(re.findall(r"\d+\.\d+", text))


def test_calibration_that_is_kept():
    """calibration.md: ranks of a thousand simulations, as the study has kept them."""
    lines = (ROOT / "tests" / "studies" / "calibration.jsonl").read_text().splitlines()
    batches = [json.loads(line) for line in lines]
    of = [b for b in batches if (b["problem"], b["method"]) == ("lorenz63", "mclmc")]
    ranks = np.concatenate([np.array(batch["ranks"]) for batch in of], axis=1)
    draws, number = of[0]["draws"], ranks.shape[1]
    bins = choose_bins(draws, number)
    histograms = (rank_histogram(row, draws, bins) for row in ranks)
    p = dict(zip(of[0]["names"], map(chi_squared_uniform, histograms), strict=True))
    assert number == 1000 and {batch["commit"] for batch in of} == {"e485a60"}
    assert f"{p['y']:.2f}" == "0.35" and min(p, key=p.get) == "rho" and f"{p['rho']:.2f}" == "0.05"


def test_names_of_the_notation():
    """Every name that stands for a concept is in the code, and every object is a class there."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in python_files(ROOT / "assim"))
    classes, page = set(re.findall(r"^class (\w+)", source, re.MULTILINE)), DOCS / "notation.md"
    given = {name for row in rows(page, "Concept") for name in words(row[-1])}
    assert not [name for name in given if not re.search(rf"\b{name}\b", source)]
    objects = {name for row in rows(page, "Object") for name in words(row[1]) if name[0].isupper()}
    assert len(objects) > 20 and objects <= classes


def test_symbols_of_one_page():
    """A letter that means something else on one page stands on that page."""
    for row in rows(DOCS / "notation.md", "Page"):
        (link,) = re.findall(r"\(([^)]+)\)", row[0])
        text = (DOCS / link).read_text(encoding="utf-8")
        for symbol in row[1].split(", "):
            assert re.search(rf"(?<!\w){symbol}(?!\w)", text), f"{link}: {symbol}"


ARGUMENTS = {
    ("laplace", "Laplace"),
    ("nested", "Nested"),
    ("svgd", "SVGD"),
    ("evidence", "Tempering"),
    ("importance", "Importance", "Randomise", "Variational"),
    ("step-alone", "ESMDA"),
}


@pytest.mark.parametrize(("page", "methods"), [(page, of) for page, *of in sorted(ARGUMENTS)])
def test_arguments_of_methods(page, methods):
    """A method's page has all of its arguments, and no other."""
    table = rows(DOCS / "methods" / f"{page}.md", "Argument")
    fields = {f.name for name in methods for f in dataclasses.fields(getattr(posterior, name))}
    assert {name for row in table for name in words(row[0])} == fields


def test_built_in_names():
    """Tables of what comes with assim are whole."""
    case, methods = DOCS / "how-to" / "case.md", DOCS / "methods"
    (cell,) = [row[1] for row in rows(case, "Key") if row[0] == "`posterior.use`"]
    assert {word.strip('"') for word in words(cell)} == {*names("posterior"), "auto", "none"}
    listed = {name for row in rows(methods / "choosing.md", "Method") for name in words(row[1])}
    assert listed == set(names("posterior"))
    assert firsts(case, "`use`") == set(names("prior"))
    assert firsts(case, "Likelihood") == {*names("likelihood"), "file.py:Class"}
    assert firsts(methods / "minimising.md", "Minimiser") == set(names("minimiser"))
    assert firsts(methods / "covariances.md", "Class") >= {*names("covariance"), "Ensemble"}
    schemes = firsts(methods / "cycle-baselines.md", "Scheme") | {"FourDVar"}
    assert schemes == set(names("scheme"))


def firsts(page, head):
    """What stands in backticks in the first column, without arguments."""
    return {name.split("(")[0] for row in rows(page, head) for name in words(row[0])}
