import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from assim.files.errors import DataError
from assim.show import ReportError, results, write_report
from assim.show.finished import finished_run
from assim.show.observed import observed
from assim.show.report import draw, render
from assim.show.series import band_of, of_no_field, series_of
from assim.show.trajectory import draw_observations, draw_series, draw_trajectory
from tests.show import runs

PNG = b"\x89PNG\r\n\x1a\n"


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


def edit(directory, **changes):
    summary = json.loads((directory / "summary.json").read_text())
    runs.write_summary(directory, summary | changes)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for key, value in attributes if key in ("src", "href", "srcset")]
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def scaled(path, factor):
    """Multiply every field of a file."""
    with xr.open_dataset(path) as file:
        data = file.load()
    for name in data.data_vars:
        if data[name].dtype.kind == "f" and data[name].dims:
            data[name].values *= factor
    data.to_netcdf(path)


@pytest.mark.parametrize("factor", [1e-6, 1e7])
def test_values_far_from_one_are_drawn(lynx_hare, factor):
    for name in ("trajectory", "posterior", "feedback"):
        scaled(lynx_hare / f"{name}.nc", factor)
    write_report(lynx_hare)


def test_times_finer_than_a_second(lynx_hare, recwarn):
    with xr.open_dataset(lynx_hare / "trajectory.nc") as file:
        data = file.load()
    stamps = 0.0005 * np.arange(data.sizes["time"])
    data = data.assign_coords(time=("time", stamps, {"units": "seconds since 2000-01-01"}))
    data.to_netcdf(lynx_hare / "trajectory.nc")
    with finished_run(lynx_hare) as run:
        assert np.ptp(run.files["trajectory"]["time"].values) > np.timedelta64(9, "ms")
    assert not recwarn.list


# ---- what is written -----------------------------------------------------------------------------


def test_files_are_written_and_returned(lynx_hare):
    names = ["trajectory", "densities", "corner", "departures", "convergence", "spectrum"]
    expected = [lynx_hare / "report.html", *(lynx_hare / f"figures/{n}.png" for n in names)]
    assert write_report(lynx_hare) == expected
    assert all(path.read_bytes().startswith(PNG) for path in expected[1:])
    assert not [path for path in lynx_hare.rglob("*") if path.name.endswith(".part")]


def test_spatial_twin_is_drawn_over_time_and_space(tmp_path):
    names = [path.stem for path in write_report(runs.twin(tmp_path))]
    assert names == ["report", "hovmoeller", "initial_state", "departures"]


@pytest.mark.parametrize("sites", [1, 3])
def test_small_fields_are_drawn_site_by_site(tmp_path, sites):
    assert "trajectory" in [path.stem for path in write_report(runs.twin(tmp_path, sites))]


def test_page_loads_nothing(lynx_hare):
    text = report(lynx_hare)
    page = Page(text)
    assert page.open == []
    assert len(page.loads) == 6
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_page_is_well_formed_without_optional_files(tmp_path):
    runs.write_summary(tmp_path, {})
    assert Page(report(tmp_path)).open == []


def test_same_files_give_the_same_bytes(lynx_hare):
    first = [path.read_bytes() for path in write_report(lynx_hare)]
    assert [path.read_bytes() for path in write_report(lynx_hare)] == first


def test_picture_of_an_earlier_run_does_not_stay(lynx_hare):
    write_report(lynx_hare)
    (lynx_hare / "trajectory.nc").unlink()
    report(lynx_hare)
    assert not (lynx_hare / "figures" / "trajectory.png").exists()


# ---- what it says --------------------------------------------------------------------------------


def test_report_names_every_quantity_with_its_numbers(lynx_hare):
    text = words(lynx_hare)
    for name in [*runs.MEANS, "sigma"]:
        assert f"<tr><th>{name}</th>" in text
    assert "0.550 ± 0.055" in text
    assert "year⁻¹" in text


