"""Restart files with dates, and with land where there are no values."""

import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest

import assim
from assim.couple.process_model import process_model

LAND = np.array([False, True, False, False])
OCEAN = """
import sys
import netCDF4
import numpy as np

given, made, start, hours = sys.argv[1:]
with netCDF4.Dataset(given) as old:
    level, clock = old["zeta"][0], old["ocean_time"]
    assert np.ma.getmaskarray(level).tolist() == [False, True, False, False]
    now = netCDF4.num2date(clock[0], clock.units, clock.calendar)
    assert now.strftime("%Y-%m-%d %H:%M") == start, (now, start)
    seconds, units, calendar = clock[0], clock.units, clock.calendar
with netCDF4.Dataset(made, "w") as new:
    new.createDimension("ocean_time", 1)
    new.createDimension("x", 4)
    clock = new.createVariable("ocean_time", "f8", ("ocean_time",))
    clock.units, clock.calendar = units, calendar
    clock[...] = seconds + 3600 * float(hours) * ADVANCE
    zeta = new.createVariable("zeta", "f8", ("ocean_time", "x"), fill_value=1e37)
    zeta[0] = level * 0.5 ** float(hours)
"""
LABELS = assim.Labels(
    {"h": assim.Label(("x",), "m")},
    {},
    {"x": assim.Coordinate(np.arange(4.0), "km")},
    time_unit="hours",
)


def restart(folder: Path, land: bool = True) -> Path:
    """One of the ocean's own, of another time."""
    path = folder / "restart.nc"
    with netCDF4.Dataset(str(path), "w") as file:
        file.createDimension("ocean_time", None)
        file.createDimension("x", 4)
        clock = file.createVariable("ocean_time", "f8", ("ocean_time",))
        clock.units, clock.calendar = "seconds since 1970-01-01 00:00:00", "gregorian"
        clock[0] = 0.0
        zeta = file.createVariable("zeta", "f8", ("ocean_time", "x"), fill_value=1e37)
        zeta[0] = np.ma.array([1.0, 0.0, 3.0, 4.0], mask=LAND & land)
        file.createVariable("depth", "f8", ())[...] = 7.0
    return path


def ocean(folder: Path, advance: float = 1.0, **given):
    (folder / "ocean.py").write_text(OCEAN.replace("ADVANCE", str(advance)))
    command = [sys.executable, "ocean.py", "{input}", "{output}", "{start:%Y-%m-%d %H:%M}"]
    options = {
        "variables": {"h": "zeta"},
        "restart": restart(folder),
        "files": ["ocean.py"],
        "clock": "ocean_time",
        "reference": "2024-02-28T12:00",
        "fill": 0.0,
        "folder": folder,
        **given,
    }
    return assim.foreign.ProcessModel([*command, "{duration}"], LABELS, 1.0, **options)


def after(model, start: float, hours: float = 2.0):
    h = np.array([8.0, 5.0, 4.0, 2.0])
    return model.process.run({"h": h}, (start, start + hours))["h"]


@pytest.mark.parametrize("start", [0.0, 11.0, 36.0])
def test_times_are_dates_and_land_has_its_value(tmp_path, start):
    """The program itself looks at the time and the mask that it is given, over a leap day, too."""
    model = ocean(tmp_path)
    np.testing.assert_allclose(after(model, start), [2.0, 0.0, 1.0, 0.5], rtol=1e-15)
    assert not model.process.failures


def test_a_state_of_another_time_is_a_failure(tmp_path):
    model = ocean(tmp_path, advance=0.5)
    assert np.isnan(after(model, 0.0)).all()
    words = "ocean_time: expected the state of 2024-02-28T14:00:00, got that of 2024-02-28T13:00:00"
    assert words in model.process.words()


def test_values_that_are_missing_in_the_sea_are_a_failure(tmp_path):
    model = ocean(tmp_path)
    (tmp_path / "ocean.py").write_text(
        OCEAN.replace("ADVANCE", "1.0") + "\n    zeta[0, 2] = np.ma.masked"
    )
    assert np.isnan(after(model, 0.0)).all()
    assert "zeta: expected finite values, got 1 of 4 that are missing" in model.process.words()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fill": None}, r"zeta is missing at 1 of 4 points; say by `fill` what the state has"),
        ({"restart": None}, r"fill is for points where the file `restart` has no values"),
        ({"reference": None}, r"\{start:%Y-%m-%d %H:%M\}: a date needs `reference`"),
    ],
)
def test_what_does_not_go_together(tmp_path, given, words):
    with pytest.raises(ValueError, match=words):
        ocean(tmp_path, **given)


def test_a_file_without_a_restart_has_the_time_too(tmp_path):
    plain = {"restart": None, "fill": None, "clock": "time"}
    copy = "import shutil, sys\nshutil.copy(*sys.argv[1:3])"
    model = ocean(tmp_path, **plain)
    (tmp_path / "ocean.py").write_text(copy)
    assert np.isnan(after(model, 0.0)).all()
    assert "expected the state of 2024-02-28T14:00:00" in model.process.words()


def test_in_a_case_the_reference_is_the_windows_start(tmp_path):
    restart(tmp_path)
    (tmp_path / "ocean.py").write_text(OCEAN)
    model = process_model(
        f"{sys.executable} ocean.py {{input}} {{output}} {{start:%Y}} {{duration}}",
        1.0,
        {"h": {"dims": ["x"], "units": "m"}},
        {"x": {"size": 4}},
        time_unit="hours",
        variables={"h": "zeta"},
        restart="restart.nc",
        files=["ocean.py"],
        clock="ocean_time",
        fill=0.0,
        case_folder=str(tmp_path),
        case_start="2024-02-28",
    )
    assert model.process.program.reference == "2024-02-28"
    np.testing.assert_array_equal(model.process.program.land.points["h"], LAND)
