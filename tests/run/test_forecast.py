"""The command `assim forecast`: from finished results to forecast.nc and its scores."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.case.case import Case, read_case
from assim.case.pose_cycle import pose_cycle
from assim.case.setting import set_up
from assim.files.fingerprint import digests
from assim.run.cycle.ledger import Ledger
from tests.run.test_failures import OWN
from tests.run.toy import MODEL, Toy, background, invoke, observations

BREAKS = MODEL.replace(
    '{"x": y}',
    '{"x": jnp.where((t > 6.5) | ((t > 4.5) & (theta["rate"] > 0.1)), jnp.nan, y)}',
)  # not finite in the sixth day at half of the members, in the eighth at all


def later(days: tuple[float, ...] = (4.0, 5.0, 6.0, 7.0)) -> xr.Dataset:
    """Observations in the layout of the toy's, at later times."""
    time, cell = np.repeat(days, 3), np.tile([0.0, 1.0, 2.0], len(days))
    again = observations().isel(obs=np.arange(3).repeat(len(days)))
    return again.assign_coords(
        time=("obs", time, {"units": "days since 2000-01-01"}), cell=("obs", cell, {"units": "m"})
    )


def truth(days: tuple[float, ...]) -> xr.Dataset:
    time = xr.Variable("time", list(days), {"units": "days since 2000-01-01"})
    x = xr.Variable(("time", "cell"), np.ones((len(days), 3)), {"units": "kg"})
    return xr.Dataset({"x": x}, {"time": time, "cell": ("cell", [0.0, 1.0, 2.0], {"units": "m"})})