def test_report_tells_status_costs_counts_and_minima(lynx_hare):
    text = words(lynx_hare)
    for piece in ["Converged.", "The gradient is below the tolerance.", "−44.5641",
                  "Another minimum was met, 57.1 nats above the lowest.",
                  "<th>background check (19)</th>", "<td>40</td><td>2</td>",
                  "assim run case.toml",
                  "1900-01-01 to 1920-01-01", "ab" * 32]:  # fmt: skip
        assert piece in text


@pytest.mark.parametrize(
    ("trust", "verdict"), [("certified", "good"), ("doubtful", "unsure"), ("failed", "poor")]
)
def test_trust_is_coloured(lynx_hare, trust, verdict):
    edit(
        lynx_hare,
        posterior={
            "method": "Laplace",
            "verdict": trust,
            "trust": trust,
            "advice": "k̂ = 0.62: so so.",
        },
    )
    lead = f'<p class="notice {verdict}"><strong>Laplace, {trust}:</strong> k̂ = 0.62'
    assert lead in words(lynx_hare)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [("converged", "good"), ("out_of_loops", "unsure"), ("non_finite", "poor")],
)
def test_status_is_coloured(lynx_hare, status, verdict):
    edit(lynx_hare, status=status)
    assert f'<p class="notice {verdict}"><strong>{status.replace("_", " ").capitalize()}' in words(
        lynx_hare
    )


# ---- what may come -------------------------------------------------------------------------------


def test_hostile_text_is_shown_as_text(lynx_hare):
    evil = '</title><script>alert("x")</script> $\\frac{a} $title ${body} %s'
    edit(
        lynx_hare,
        advice=evil,
        quantities={evil: runs.quantity(1.0, "<b>")},
        observations={evil: {"used": 1, "rejected": {}}},
    )
    for name in ("trajectory", "posterior"):
        data = xr.load_dataset(lynx_hare / f"{name}.nc")
        data["lynx"].attrs |= {"long_name": evil, "units": "<i>"}
        data.attrs["title"] = evil
        data.to_netcdf(lynx_hare / f"{name}.nc")
    text = report(lynx_hare)
    assert "<script" not in text and "<b>" not in text and "<i>" not in text
    assert "&lt;script&gt;" in text and "$title ${body}" in text


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("trajectory", "no trajectory.nc"), ("posterior", "no posterior.nc"),
     ("feedback", "no feedback.nc"), ("diagnostics", "no diagnostics.nc")],
)  # fmt: skip
def test_missing_file_costs_its_picture_and_is_told(lynx_hare, name, sentence):
    (lynx_hare / f"{name}.nc").unlink()
    if name in ("feedback", "diagnostics"):
        edit(lynx_hare, observations={}, cost={}, minima=[], gradient_norm=None)
    assert sentence in report(lynx_hare)


def test_a_case_may_keep_observations_alone(lynx_hare):
    """Their file says where the results come from as well as any other."""
    for path in lynx_hare.glob("*.nc"):
        if path.name != "feedback.nc":
            path.unlink()
    text = words(lynx_hare)
    assert "assim run case.toml" in text and "no NetCDF file" not in text
    assert f"<h1>{runs.ATTRIBUTES['title']}</h1>" in text


def test_page_that_cannot_be_written_is_told(lynx_hare):
    (lynx_hare / "report.html").mkdir()
    with pytest.raises(DataError, match=r"report\.html: cannot be written"):
        write_report(lynx_hare)
    assert not [path for path in lynx_hare.rglob("*") if path.name.endswith(".part")]


