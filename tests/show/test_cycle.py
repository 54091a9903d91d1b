"""The report of a cycle: what its pictures are drawn from, and what its page says."""

import json
import re
import time

import numpy as np
import pytest
import xarray as xr

from assim.files.errors import ReportError
from assim.show import write_report
from assim.show.cycle import windows as cycle_windows
from assim.show.cycle.series import (
    entries,
    fields,
    forecast,
    instruments,
    is_scalar,
    scalars,
    settled,
)
from assim.show.cycle.statistics import (
    LONG,
    band_of_ranks,
    block_of,
    drawn_points,
    ranges,
    running,
    spread_and_skill,
    width_of,
)
from assim.show.finished import finished_run, spelt_units
from assim.show.forecast import FORECAST
from assim.show.report import CYCLE, render, report_of_results
from tests.show import runs

PICTURES = [name for section in CYCLE if section != FORECAST for name in section.pictures]
PNG = b"\x89PNG\r\n\x1a\n"
MISSED = (3, 7)
SITES = 12


# ---- a cycle made by hand ------------------------------------------------------------------------


def cycle(folder, windows=20, burn_in=4, *, truth=True, dates=True, manifest=True, states=True):
    """One field of several sites, one instrument, one parameter; two windows are forecast."""
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    number = np.full(windows, 50.0)
    number[[k for k in MISSED if k < windows]] = 0
    content = field(random, windows, truth) | instrument(random, number) | method(random, number)
    content["drag"] = ("window", 1 + 0.1 / (1 + np.arange(windows)), attrs("1e-3", "drag"))
    content["drag_stddev"] = ("window", 0.2 / (1 + np.arange(windows)), attrs("1e-3"))
    days = np.datetime64("2020-01-01", "ns") + np.arange(windows) * np.timedelta64(6, "h")
    clock = ("window", days) if dates else ("window", 0.25 * np.arange(windows), attrs("1", "time"))
    places = {"window": np.arange(windows), "level": [0.5, 0.9], "bin": (np.arange(20) + 0.5) / 20}
    data = xr.Dataset(content, {**places, "time" if dates else "t": clock})
    data.attrs["title"] = "Storms: windows of a cycle"
    runs.save(folder / "diagnostics.nc", data)
    runs.write_json(folder, summary(windows, burn_in, truth))
    if manifest:
        lines = [{"cycle": "Storms", "inputs": {}}, *(line(k) for k in range(windows))]
        text = "".join(json.dumps(one) + "\n" for one in lines)
        (folder / "manifest.jsonl").write_text(text, encoding="utf-8")
    if states:
        for k in range(windows):
            state(folder / "windows" / f"{k:06d}", days[k], random)
    return folder


def attrs(units="1", name=""):
    return {"units": units, "long_name": name}


def field(random, windows, truth):
    spread = 0.5 * np.exp(0.3 * np.sin(np.arange(windows)))
    content = {}
    for kind, size in (("background", 1.5), ("analysis", 1.0), ("smoother", 0.8)):
        label = f"root mean variance of the {kind} of zonal wind"
        content[f"u_spread_{kind}"] = ("window", size * spread, attrs("m s-1", label))
        error = size * spread * np.sqrt(random.chisquare(SITES, windows) / SITES)
        if truth:
            content[f"u_rmse_{kind}"] = ("window", error, attrs("m s-1"))
    inside = np.stack([random.binomial(SITES, p, windows) for p in (0.5, 0.9)], axis=1) / SITES
    return content | ({"u_inside": (("window", "level"), inside, attrs())} if truth else {})


def instrument(random, number):
    there = np.where(number > 0, 1.0, np.nan)
    square = 1.5 * random.chisquare(50, number.size) / 50
    series = {
        "number": number,
        "mean": 0.1 * random.standard_normal(number.size),
        "innovation_rms": np.sqrt(square),
        "expected_rms": np.full(number.size, np.sqrt(1.5)),
        "desroziers_error": np.sqrt(square * 2 / 3),
        "stated_error": np.ones(number.size),
        "desroziers_background": np.sqrt(square / 3),
        "stated_background": np.full(number.size, np.sqrt(0.5)),
        "error_variance_ratio": square * 2 / 3,
        "background_variance_ratio": square * 2 / 3,
    }
    ranks = random.multinomial(50, np.full(20, 0.05), number.size) * (number > 0)[:, None]
    content = {f"buoy_obs_{k}": ("window", v * there, attrs("m s-1")) for k, v in series.items()}
    return content | {"buoy_obs_ranks": (("window", "bin"), ranks.astype(float), attrs())}