def posterior(case: Case, number: int = 50) -> xr.Dataset:
    """Members as a run leaves them, of unequal weights."""
    setting = set_up(case)
    inside = digests(setting.model, setting.window([]))
    rng = np.random.default_rng(2)
    x = np.array([3.0, 2.0, 1.0]) + 0.1 * rng.standard_normal((number, 3))
    rate = 0.1 * np.exp(0.3 * rng.standard_normal(number))
    weight = np.linspace(1.0, 2.0, number)
    return xr.Dataset(
        {
            "x": (("realization", "cell"), x, {"units": "kg"}),
            "rate": ("realization", rate, {"units": "day-1"}),
            "weight": ("realization", weight / weight.sum()),
        },
        attrs={
            "assim_config": case.text(),
            "assim_method": "laplace",
            "assim_status": "converged",
            "trust": "certified",
            "fit": "good",
            "assim_window_inputs": "\n".join(f"{d}  {name}" for name, d in inside.items()),
        },
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A window's posterior, and files to compare a forecast with."""
    toy = Toy(tmp_path_factory.mktemp("forecast") / "toy")
    toy.case["posterior"] = {"use": "Laplace"}
    toy.case["output"] = {"keep": ["analysis", "posterior"]}  # no report, which takes seconds
    toy.write().out.mkdir()
    posterior(read_case(toy.folder / "case.toml")).to_netcdf(toy.out / "posterior.nc")
    later().to_netcdf(toy.folder / "later.nc")
    truth((0.0, 1.0)).to_netcdf(toy.folder / "past.nc")
    truth((5.0, 6.0, 99.0)).to_netcdf(toy.folder / "truth.nc")
    return toy


@pytest.fixture(scope="module")
def made(finished: Toy) -> tuple[Any, Path]:
    files = ("--observations", "later.nc", "--truth", "truth.nc")
    given = [str(finished.folder / one) if one.endswith(".nc") else one for one in files]
    result = ask(finished, "--slots", "3", "--keep-members", "--members", "30", *given)
    assert result.exit_code == 0, result.stderr or result.exception
    return result, finished.out


def ask(toy: Toy, *options: str) -> Any:
    return toy.run("--from", str(toy.out), *options, command="forecast")


def test_files(made: tuple[Any, Path]) -> None:
    with xr.open_dataset(made[1] / "forecast.nc") as file:
        assert file["x"].dims == ("time", "cell")
        assert file["x_members"].dims == ("realization", "time", "cell")
        assert file["x_members"].shape == (30, 4, 3)
        np.testing.assert_array_equal(
            file["time"].values, np.arange("2000-01-05", "2000-01-09", dtype="datetime64[D]")
        )
        assert {f"x{end}" for end in ("_stddev", "_q05", "_q50", "_q95")} <= set(file.variables)
        assert file["forecast_period"].attrs["standard_name"] == "forecast_period"
        assert file["x"].attrs["units"] == "kg"
        assert "[model]" in file.attrs["assim_config"]
        assert {"posterior.nc", "later.nc", "truth.nc"} == {
            Path(line.split("  ")[1]).name for line in file.attrs["assim_inputs"].splitlines()
        }
        members = file["x_members"].values
        np.testing.assert_allclose(file["x"], members.mean(axis=0))
        np.testing.assert_allclose(file["x_stddev"], members.std(axis=0, ddof=1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["forecast", "forecast_feedback"])
def test_conventions_are_kept(made: tuple[Any, Path], name: str, conventions: Any) -> None:
    assert conventions(made[1] / f"{name}.nc") == []


def test_what_an_instrument_would_read_lies_beside_the_fields(made: tuple[Any, Path]) -> None:
    """It reads x in its three cells, with errors of the standard deviation 0.1."""
    forecast = xr.load_dataset(made[1] / "forecast.nc")
    assert forecast["x_hofx_mean"].dims == ("time", "x_place")
    np.testing.assert_array_equal(forecast["x_cell"], [0.0, 1.0, 2.0])
    np.testing.assert_allclose(forecast["x_hofx_mean"], forecast["x"], rtol=1e-12)
    for of in ("stddev", "q05", "q50", "q95"):
        np.testing.assert_allclose(forecast[f"x_hofx_{of}"], forecast[f"x_{of}"], rtol=1e-9)
    both = np.sqrt(forecast["x_hofx_stddev"] ** 2 + 0.1**2)
    scatter = 4 / np.sqrt(2 * forecast["x_hofx_mean"].attrs["draws"])
    np.testing.assert_allclose(forecast["x_reading_stddev"], both, rtol=scatter)


def test_it_starts_from_the_posterior_at_the_end_of_the_window(made: tuple[Any, Path]) -> None:
    """Every member is the model's run of one of the posterior's, its parameters with it."""
    with xr.open_dataset(made[1] / "posterior.nc") as file:
        x, rate = file["x"].values, file["rate"].values
    days = [x]
    for _ in range(7):
        now = days[-1]
        loss = rate[:, None] * now**2 / (1 + now**2)
        days.append(now - loss + 0.1 * (np.roll(now, 1, axis=1) - now))
    expected = np.stack(days[4:], axis=1)
    with xr.open_dataset(made[1] / "forecast.nc") as file:
        members = file["x_members"].values
    nearest = [np.max(np.abs(expected - one[None]), axis=(1, 2)) for one in members]
    assert max(np.min(away) for away in nearest) < 1e-10
    assert len({int(np.argmin(away)) for away in nearest}) == 30


def test_members_are_chosen_by_their_weights(finished: Toy, tmp_path: Path) -> None:
    toy = copied(finished, tmp_path)
    path = toy.out / "posterior.nc"
    with xr.open_dataset(path) as file:
        found = file.load()
    found["weight"] = ("realization", np.eye(50)[7])
    found.to_netcdf(path)
    result = ask(toy, "--slots", "1", "--members", "20")
    assert result.exit_code == 0, result.stderr or result.exception
    with xr.open_dataset(toy.out / "forecast.nc") as file:
        np.testing.assert_allclose(file["x_stddev"], 0.0, atol=1e-12)


def test_doubts_are_told(finished: Toy, tmp_path: Path) -> None:
    toy = copied(finished, tmp_path)
    path = toy.out / "posterior.nc"
    with xr.open_dataset(path) as file:
        found = file.load()
    found.assign_attrs(assim_status="out_of_loops", trust="failed").to_netcdf(path)
    said = ask(toy, "--slots", "1", "--members", "60").stdout
    for words in ("not converged", "has failed", "has 50 members: some of the 60 are the same"):
        assert words in said


@pytest.mark.parametrize(
    ("fit", "words"), [("good", ""), ("poor", "did not fit"), (None, "not tested")]
)
def test_a_poor_fit_is_told_and_written(
    finished: Toy, tmp_path: Path, fit: str | None, words: str
) -> None:
    """Where trust is certified, too; and with --quiet in the files."""
    toy = copied(finished, tmp_path)
    path = toy.out / "posterior.nc"
    with xr.open_dataset(path) as file:
        members = file.load()
    members.attrs.pop("fit")
    members.assign_attrs({} if fit is None else {"fit": fit}).to_netcdf(path)
    later_file = str(toy.folder / "later.nc")
    result = ask(toy, "--slots", "2", "--members", "20", "--observations", later_file, "--quiet")
    assert result.exit_code == 0 and not result.stdout, result.stderr or result.exception
    written = json.loads((toy.out / "forecast.json").read_text())["warnings"]
    assert len(written) == bool(words) and all(words in warning for warning in written)
    for name in ("forecast.nc", "forecast_feedback.nc"):
        with xr.open_dataset(toy.out / name) as file:
            assert file.attrs.get("assim_warnings", "") == "\n".join(written)


def copied(toy: Toy, folder: Path) -> Toy:
    shutil.copytree(toy.folder, folder / "toy")
    return Toy(folder / "toy", toy.case)


def test_summary(made: tuple[Any, Path]) -> None:
    summary = json.loads((made[1] / "forecast.json").read_text())
    assert summary["start"] == "2000-01-05" and summary["end"] == "2000-01-08"
    assert summary["lead"] == [0, 1, 2, 3] and summary["lead_units"] == "days"
    assert summary["members"] == 30 and summary["left_out"] == 0
    assert len(summary["spread"]["x"]) == 4
    scored = summary["observations"]["x"]
    assert scored["count"] == 9 and sum(scored["ranks"]) == 9
    assert [one["lead"] for one in scored["by_lead"]] == [1, 2, 3]
    assert {"rmse", "bias", "spread", "crps", "log_score", "coverage"} <= set(scored)
    assert {"correlation", "nash_sutcliffe", "kling_gupta"} <= set(scored)
    assert summary["truth"]["x"]["lead"] == [1, 2]


def test_feedback(made: tuple[Any, Path]) -> None:
    scored = json.loads((made[1] / "forecast.json").read_text())["observations"]["x"]
    with xr.open_dataset(made[1] / "forecast_feedback.nc") as file:
        assert file.sizes["obs"] == 9
        away = file["x_hofx_forecast"] - file["x"]
        assert float(np.sqrt((away**2).mean())) == pytest.approx(scored["rmse"])
        assert float(file["x_hofx_forecast_crps"].mean()) == pytest.approx(scored["crps"])
        assert float(file["x_hofx_forecast_rank"].max()) <= 30


def test_what_is_said(made: tuple[Any, Path]) -> None:
    said = made[0].stdout
    for word in ("30 members", "3 values not after", "CRPS", "in 90 %", "2 days", "forecast.nc"):
        assert word in said


def test_the_seed_decides(finished: Toy, tmp_path: Path) -> None:
    def mean(*options: str) -> np.ndarray:
        out = ("--out", str(tmp_path), "--slots", "1", "--members", "5", "--quiet")
        result = ask(finished, *out, *options)
        assert result.exit_code == 0 and result.stdout == ""
        with xr.open_dataset(tmp_path / "forecast.nc") as file:
            return file["x"].values

    np.testing.assert_array_equal(mean("--seed", "4"), mean("--seed", "4"))
    assert not np.allclose(mean("--seed", "5"), mean("--seed", "4"))


def test_scores_of_the_forecast_before_are_removed_and_named(finished: Toy, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path), "--slots", "3", "--members", "5")
    first = ask(finished, *out, "--observations", str(finished.folder / "later.nc"))
    assert first.exit_code == 0 and "Removed" not in first.stdout, first.stderr
    again = ask(finished, *out, "--observations", str(finished.folder / "later.nc"))
    assert "Removed" not in again.stdout and (tmp_path / "forecast_feedback.nc").is_file()
    second = ask(finished, *out)
    assert "Removed, as of earlier results: forecast_feedback.nc" in second.stdout
    assert not (tmp_path / "forecast_feedback.nc").exists()


def test_scores_stand_in_the_way_of_nothing(finished: Toy, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("assim.run.forecast.forecast", None)  # nothing is computed
    (tmp_path / "forecast_feedback.nc").write_text("of somebody else")
    later = ("--observations", str(finished.folder / "later.nc"))
    result = ask(finished, "--out", str(tmp_path), "--slots", "3", *later)
    assert result.exit_code == 3 and "forecast_feedback.nc: cannot be written" in result.stderr


def test_until_a_date_is_as_many_whole_slots(finished: Toy, tmp_path: Path) -> None:
    result = ask(finished, "--until", "2000-01-06T12:00:00", "--out", str(tmp_path))
    assert result.exit_code == 0, result.stderr or result.exception
    with xr.open_dataset(tmp_path / "forecast.nc") as file:
        assert str(file["time"].values[-1]).startswith("2000-01-06T00")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--from", "nowhere"), 3, ("nowhere", "holds no analysis", "assim run")),
        (("--set", "background.file=other.nc"), 3, ("another case", "[background]")),
        (("--until", "2000-01-05T06:00:00"), 2, ("--until", "the first slot ends at 2000-01-06")),
        (("--until", "soon"), 2, ("--until", "expected a date")),
        (("--until", "2000-01-09", "--slots", "2"), 2, ("--slots or --until",)),
        (("--observations", "observations.nc"), 3, ("after the forecast's start", "none of 12")),
        (("--observations", "background.nc"), 3, ("background.nc", "instruments (x)")),
        (("--observations", "nothing.nc"), 3, ("nothing.nc", "no such file")),
        (("--observations", "y=later.nc"), 2, ("--observations", "called 'y'", "it may be x")),
        (("--truth", "past.nc"), 3, ("past.nc", "states at times of the forecast")),
        (("--members", "1"), 2, ("--members",)),
    ],
)  # fmt: skip
def test_errors(finished: Toy, options: tuple[str, ...], code: int, words: tuple[str, ...]) -> None:
    file = lambda one: one.endswith(".nc") and "=" not in one  # noqa: E731
    given = [str(finished.folder / one) if file(one) else one for one in options]
    result = ask(finished, *given)
    assert result.exit_code == code, result.stderr or result.exception
    for word in words:
        assert word in result.stderr