def test_directory_without_summary_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"holds no summary\.json.*assim run CASE\.toml --out"):
        write_report(tmp_path)
    with pytest.raises(ReportError, match="no such directory"):
        write_report(tmp_path / "absent")


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_broken_summary_is_refused(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ReportError, match=r"summary\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("trajectory", lambda d: d.drop_vars("hare_background"), "hare_background: expected"),
        ("trajectory", lambda d: d.rename(time="when"), r"trajectory\.nc: time: expected a time"),
        ("trajectory", lambda d: d.assign(area=("x", [1.0, 2.0])), r"\(time, \.\.\.\), got \(x\)"),
        ("posterior", lambda d: d.drop_vars("weight"), "weight: expected a variable on"),
        ("posterior", lambda d: d.rename(weight="weights"), "weight: expected a variable on"),
        ("feedback", lambda d: d.drop_vars("lynx_oman"), "lynx_oman: .* got none of this name"),
        ("feedback", lambda d: d.rename(obs="row"), r"dimensions \(obs\), got \(row\)"),
        ("feedback", lambda d: d.assign(hare_predictive_q05=d["hare"]), "hare_predictive_q50"),
        ("diagnostics", lambda d: d.rename(cost="cost_total"), r"cost: .* on \(loop\)"),
        ("diagnostics", lambda d: d.rename(hessian_eigenvalue="eigenvalue"), "hessian_eigenvalue"),
    ],
)
def test_another_layout_is_refused_with_file_and_variable(lynx_hare, name, change, words):
    data = change(xr.load_dataset(lynx_hare / f"{name}.nc"))
    data.to_netcdf(lynx_hare / f"{name}.nc")
    with pytest.raises(ReportError, match=words) as refused:
        write_report(lynx_hare)
    assert f"{lynx_hare / name}.nc: " in str(refused.value)
    assert str(refused.value).endswith("run the case again")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("minima"), r"summary\.json: expected 'minima', got status"),
        (lambda s: s.update(quantities=[]), r"summary\.json: quantities: expected dict, got list"),
        (
            lambda s: s["quantities"]["beta"].pop("q05"),
            r"quantities: beta: expected 'q05', got mean",
        ),
        (lambda s: s["posterior"].pop("verdict"), r"posterior: expected 'verdict', got method"),
        (lambda s: s["observations"]["pelts"].pop("used"), r"pelts: expected 'used', got rejected"),
    ],
)
def test_another_summary_is_refused_with_its_key(lynx_hare, change, words):
    summary = json.loads((lynx_hare / "summary.json").read_text())
    change(summary)
    runs.write_json(lynx_hare, summary)
    with pytest.raises(ReportError, match=words):
        write_report(lynx_hare)


def test_results_in_memory_give_the_same_page_and_pictures(lynx_hare):
    """But for what a directory adds: its name."""
    with finished_run(lynx_hare) as run:
        pictures, page = draw(run), render(run, {})
        datasets = {name: file.load().copy() for name, file in run.files.items()}
    in_memory = results(json.loads((lynx_hare / "summary.json").read_text()), datasets)
    assert draw(in_memory) == pictures
    assert render(in_memory, {}) == page.replace(lynx_hare.name, in_memory.name())
    assert pictures["trajectory"]._repr_png_() == pictures["trajectory"].png
    datasets["trajectory"] = datasets["trajectory"].drop_vars("hare_background").drop_encoding()
    with pytest.raises(ReportError, match=r"a Dataset in memory: hare_background: expected"):
        results({**runs.ALWAYS}, datasets)


def test_broken_netcdf_is_refused(lynx_hare):
    (lynx_hare / "trajectory.nc").write_bytes(b"no NetCDF")
    with pytest.raises(ReportError, match=r"trajectory\.nc: cannot be read"):
        write_report(lynx_hare)


def test_failed_run_of_nan_is_reported(lynx_hare):
    """A non-finite model leaves NaN in every file: the report must still come."""
    for path in lynx_hare.glob("*.nc"):
        data = xr.load_dataset(path, decode_times=False)
        for name, values in data.data_vars.items():
            if values.dtype.kind == "f" and name not in ("time", "t"):
                data[name] = values * np.nan
        data.to_netcdf(path)
    blank = dict.fromkeys(runs.quantity(1.0)) | {"units": "1"}
    edit(lynx_hare, status="non_finite", cost={"total": None}, quantities={"a": blank})
    assert "Non finite." in report(lynx_hare)


def test_all_observations_rejected(lynx_hare):
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    data["hare_effective_qc"][:] = 12
    data.to_netcdf(lynx_hare / "feedback.nc")
    report(lynx_hare)


def test_missing_matplotlib_tells_what_to_install(lynx_hare, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    for name in [name for name in sys.modules if name.startswith("assim.show.")]:
        if name.split(".")[-1] == "ticks":
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ReportError, match=r"needs matplotlib.*pip install matplotlib"):
        write_report(lynx_hare)


