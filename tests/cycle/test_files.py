"""A cycle over files: what it leaves, and how it goes on after a stop and with bad files."""

import json
import shutil
import tomllib

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import assim
from assim.files import lines
from assim.files.errors import DataError
from assim.files.netcdf import hash_file, write_dataset
from assim.files.read.manifest import damaged, read_manifest
from assim.files.read.tables import open_observations
from assim.files.record import alone
from assim.files.write import manifest as ledger
from assim.run import cli
from assim.run.terminal import directory
from assim.show import report
from tests.cycle.files import Files, contents, manifest, results, setting, steady

WINDOWS = 6
PLACED = """
import numpy as np
import assim
from assim.models import Lorenz63


class Placed(Lorenz63):
    def labels(self):
        given = super().labels()
        place = assim.Coordinate(np.arange(3.0), "1", "place")
        return assim.Labels(given.state, given.parameters, {"place": place}, given.time_unit)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files.made(tmp_path_factory.mktemp("cycle") / "case", WINDOWS)


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The directory of an uninterrupted cycle."""
    out = tmp_path_factory.mktemp("whole") / "out"
    result = files.run(out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def copied(files, tmp_path):
    """A copy of the case whose files a test may spoil."""
    shutil.copytree(files.folder, tmp_path / "case")
    return Files(tmp_path / "case")


def test_every_window_leaves_its_files(whole):
    names = {path.name for path in (whole / "windows/000003").iterdir()}
    assert names == {"analysis.nc", "trajectory.nc", "feedback.nc", "summary.json"}
    with xr.open_dataset(whole / "windows/000003/analysis.nc") as analysis:
        assert float(analysis.t[0]) == pytest.approx(0.4)
        assert {"x", "x_stddev", "x_increment"} <= set(analysis.variables)
    with xr.open_dataset(whole / "windows/000003/feedback.nc") as feedback:
        np.testing.assert_allclose(feedback.x_ombg, feedback.x - feedback.x_hofx_background)
        assert feedback.sizes["obs"] == 2
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["windows"] == WINDOWS and summary["states"] == {"analysed": WINDOWS}
    assert 0 < summary["rmse_analysis"] < summary["rmse_background"]
    with xr.open_dataset(whole / "diagnostics.nc") as series:
        assert series.sizes["window"] == WINDOWS
        np.testing.assert_allclose(
            summary["rmse_background_by_field"]["x"], series.x_rmse_background.mean()
        )


FILES = [*(f"windows/000003/{name}.nc" for name in ("analysis", "trajectory", "feedback")),
         "diagnostics.nc"]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", FILES)
def test_conventions_are_kept(whole, file, conventions):
    assert conventions(whole / file) == []


def test_a_window_tells_what_it_was_made_of(files, whole):
    with xr.open_dataset(whole / "windows/000003/analysis.nc") as analysis:
        told = tomllib.loads(analysis.assim_config)
        lines = analysis.assim_inputs.splitlines()
    assert told["cycle"]["method"]["members"] == 6 and "windows" not in told["cycle"]
    digest = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert digest["observations/0003.nc"] == hash_file(files.observation(3))
    assert digest["background.nc"] == hash_file(files.folder / "background.nc")
    assert "observations/0002.nc" not in digest


def test_the_series_says_how_minimisations_ended(whole):
    with xr.open_dataset(whole / "diagnostics.nc") as series:
        names = series.status.flag_meanings.split()
        meanings = dict(zip(series.status.flag_values, names, strict=True))
        ended = {meanings[code] for code in series.status.values}
    assert ended == set(json.loads((whole / "summary.json").read_text())["statuses"])


def test_the_manifest_holds_the_checksums_of_all_files(whole):
    for line in manifest(whole):
        own = {n: d for n, d in line["files"].items() if not n.startswith("carry")}
        assert len(own) == 4 and damaged(whole, {"files": own}) == []
        assert line["observations"]["x"]["used"] == 2


def test_resume_continues_bit_by_bit(files, whole, tmp_path):
    assert files.run(tmp_path, *setting("cycle.windows=2")).exit_code == 0
    assert len(manifest(tmp_path)) == 2
    assert files.run(tmp_path, "--resume").exit_code == 0
    assert contents(tmp_path) == contents(whole)
    assert steady(manifest(tmp_path)) == steady(manifest(whole))


def _half_a_line(out):
    path = out / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-40])


