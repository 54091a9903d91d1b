"""Stiff and sloppy directions and predictive checks in the report."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from assim.show import write_report
from assim.show.finished import finished_run
from assim.show.predictive import _draw_ranks, _draw_readings, predicted
from assim.show.report import render
from assim.show.sloppy import _draw_composition, _draw_eigenvalues, along, stiffness
from tests.show import runs
from tests.show.several import add_checks, add_directions


@pytest.fixture
def lynx_hare(tmp_path):
    return runs.lynx_hare(tmp_path)


def words(directory) -> str:
    with finished_run(directory) as run:
        return render(run, {})


def test_both_are_drawn_and_told(lynx_hare):
    names = [path.stem for path in write_report(add_checks(add_directions(lynx_hare)))]
    assert {"sloppy", "predictive"} <= set(names)
    text = (lynx_hare / "report.html").read_text(encoding="utf-8")
    for title in ("Stiff and sloppy directions", "Predictive checks"):
        assert f"<h2>{title}</h2>" in text


def test_neither_where_there_is_none(lynx_hare):
    text = words(lynx_hare)
    assert "Stiff and sloppy" not in text and "Predictive checks" not in text


# ---- directions ----------------------------------------------------------------------------------


def test_directions_are_told(lynx_hare):
    text = words(add_directions(lynx_hare))
    assert (
        "Of 5 combinations of what was estimated, 3 are determined more by the data than by" in text
    )
    assert "of these the stiffest is known 15 times as well as the sloppiest." in text  # √901/2
    row = "<tr><th>1</th><td>1.00 alpha</td><td>900</td><td>0.033</td><td>data</td></tr>"
    assert row in text and "<td>prior</td></tr>" in text


def test_names_come_from_the_summary_else_from_the_file(lynx_hare):
    add_directions(lynx_hare)
    summary = json.loads((lynx_hare / "summary.json").read_text())
    summary["sloppy"]["coordinates"] = ["x[0]", "b", "c", "d", "e"]
    without = {key: value for key, value in summary.items() if key != "sloppy"}
    for content, expected in ((summary, "x[0]"), (without, "alpha")):
        runs.write_summary(lynx_hare, content)
        with finished_run(lynx_hare) as run:
            assert stiffness(run).names[0] == expected


def test_bars_are_eigenvalues_and_shares(lynx_hare):
    with finished_run(add_directions(lynx_hare)) as run:
        found = stiffness(run)
    left, right = Figure().subplots(1, 2)
    shown = np.arange(5)
    _draw_eigenvalues(left, found, shown)
    ends = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in left.patches)
    np.testing.assert_allclose(ends, [(0.2, 1.0), (1.0, 3.0), (1.0, 40.0), (1.0, 900.0)])
    triangles = [line for line in left.lines if line.get_marker() == "<"]
    assert [list(line.get_ydata()) for line in triangles] == [[4]]
    _draw_composition(right, found, shown)
    for k in shown:
        mine = [bar for bar in right.patches if round(bar.get_y() + bar.get_height() / 2) == k]
        shares = found.vectors[:, k] ** 2
        assert sum(bar.get_width() for bar in mine) == pytest.approx(1)
        reach = max(bar.get_x() + bar.get_width() for bar in mine)
        assert reach == pytest.approx(shares[found.vectors[:, k] > 0].sum())


def test_many_directions_are_drawn_in_part(lynx_hare):
    data = xr.load_dataset(lynx_hare / "diagnostics.nc")
    count = 40
    runs.save(
        lynx_hare / "diagnostics.nc",
        data.assign(
            direction_eigenvalue=("direction", np.geomspace(1e9, 1e-9, count)),
            direction_prior=("direction", np.ones(count)),
            direction_component=(("coordinate", "direction"), np.eye(count)),
            coordinate=("coordinate", np.arange(count), {"flag_meanings": "x " * count}),
        ),
    )
    write_report(lynx_hare)
    text = (lynx_hare / "report.html").read_text(encoding="utf-8")
    assert "24 directions between are not drawn." in text


def test_profile_is_read(lynx_hare):
    with finished_run(add_directions(lynx_hare)) as run:
        found = along(run)
    assert found.direction == 5 and np.isnan(found.rise[-1])
    np.testing.assert_array_equal(found.settled, [0, 1, 1, 1, 1, 1, 0])


# ---- predictive ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("half", "covered", "verdict", "sentence"),
    [
        (0.5, 0.9, "good", "That is what chance allows"),
        (0.5, 0.6, "unsure", "intervals are too narrow"),
        (0.9, 0.9, "unsure", "intervals are too wide"),
        (0.9, 0.6, "unsure", "has another shape."),
    ],
)
def test_readings_held_back_are_judged(lynx_hare, half, covered, verdict, sentence):
    add_checks(lynx_hare, covered)
    summary = json.loads((lynx_hare / "summary.json").read_text())
    summary["predictive"]["lynx"]["coverage_50"] = half
    runs.write_summary(lynx_hare, summary)
    text = words(lynx_hare)
    share = f"{100 * half:.0f} % within their 50 % intervals and {100 * covered:.0f} % within"
    lead = f'<p class="notice {verdict}"><strong>lynx: of the readings held back {share}'
    assert lead in text and sentence in text
    assert "Other readings were used in the analysis" in text


def test_few_readings_are_not_judged(lynx_hare):
    add_checks(lynx_hare)
    summary = json.loads((lynx_hare / "summary.json").read_text())
    summary["predictive"]["lynx"]["count"] = 4
    runs.write_summary(lynx_hare, summary)
    text = words(lynx_hare)
    assert "So few readings hardly show" in text and 'class="notice good"><strong>lynx' not in text
    summary["predictive"]["lynx"]["coverage_90"] = 0.5
    runs.write_summary(lynx_hare, summary)
    assert 'class="notice unsure"><strong>lynx' in words(lynx_hare)


def test_scores_are_told(lynx_hare):
    text = words(add_checks(lynx_hare, held_back=False))
    row = "<td>21</td><td>50 % (30 to 70)</td><td>90 % (75 to 99)</td><td>1.5</td><td>20.2</td>"
    assert f"<tr><th>hare</th>{row}<td>−2.5</td><td>× 1000</td></tr>" in text
    assert "The readings were used in the analysis" in text and "notice good" in text
    assert "of the readings held back" not in text


def test_columns_are_read_by_instrument(lynx_hare):
    with finished_run(add_checks(lynx_hare)) as run:
        hare, lynx = predicted(run)
    assert not hare.held_back and lynx.held_back
    assert hare.value.size == 21 and (hare.q05 < hare.q50).all()


def test_names_are_those_of_variables(lynx_hare):
    add_checks(lynx_hare)
    summary = json.loads((lynx_hare / "summary.json").read_text())
    summary["predictive"] = {"lynx": summary["predictive"]["lynx"]}
    with xr.open_dataset(lynx_hare / "feedback.nc") as file:
        data = file.load()
    data = data.rename({str(n): str(n).replace("lynx", "lynx_2") for n in data if "lynx" in n})
    runs.save(lynx_hare / "feedback.nc", data)
    summary["predictive"] = {"lynx-2": summary["predictive"]["lynx"]}
    runs.write_summary(lynx_hare, summary)
    with finished_run(lynx_hare) as run:
        assert predicted(run)[1].held_back
    assert "<tr><th>lynx-2 (held back)</th>" in words(lynx_hare)


@pytest.mark.parametrize(("factor", "scale"), [(1.0, "linear"), (100.0, "log")])
def test_wide_intervals_of_what_is_positive_are_drawn_on_a_log_axis(lynx_hare, factor, scale):
    with finished_run(add_checks(lynx_hare)) as run:
        one = predicted(run)[0]
    axes = Figure().subplots()
    _draw_readings(axes, replace(one, q95=factor * one.q95))
    assert axes.get_yscale() == scale


def test_histogram_counts_every_reading(lynx_hare):
    with finished_run(add_checks(lynx_hare)) as run:
        one = predicted(run)[0]
    axes = Figure().subplots()
    _draw_ranks(axes, one)
    heights = [bar.get_height() for bar in axes.patches if bar.get_width() < 0.5]
    assert sum(heights) == 21