def test_an_analysis_without_members(finished: Toy, tmp_path: Path) -> None:
    (tmp_path / "analysis.nc").write_bytes(b"")
    result = ask(finished, "--from", str(tmp_path))
    assert result.exit_code == 3
    assert "no posterior.nc" in result.stderr


def test_a_model_that_is_not_finite(finished: Toy, tmp_path: Path) -> None:
    toy = copied(finished, tmp_path)
    (toy.folder / "toy.py").write_text(BREAKS, encoding="utf-8")
    some = ask(toy, "--slots", "2")
    assert some.exit_code == 0, some.stderr or some.exception
    assert "not finite at" in some.stdout
    summary = json.loads((toy.out / "forecast.json").read_text())
    assert summary["left_out"] > 0 and summary["members"] + summary["left_out"] == 100
    none = ask(toy, "--slots", "4")
    assert none.exit_code == 5
    assert "any of the 100 members" in none.stderr


@pytest.mark.slow
def test_what_is_said_of_a_repeated_analysis_is_its_own(toy: Toy) -> None:
    """Its method may be another than that of the file, and may end or fail otherwise."""
    toy.case["posterior"] = {"use": "Laplace", "certificate": 500}
    toy.case["window"] = {"start": "2000-01-01", "end": "2000-01-05", "slots": 2}
    toy.case["model_error"] = {"covariance": {"use": "Diagonal", "stdev": 0.2}}
    toy.case["output"] = {"keep": ["analysis", "posterior"]}
    assert toy.write().run().exit_code == 0
    asked = {
        "posterior": '[{use="Randomise",members=20},{use="own.py:Raising"}]',
        "minimiser.n_outer": "1",
    }
    (toy.folder / "own.py").write_text(OWN)
    options = [word for pair in asked.items() for word in ("--set", "=".join(pair))]
    result = ask(toy, "--slots", "1", "--members", "10", *options)
    assert result.exit_code == 0, result.stderr or result.exception
    said = " ".join(result.stdout.split())
    assert "by randomise" in said and "by laplace" not in said
    assert "The analysis has not converged" in said
    assert "left out: posterior raising: RuntimeError: no such luck" in said
    none = ask(toy, "--slots", "1", "--set", 'posterior="none"')
    assert none.exit_code == 2 and "posterior: a forecast with model error" in none.stderr


