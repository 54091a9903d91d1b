"""What the report says of diagnostics, model error and influence."""

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from assim.show import write_report
from assim.show.consistency import _draw
from assim.show.finished import finished_run, spelt_units
from assim.show.layout import time_of
from assim.show.report import render
from tests.show import runs


@pytest.fixture
def lynx_hare(tmp_path):
    return runs.lynx_hare(tmp_path)


def report(directory) -> str:
    write_report(directory)
    return (directory / "report.html").read_text(encoding="utf-8")


def words(directory) -> str:
    """The page without its pictures."""
    with finished_run(directory) as run:
        return render(run, {})


def fit(**changes):
    one = {"count": 20, "cost": 9.5, "cost_expected": 8.7, "cost_expected_stddev": 2.9,
           "degrees_of_freedom": 2.6, "mean_influence": 0.13, "error_stddev": 2.0,
           "error_variance_ratio": 2.25, "background_stddev": 4.0,
           "background_variance_ratio": None, "nonlinearity": 0.1}  # fmt: skip
    return one | changes


def diagnosed(directory, p_value=0.4, of_fit=None, **changes):
    terms = {"background": {"cost": 1.2, "expected": 0.75, "stddev": 0.866}}
    instruments = {"hare": fit(**changes)}
    found = {"chi_squared": 42.5, "chi_squared_expected": 40, "p_value": p_value}
    summary = json.loads((directory / "summary.json").read_text())
    summary["diagnostics"] = {**found, "terms": terms, "instruments": instruments}
    if of_fit is not None:
        summary["fit"] = {"verdict": of_fit, "remarks": [], "untested": ["It is Poisson."]}
    runs.write_summary(directory, summary)
    return words(directory)


def test_diagnostics_are_told(lynx_hare):
    text = diagnosed(lynx_hare)
    row = "<th>background</th><td>1.2</td><td>0.75 ± 0.87</td>"
    sigmas = ("<td>2 → 3</td>", "<td>4 → –</td>", "<td>× 1000</td>")
    for piece in ("χ² = 42.5, expected 40 ± 8.9.", "8.7 ± 2.9", row, *sigmas):
        assert piece in text
    assert "tangent linear misses" not in text and "Impact on the forecast" not in text


def test_negative_variances_are_told(lynx_hare):
    text = diagnosed(lynx_hare)
    assert "negative for" not in text
    text = diagnosed(lynx_hare, error_variance_ratio=-0.3, background_variance_ratio=-2.0)
    assert "<td>2 → negative</td>" in text and "<td>4 → negative</td>" in text
    for symbol, matrix in (("σₒ²", "R"), ("σ_b²", "B")):
        assert f"The estimate of {symbol} is negative for hare: the analysis" in text
        assert f"values. {matrix} is far too large there" in text


@pytest.mark.parametrize(
    ("p_value", "fit", "verdict", "words"),
    [
        (0.4, "good", "good", "are as large as"),
        (1e-5, "poor", "unsure", "stands at the head"),
        (1 - 1e-5, "poor", "unsure", "stands at the head"),
        (0.4, "poor", "unsure", "stands at the head"),
        (0.005, "good", "", "probability 0.005. One sound analysis in fifty is as far out"),
        (0.996, "good", "", "probability above 0.99. One sound analysis in fifty is as far out"),
        (0.4, None, "unsure", "not tested"),
        (None, "untested", "", "This is no test, for the reasons at the head of this page."),
        (None, None, "", "This is no test."),
    ],
)
def test_chi_squared_is_judged_as_the_fit_is(lynx_hare, p_value, fit, verdict, words):
    """By its limits, and never as wrong where the verdict is good."""
    text = diagnosed(lynx_hare, p_value, fit)
    assert f'<p class="notice {verdict}"><strong>χ² = ' in text and words in text
    assert "understated" not in text and "overstated" not in text


def test_what_is_missing_is_not_said_to_be_unasked(lynx_hare):
    """Of a run with a posterior whose consistency failed."""
    summary = json.loads((lynx_hare / "summary.json").read_text())
    summary["failures"] = {"consistency": "RuntimeError: no such luck"}
    runs.write_summary(lynx_hare, summary)
    text = words(lynx_hare)
    assert "Failed, and left out: consistency." in text and "no such luck" in text
    assert "it or they failed: the head of this page says what did." in text


def test_bent_departures_are_told(lynx_hare):
    assert "change of departures of hare." in diagnosed(lynx_hare, nonlinearity=0.5)


def test_influence_is_drawn_where_a_value_speaks_alone(lynx_hare):
    for most, drawn in ((0.3, False), (0.8, True)):
        data = xr.load_dataset(lynx_hare / "feedback.nc")
        data["hare_influence"] = ("obs", np.linspace(0.1, most, 21))
        data.to_netcdf(lynx_hare / "feedback.nc")
        assert ("influence" in [path.stem for path in write_report(lynx_hare)]) is drawn


def test_every_influence_is_in_view_and_panels_left_out_are_counted(lynx_hare):
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    data["hare_influence"] = ("obs", np.linspace(-0.4, 1.7, 21))
    axes = Figure().subplots()
    _draw(axes, time_of(data), data["hare_influence"].values, "influence")
    low, high = axes.get_ylim()
    assert low < -0.4 and high > 1.7
    for k in range(7):
        for name in [str(n) for n in data if str(n).startswith("hare") and str(n)[4:5] in "_"]:
            data[name.replace("hare", f"hare{k}")] = data[name]
        data[f"hare{k}_impact"] = data[f"hare{k}_influence"]
        del data[f"hare{k}_influence"]
    data.to_netcdf(lynx_hare / "feedback.nc")
    assert "2 further panels are not drawn." in report(lynx_hare)


def test_squares_without_an_expectation_are_told(lynx_hare):
    text = diagnosed(lynx_hare, None, cost_expected=None)
    assert "χ² = 42.5" in text and "8.7 ± 2.9" not in text


def test_model_error_is_drawn(tmp_path):
    runs.twin(tmp_path, 3)
    data = xr.load_dataset(tmp_path / "trajectory.nc")
    for end, value in (("", 0.1), ("_stddev", 0.2), ("_prior_stddev", 0.5)):
        data[f"u_model_error{end}"] = 0 * data["u"] + value
    data.to_netcdf(tmp_path / "trajectory.nc")
    names = [path.stem for path in write_report(tmp_path)]
    assert "model_error" in names
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Model error</h2>" in text and "prior standard deviation of" not in text


def test_prior_intervals_stand_beside_the_posterior(lynx_hare):
    prior = xr.load_dataset(lynx_hare / "posterior.nc")["alpha_prior"]
    low, high = np.quantile(prior, (0.05, 0.95))
    assert f"<td>{low:.3g} … {high:.3g}</td>" in words(lynx_hare)


@pytest.mark.parametrize(
    ("units", "spelt"),
    [
        ("m s-1", "m s⁻¹"),
        ("W/m2", "W/m²"),
        ("kg^2", "kg²"),
        ("1e19 m-3", "10¹⁹ m⁻³"),
        ("1e19 s-1", "10¹⁹ s⁻¹"),
        ("2.5E-3 m2", "2.5 × 10⁻³ m²"),
        ("1000 kg", "1000 kg"),
        ("1000", "× 1000"),
        ("0.001", "× 0.001"),
        ("1", "1"),
        (None, "1"),
        ("%", "%"),
    ],
)
def test_numbers_in_units_are_no_units(units, spelt):
    assert spelt_units(units) == spelt