def method(random, number):
    chi = np.where(number > 0, random.chisquare(50, number.size) / 50, np.nan)
    series = {"chi_squared": chi, "number": number, "signal": 0.2 * number, "cost": 25 * chi}
    series["inflation"] = 1.1 + 0.01 * random.standard_normal(number.size)
    return {name: ("window", values, attrs()) for name, values in series.items()}


def summary(windows, burn_in, truth):
    told = {"status": "partly_converged", "windows": windows, "burn_in": burn_in}
    told |= {"statuses": {"converged": windows - 1, "out_of_loops": 1}, "chi_squared": 1.02}
    told |= {"spread": 0.51, "spread_background": 0.76, "inflation": 1.1, "signal": 10.0}
    told |= {"spread_by_field": {"u": 0.51}, "quantities": {"drag": {"mean": 1.0, "stddev": 0.1}}}
    told["states"] = {"analysed": windows - 2, "forecast": 2}
    if truth:
        told |= {"rmse_analysis": 0.49, "rmse_background": 0.74}
        told["coverage"] = {"50": 0.512, "90": 0.897}
    return told


def line(k):
    used = {"file": f"{k:04d}.nc", "fate": "used", "used": 50, "rejected": {"bounds": 2}, "late": 0}
    lost = {"file": f"{k:04d}.nc", "fate": "corrupt", "reason": "<cannot be read>"}
    missed = k in MISSED
    return {
        "window": k,
        "files": {},
        "state": "forecast" if missed else "analysed",
        "reason": "no observations" if missed else "",
        "observations": {"buoy": lost if missed else used},
        "seconds": {"read": 0.01, "analyse": 9.0 if k == 0 else 0.1, "write": 0.02},
    }


def state(folder, when, random):
    folder.mkdir(parents=True)
    values = random.standard_normal((1, SITES))
    parts = {"u": values, "u_stddev": np.abs(values), "u_increment": 0.1 * values}
    content = {name: (("time", "x"), one, attrs("m s-1")) for name, one in parts.items()}
    places = {"time": [when], "x": ("x", 10.0 * np.arange(SITES), attrs("km", "distance"))}
    xr.Dataset(content, places).to_netcdf(folder / "analysis.nc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cycle with its report."""
    made = cycle(tmp_path_factory.mktemp("cycles") / "storms")
    write_report(made)
    return made


def drawn(folder):
    paths = write_report(folder)
    assert all(path.read_bytes().startswith(PNG) for path in paths[1:])
    return [path.stem for path in paths[1:]]


def words(folder):
    """The page without pictures and without markup."""
    with finished_run(folder) as run:
        return re.sub(r"<[^>]*>|\xa0", " ", render(run, {}))


# ---- what is written -----------------------------------------------------------------------------


def test_every_picture_is_drawn_with_a_caption_of_one_sentence(folder):
    assert {path.stem for path in (folder / "figures").iterdir()} == set(PICTURES)
    text = (folder / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert len(captions) == len(PICTURES)
    assert all(one.endswith(".") and not re.search(r"\. [A-Z]", one) for one in captions)


def test_same_files_give_the_same_bytes(folder):
    paths = [folder / "report.html", *(folder / f"figures/{name}.png" for name in PICTURES)]
    first = [path.read_bytes() for path in paths]
    assert write_report(folder) == paths
    assert [path.read_bytes() for path in paths] == first


def test_without_truth_manifest_and_states_their_parts_are_left_out(tmp_path):
    made = cycle(tmp_path / "c", truth=False, manifest=False, states=False, dates=False)
    names = drawn(made)
    assert not {"spread_skill", "reliability", "hovmoeller"} & set(names)
    assert {"errors", "innovations", "chi_squared", "estimates"} <= set(names)
    text = words(made)
    assert "no truth is known" in text and "Flagged" not in text
    assert "the spread of the analysis is 0.51 m s⁻¹" in text


def test_summary_alone_makes_a_page(tmp_path):
    runs.write_json(tmp_path, summary(7, 0, truth=False))
    assert drawn(tmp_path) == []
    assert "2 of 7 windows were forecast" in words(tmp_path)


@pytest.mark.parametrize("windows", [1, 9])
def test_short_cycles_are_drawn(tmp_path, windows):
    made = cycle(tmp_path / "c", windows, burn_in=0, states=False)
    assert {"errors", "innovations"} <= set(drawn(made))


def test_long_cycle_is_drawn_in_seconds(tmp_path):
    made = cycle(tmp_path / "c", 10_000, burn_in=100, states=False)
    begin = time.process_time()
    assert set(PICTURES) - set(drawn(made)) == {"hovmoeller"}
    assert time.process_time() - begin < 10


def test_nothing_but_nan_is_drawn(tmp_path):
    made = cycle(tmp_path / "c", states=False)
    with xr.open_dataset(made / "diagnostics.nc") as file:
        data = file.load()
    for name in data.data_vars:
        if "obs" in name or name == "chi_squared":
            data[name].values[:] = np.nan
    data.to_netcdf(made / "diagnostics.nc")
    assert not {"innovations", "ranks", "chi_squared"} & set(drawn(made))


def test_what_is_not_known_of_shared_observations_is_not_shown(tmp_path):
    """2J/m and Desroziers' estimates of observations that enter several windows."""
    made = cycle(tmp_path / "c", states=False)
    with xr.open_dataset(made / "diagnostics.nc") as file:
        content = file.load()
    ratios = ("buoy_obs_error_variance_ratio", "buoy_obs_background_variance_ratio")
    for name in ("chi_squared", *ratios):
        content[name] = content[name] * np.nan
    content.to_netcdf(made / "diagnostics.nc")
    told = json.loads((made / "summary.json").read_text())
    runs.write_json(made, {**told, "chi_squared": None})
    assert not {"chi_squared", "desroziers"} & set(drawn(made))
    assert "innovations" in drawn(made)
    page = words(made)
    assert "2J/m is not given" in page and "No observation was assimilated" not in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda d: d.drop_vars("u_spread_smoother"),
            r"diagnostics\.nc: u_spread_smoother: expected",
        ),
        (lambda d: d.drop_vars("u_rmse_smoother"), "u_rmse_smoother: expected"),
        (lambda d: d.drop_vars("buoy_obs_ranks"), r"buoy_obs_ranks: .* on \(window, bin\)"),
        (lambda d: d.isel(window=slice(12)), "window: expected 20 windows .* got 12"),
    ],
)
def test_series_of_another_layout_are_refused(tmp_path, change, words):
    made = cycle(tmp_path / "c", states=False)
    data = change(xr.load_dataset(made / "diagnostics.nc"))
    data.to_netcdf(made / "diagnostics.nc")
    with pytest.raises(ReportError, match=words):
        write_report(made)