@pytest.mark.slow
@pytest.mark.parametrize("formulation", ["forcing", "state"])
def test_weak_constraint_repeats_the_analysis(toy: Toy, formulation: str) -> None:
    """The posterior's model errors are in no file; those of the forecast are drawn."""
    toy.case["posterior"] = {"use": "Laplace"}
    error = {"use": "Diagonal", "stdev": 0.2}
    toy.case["model_error"] = {
        "covariance": error,
        "in_time": {"use": "Autoregressive", "time": 2.0},
        "formulation": formulation,
    }
    toy.case["output"] = {"keep": ["analysis", "posterior", "trajectory"]}
    assert toy.write().run().exit_code == 0
    result = ask(toy, "--slots", "2", "--members", "400")
    assert result.exit_code == 0, result.stderr or result.exception
    with xr.open_dataset(toy.out / "trajectory.nc") as file:
        end, spread = file["x"][-1].values, file["x_stddev"][-1].values
    with xr.open_dataset(toy.out / "forecast.nc") as file:
        assert np.all(np.abs(file["x"][0] - end) < 4 * spread / 20)
        np.testing.assert_allclose(file["x_stddev"][0], spread, rtol=0.25)
        assert np.all(file["x_stddev"][1] > 0.15)
    background().assign(x=background()["x"] + 0.01).to_netcdf(toy.folder / "background.nc")
    changed = ask(toy, "--slots", "2")
    assert changed.exit_code == 3
    assert "background.nc: no longer poses the problem" in changed.stderr


