"""What a person is told of cycles: of wrong cases, by `assim check`, and while one runs."""

import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from rich.console import Console

from assim.analysis.cycle.inflation import Inflation
from assim.case.case import read_case, validate
from assim.case.failure import CaseError
from assim.case.setting import set_up
from assim.run import cli
from assim.run.terminal import screen as shown
from assim.run.terminal.screen import Dashboard, Screen
from tests.cycle.files import Files

NAME = "observations/{window:04d}.nc"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Files.made(tmp_path_factory.mktemp("words") / "case", 3)


@pytest.fixture
def files(made, tmp_path):
    """A copy of the case whose files a test may change."""
    shutil.copytree(made.folder, tmp_path / "case")
    return Files(tmp_path / "case")


def assim(command, files, *options):
    return CliRunner().invoke(cli.main, [command, str(files.folder / "case.toml"), *options])


def edited(files, *changes):
    path = files.folder / "case.toml"
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    return files


def in_one_file(files):
    """The observations of all windows in one file."""
    parts = [xr.load_dataset(files.observation(k), decode_times=False) for k in range(3)]
    xr.concat(parts, "obs").to_netcdf(files.folder / "all.nc")
    return edited(files, (NAME, "all.nc"))


def tables(**observation):
    return {
        "model": {"use": "Lorenz63"},
        "window": {"start": 0.0, "slots": 2},
        "background": {"file": "background.nc"},
        "observations": [
            {"file": "all.nc", "variable": "x"},
            {"file": "all.nc", "variable": "z", **observation},
        ],
        "cycle": {"windows": 3},
    }


BRACES = ["{w}.nc", "{window.nc", "{station}_{window}.nc", "{window!r}.nc", "{window:4f}.nc", "{}"]


@pytest.mark.parametrize("name", BRACES)
def test_only_the_number_of_a_window_is_in_braces(name):
    _, (fault,) = validate(tables(file=name))
    told = str(fault)
    assert "observations.1.file" in told and "{window:04d}" in told and repr(name) in told


@pytest.mark.parametrize("name", ["{window}.nc", NAME, "{window:d}/{window:06}.nc", "all.nc"])
def test_names_with_the_number_of_a_window(name):
    assert validate(tables(file=name))[1] == []


def test_braces_that_cannot_be_replaced_end_the_command(files):
    result = assim("run", edited(files, (NAME, "observations/{w}.nc")))
    assert result.exit_code == 2
    assert "observations.0.file" in result.stderr and "observations.1.file" in result.stderr


def test_the_number_of_a_window_belongs_to_a_cycle():
    tree = tables(file=NAME)
    del tree["cycle"]
    _, (fault,) = validate(tree)
    assert "observations.1.file" in str(fault) and "[cycle]" in str(fault)
    tree["observations"][1]["file"] = "odd {name}.nc"  # an ordinary name
    assert validate(tree)[1] == []


def test_slots_in_place_of_times():
    tree = tables()
    tree["window"] = {"start": 0.0, "times": "observations"}
    _, (fault,) = validate(tree)
    assert "window.times" in str(fault) and "`slots`" in str(fault) and "`steps`" in str(fault)


def test_a_burn_in_that_leaves_nothing():
    tree = tables()
    tree["cycle"]["burn_in"] = 3
    _, (fault,) = validate(tree)
    assert fault.path == "cycle.burn_in" and "3 windows" in fault.message