def test_state_of_another_shape_is_refused(tmp_path):
    made = cycle(tmp_path / "c")
    path = made / "windows" / "000004" / "analysis.nc"
    xr.load_dataset(path).drop_vars("u_increment").to_netcdf(path)
    with pytest.raises(ReportError, match=r"000004/analysis\.nc: u_increment: expected the shape"):
        write_report(made)


def test_spread_that_runs_away_is_drawn(tmp_path):
    made = cycle(tmp_path / "c", states=False)
    with xr.open_dataset(made / "diagnostics.nc") as file:
        data = file.load()
    data["u_spread_analysis"].values[:] *= np.exp(np.arange(20.0))
    data["u_rmse_background"].values[:] = 0
    data.to_netcdf(made / "diagnostics.nc")
    assert {"errors", "spread_skill"} <= set(drawn(made))


def test_damaged_manifest_is_told(tmp_path):
    made = cycle(tmp_path / "c", states=False)
    (made / "manifest.jsonl").write_text("no JSON\n{}\n", encoding="utf-8")
    with pytest.raises(ReportError, match=r"manifest\.jsonl, line 1"):
        write_report(made)


def test_report_of_results_says_why_there_is_none(tmp_path):
    said = []
    assert report_of_results(tmp_path, ["analysis"], said.append) == [] and said == []
    assert report_of_results(tmp_path, None, said.append) == []
    assert "no summary.json" in said[0]


# ---- what it says --------------------------------------------------------------------------------


def test_page_says_how_the_cycle_went(folder):
    text = words(folder)
    for part in (
        "Storms",
        "20 windows",
        "2 of 20 windows were forecast instead of analysed.",
        "Minimisations: 19 converged, 1 out of loops.",
        "After the burn-in of 4 windows the RMSE of the analysis is 0.49 m s⁻¹ on average and its "
        "spread 0.51 m s⁻¹; those of the background are 0.74 m s⁻¹ and 0.76 m s⁻¹.",
        "The 50 % intervals hold 51.2 % of the true values, the 90 % intervals 89.7 %.",
        "is 1.02 on average; where all covariances are right it is 1 ± 0.052.",
    ):
        assert part in text, part


def test_fields_of_several_units_are_told_one_by_one(tmp_path):
    made = cycle(tmp_path / "c", states=False)
    by_field = {"rmse_analysis_by_field": {"u": 0.4, "q": 2}, "spread_by_field": {"u": 0.5, "q": 3}}
    told = summary(20, 0, False) | by_field | {"spread": None}
    runs.write_json(made, told)
    expected = (
        "Over all windows the analysis has on average, of u an RMSE of 0.4 m s⁻¹ and a spread of "
        "0.5 m s⁻¹; of q an RMSE of 2 and a spread of 3."
    )
    assert expected in words(made)


