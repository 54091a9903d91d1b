"""A forecast in the report: its fans beside the window, its scores, and a page of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from assim.files.errors import ReportError
from assim.show import write_report
from assim.show.finished import finished_run
from assim.show.forecast import fans
from tests.run.test_forecast import later
from tests.run.toy import Toy, invoke

PICTURES = ("forecast.png", "skill.png")


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished window of three cells with its forecast, in one directory."""
    toy = Toy(tmp_path_factory.mktemp("forecast") / "toy")
    toy.case["posterior"] = {"use": "Laplace", "certificate": 200}
    assert toy.write().run().exit_code == 0
    later().to_netcdf(toy.folder / "later.nc")
    case, observed = str(toy.folder / "case.toml"), str(toy.folder / "later.nc")
    given = ("--from", str(toy.out), "--slots", "3", "--members", "20", "--observations", observed)
    for more in ((), ("--out", str(toy.folder / "ahead"))):
        result = invoke("forecast", case, *given, *more)
        assert result.exit_code == 0, result.stderr or result.exception
    return toy.folder


def page(directory: Path) -> str:
    return (directory / "report.html").read_text(encoding="utf-8")


def test_it_is_a_section_of_the_report_of_its_window(forecast: Path) -> None:
    out = Toy(forecast).out
    assert all((out / "figures" / name).is_file() for name in (*PICTURES, "trajectory.png"))
    text = page(out)
    assert "From 2000-01-05 to 2000-01-08: 20 members" in text
    for word in ("x (kg) at lead", "3 days", "Nash–Sutcliffe", "in 90 %", "Open dots: readings"):
        assert word in text


def test_a_forecast_alone_has_a_page_of_its_own(forecast: Path) -> None:
    text = page(forecast / "ahead")
    drawn = sorted(path.name for path in (forecast / "ahead" / "figures").iterdir())
    assert drawn == sorted(PICTURES)
    assert "<h2>Forecast</h2>" in text and "<h2>Provenance</h2>" in text
    assert "Before the line" not in text and "x (kg) at lead" in text


def test_panels_are_those_of_the_window_going_on(forecast: Path) -> None:
    """Three cells, read each by one instrument: no field is drawn a second time."""
    with finished_run(Toy(forecast).out) as run:
        several = fans(run)
        last = [fan.past.value[-1] for fan in several]
    assert len(several) == 3 and len({fan.ahead.where for fan in several}) == 3
    for fan, end in zip(several, last, strict=True):
        assert abs(fan.ahead.value[0] - end) < 0.2 * abs(end)
        assert [o.value.size for o in fan.later] == [3]


def test_a_forecast_of_an_earlier_analysis_says_so(forecast: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(forecast / "ahead", tmp_path / "ahead")
    about = json.loads((copy / "forecast.json").read_text())
    (copy / "forecast.json").write_text(json.dumps({**about, "stale": "made again"}))
    write_report(copy)
    assert "<strong>Of an earlier analysis.</strong> made again" in page(copy)


def test_a_file_of_another_layout_is_named(forecast: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(forecast / "ahead", tmp_path / "ahead")
    data = xr.load_dataset(copy / "forecast.nc")
    data.drop_vars("x_q95").to_netcdf(copy / "forecast.nc")
    with pytest.raises(ReportError, match=r"forecast\.nc: x_q95: expected a variable"):
        write_report(copy)


def test_leads_without_a_score_are_gaps(forecast: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(forecast / "ahead", tmp_path / "ahead")
    about = json.loads((copy / "forecast.json").read_text())
    about["observations"]["x"]["by_lead"][1] |= {"crps": None, "coverage": None}
    (copy / "forecast.json").write_text(json.dumps(about))
    write_report(copy)
    assert np.fromfile(copy / "figures" / "skill.png", np.uint8).size > 1000


def test_a_forecast_that_cannot_be_read_costs_its_section_alone(
    forecast: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(Toy(forecast).out, tmp_path / "out")
    (copy / "forecast.json").write_text("{}")
    write_report(copy)
    text = page(copy)
    assert "forecast.json: expected &#x27;from&#x27;, got nothing" in text
    assert "<h2>Trajectory</h2>" in text and not (copy / "figures" / "forecast.png").exists()