def test_matplotlib_waits_for_a_report():
    check = "import sys, assim.show; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_style_is_put_back(lynx_hare):
    import matplotlib

    with matplotlib.rc_context({"font.size": 17.0}):
        before = dict(matplotlib.rcParams)
        write_report(lynx_hare)
        assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules


def test_captions_are_sentences(lynx_hare):
    captions = re.findall("<figcaption>(.*?)</figcaption>", report(lynx_hare))
    assert len(captions) == 6 and all(text.endswith(".") for text in captions)


def test_errors_of_the_logarithm_are_scaled_and_multiply(lynx_hare):
    """A log-normal instrument's stdev is of the logarithm, times the scale that is estimated."""
    scale = 0.99 * 0.25
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    data["hare"].attrs |= {"likelihood": "Counted", "errors_of": "logarithm"}
    data["hare"].attrs |= {"error_scale": "sigma", "error_scale_value": scale}
    runs.save(lynx_hare / "feedback.nc", data)
    with finished_run(lynx_hare) as run:
        hare, lynx = observed(run)
    used = hare.used
    stdev = 0.2 * np.array(runs.HARE)[used] * scale
    assert hare.logarithmic and not lynx.logarithmic
    np.testing.assert_allclose(hare.bars()[1], hare.value[used] * np.expm1(stdev))
    expected = np.log(hare.value / hare.analysis)[used] / stdev
    np.testing.assert_allclose(hare.departures()[1], expected)
    assert "departures of the logarithm" in report(lynx_hare)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"errors_of": None}, r"feedback.nc: hare: expected the attribute `errors_of`.* got None"),
        ({"errors_of": "root"}, "'value' or 'logarithm', got 'root'; run the case again"),
        ({"error_scale": "sigma"}, "`error_scale_value`, what 'sigma' was found to be, got None"),
    ],
)
def test_a_file_that_does_not_say_what_its_errors_are(attributes, words, lynx_hare):
    """The case in the global attributes is for people: nothing is read from it."""
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    told = {**data["hare"].attrs, **attributes}
    data["hare"].attrs = {key: value for key, value in told.items() if value is not None}
    runs.save(lynx_hare / "feedback.nc", data)
    with finished_run(lynx_hare) as run, pytest.raises(ReportError, match=words):
        observed(run)


def test_observed_quantity_that_is_no_field_has_its_panel(lynx_hare):
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    data.rename({str(n): str(n).replace("hare", "catch") for n in data.data_vars}).to_netcdf(
        lynx_hare / "feedback.nc"
    )
    with finished_run(lynx_hare) as run:
        (one,) = of_no_field(run)
    assert one.name == "catch" and one.value.size == 20
    report(lynx_hare)


def test_values_held_back_are_open_and_not_rejected(lynx_hare):
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    flags = data["hare_effective_qc"].values
    flags[:5] = 1
    runs.save(lynx_hare / "feedback.nc", data)
    axes = Figure().subplots()
    with finished_run(lynx_hare) as run:
        draw_observations(axes, observed(run)[0])
    drawn = {line.get_label(): line.get_xdata().size for line in axes.lines}
    assert drawn["observation not used"] == 5 and drawn["rejected observation"] == 1


@pytest.mark.parametrize("positive", [True, False])
def test_bands_of_an_ensemble_lie_about_its_mean(lynx_hare, positive):
    """Of a log-normal with μ = 3 and σ = 0.5 they end at exp(μ ± zσ)."""
    data = xr.load_dataset(lynx_hare / "trajectory.nc")
    mean = np.exp(3 + 0.5**2 / 2)
    data["hare_mean"] = 0 * data["hare"] + mean
    data["hare_stddev"] = 0 * data["hare"] + mean * np.sqrt(np.expm1(0.5**2))
    runs.save(lynx_hare / "trajectory.nc", data)
    with finished_run(lynx_hare) as run:
        one = replace(series_of(run)[0], positive=positive)
    low, high = band_of(one, 1.2)
    stdev = data["hare_stddev"].values
    ends = np.exp([3 - 0.6, 3 + 0.6]) if positive else (mean - 1.2 * stdev, mean + 1.2 * stdev)
    np.testing.assert_allclose(low, np.broadcast_to(ends[0], 21))
    np.testing.assert_allclose(high, np.broadcast_to(ends[1], 21))