def test_flagged_windows_are_told(folder):
    text = words(folder)
    assert "3 (2020-01-01T18:00)  forecast  no observations  buoy: corrupt (0003.nc" in text
    assert "(0003.nc: &lt;cannot be read&gt;)" in text
    assert "<cannot" not in (folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r"buoy\s+18\s+2\s+900\s+36 bounds", text)
    assert re.search(r"analyse\s+0.1\s+0.\d+\s+9 \(0\)", text)


def test_many_flagged_windows_are_counted(tmp_path):
    made = cycle(tmp_path / "c", 80, states=False)
    windows = [{**line(k), "state": "forecast"} for k in range(80)]
    lines = [{"cycle": "Storms", "inputs": {}}, *windows]
    text = "".join(json.dumps(one) + "\n" for one in lines)
    (made / "manifest.jsonl").write_text(text, encoding="utf-8")
    told = words(made)
    assert told.count("corrupt (") + told.count("buoy: used") == cycle_windows.ROWS
    assert "30 further windows are flagged" in told


def test_series_are_found_by_what_they_mean(folder):
    with finished_run(folder) as run:
        assert (fields(run), instruments(run), scalars(run)) == (["u"], ["buoy"], ["drag"])
        assert np.flatnonzero(forecast(run)).tolist() == list(MISSED)
        assert len(entries(run)) == 20 and settled(run).start == 4
        assert not is_scalar(run, "u")


def test_units_that_are_a_small_power_of_ten_are_spelt():
    assert spelt_units("1e-3") == "× 10⁻³"


# ---- statistics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 5, 50])
def test_running_mean_is_over_what_is_finite(width):
    random = np.random.default_rng(1)
    values, weights = random.standard_normal(30), random.uniform(0.5, 2, 30)
    values[[4, 5]] = np.nan
    low, high = (width - 1) // 2, width // 2 + 1
    expected = []
    for k in range(30):
        part = slice(max(k - low, 0), k + high)
        good = np.isfinite(values[part])
        total = weights[part][good].sum()
        expected.append((values[part] * weights[part])[good].sum() / total if total else np.nan)
    np.testing.assert_allclose(running(values, width, weights), expected, atol=1e-12)


def test_blocks_cover_a_series_once():
    values = np.arange(1003.0)
    low, high = ranges(values)
    middle, first = drawn_points(1003), values[: block_of(1003)]
    assert (low[0], high[0]) == (np.quantile(first, 0.1), np.quantile(first, 0.9))
    assert middle.size == low.size <= 121 and np.all(np.diff(middle) > 0)
    assert middle[0] == np.mean(first) and middle[-1] < 1003
    assert drawn_points(LONG).size == LONG and width_of(10) == 1


def test_calibrated_windows_lie_on_the_line():
    random = np.random.default_rng(2)
    spread = np.exp(random.standard_normal(20_000))
    found = spread_and_skill(spread, np.abs(spread * random.standard_normal(20_000)))
    assert found.spread.size == 10
    inside = (found.low <= found.spread) & (found.spread <= found.high)
    assert inside.sum() >= 8
    np.testing.assert_allclose(found.error / found.spread, 1, atol=0.2)


def test_few_windows_make_one_bin_and_none_make_none():
    assert spread_and_skill(np.ones(3), np.ones(3)).error.tolist() == [1.0]
    assert spread_and_skill(np.full(3, np.nan), np.ones(3)).error.size == 0


def test_negative_variances_are_told(tmp_path):
    """A mean over windows that is negative, whatever the sign of single ones."""
    made = cycle(tmp_path / "c", states=False)
    assert "negative for" not in words(made)
    with xr.open_dataset(made / "diagnostics.nc") as file:
        content = file.load()
    ratio = content["buoy_obs_error_variance_ratio"]
    ratio.values[:] = np.where(np.arange(ratio.size) % 4, -0.3, 0.1)
    content.to_netcdf(made / "diagnostics.nc")
    text = words(made)
    assert "→ negative" in text
    assert "The estimate of σₒ² is negative for buoy: the analysis goes beyond" in text
    assert "σ_b² is negative" not in text


def test_band_of_ranks_holds_95_per_cent():
    random = np.random.default_rng(3)
    counts = random.multinomial(2000, np.full(20, 0.05), 500)
    low, high = band_of_ranks(counts[0])
    share = np.mean((counts >= low * 100) & (counts <= high * 100))
    assert 0.94 < share < 0.97
