"""Several posteriors side by side: words, numbers, and pictures of what they say."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from assim.show import style, write_report
from assim.show.corner import CELLS, ROOM, _draw_pair, density_of_pairs, levels_of
from assim.show.density import ScalarDraws, density, draws, draws_by_method
from assim.show.finished import finished_run
from assim.show.layout import field_names
from assim.show.methods import common_limits, compared, looks_of
from assim.show.report import render
from tests.show import runs
from tests.show.several import CHOSEN, METHODS, NAMES, several


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return several(tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def text(folder):
    with finished_run(folder) as run:
        return render(run, {})


def row(text, name):
    """Cells of a row of the comparison."""
    part = text[text.index("what it cost.") :]
    line = re.search(rf"<tr><th>{re.escape(name)}</th>(.*?)</tr>", part)
    assert line, name
    return re.findall(r"<td[^>]*>(.*?)</td>", line[1])


# ---- files ---------------------------------------------------------------------------------------


def test_every_method_has_its_files(folder):
    with finished_run(folder) as run:
        assert [one.name for one in run.methods] == list(METHODS)
        assert [one.name for one in run.methods if one.chosen] == [CHOSEN]
        sizes = {one.name: one.posterior.sizes["realization"] for one in run.methods}
        assert sizes == {name: size for name, (_, _, size, _) in METHODS.items()}
        assert all("hare_mean" not in field_names(one.trajectory) for one in run.methods)


def test_one_method_is_no_comparison(tmp_path):
    with finished_run(runs.lynx_hare(tmp_path)) as run:
        assert run.methods == () and "<h2>Methods</h2>" not in render(run, {})


def test_method_without_files_is_told_and_not_drawn(tmp_path):
    several(tmp_path)
    for stage in ("posterior", "trajectory"):
        (tmp_path / f"{stage}_nuts.nc").unlink()
    with finished_run(tmp_path) as run:
        assert "nuts" not in [method.name for method, _ in draws_by_method(run)]
        assert all("nuts" not in one.ratio for one in compared(run))
        assert "nuts, certified." in render(run, {})


def test_files_are_looked_for_in_the_directory_alone(tmp_path):
    several(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    outside = tmp_path.parent / "posterior_outside.nc"
    outside.write_bytes((tmp_path / "posterior_nuts.nc").read_bytes())
    summary["posterior"]["nuts"]["files"] = ["../posterior_outside.nc", 7]
    runs.write_summary(tmp_path, summary)
    with finished_run(tmp_path) as run:
        one = next(one for one in run.methods if one.name == "nuts")
        assert one.posterior is None and one.trajectory is None


def test_draws_keep_weights_and_their_own_prior(folder):
    with finished_run(folder) as run:
        found = {method.name: some for method, some in draws_by_method(run)}
    weighted = found["importance"]["alpha"]
    assert weighted.weights.sum() == pytest.approx(1) and np.ptp(weighted.weights) > 0
    assert weighted.posterior.size == 2000 and weighted.prior.size == 1000


def test_a_derived_quantity_may_be_called_a_mean(tmp_path):
    runs.lynx_hare(tmp_path)
    data = xr.load_dataset(tmp_path / "posterior.nc")
    data["hare_mean"] = data["hare"] * 2
    data["weight"] = ("realization", np.r_[np.zeros(100), np.full(300, 1 / 300)])
    runs.save(tmp_path / "posterior.nc", data)
    with finished_run(tmp_path) as run:
        found = {one.name: one for one in draws(run)}
    assert "hare_mean" in found and "weight" not in found
    assert found["hare"].posterior.size == 300  # of weight


# ---- words ---------------------------------------------------------------------------------------


def test_each_method_is_told_with_its_verdict(text):
    for name, verdict in (("laplace", "unsure"), ("svgd_plain", "poor"), ("nuts", "good")):
        trust = METHODS[name][-1]
        lead = f'<p class="notice {verdict}"><strong>{name}, {trust}.</strong>'
        assert f"{lead} So {name} is {trust}." in text
    assert "svgd is reported: the first of those that are certified." in text


def test_trust_outweighs_k_hat_where_one_method_ran(tmp_path):
    runs.lynx_hare(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    entry = {
        "method": "laplace",
        "k_hat": 0.2,
        "verdict": "failed",
        "trust": "failed",
        "advice": "It is not finite.",
    }
    runs.write_summary(tmp_path, summary | {"posterior": entry})
    with finished_run(tmp_path) as run:
        told = render(run, {})
    assert '<p class="notice poor"><strong>laplace, failed.</strong> It is not finite.' in told
    assert '<p class="soft">Pareto k̂ 0.2.</p>' in told


def test_comparison_has_a_column_a_method(text, folder):
    entries = json.loads((folder / "summary.json").read_text())["posterior"]
    cells = row(text, "alpha (year⁻¹)")
    assert len(cells) == len(METHODS)
    for cell, entry in zip(cells, entries.values(), strict=True):
        mean, stddev = (float(part) for part in cell.split(" ± "))
        assert mean == pytest.approx(entry["quantities"]["alpha"]["mean"], abs=5e-4)
        assert stddev == pytest.approx(entry["quantities"]["alpha"]["stddev"], rel=0.05)
    assert row(text, "trust") == [trust for *_, trust in METHODS.values()]
    assert row(text, "k̂")[0] == "0.62"
    assert row(text, "R̂") == ["–", "–", "–", "1.002", "–"]
    assert row(text, "log evidence") == ["31.2", "–", "–", "31.2", "31.2"]
    assert row(text, "seconds") == ["7.89"] * 5
    assert '<th class="marked">svgd (reported)</th>' in text
    assert text.count('<td class="marked">') == len(NAMES) + 4 + 4


def test_truth_has_a_column_where_it_is_known(tmp_path):
    several(tmp_path)
    runs.save(tmp_path / "truth.nc", xr.Dataset({"alpha": ((), 0.5)}))
    with finished_run(tmp_path) as run:
        told = render(run, {})
    assert row(told, "alpha (year⁻¹)")[0] == "0.5" and row(told, "sigma")[0] == "–"
    assert row(told, "trust")[0] == ""
    assert "trajectory" in [path.stem for path in write_report(tmp_path)]  # without times


# ---- pictures ------------------------------------------------------------------------------------


def test_pictures_of_several_methods(folder):
    names = [path.stem for path in write_report(folder)]
    assert names[1:6] == ["methods", "methods_trajectory", "trajectory", "densities", "corner"]
    captions = re.findall("<figcaption>(.*?)</figcaption>", (folder / "report.html").read_text())
    assert all(caption.endswith(".") for caption in captions)


def test_looks_differ_and_stay(folder):
    with finished_run(folder) as run:
        looks = looks_of(run)
    pairs = {(look["color"], str(look["linestyle"])) for look in looks.values()}
    assert len(pairs) == len({colour for colour, _ in pairs}) == len(METHODS)


def test_spreads_and_shifts_are_those_that_were_made(folder):
    with finished_run(folder) as run:
        found = compared(run)
    assert [one.title for one in found] == ["Hare pelts", "Lynx pelts"]
    for one in found:
        assert one.reported == CHOSEN and CHOSEN not in one.ratio
        for name, ratio in one.ratio.items():
            width, shift, *_ = METHODS[name]
            np.testing.assert_allclose(ratio, width, rtol=1e-12)
            np.testing.assert_allclose(one.shift[name], shift, atol=1e-12)


@pytest.mark.parametrize(("sites", "series"), [(3, 3), (40, 1)])
def test_sites_of_a_small_field_and_the_whole_of_a_large_one(tmp_path, sites, series):
    runs.twin(tmp_path, sites)
    with xr.open_dataset(tmp_path / "trajectory.nc") as file:
        data = file.load()
    other = data.assign(u_stddev=0.5 * data["u_stddev"], u_mean=data["u"] + data["u_stddev"])
    runs.save(tmp_path / "trajectory_b.nc", other)
    entries = {
        name: {"verdict": "failed", "trust": "failed", "advice": "", "quantities": {},
               "files": [f"posterior_{name}.nc", f"trajectory_{name}.nc"]}
        for name in "ab"
    }  # fmt: skip
    runs.write_summary(tmp_path, {"posterior": entries, "chosen": "a"})
    with finished_run(tmp_path) as run:
        found = compared(run)
    assert len(found) == series
    for one in found:
        np.testing.assert_allclose(one.ratio["b"], 0.5)
        np.testing.assert_allclose(one.shift["b"], 1.0)
    assert "methods_trajectory" in [path.stem for path in write_report(tmp_path)]


# ---- densities -----------------------------------------------------------------------------------


def normal_draws(size, seed=0):
    white = np.random.default_rng(seed).standard_normal(size)
    return (white - white.mean()) / white.std()


@pytest.mark.parametrize("size", [100, 5000])
def test_density_keeps_the_spread_of_a_small_ensemble(size):
    values, grid = 3 + 0.5 * normal_draws(size), np.linspace(0, 6, 1201)
    found = density(values, np.full(size, 1 / size), grid)
    step = grid[1] - grid[0]
    mean = np.sum(found * grid) * step
    assert np.sum(found) * step == pytest.approx(1, abs=1e-3)
    assert mean == pytest.approx(3, abs=2e-3)
    assert np.sqrt(np.sum(found * (grid - mean) ** 2) * step) == pytest.approx(0.5, rel=5e-3)


def test_density_of_many_draws_is_that_of_each():
    """Binning changes what kernels add up to by less than can be seen."""
    values, grid = normal_draws(3000), np.linspace(-4, 4, 200)
    weights = np.random.default_rng(1).dirichlet(np.full(3000, 2.0))
    order = np.argsort(values)
    whole = density(values[order], weights[order], grid)
    from assim.show import density as module

    kept, module.FEW = module.FEW, 10_000
    try:
        exact = density(values[order], weights[order], grid)
    finally:
        module.FEW = kept
    np.testing.assert_allclose(whole, exact, atol=2e-3 * exact.max())


def test_contours_hold_what_they_say():
    """Of a Gaussian, p is within r² = -2 log(1 - p); levels are the density there."""
    size, correlation = 40_000, 0.95
    factor = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    points = factor @ np.random.default_rng(2).standard_normal((2, size))
    ends = ((-3.5, 3.5), (-3.5, 3.5))
    height = density_of_pairs(points, np.full(size, 1 / size), ends)
    assert height.sum() == pytest.approx(1, abs=1e-4)
    assert height.shape == (CELLS + 2 * ROOM,) * 2
    levels = levels_of(height, (0.9, 0.5))
    cell = (7 / (CELLS - 1)) ** 2
    top = cell / (2 * np.pi * np.sqrt(1 - correlation**2))
    np.testing.assert_allclose(np.array(levels) / top, [0.1, 0.5], rtol=0.1)
    axis = -3.5 + 7 / (CELLS - 1) * (np.arange(CELLS + 2 * ROOM) - ROOM)
    second = np.einsum("ij,i,j->", height, axis, axis)
    assert second == pytest.approx(correlation, abs=0.01)  # kernels have not widened it


def test_contours_of_what_is_a_point_are_none():
    height = np.zeros((4, 4))
    height[1, 1] = 1.0
    assert levels_of(height, (0.9, 0.5)) is None


def test_pairs_of_draws_that_are_not_pairs_are_left_out():
    one, two = (
        ScalarDraws("x", "x", "1", np.arange(n, dtype=float), None, np.full(n, 1 / n))
        for n in (5, 6)
    )
    axes = Figure().subplots()
    _draw_pair(axes, (one, two), ((0, 5), (0, 5)), True, {"color": "C0"})
    assert not axes.lines and not axes.collections


def test_limits_hold_the_methods_within_reason(folder):
    with finished_run(folder) as run:
        found = draws_by_method(run)
    lines = [(method, some["alpha"]) for method, some in found]
    low, high = common_limits(lines)
    wild = ScalarDraws("alpha", "", "1", np.array([-1e6, 1e6]), None, np.full(2, 0.5))
    other = next(method for method, _ in found if not method.chosen)
    wide = common_limits([*lines, (other, wild)])
    assert low < 0.5 < 0.6 < high and wide[1] - wide[0] < 4 * (high - low)
    assert common_limits(lines, 0.9)[1] >= 0.9 and common_limits(lines, 99.0)[1] == high


@pytest.mark.parametrize(
    ("label", "told"),
    [("slip (m)", "slip (10⁻⁶ m)"), ("scale", "scale (× 10⁻⁶)"), ("", "")],
)
def test_powers_of_ten_stand_with_the_units(label, told):
    figure, (axes,) = style.panels(1, 1, 2.0)
    axes.plot([1e-6, 3e-6], [0.0, 1.0])
    axes.set_xlabel(label)
    style.picture(figure, "")
    assert axes.get_xlabel() == told
    assert axes.xaxis.get_offset_text().get_visible() == (not label)