@pytest.fixture(scope="module")
def cycled(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A cycle whose two windows of two days have handed on what the first was given."""
    toy = Toy(tmp_path_factory.mktemp("cycled") / "toy")
    toy.case["window"]["slots"] = 2
    toy.case["cycle"] = {"windows": 2, "method": {"use": "FourDVar", "inflation": 1.1}}
    toy.case["posterior"] = {"use": "Laplace"}
    toy.case["background"]["covariance"] = {"use": "Diagonal", "stdev": 0.5}
    toy.write().out.mkdir()
    later().to_netcdf(toy.folder / "later.nc")
    case = read_case(toy.folder / "case.toml")
    posed = pose_cycle(set_up(case))
    carry = posed.cycle.start()
    ledger = Ledger.opened(toy.out, case, resume=False, series=posed.series())
    for window in range(2):
        with ledger.writing(window) as folder:
            (folder / "summary.json").write_text("{}")
        ledger.finish(window, carry, {"state": "analysed"})
    return toy


def test_a_cycle_goes_on_from_what_its_last_window_handed_on(cycled: Toy) -> None:
    result = ask(cycled, "--observations", str(cycled.folder / "later.nc"), "--members", "500")
    assert result.exit_code == 0, result.stderr or result.exception
    assert "000001.nc, by FourDVar" in result.stdout
    summary = json.loads((cycled.out / "forecast.json").read_text())
    assert summary["start"] == "2000-01-05" and summary["end"] == "2000-01-07"
    assert summary["observations"]["x"]["rejected"] == {"window": 3}
    with xr.open_dataset(cycled.out / "forecast.nc") as file:
        away = file["x"][0] - np.array([3.0, 2.0, 1.0])
        assert np.all(np.abs(away) < 4 * 0.5 / np.sqrt(500))
        np.testing.assert_allclose(file["x_stddev"][0], 0.5, rtol=0.15)


@pytest.fixture
def shared_variable(finished: Toy, tmp_path: Path) -> Toy:
    """Results of two instruments of one variable, the second of which has values a kilogram on."""
    toy = copied(finished, tmp_path)
    own = {"file": "observations.nc", "variable": "x"}
    tables = [own, {**own, "name": "far", "quality": {"threshold": 3.0}}]
    toy = Toy(toy.folder, {**toy.case, "observations": tables})
    toy.write_case()
    posterior(read_case(toy.folder / "case.toml")).to_netcdf(toy.out / "posterior.nc")
    further = later()
    further["x"] = further["x"] + 1.0
    further["x"].attrs["units"] = "kg"
    further.to_netcdf(toy.folder / "far.nc")
    return toy


@pytest.mark.parametrize("named", [("far=far.nc",), ("x=later.nc", "far=far.nc")])
def test_files_of_instruments_that_share_a_variable(
    shared_variable: Toy, named: tuple[str, ...]
) -> None:
    """A file that is no instrument's is that of all that have none."""
    toy = shared_variable
    given = [*named] if len(named) > 1 else ["later.nc", *named]
    files = [f"{name}{equal}{toy.folder / file}" for name, equal, file in (
        text.rpartition("=") for text in given
    )]  # fmt: skip
    options = [option for file in files for option in ("--observations", file)]
    result = ask(toy, "--slots", "1", "--members", "10", *options)
    assert result.exit_code == 0, result.stderr or result.exception
    summary = json.loads((toy.out / "forecast.json").read_text())
    scored = summary["observations"]
    assert scored["far"]["bias"] == pytest.approx(scored["x"]["bias"] - 1.0)
    (unchecked,) = summary["warnings"]
    assert unchecked.startswith("far: the background check (quality.threshold) is not made")


def test_one_file_of_two_instruments_is_told(shared_variable: Toy) -> None:
    toy, file = shared_variable, str(shared_variable.folder / "later.nc")
    result = ask(toy, "--slots", "1", "--members", "10", "--observations", file)
    assert f"All rows of x in {file} are scored as those of x and far" in result.stdout
    twice = ask(toy, "--observations", f"x={file}", "--observations", f"x={file}")
    assert twice.exit_code == 2 and "x is in" in twice.stderr
    whole = ask(toy, "--observations", file, "--observations", str(toy.folder / "far.nc"))
    assert whole.exit_code == 2 and "--observations: x is in" in whole.stderr


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ({"minimiser": "converged"}, ""),
        ({"minimiser": "out_of_loops"}, "last window has not converged (out_of_loops)"),
        ({"minimiser": "none", "state": "forecast", "reason": "it was late"}, "it was late"),
    ],
)
def test_how_a_cycle_ended_is_told(
    cycled: Toy, tmp_path: Path, ending: dict[str, str], words: str
) -> None:
    toy = copied(cycled, tmp_path)
    path = toy.out / "manifest.jsonl"
    heading, first, last = map(json.loads, path.read_text().splitlines())
    lines = heading, {**first, "minimiser": "stagnated"}, {**last, **ending}
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    result = ask(toy, "--slots", "1", "--members", "10")
    assert result.exit_code == 0, result.stderr or result.exception
    written = json.loads((toy.out / "forecast.json").read_text())["warnings"]
    assert written[-1] == "1 of the windows before have not converged."
    assert len(written) == 1 + bool(words) and words in written[0]
    assert written[0] in " ".join(result.stdout.split())