def _half_a_window(out):
    (out / ".assim/parts/000006").mkdir(parents=True)
    (out / ".assim/parts/000006/analysis.nc").write_bytes(b"half")
    (out / ".assim/parts/.000006.nc.0123.part").write_bytes(b"half")


def _window_without_a_line(out):
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").write_text("".join(lines[:-1]))


def _damaged_last_window(out):
    (out / "windows/000005/analysis.nc").write_bytes(b"something else")


def _lost_carry(out):
    (out / "carry/000005.nc").unlink()


STOPS = [_half_a_line, _half_a_window, _window_without_a_line, _damaged_last_window, _lost_carry]


@pytest.mark.parametrize("spoil", STOPS)
def test_resume_after_any_stop(files, whole, tmp_path, spoil):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    spoil(out)
    assert files.run(out, "--resume").exit_code == 0
    assert contents(out) == contents(whole)
    assert steady(manifest(out)) == steady(manifest(whole))
    assert not list(out.rglob("*.part"))


def test_the_summary_says_that_the_report_failed(files, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "out")
    monkeypatch.setattr(report, "draw", lambda run: 1 / 0)
    keep = setting('output.keep=["report"]')
    assert files.run(tmp_path / "out", "--resume", *keep).exit_code == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert "ZeroDivisionError" in summary["failures"]["report"] and summary["windows"] == 6