@pytest.mark.parametrize("command", ["compare", "calibrate"])
def test_commands_that_take_one_window(files, tmp_path, command):
    shutil.copy(files.folder / "case.toml", files.folder / "other.toml")
    more = [str(files.folder / "other.toml")] if command == "compare" else []
    result = assim(command, files, *more, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2, result.output
    assert "cycle: " in result.stderr and "one window" in result.stderr
    assert not (tmp_path / "out").exists()


def test_check_says_what_later_windows_have(files):
    result = assim("check", in_one_file(files))
    assert result.exit_code == 0, result.output
    assert "2 of 6 used" in result.output and "4 in later windows" in result.output
    assert "rejected" not in result.output and "members " not in result.output


def test_check_tells_of_too_few_members(files):
    result = assim("check", files, "--set", "cycle.method.members=5")
    assert result.exit_code == 0, result.output
    assert "5 members for 3 controls" in result.output


def test_adaptive_inflation_needs_no_name(files):
    given = "method.inflation={ adaptive = true, lower = 0.9 }"
    scheme = made_scheme(files, given)
    assert scheme.inflation == Inflation(adaptive=True, lower=0.9)
    with pytest.raises(CaseError, match=r"cycle\.method\.inflation\.adaptiv: .*adaptive"):
        made_scheme(files, "method.inflation={ adaptiv = true }")


def made_scheme(files, given):
    found = read_case(files.folder / "case.toml", [f"cycle.{given}"])
    setting = set_up(found)
    return setting.tables.scheme(setting.model)


def test_check_refuses_what_a_run_refuses(files):
    correlated = 'covariance = { use = "Diagonal", stdev = 1.0 }\nheld_back = true'
    text = edited(files, ("error = { stdev = 1.0 }", correlated)).folder / "case.toml"
    text.write_text(text.read_text().replace("held_back = true", "", 1))
    checked, run = assim("check", files), assim("run", files)
    assert checked.exit_code == run.exit_code == 2
    for told in ("observations.0.covariance", "observations.1.held_back"):
        assert told in checked.stderr


def test_info_names_the_schemes():
    result = CliRunner().invoke(cli.main, ["info"])
    (line,) = [line for line in result.output.splitlines() if line.startswith("schemes")]
    assert "FourDVar" in line and "LETKF" in line


def measures(errors, spreads):
    return SimpleNamespace(
        number=2.0,
        chi_squared=1.0,
        inflation=1.0,
        errors=None if errors is None else SimpleNamespace(analysis=errors),
        spreads=SimpleNamespace(analysis=spreads),
    )


def entry(fate="used"):
    return {"state": "analysed", "reason": "", "seconds": {"analyse": 1.0}, "observations": {
        "x": {"fate": fate}
    }}  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(shown, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def lines(clock, several, windows=6, done=0):
    """What is shown of some windows, the first of which takes 100 s and the others 1 s."""
    text = io.StringIO()
    dashboard = Dashboard(Console(file=text, width=300), windows, done)
    for number, given in enumerate(several, start=done):
        clock.seconds += 1.0 if number > done else 100.0
        dashboard.window(number, *given)
    return text.getvalue().splitlines()


def test_the_first_window_is_not_counted_in_what_is_left(clock):
    one = (measures({"x": 2.0}, {"x": 1.0}), entry())
    found = lines(clock, [one] * 3)
    assert found[0].startswith("1 of 6 windows done, compiled and analysed in 100 s")
    assert found[2].startswith("3 of 6 windows done, 1000 ms each, 3 s left")
    assert "RMSE 2.000, spread 1.000, inflation 1.000" in found[2]
    assert lines(clock, [one] * 2, done=4)[1].startswith("6 of 6 windows done, 1000 ms each, 0 s")


def test_flags_are_totals(clock):
    one = measures(None, {"x": 1.0})
    found = lines(clock, [(one, entry(fate)) for fate in ("corrupt", "used", "corrupt")])
    assert found[1].endswith("; so far 1 corrupt") and found[2].endswith("; so far 2 corrupt")
    assert "RMSE –, spread 1.000" in found[1]


def test_fields_in_several_units_are_judged_by_ratios(clock):
    one = measures({"h": 1.0, "u": 0.01}, {"h": 2.0, "u": 0.01})
    (found,) = lines(clock, [(one, entry())])
    assert "spread/RMSE 1.500" in found and "spread 2" not in found
    (unknown,) = lines(clock, [(measures(None, {"h": 2.0, "u": np.array(1.0)}), entry())])
    assert "spread/RMSE –" in unknown


def summary(**more):
    """Means of a cycle of two fields in different units."""
    kinds = ("spread", "spread_background", "spread_smoother")
    spreads = {k: None for k in kinds} | {f"{k}_by_field": {"h": 2.0, "u": 0.01} for k in kinds}
    ended = {"windows": 5, "statuses": {"converged": 3, "out_of_loops": 1}}
    return {**ended, **spreads, "chi_squared": None, "inflation": 1.0, "signal": 3.0, **more}


def test_means_are_of_one_unit():
    text = io.StringIO()
    screen = Screen(Console(file=text, width=100))
    screen.cycled(summary(rmse_analysis_by_field={"h": 1.5, "u": 0.02}))
    told = text.getvalue()
    assert "h, analysis" in told and "u, smoother" in told and "1.5" in told and "0.02" in told
    assert "5 windows: 3 converged, 1 out of loops, 1 with nothing to minimise." in told
    assert "inflation 1, degrees of freedom for signal 3" in told and "chi-squared" not in told


def test_a_cycle_that_another_version_began(files, tmp_path):
    out = tmp_path / "out"
    assert files.run(out, "--set", "cycle.windows=1").exit_code == 0
    path = out / "manifest.jsonl"
    first, *rest = path.read_text().splitlines()
    heading = {**json.loads(first), "assim_version": "0.0.9"}
    path.write_text("\n".join([json.dumps(heading), *rest]) + "\n")
    told = assim("run", files, "--out", str(out), "--resume")
    assert told.exit_code == 0 and "1 of 3 windows are finished" in told.output
    assert "by assim 0.0.9" in " ".join(told.output.split())
