"""What a cycle says of the files of its observations as they come in."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from assim.case.case import read_case
from assim.case.pose_cycle import pose_cycle
from assim.case.setting import set_up
from assim.case.toml import write
from assim.run.cycle.incoming import Arrival, Incoming

WINDOWS = 3  # of two slots of 0.05


def cycle(folder: Path, file: str, start: float = 0.0) -> tuple[Incoming, list[str]]:
    """Three windows of Lorenz-63, whose x is seen, and the notes that are told."""
    values = {name: ((), 1.0, {"units": "1"}) for name in "xyz"}
    xr.Dataset(values).to_netcdf(folder / "background.nc")
    tables = {
        "title": "Three windows",
        "model": {"use": "Lorenz63"},
        "window": {"start": start, "slots": 2, "steps": 5},
        "background": {
            "file": "background.nc",
            "covariance": {"use": "Diagonal", "stdev": 1.0},
        },
        "observations": [{"file": file, "variable": "x"}],
        "cycle": {"windows": WINDOWS},
    }
    (folder / "case.toml").write_text(write(tables), encoding="utf-8")
    posed, notes = pose_cycle(set_up(read_case(folder / "case.toml"))), []
    return Incoming(posed, note=notes.extend), notes


def readings(times: list[float], dtype: str = "f8", **more: list[float]) -> xr.Dataset:
    """A reading at each time, with one column more for each name."""
    stdev = more.pop("x_stddev", [0.5] * len(times))
    content = {
        "x": ("obs", np.arange(float(len(times))), {"units": "1"}),
        "x_stddev": ("obs", np.array(stdev), {"units": "1"}),
        **{name: ("obs", np.array(column)) for name, column in more.items()},
    }
    return xr.Dataset(content, {"t": ("obs", np.array(times, dtype), {"units": "1"})})


def arrivals(incoming: Incoming) -> list[Arrival]:
    return [incoming.of(window)[0] for window in range(WINDOWS)]


@pytest.mark.parametrize("name", ["all.nc", "{window}.nc"])
def test_what_is_found_when_rows_are_used_is_told_once(tmp_path: Path, name: str) -> None:
    """Errors without bounds, as in a single window, and what the file itself shows."""
    incoming, notes = cycle(tmp_path, name)
    several, stdev = [], [0.5, np.inf, 0.5, 0.5, np.inf, np.inf, 0.5, 0.5, 0.5]
    for window in range(WINDOWS):
        times = 0.1 * window + np.array([0.05, 0.07, 0.1])
        own = readings(times, x_stddev=stdev[3 * window : 3 * window + 3], x_qc=[0, 0, window])
        several.append(own)
        own.to_netcdf(tmp_path / f"{window}.nc")
    xr.concat(several, "obs").to_netcdf(tmp_path / "all.nc")
    counts = [arrival.entry["rejected"] for arrival in arrivals(incoming)]
    assert [count.get("no_weight", 0) for count in counts] == [1, 1, 0]
    assert [count.get("flagged_in_file", 0) for count in counts] == [0, 1, 1]
    (weightless,) = [note for note in notes if "left out, as the standard deviations" in note]
    assert "1 of 3 values are left out" in weightless
    (flagged,) = [note for note in notes if "not accepted" in note]
    assert ("2 of 9" if name == "all.nc" else "1.nc: x_qc: 1 of 3") in flagged
    assert len(notes) == 2


def test_times_of_a_coarse_type_are_told(tmp_path: Path) -> None:
    """At 100,000 numbers of 32 bits lie 0.0078 apart, a sixth of a slot."""
    incoming, notes = cycle(tmp_path, "all.nc", start=1e5)
    readings([1e5 + 0.05 * slot for slot in range(1, 7)], "f4").to_netcdf(tmp_path / "all.nc")
    assert [arrival.entry["used"] for arrival in arrivals(incoming)] == [2, 2, 2]
    (note,) = notes
    assert "the times are stored as float32" in note and "15.6% of a slot" in note


def test_rows_in_no_window_are_counted_once(tmp_path: Path) -> None:
    incoming, notes = cycle(tmp_path, "all.nc")
    readings([-0.2, -0.1, 0.05, 0.1, 0.15, 0.25, 0.3, 0.4]).to_netcdf(tmp_path / "all.nc")
    used = [arrival.entry["used"] for arrival in arrivals(incoming)]
    (note,) = notes
    assert used == [2, 1, 2]
    assert "all.nc: x: 3 of 8 values lie in no window: the times run from -0.2 to 0.4" in note
    assert note.endswith("the cycle from 0 to 0.3")