def test_a_cycle_without_its_record_goes_on_once_its_series_is_moved(files, whole, tmp_path):
    """As one of an earlier version, or copied without the folder."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    shutil.rmtree(out / ".assim")
    result = files.run(out, "--resume")
    assert result.exit_code == 3 and "copied without the folder .assim" in result.stderr
    for name in ("diagnostics.nc", "summary.json"):
        assert str(out / name) in result.stderr
        (out / name).unlink()
    assert files.run(out, "--resume").exit_code == 0
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("name", ["windows/000006/notes.txt", "carry/000099.nc"])
def test_what_assim_has_not_written_stands(files, whole, tmp_path, name):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    result = files.run(out, "--resume")
    assert result.exit_code == 3 and "nothing there records that assim wrote it" in result.stderr
    assert (out / name).read_text() == "mine"


def test_an_early_window_that_has_changed_is_told(files, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "windows/000002/trajectory.nc").unlink()
    result = files.run(out, "--resume")
    assert result.exit_code == 3 and "windows/000002/trajectory.nc" in result.stderr


def test_a_directory_with_a_cycle_is_not_overwritten(files, whole):
    before = contents(whole)
    result = files.run(whole)
    assert result.exit_code == 3 and "--resume" in result.stderr
    result = files.run(whole, "--resume", *setting("model.dt=0.02"))
    assert result.exit_code == 3 and "another case" in result.stderr
    assert contents(whole) == before


def test_a_disk_that_is_full_loses_nothing(files, whole, tmp_path, monkeypatch):
    """The writing of the fourth window fails half-way."""
    calls = []

    def full(dataset, path, **options):
        calls.append(path)
        if len(calls) == 11:
            raise DataError(f"{path}: cannot be written (No space left on device)")
        write_dataset(dataset, path, **options)

    monkeypatch.setattr(directory, "write_dataset", full)
    result = files.run(tmp_path)
    assert result.exit_code == 3 and "No space left" in result.stderr
    assert len(manifest(tmp_path)) == 3 and not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    assert files.run(tmp_path, "--resume").exit_code == 0
    assert contents(tmp_path) == contents(whole)


def test_an_interrupted_cycle_says_how_far_it_came_and_goes_on(files, whole, tmp_path, monkeypatch):
    """Ctrl-C while the third window is written."""
    calls = []

    def interrupted(dataset, path, **options):
        calls.append(path)
        if len(calls) == 8:
            raise KeyboardInterrupt
        write_dataset(dataset, path, **options)

    monkeypatch.setattr(directory, "write_dataset", interrupted)
    result = files.run(tmp_path)
    assert result.exit_code == 130
    assert f"2 of {WINDOWS} windows are finished, go on with --resume" in result.stderr
    assert len(manifest(tmp_path)) == 2 and not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    assert files.run(tmp_path, "--resume").exit_code == 0
    assert contents(tmp_path) == contents(whole)


def test_a_corrupt_file_stops_the_cycle_or_not_as_the_case_says(copied, whole, tmp_path):
    copied.observation(3).write_bytes(b"no NetCDF")
    result = copied.run(tmp_path / "stop")
    assert result.exit_code == 3 and "window 3" in result.stderr and "--resume" in result.stderr
    assert len(manifest(tmp_path / "stop")) == 3
    out = tmp_path / "on"
    assert copied.run(out, *setting('cycle.on_failure="forecast"')).exit_code == 0
    line = manifest(out)[3]
    assert line["state"] == "forecast" and line["reason"] == "no observations"
    assert line["observations"]["x"]["fate"] == "corrupt"
    for number in range(3):  # what came before is as it was
        assert manifest(out)[number]["files"] == manifest(whole)[number]["files"]
    with xr.open_dataset(out / "windows/000003/trajectory.nc") as trajectory:
        np.testing.assert_allclose(trajectory.x, trajectory.x_background, rtol=1e-2)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["states"] == {"analysed": WINDOWS - 1, "forecast": 1}


def _missing(files):
    files.observation(2).unlink()
    return {"fate": "missing"}


def _empty(files):
    files.rewrite(2, lambda content: content.isel(obs=slice(0, 0)))
    return {"fate": "empty"}


def _of_another_window(files):
    shutil.copy(files.observation(1), files.observation(2))
    return {"fate": "empty", "late": 2}


def _all_missing(files):
    files.rewrite(2, lambda content: content.assign(x=content.x * np.nan, z=content.z * np.nan))
    return {"fate": "empty"}


@pytest.mark.parametrize("spoil", [_missing, _empty, _of_another_window, _all_missing])
def test_windows_without_observations_are_forecast(copied, tmp_path, spoil):
    expected = spoil(copied)
    assert copied.run(tmp_path / "out").exit_code == 0
    line = manifest(tmp_path / "out")[2]
    assert line["state"] == "forecast"
    assert expected.items() <= line["observations"]["x"].items()
    result = copied.run(tmp_path / "stop", *setting("cycle.on_failure.no_observations=stop"))
    assert result.exit_code == 3 and "window 2" in result.stderr


@pytest.mark.slow
def test_windows_that_see_earlier_observations_resume_with_the_same(tmp_path):
    """Overlapping windows over files: bit by bit, unless a file that is read again has changed."""
    files = Files.made(tmp_path / "case", 5, 'shift = 1\noverlap = "several"')
    whole, out, other = tmp_path / "whole", tmp_path / "out", tmp_path / "other"
    assert files.run(whole).exit_code == 0
    assert all(line["observations"]["x"]["used"] == 1 for line in manifest(whole))
    for folder in (out, other):
        assert files.run(folder, *setting("cycle.windows=3")).exit_code == 0
    assert files.run(out, "--resume").exit_code == 0
    assert contents(out) == contents(whole)
    files.rewrite(2, lambda content: content.assign(x=content.x + 1))
    result = files.run(other, "--resume")
    assert result.exit_code == 3 and "put it back" in result.stderr


def test_order_and_repetition_of_rows_change_nothing(copied, whole, tmp_path):
    copied.rewrite(1, lambda content: content.isel(obs=[1, 0]))
    copied.rewrite(4, lambda content: content.isel(obs=[0, 1, 0]))
    out = tmp_path / "out"
    assert copied.run(out).exit_code == 0
    lines = manifest(out)
    assert lines[1]["observations"]["x"]["out_of_order"] is True
    assert lines[4]["observations"]["x"]["repeated"] == 1
    assert results(lines) == results(manifest(whole))


def test_late_rows_are_told_and_left_out(copied, whole, tmp_path):
    with xr.open_dataset(copied.observation(0), decode_times=False) as early:
        late = early.load()
    copied.rewrite(3, lambda content: xr.concat([late, content], "obs"))
    out = tmp_path / "out"
    assert copied.run(out).exit_code == 0
    assert manifest(out)[3]["observations"]["x"]["late"] == 2
    assert results(manifest(out)) == results(manifest(whole))


def test_an_instrument_that_fails_leaves_the_others(copied, tmp_path):
    copied.rewrite(2, lambda content: content.assign(x=content.x.assign_attrs(units="kg")))
    out = tmp_path / "out"
    assert copied.run(out, *setting('cycle.on_failure="forecast"')).exit_code == 0
    line = manifest(out)[2]
    assert line["state"] == "analysed" and line["observations"]["x"]["fate"] == "corrupt"
    assert "units" in line["observations"]["x"]["reason"]
    assert line["observations"]["z"]["fate"] == "used"


def test_rows_say_the_same_only_with_the_same_flag_and_interval():
    """A value that was flagged and sent again counts; the least error of a repetition is kept."""
    rows = {
        "x": ("obs", [1.0, 1.0, 1.0, 1.0], {"units": "1"}),
        "x_qc": ("obs", np.array([1, 0, 0, 0], np.int32)),
        "x_stddev": ("obs", [0.5, 0.5, 0.7, 0.5], {"units": "1"}),
    }
    stamps = {"t": ("obs", [0.1, 0.1, 0.1, 0.2], {"units": "1"})}
    table = open_observations(xr.Dataset(rows, stamps), "x", assim.models.Lorenz63().labels())
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        given = table.taken(np.array(order))
        rows = given.taken(given.in_order())
        kept = rows.taken(np.flatnonzero(~rows.repeated()))
        np.testing.assert_array_equal(kept.qc, [0, 11, 0])
        np.testing.assert_array_equal(kept.stdev, [0.5, 0.5, 0.5])


def test_a_covariance_in_a_file_is_told_with_the_way_out(copied, tmp_path):
    covariance = (("obs", "obs2"), np.diag([1.0, 1.0]), {"units": "1"})
    copied.rewrite(2, lambda content: content.assign(x_covariance=covariance))
    text = (copied.folder / "case.toml").read_text()
    without = text.replace("error = { stdev = 1.0 }", "", 1)  # the file has standard deviations
    (copied.folder / "case.toml").write_text(without)
    result = copied.run(tmp_path / "stop")
    told = " ".join(result.stderr.split())
    assert result.exit_code == 3 and "0002.nc" in told and "correlated = false" in told
    out = tmp_path / "on"
    assert copied.run(out, *setting("observations.0.correlated=false")).exit_code == 0


def test_files_may_give_more_places_than_are_asked_for(copied, whole, tmp_path):
    """A position that no operator needs, in one window and not in the others."""
    place = ("obs", [1.0, 2.0], {"units": "1"})
    copied.rewrite(2, lambda content: content.assign_coords(place=place))
    (copied.folder / "model.py").write_text(PLACED)
    text = (copied.folder / "case.toml").read_text()
    (copied.folder / "case.toml").write_text(text.replace('"Lorenz63"', '"model.py:Placed"'))
    assert copied.run(tmp_path / "out").exit_code == 0
    lines = manifest(tmp_path / "out")
    assert [line["state"] for line in lines] == WINDOWS * ["analysed"]


def test_a_window_that_failed_is_not_told_to_be_well(copied, tmp_path):
    out = tmp_path / "out"
    hurried = setting("minimiser.n_outer=1") + setting("minimiser.tolerance=1e-12")
    assert copied.run(out, *hurried, *setting('cycle.on_failure="forecast"')).exit_code == 3
    line = manifest(out)[0]
    assert line["state"] == "forecast" and line["minimiser"] == "out_of_loops"
    assert line["observations"]["x"]["fate"] == "unused" and line["observations"]["x"]["used"] == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "not_converged" and "converged" not in summary["statuses"]
    with xr.open_dataset(out / "windows/000000/feedback.nc") as feedback:
        assert set(feedback.x_effective_qc.values) == {1}


def test_a_changed_background_is_refused(copied, tmp_path):
    out = tmp_path / "out"
    assert copied.run(out, *setting("cycle.windows=2")).exit_code == 0
    path = copied.folder / "background.nc"
    with xr.open_dataset(path, decode_times=False) as file:
        content = file.load()
    content.assign(x=content.x + 1).to_netcdf(path)
    result = copied.run(out, "--resume")
    assert (
        result.exit_code == 3
        and "background.nc" in result.stderr
        and "put it back" in (" ".join(result.stderr.split()))
    )


def test_a_changed_model_is_refused(copied, tmp_path):
    case, own = copied.folder / "case.toml", copied.folder / "own.py"
    own.write_text('from assim.models import Lorenz63\n\n\nclass Own(Lorenz63):\n    """One."""\n')
    case.write_text(case.read_text().replace('use = "Lorenz63"', 'use = "own.py:Own"'))
    out = tmp_path / "out"
    assert copied.run(out, *setting("cycle.windows=2")).exit_code == 0
    own.write_text(own.read_text() + "    sigma = 11.0\n")
    result = copied.run(out, "--resume")
    assert result.exit_code == 3
    assert "own.py: is missing or has changed" in " ".join(result.stderr.split())


def test_what_was_missing_stays_out_when_the_cycle_goes_on(tmp_path):
    """Of windows that see earlier observations, whether or not the file has come since."""
    keys = 'shift = 1\noverlap = "several"\non_failure = "forecast"'
    files = Files.made(tmp_path / "case", 4, keys)
    first = files.observation(1)
    first.rename(tmp_path / "late.nc")
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert files.run(whole).exit_code == 0
    assert files.run(out, *setting("cycle.windows=2")).exit_code == 0
    (tmp_path / "late.nc").rename(first)
    assert files.run(out, "--resume").exit_code == 0
    assert steady(manifest(out)) == steady(manifest(whole))


def test_only_files_of_single_windows_are_waited_for(copied, tmp_path):
    shutil.copy(copied.observation(0), copied.folder / "all.nc")
    text = (copied.folder / "case.toml").read_text()
    (copied.folder / "case.toml").write_text(
        text.replace("observations/{window:04d}.nc", "all.nc", 1)
    )
    result = copied.run(tmp_path / "out", "--watch", str(copied.folder))
    assert result.exit_code == 2 and "observations.0.file" in result.stderr
    assert "one file a window" in " ".join(result.stderr.split())


def test_files_are_awaited_up_to_the_timeout(files, whole, tmp_path):
    watched = tmp_path / "incoming"
    shutil.copytree(files.folder / "observations", watched / "observations")
    (watched / "observations/0005.nc").unlink()
    out = tmp_path / "out"
    assert files.run(out, "--watch", str(watched), "--timeout", "1.5").exit_code == 0
    line = manifest(out)[5]
    assert line["state"] == "forecast" and "1.5 s" in line["observations"]["x"]["reason"]
    earlier = [one["files"] for one in manifest(whole)][:5]
    assert [one["files"] for one in manifest(out)][:5] == earlier


def test_directories_are_not_shared_or_overwritten(files, whole, tmp_path):
    with alone(whole):
        result = files.run(whole, "--resume")
    assert result.exit_code == 3 and "another process" in result.stderr
    result = files.run(whole, *setting("cycle.twin=true"))
    assert result.exit_code == 3 and "cycle over files" in result.stderr
    result = files.run(whole, "--resume", *setting("cycle.windows=3"))
    assert result.exit_code == 3 and "more than cycle.windows = 3" in result.stderr
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "manifest.jsonl").unlink()
    result = files.run(out)
    assert result.exit_code == 3 and "manifest.jsonl" in result.stderr
    assert len(list((out / "windows").iterdir())) == WINDOWS


def test_a_cycle_that_failed_at_once_can_begin_again(copied, tmp_path):
    copied.observation(0).write_bytes(b"no NetCDF")
    out = tmp_path / "out"
    assert copied.run(out).exit_code == 3
    assert copied.run(out, *setting('cycle.on_failure="forecast"')).exit_code == 0


@pytest.mark.slow
def test_a_truth_that_comes_later_is_left_out(copied, tmp_path):
    truth, out = copied.folder / "truth.nc", tmp_path / "out"
    truth.rename(copied.folder / "hidden.nc")
    assert copied.run(out, *setting("cycle.windows=3")).exit_code == 0
    (copied.folder / "hidden.nc").rename(truth)
    assert copied.run(out, "--resume").exit_code == 0
    assert "rmse_analysis" not in json.loads((out / "summary.json").read_text())


def test_a_cycle_without_any_observation_says_so(copied, tmp_path):
    for window in range(WINDOWS):
        copied.observation(window).unlink()
    arguments = ["run", str(copied.folder / "case.toml"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 3 and "No observation was used" in result.output


def test_the_last_value_of_a_cycle_may_be_off_by_rounding(copied, whole, tmp_path):
    last = WINDOWS - 1
    later = lambda content: content.assign_coords(t=content.t * (1 + 1e-15))  # noqa: E731
    copied.rewrite(last, later)
    assert copied.run(tmp_path / "out").exit_code == 0
    assert manifest(tmp_path / "out")[last]["observations"]["x"]["used"] == 2


def test_a_line_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    """The disk takes half of it: what is left is the line before, and the next is whole."""
    ledger.append(tmp_path, {"window": 0, "inputs": {}})
    write = lines._write_all

    def half(file, content):
        write(file, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lines, "_write_all", half)
    with pytest.raises(DataError, match="No space left"):
        ledger.append(tmp_path, {"window": 1, "files": {}})
    monkeypatch.undo()
    ledger.append(tmp_path, {"window": 1, "files": {}})
    assert [line["window"] for line in read_manifest(tmp_path)] == [0, 1]