def test_a_cycle_of_another_case(cycled: Toy, tmp_path: Path) -> None:
    changed = ask(cycled, "--set", "cycle.method.inflation=1.2")
    assert changed.exit_code == 3
    assert "cycle of another case" in changed.stderr
    empty = ask(cycled, "--from", str(tmp_path))
    assert empty.exit_code == 3
    assert "holds no analysis" in empty.stderr
    in_memory = ask(cycled, "--set", "cycle.twin=true")
    assert in_memory.exit_code == 2
    assert "cycle.twin" in in_memory.stderr


def test_a_carry_that_has_changed(cycled: Toy, tmp_path: Path) -> None:
    toy = copied(cycled, tmp_path)
    carry = toy.out / "carry" / "000001.nc"
    carry.write_bytes(carry.read_bytes()[:-1])
    damaged = ask(toy)
    assert damaged.exit_code == 3
    assert "has changed since its window" in damaged.stderr


def test_a_cycle_whose_model_or_background_has_changed(cycled: Toy, tmp_path: Path) -> None:
    """As a window's, and as --resume refuses them."""
    for name in ("toy.py", "background.nc"):
        toy = copied(cycled, tmp_path / name)
        path = toy.folder / name
        path.write_bytes(path.read_bytes() + b"\n")
        changed = ask(toy)
        assert changed.exit_code == 3
        assert f"{name}: is missing or has changed since the cycle" in changed.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"use": "FourDVar", "inflation": 1.1},
        {"use": "FourDVar", "rank": 2, "share": 0.1},
        {"use": "assim.analysis.cycle.ensemble:ETKF", "members": 20},
        {"use": "assim.analysis.cycle.ensemble:IEnKS", "members": 20},
        {"use": "assim.analysis.cycle.static:ThreeDVar"},
    ],
    ids=lambda method: f"{method['use'].rpartition(':')[2]}_{len(method)}",
)
def test_a_cycle_by_every_scheme(toy: Toy, method: dict[str, Any]) -> None:
    toy.case["window"]["slots"] = 2
    toy.case["cycle"] = {"windows": 2, "method": method}
    toy.case["posterior"] = {"use": "Laplace"}
    toy.case["background"]["covariance"] = {"use": "Diagonal", "stdev": 0.5}
    if method["use"].endswith("ThreeDVar"):
        del toy.case["parameters"]
    ran = toy.write().run()
    assert ran.exit_code == 0, ran.stderr or ran.exception
    result = ask(toy)
    assert result.exit_code == 0, result.stderr or result.exception
    with xr.open_dataset(toy.out / "windows" / "000001" / "analysis.nc") as file:
        mean = file["x"].values.squeeze()
    with xr.open_dataset(toy.out / "forecast.nc") as file:
        number = 20 if "members" in method else 100
        assert np.all(np.abs(file["x"][0] - mean) < 5 * file["x_stddev"][0] / np.sqrt(number))
    if "members" in method:
        more = ask(toy, "--members", "21")
        assert more.exit_code == 3
        assert "holds 20 members" in more.stderr


def test_help() -> None:
    result = invoke("forecast", "--help")
    assert result.exit_code == 0
    for word in ("--from", "--slots", "--until", "--members", "--observations", "--truth"):
        assert word in result.stdout


def test_conversions_of_later_readings_are_told_as_notes(finished: Toy, tmp_path: Path) -> None:
    toy = copied(finished, tmp_path)
    grams = later()
    grams["x_stddev"] = 1000 * grams["x_stddev"]
    grams["x_stddev"].attrs["units"] = "g"
    grams.to_netcdf(toy.folder / "grams.nc")
    result = ask(toy, "--slots", "2", "--observations", str(toy.folder / "grams.nc"))
    assert result.exit_code == 0, result.stderr or result.exception
    assert "x_stddev: converted from 'g' to 'kg'" in " ".join(result.stdout.split())
    assert "UnitsWarning" not in result.output