def test_twin_errors_of_background_and_analysis(tmp_path):
    runs.twin(tmp_path)
    edit(tmp_path, rmse={"u": {"background": 2.0, "analysis": 0.3}}, failed_starts=3)
    text = words(tmp_path)
    assert "<td>2</td><td>0.3</td><td>0.33</td>" in text and "From 3 first guesses" in text


def test_title_of_the_files_without_their_stage(lynx_hare):
    data = xr.load_dataset(lynx_hare / "trajectory.nc")
    data.attrs["title"] = "Pelts: trajectory"
    data.to_netcdf(lynx_hare / "trajectory.nc")
    assert "<h1>Pelts</h1>" in words(lynx_hare)


def test_maps_of_a_field_in_two_dimensions(tmp_path):
    y, x = np.linspace(40, 60, 15), np.linspace(0, 30, 20)
    wave = 280 + 5 * np.sin(x[None, :] / 5) * np.cos(y[:, None] / 5)
    fields = {
        "temperature": (("time", "y", "x"), wave[None], {"units": "K", "long_name": "temperature"}),
        "temperature_increment": (("time", "y", "x"), (wave - 280)[None], {"units": "K"}),
        "temperature_stddev": (("time", "y", "x"), np.ones((1, 15, 20)), {"units": "K"}),
    }
    coordinates = {"time": np.array(["2000-01-01"], dtype="datetime64[ns]"), "y": y, "x": x}
    runs.save(tmp_path / "analysis.nc", xr.Dataset(fields, coordinates))
    times = np.arange("2000-01-01", "2000-01-09", dtype="datetime64[D]").astype("datetime64[ns]")
    whole = (("time", "y", "x"), np.repeat(wave[None], 8, axis=0))
    series = {"temperature": whole, "temperature_background": whole}
    runs.save(tmp_path / "trajectory.nc", xr.Dataset(series, {**coordinates, "time": times}))
    runs.write_summary(tmp_path, {"status": "converged"})
    assert [p.stem for p in write_report(tmp_path)] == ["report", "hovmoeller", "initial_state"]


@pytest.mark.parametrize(
    ("changes", "notice", "words_of_it"),
    [
        ({"elsewhere": 1e-5}, "", "About 0.001 per cent of the posterior is there. What that"),
        ({}, "", "lowest. What that means for a posterior is part of its verdict."),
        (None, "unsure", "No posterior says how much of it lies about them"),
    ],
)
def test_other_minima_are_judged_by_the_methods(lynx_hare, changes, notice, words_of_it):
    summary = json.loads((lynx_hare / "summary.json").read_text())
    summary["posterior"] = None if changes is None else {**summary["posterior"], **changes}
    summary["minima"] = [{"cost": 1.0, "starts": 6}, {"cost": 2.5, "starts": 2}] * 2
    runs.write_summary(lynx_hare, summary)
    text = words(lynx_hare)
    assert "3 other minima were met, the next 1.5 nats above the lowest." in text
    assert f'class="notice {notice}">3 other' in text and words_of_it in text


@pytest.mark.parametrize(("edges", "marked"), [(21, True), (80, False)])
def test_few_slot_edges_are_marked(lynx_hare, edges, marked):
    """So that a straight line over a peak is not taken for the solution."""
    if edges > 21:
        file = xr.load_dataset(lynx_hare / "trajectory.nc")
        years = file["time"].values[0] + np.arange(edges).astype("timedelta64[D]") * 90
        file.interp(time=years).to_netcdf(lynx_hare / "trajectory.nc")
    with finished_run(lynx_hare) as run:
        picture = draw_trajectory(run)
        figure = Figure()
        draw_series(axes := figure.subplots(), series_of(run)[0])
    line = next(line for line in axes.lines if line.get_label() == "analysis")
    assert (line.get_marker() != "None") == marked
    assert ("Drawn at slot edges" in picture.caption) == marked
