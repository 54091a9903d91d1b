"""Five hundred windows, of whose observation files some are spoilt at random."""

import random
import shutil

import numpy as np
import pytest
import xarray as xr

from tests.cycle.files import Files, manifest, results, setting

WINDOWS, SPOILT = 500, 60


def _corrupt(files, window):
    path = files.observation(window)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(files, window):
    files.rewrite(window, lambda content: content.isel(obs=slice(0, 0)))


def _missing(files, window):
    files.observation(window).unlink()


def _of_the_window_before(files, window):
    shutil.copy(files.observation(window - 1), files.observation(window))


def _repeated(files, window):
    files.rewrite(window, lambda content: content.isel(obs=[0, 1, 1, 0]))


def _out_of_order(files, window):
    files.rewrite(window, lambda content: content.isel(obs=[1, 0]))


def _with_late_rows(files, window):
    with xr.open_dataset(files.observation(window - 1), decode_times=False) as before:
        late = before.load()
    files.rewrite(window, lambda content: xr.concat([content, late], "obs"))


HARMFUL = {
    _corrupt: ("fate", "corrupt"),
    _empty: ("fate", "empty"),
    _missing: ("fate", "missing"),
    _of_the_window_before: ("fate", "empty"),
}
HARMLESS = {
    _repeated: ("repeated", 2),
    _out_of_order: ("out_of_order", True),
    _with_late_rows: ("late", 2),
}


def spoilt(files, generator):
    """Spoil files no two of which follow one another; what was done to which window."""
    windows = sorted(generator.sample(range(1, WINDOWS // 2), SPOILT))
    chosen = [2 * window for window in windows]
    ways = [*HARMLESS, *HARMFUL]
    done = {window: ways[number % len(ways)] for number, window in enumerate(chosen)}
    for window, way in done.items():
        way(files, window)
    return done


def analysed(out, window):
    with xr.open_dataset(out / f"windows/{window:06d}/analysis.nc") as file:
        return {name: (float(file[name][0]), float(file[f"{name}_stddev"][0])) for name in "xyz"}


@pytest.mark.slow
def test_spoilt_files_are_named_and_spoil_nothing_else(tmp_path):
    files = Files.made(tmp_path / "case", WINDOWS)
    clean, out = tmp_path / "clean", tmp_path / "out"
    assert files.run(clean).exit_code == 0
    done = spoilt(files, random.Random(1))
    assert files.run(out, *setting('cycle.on_failure="forecast"')).exit_code == 0
    lines, before = manifest(out), manifest(clean)
    harmful = sorted(window for window, way in done.items() if way in HARMFUL)
    for window, line in enumerate(lines):
        way = done.get(window)
        key, value = (HARMFUL | HARMLESS).get(way, ("fate", "used"))
        for told in line["observations"].values():
            assert told[key] == value, (window, way, told)
        assert line["state"] == ("forecast" if window in harmful else "analysed")
        if way is None:
            assert not {"repeated", "out_of_order"} & set(line["observations"]["x"])
        if window < harmful[0]:  # harmless ones included: bit by bit
            assert results([line]) == results([before[window]])
    assert any(way in HARMLESS for window, way in done.items() if window < harmful[0])
    _recovers(clean, out, harmful)


def _recovers(clean, out, harmful):
    """Where observations have come for a while, the analyses are the same again, but for a quarter
    of what they say that they do not know."""
    calm = [w for w in range(WINDOWS) if not any(w - 25 < h <= w for h in harmful)]
    assert len([w for w in calm if w > harmful[0]]) > 5
    for window in calm:
        one, other = analysed(clean, window), analysed(out, window)
        for name, (value, stdev) in one.items():
            assert abs(other[name][0] - value) < 0.25 * stdev, (window, name)
            assert np.isclose(other[name][1], stdev, rtol=0.1)
