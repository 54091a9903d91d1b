"""Values at the door: every kind of missing number and of faulty attribute, at every place.

KINDS has what a file may declare; PLACES where numbers are read. Runs of a cycle, forecasts and
twins read by the same functions, as `test_files_are_opened_in_one_place` keeps.
"""

import re
import warnings
from itertools import product
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np
import pytest
import xarray as xr

import assim
from assim.case.case import read_case
from assim.case.pose import pose
from assim.files.errors import DataError, NothingToUseError
from assim.files.missing import Missing, marked, why_missing
from assim.files.names import FLAGGED
from assim.files.read.covariances import read_covariance
from assim.files.read.far import far_values, likely_fills
from assim.files.read.flags import read_flags
from assim.files.read.forcings import read_forcing
from assim.files.read.observations import read_observations
from assim.files.read.quality import QualityControl
from assim.files.read.states import read_state, read_stdev, read_trajectory
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.files.sources import opened
from tests.files.toy import UNITS, background_file, made, observation_file, toy

DEFAULT = {code: netCDF4.default_fillvals[code] for code in ("f4", "f8", "i2", "i4")}
START = "2000-01-01"


class Kind(NamedTuple):
    """A number that is missing: as what it is stored, how that is said, and the word for it."""

    dtype: str
    stored: float
    attributes: dict
    reason: str
    scale: float = 1.0


KINDS = {
    "fill value": Kind("f8", -99.0, {"_FillValue": -99.0}, "_FillValue"),
    "missing value": Kind("f4", -99.9, {"missing_value": -99.9}, "missing_value"),
    "one of several": Kind("f8", -9.0, {"missing_value": [-99.0, -9.0]}, "missing_value"),
    "in words": Kind("f8", -99.0, {"missing_value": "-99, NaN"}, "missing_value"),
    "least": Kind("f4", -999.0, {"valid_min": np.float32(-50)}, "below valid_min"),
    "most": Kind("f8", 999.0, {"valid_max": 50.0}, "above valid_max"),
    "range": Kind("f8", 999.0, {"valid_range": [-50.0, 50.0]}, "outside valid_range"),
    "packed range": Kind(
        "i2",
        9999,
        {"valid_range": np.array([-500, 500], "i2"), "scale_factor": 0.1},
        "outside valid_range",
        0.1,
    ),
    "packed fill": Kind(
        "i2", -1, {"_FillValue": np.int16(-1), "scale_factor": 0.1}, "_FillValue", 0.1
    ),
    "packed default": Kind("i2", DEFAULT["i2"], {"scale_factor": 0.1}, "default fill", 0.1),
    "default of float": Kind("f4", DEFAULT["f4"], {}, "default fill"),
    "default of double": Kind("f8", DEFAULT["f8"], {}, "default fill"),
    "default of integer": Kind("i4", DEFAULT["i4"], {}, "default fill"),
    "without sign": Kind(
        "i1",
        -1,
        {"valid_max": np.int8(-6), "_Unsigned": "true", "scale_factor": 0.1},
        "above valid_max",
        0.1,
    ),
    "not a number": Kind("f8", np.nan, {}, "NaN"),
    "infinite": Kind("f8", np.inf, {}, "infinite"),
}
FAULTS = [
    {"scale_factor": [1.0, 2.0]},
    {"scale_factor": "2.0"},
    {"scale_factor": 0.0},
    {"scale_factor": np.inf},
    {"add_offset": "ten"},
    {"missing_value": "none"},
    {"valid_range": [1.0]},
    {"valid_range": [2.0, 1.0]},
    {"valid_min": "low"},
    {"bounds": [1, 2]},
    {"coordinates": [1, 2]},
    {"units": [1, 2]},
    {"standard_name": 3},
    {"calendar": 3},
    {"ancillary_variables": [1, 2]},
    {"flag_meanings": [1, 2]},
]


def stored(path: Path, dataset: xr.Dataset, name: str, kind: Kind | None = None, **more) -> Path:
    """The dataset as a file; the last number of a variable is stored as the kind has it."""
    rest = dataset.drop_encoding().drop_vars(name)
    rest.to_netcdf(path, encoding={other: {"_FillValue": None} for other in rest.variables})
    old = dataset[name]
    own = kind or Kind("f8", float(np.ravel(old.values)[-1]), {}, "")
    attributes = {**old.attrs, **own.attributes, **more}
    with netCDF4.Dataset(path, "a") as file:
        for dim in set(old.dims) - set(file.dimensions):
            file.createDimension(dim, old.sizes[dim])
        fill = attributes.pop("_FillValue", None)
        new = file.createVariable(name, own.dtype, old.dims, fill_value=fill)
        new.set_auto_maskandscale(False)
        numbers = np.array(old.values / own.scale, float)
        numbers[np.unravel_index(numbers.size - 1, numbers.shape)] = own.stored
        new[...] = (np.round(numbers) if own.dtype[0] == "i" else numbers).astype(own.dtype)
        new.setncatts(attributes)
    return path


def observed(path):
    return open_observations(path, "u", toy().labels())


def forcing_file():
    return xr.Dataset(
        {"rain": ("time", [1.0, 2.0, 4.0], {"units": "mm"})},
        {"time": ("time", [0.0, 1.0, 2.0], {"units": "days since 2000-01-01"})},
    )


def covariance_file():
    """Every variable that a covariance may be made of, for u or c."""
    matrix = (("y", "x", "y_other", "x_other"), np.eye(6).reshape(2, 3, 2, 3), {"units": "m2 s-2"})
    draws = (("realization",), [0.5, 1.0], {"units": UNITS})
    return background_file().assign(u_covariance=matrix, c_perturbation=draws).drop_vars("u_stddev")


def lengths_file():
    return background_file().assign(u_length=((), 1.0, {"units": "km"}))


def trajectory_file():
    series = background_file().expand_dims(time=[0.0, 1.0])
    series["time"] = ("time", [0.0, 1.0], {"units": "days since 2000-01-01"})
    return series


def trajectory(path):
    return read_trajectory(path, toy(), np.array([0.0, 1.0]), START)


REFUSED = {  # by place: the file, the variable in it, and what reads it
    "stdev": (observation_file, "u_stddev", lambda path: read_observations(path, toy())),
    "time": (observation_file, "time", observed),
    "forcing": (
        forcing_file,
        "rain",
        lambda path: read_forcing(path, "rain", "days", "2000-01-01"),
    ),
    "background": (background_file, "u", lambda path: read_state(path, toy())),
    "background stdev": (background_file, "u_stddev", lambda path: read_stdev(path, toy())),
    "axis": (background_file, "x", lambda path: read_state(path, toy())),
    "covariance": (covariance_file, "u_covariance", lambda path: read_covariance(path, toy())),
    "perturbation": (covariance_file, "c_perturbation", lambda path: read_covariance(path, toy())),
    "length": (lengths_file, "u_length", lambda path: read_covariance(path, toy(), ["u"])),
    "truth": (trajectory_file, "u", trajectory),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_missing_observations_are_counted_by_reason(tmp_path, kind):
    path = stored(tmp_path / "file.nc", observation_file(), "u", kind)
    table = observed(path)
    np.testing.assert_allclose(table.values[:3], [1.0, 2.0, 3.0], rtol=1e-6)
    assert not np.isfinite(table.values[3])
    assert table.notes == (f"{path}: u: 1 of 4 missing: 1 {kind.reason}",)
    assert read_observations(path, toy()).values.size == 3


WEIGHTLESS = ("infinite", "stdev")  # the value is left out


@pytest.mark.parametrize("kind, place", sorted({*product(KINDS, REFUSED)} - {WEIGHTLESS}))
def test_where_numbers_must_be_complete_a_missing_one_is_refused(tmp_path, place, kind):
    (make, name, read), kind = REFUSED[place], KINDS[kind]
    path = stored(tmp_path / "file.nc", make(), name, kind)
    with pytest.raises(DataError) as error:
        read(path)
    for word in (str(path), name, *((kind.reason, "1 ") if place != "time" else ("missing",))):
        assert word in str(error.value)


@pytest.mark.parametrize("place", ["observations", *REFUSED])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_an_attribute_of_another_type_is_refused(tmp_path, place, fault):
    make, name, read = {"observations": (observation_file, "u", observed), **REFUSED}[place]
    path = stored(tmp_path / "file.nc", make(), name, **fault)
    with pytest.raises(DataError) as error:
        read(path)
    for word in (str(path), f"{name}: expected", f"`{next(iter(fault))}`"):
        assert word in str(error.value)


def test_a_variable_that_nobody_reads_may_be_faulty(tmp_path):
    extra = observation_file().assign(other=("obs", np.arange(4.0), {"units": "K"}))
    path = stored(tmp_path / "file.nc", extra, "other", scale_factor="2.0", coordinates=[1, 2])
    assert observed(path).rows == 4
    extra = observation_file().assign_coords(more=("more", np.arange(3.0), {"units": "m"}))
    path = stored(tmp_path / "positions.nc", extra, "more", scale_factor=0.0)
    assert observed(path).rows == 4
    with opened(path) as dataset, pytest.raises(DataError, match="more: expected a finite number"):
        _ = dataset["more"].values


def test_numbers_are_unpacked_as_before(tmp_path):
    path = stored(tmp_path / "file.nc", observation_file(), "u", KINDS["packed fill"])
    with xr.open_dataset(path, decode_times=False) as dataset, opened(path) as ours:
        assert ours["u"].dtype == dataset["u"].dtype
        np.testing.assert_array_equal(ours["u"].values, dataset["u"].values)
        np.testing.assert_array_equal(ours["u"][1:3].values, dataset["u"][1:3].values)


def test_the_file_may_say_that_the_default_fill_is_a_value(tmp_path):
    kind = Kind("i4", DEFAULT["i4"], {"_FillValue": np.int32(7)}, "")
    path = stored(tmp_path / "declared.nc", observation_file(), "u", kind)
    with opened(path) as dataset:
        assert dataset["u"].values[3] == DEFAULT["i4"]
    with netCDF4.Dataset(tmp_path / "unfilled.nc", "w") as file:
        file.createDimension("obs", 2)
        file.createVariable("n", "i4", "obs", fill_value=False)[:] = [1, DEFAULT["i4"]]
        file.createVariable("b", "i1", "obs")[:] = np.array([1, -127], "i1")
    with opened(tmp_path / "unfilled.nc") as dataset:
        np.testing.assert_array_equal(dataset["n"].values, [1, DEFAULT["i4"]])
        np.testing.assert_array_equal(dataset["b"].values, [1, -127])


EITHER = {  # values are 10, 20, 30 and 1 in tenths
    "other type": {"valid_max": np.float32(5), "scale_factor": 0.1},
    "few as packed": {"valid_max": 25.0, "scale_factor": 0.1},  # one of four if packed, else none
    "few of a float": {"valid_range": np.array([0, 25], "f4"), "scale_factor": np.float32(0.1)},
}


@pytest.mark.parametrize("name", EITHER)
def test_limits_of_packed_numbers_that_may_be_of_either_are_refused(tmp_path, name):
    kind = Kind("i2", 1, EITHER[name], "", 0.1)
    path = stored(tmp_path / "file.nc", observation_file(), "u", kind)
    with pytest.raises(DataError, match="as int16, as the packed values are, got real numbers"):
        observed(path)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_limits_of_the_type_of_unpacked_numbers_are_of_them(tmp_path, dtype):
    """As the netCDF User's Guide has it, where nearly all packed numbers are outside; told."""
    scale = np.array(0.1, dtype)[()]
    limits = {"valid_min": np.array(0.5, dtype)[()], "valid_max": np.array(3.0, dtype)[()]}
    kind = Kind("i2", 1, {**limits, "scale_factor": scale}, "", 0.1)
    path = stored(tmp_path / "file.nc", observation_file((1.0, 2.0, 3.0, 4.0)), "u", kind)
    table = open_observations(path, "u", toy().labels())
    assert np.isfinite(table.values).tolist() == [True, True, True, False]  # 3 is no more than 3
    assert "1 of 4 missing: 1 below valid_min of unpacked numbers" in " ".join(table.notes)
    assert "valid_max is of the type of unpacked numbers, and taken as of them" in table.notes[-2]


def test_a_dataset_in_memory_goes_through_the_same_door(tmp_path):
    for kind in KINDS.values():
        path = stored(tmp_path / "file.nc", observation_file(), "u", kind)
        for options in ({}, {"decode_cf": False}, {"mask_and_scale": False}):
            with (
                warnings.catch_warnings(action="ignore"),
                xr.open_dataset(path, **options) as dataset,
            ):
                assert np.isfinite(observed(dataset.load()).values).tolist() == [True] * 3 + [False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_reason_stays_with_its_value(dtype):
    reasons = np.array([[0, Missing.VALID_MIN], [Missing.FILL_VALUE, Missing.VALID_MIN]])
    values = marked(np.full((2, 2), 3.0, dtype), reasons)
    assert values.dtype == dtype
    assert why_missing(values.T.astype(float).ravel()[::-1]) == "2 below valid_min, 1 _FillValue"
    assert why_missing(np.array([1.0, np.nan, -np.inf])) == "1 NaN, 1 infinite"
    assert why_missing(np.array([1.0])) == ""


@pytest.mark.parametrize("name", ["obs", "x", "y"])
def test_one_number_with_the_name_of_a_dimension(tmp_path, name):
    dataset = observation_file() if name == "obs" else background_file().drop_vars(name)
    path = stored(tmp_path / "file.nc", dataset, "u")
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable(name, "f8")[...] = 1.0
    with pytest.raises(DataError, match=f"{name}: expected the positions along the dimension"):
        read_observations(path, toy()) if name == "obs" else read_state(path, toy())


def test_an_axis_of_another_length(tmp_path):
    dataset = background_file().drop_vars("x")
    path = stored(tmp_path / "file.nc", dataset, "u")
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("short", 2)
        file.createVariable("x", "f8", "short")[:] = [0.0, 1.0]
        file["x"].units = "km"
    with pytest.raises(DataError, match=r"x: expected 3 points, got the shape \(2,\)"):
        read_state(path, toy())


@pytest.mark.parametrize("make", [observation_file, background_file])
def test_a_coordinate_without_units_is_refused_where_the_model_has_them(make):
    dataset = make()
    del dataset["x"].attrs["units"]
    words = "x: expected units 'km', got no units attribute; add `units` = 'km' if"
    with pytest.raises(DataError, match=words):
        read_observations(dataset, toy()) if "time" in dataset else read_state(dataset, toy())


def test_groups_are_named(tmp_path):
    tree = xr.DataTree.from_dict({"/wind": observation_file(), "/meta": background_file()})
    tree.to_netcdf(tmp_path / "groups.nc")
    with pytest.raises(DataError, match="they lie in the groups wind, meta; copy"):
        observed(tmp_path / "groups.nc")
    some = xr.DataTree.from_dict({"/": observation_file().drop_vars("u"), "/meta": forcing_file()})
    some.to_netcdf(tmp_path / "some.nc")
    for read in (
        observed,
        lambda path: read_state(path, toy(), ["u"]),
        lambda path: read_forcing(path, "rain", "days", START),
    ):
        with pytest.raises(DataError, match="the groups meta of the file are not read"):
            read(tmp_path / "some.nc")


def test_values_far_from_all_others():
    assert far_values(np.array([0.1, 1.0, -1e20])).tolist() == [False, False, True]
    assert far_values(np.array([0.0, 0.0, 1e20]), 0.5).tolist() == [False, False, True]
    assert not far_values(np.array([0.0, 0.0, 1e20])).any()  # what a unit is nobody knows
    assert not far_values(np.array([1e-30, 1e-30, 1.0])).any()  # a pulse
    assert not far_values(10.0 ** np.arange(-30, 30)).any()  # of any size
    assert not far_values(np.array([1.0, 1e20, 1e20, 1e20])).any()  # the others are the most


NEAR = (10.0, 10.5, 11.0, 12.0)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((*NEAR, -999.0, -999.0), [(-999.0, 2, True)]),
        ((*NEAR, np.float32(-99.9), np.float32(-99.9)), [(np.float32(-99.9), 2, True)]),
        ((*NEAR, -9999.0), [(-9999.0, 1, True)]),
        ((*NEAR, -32768.0, np.nan, -32768.0), [(-32768.0, 2, True)]),
        ((*NEAR, 9.96921e36, 9.96921e36), [(9.96921e36, 2, True)]),
        ((*NEAR, -777.0, -777.0, -777.0), [(-777.0, 3, False)]),
        ((*NEAR, -999.0, -999.0, 1e20, 1e20), [(1e20, 2, True)]),  # one after the other
        ((*NEAR, -777.0, -777.0), []),  # twice may be chance
        ((*NEAR, -999.5), []),  # an outlier that is no customary number
        ((*NEAR, 0.0, 0.0, 0.0), []),  # nothing there
        ((998.0, 998.2, 999.0, 999.0), []),  # pressures in hPa
        ((-95.0, -94.0, -99.0, -99.0), []),  # brightness in dB
        ((0.0, 0.0, 1e20), []),  # of what unit nobody knows
        ((1.0, 1.1, 5.0, 5.0, 5.0), []),  # the others are fewer
        ((5.0,), []),
        ((), []),
    ],
)
def test_numbers_that_are_likely_fill_values(values, found):
    fills = likely_fills(np.array(values, float))
    assert [(fill.value, fill.rows, fill.customary) for fill in fills] == found


def test_a_fill_value_that_nobody_declared_is_told_with_the_ways_out():
    file, labels = observation_file((1.0, -999.0, 2.0, 3.0, -999.0, 1.5)), toy().labels()
    window, table = read_window(file, toy()), open_observations(file, "u", labels)
    (note,) = made(table, toy(), window).table.notes
    assert note.startswith(
        "dataset: u: 2 values are exactly -999, and all others lie from 1 to 3: likely a fill "
        "value that nobody declared; declare it missing"
    )
    assert "`_FillValue`" in note and "quality.lower = -499 under" in note
    out = made(table, toy(), window, quality=QualityControl(lower=-499))
    assert (out.rejected(), out.table.notes) == ({"bounds": 2}, ())
    right = made(table, toy(), window, quality=QualityControl(lower=-1000))
    assert (right.rejected(), right.table.notes) == ({}, ())
    file["u"].attrs["missing_value"] = -999.0
    (note,) = made(open_observations(file, "u", labels), toy(), window).table.notes
    assert "2 of 6 missing: 2 missing_value" in note


def test_a_fill_value_is_known_in_the_unit_of_its_file():
    """-999.99 km/h is -277.775 m/s, a number that nobody writes for what is missing."""
    file, labels = observation_file((1.0, -999.99, 2.0, 3.0, -999.99, 1.5)), toy().labels()
    file["u"].attrs["units"] = "km h-1"
    window = read_window(file, toy(), start="1999-12-30")
    notes = made(open_observations(file, "u", labels), toy(), window).table.notes
    (note,) = (note for note in notes if "likely a fill value" in note)
    assert "2 values are exactly -277.775 (-999.99 in the file's unit)" in note


def test_numbers_far_from_all_others_are_called_fill_values_where_they_are_alike():
    likely = "likely a fill value that nobody declared"
    for values, told in (((1e20, 1e20), True), ((1e20, 3e20), False), ((1e20,), True)):
        with pytest.raises(DataError, match=re.escape("more than 1e+10 times larger")) as error:
            read_observations(observation_file((1.0, 2.0, 3.0, *values)), toy())
        assert (likely in str(error.value)) == told


@pytest.mark.parametrize("fill", [-999.0, -32768.0])
def test_backgrounds_with_a_fill_value_that_nobody_declared_are_refused(fill):
    filled = background_file()
    filled["u"].values[0, :2] = fill
    with pytest.raises(
        DataError, match=f"u: 2 values are exactly {fill:g}, and all.*likely a fill"
    ):
        read_state(filled, toy())


@pytest.mark.parametrize(
    ("valid", "believed"),
    [
        ({"valid_range": [-1000.0, 1000.0]}, True),
        ({"valid_min": -1000.0, "valid_max": 1000.0}, True),
        ({"valid_max": 1000.0}, False),
    ],
)
def test_backgrounds_whose_file_says_that_such_values_are_valid_are_read(valid, believed):
    filled = background_file()
    filled["u"].values[0, :2] = -999.0
    filled["u"].attrs |= valid
    if believed:
        assert np.min(read_state(filled, toy())["u"]) == -999.0
    else:
        with pytest.raises(DataError, match="give the variable a `valid_range` that holds them"):
            read_state(filled, toy())


def test_a_cell_among_zeros_may_be_a_source():
    source = background_file()
    source["u"].values[...] = 0.0
    source["u"].values[0, 0] = 999.0
    assert np.max(read_state(source, toy())["u"]) == 999.0


@pytest.mark.parametrize("size", [1e20, -1e20])
def test_observations_far_from_all_others_are_refused_unless_a_bound_lets_them_in(size):
    far = observation_file((1.0, size, 2.0, 3.0))
    with pytest.raises(
        DataError, match=re.escape(f"one value, {size:g}, is more than 1e+10 times")
    ):
        read_observations(far, toy())
    within = QualityControl(lower=-1e21, upper=1e21)
    assert read_observations(far, toy(), quality=within).values.size == 4


def test_errors_far_below_all_others_are_refused():
    far = observation_file()
    far["u_stddev"].values[1] = 1e-20
    with pytest.raises(
        DataError, match=re.escape("one value, 1e-20, is more than 1e+10 times smaller")
    ):
        read_observations(far, toy())


@pytest.mark.parametrize("size", [1e20, np.inf])
@pytest.mark.parametrize("given", [True, False], ids=["argument", "file"])
def test_values_of_errors_without_bounds_are_left_out(size, given):
    """They tell nothing, which is said; the others are used as if those were not there."""
    file, model = observation_file(), toy()
    stdev = file["u_stddev"].values.copy()
    stdev[1] = size
    if not given:
        file["u_stddev"].values[:] = stdev
    table = open_observations(file, "u", model.labels())
    errors = {"stdev": stdev} if given else {}
    instrument = made(table, model, read_window(file, model), **errors)
    assert instrument.rejected() == {"no_weight": 1} and instrument.within.all()
    assert instrument.observations.values.size == stdev.size - 1
    assert f"1 of {stdev.size} values are left out" in instrument.table.notes[-1]


def test_errors_that_are_all_without_bounds_leave_nothing():
    with pytest.raises(NothingToUseError, match="no_weight"):
        read_observations(observation_file(), toy(), stdev=np.inf)


@pytest.mark.parametrize("name", ["u", "u_stddev"])
def test_backgrounds_far_from_all_others_are_refused(name):
    far = background_file()
    far["u"].values[:] = 0.0
    far[name].values[0, 1] = 1e20
    read = read_state if name == "u" else read_stdev
    with pytest.raises(DataError, match=rf"{name}: one value, 1e\+20, is more than 1e\+10"):
        read(far, toy())


MEANINGS = "no_qc_performed good_data probably_good_data bad_data"
NUMBERED = {"flag_values": np.arange(4, dtype="i1"), "flag_meanings": MEANINGS}
MASKED = {"flag_masks": np.array([1, 2, 4], "i1"), "flag_meanings": "ice low_battery spike"}
FIELDS = {
    "flag_masks": np.array([3, 3, 3, 4, 4], "i1"),
    "flag_values": np.array([0, 1, 2, 0, 4], "i1"),
    "flag_meanings": "good suspect bad day night",
}
TEXT = {"flag_values": "0 1 2 3", "flag_meanings": MEANINGS}
FEEDBACK_ACCEPTED = ["pass", "passive"]
FEEDBACK = {"flag_values": np.array([0, 1, 10]), "flag_meanings": "pass passive missing"}


@pytest.mark.parametrize(
    ("flags", "attributes", "accept", "codes"),
    [
        ([0, 1, 4], {}, None, [0, 11, 11]),
        ([0, 1, 4], {}, [1], [11, 0, 11]),
        ([0, 12, 14, 16, 19, 31], {}, None, [0, 11, 11, 11, 11, 11]),
        ([0, 1, 4], {"flag_values": [0, 1, 4]}, None, [0, 11, 11]),
        ([0, 4, 10], FEEDBACK, None, [0, 4, 10]),
        ([0.0, np.nan], {}, None, [0, 10]),
        ([0, 1, 2, 3, 9], NUMBERED, ["good_data", "probably_good_data"], [11, 0, 0, 11, 11]),
        ([0, 1, 2, 3], NUMBERED, [0, "good_data"], [0, 0, 11, 11]),
        ([0, 1, 10], FEEDBACK, None, [0, 1, 10]),
        ([0, 1, 10], FEEDBACK, FEEDBACK_ACCEPTED, [0, 0, 10]),
        ([0, 1, 2, 3, 8], MASKED, None, [0, 11, 11, 11, 11]),
        ([0, 1, 2, 3, 8], MASKED, ["ice"], [0, 0, 11, 11, 11]),
        ([0, 1, 2, 3, 8], MASKED, ["ice", "low_battery"], [0, 0, 0, 0, 11]),
        ([0, 1, 4, 5], FIELDS, ["good", "suspect", "day"], [0, 0, 11, 11]),
        ([0, 1, 4, 5], FIELDS, ["good", "day", "night"], [0, 11, 0, 11]),
        (list("0123 "), TEXT, ["good_data"], [11, 0, 11, 11, 10]),
        (list("01AB"), {}, ["A", 1], [11, 0, 0, 11]),
        ([b"1", b"4"], {}, ["1"], [0, 11]),
    ],
)
def test_flags_are_accepted_by_value_and_by_meaning(flags, attributes, accept, codes):
    read = read_flags(np.array(flags), attributes, "file: u_qc", accept)
    np.testing.assert_array_equal(read.codes, codes)
    assert len(read.notes) == (codes.count(11) > 0 or accept == FEEDBACK_ACCEPTED)


@pytest.mark.parametrize(
    ("flags", "attributes", "accept", "words"),
    [
        ([0, 0.5], {}, None, ["whole numbers, characters or masks", "0.5", "row 1"]),
        ([0, 1], NUMBERED, None, ['accept = ["good_data"]', "0 no_qc_performed, 1 good_data"]),
        ([1, 2], {**NUMBERED, "flag_values": np.arange(1, 5)}, None, ["0 does not say"]),
        ([0, 1], {**MASKED, "flag_meanings": "good ice spike"}, None, ['accept = ["good"]']),
        ([0, 1], FIELDS, None, ["'good and day'"]),
        (["1", "4"], {}, None, ["accept", "characters"]),
        ([0, 1], NUMBERED, ["good"], ["'good'", "did you mean 'good_data'?"]),
        ([0, 1], {}, ["good"], ["no meanings"]),
        ([0, 1], {"flag_values": [0, 1], "flag_meanings": "good"}, None, ["1 meanings, 2 values"]),
        (
            [0, 1],
            {"flag_meanings": "good bad"},
            None,
            ["2 meanings, 0 values", "add `flag_values`"],
        ),
        ([0, 1], {**NUMBERED, "flag_values": "low high"}, None, ["`flag_values`"]),
    ],
)
def test_flags_that_say_nothing_are_refused(flags, attributes, accept, words):
    with pytest.raises(DataError) as error:
        read_flags(np.array(flags), attributes, "file: u_qc", accept)
    for word in ("file: u_qc", *words):
        assert word in str(error.value)


def test_numbers_without_meanings_are_counted_by_value_with_the_way_to_accept_them():
    """1 is good to Argo, and 14 says nothing of the window: none of assim's words are theirs."""
    flags = ("obs", np.array([1, 1, 14, 4], np.int32))
    with pytest.raises(NothingToUseError) as error:
        read_observations(observation_file().assign(u_qc=flags), toy())
    for words in (
        "4 flagged_in_file",
        "2 flags of 1",
        "1 flags of 14",
        "list all that are by `accept` under [[observations]]",
    ):
        assert words in str(error.value)
    flags[1][0] = 0
    dataset = observation_file().assign(u_qc=flags)
    window = read_window(observation_file(), toy())
    instrument = made(open_observations(dataset, "u", toy().labels()), toy(), window)
    assert instrument.rejected() == {"flagged_in_file": 3}
    (note,) = instrument.table.notes
    assert "3 of 4 not accepted: 1 flags of 1, 1 flags of 14, 1 flags of 4; without" in note


@pytest.mark.parametrize(
    ("meaning", "good"),
    [
        ("no_error", True),
        ("no_errors_detected", True),
        ("not_flagged", True),
        ("no_error_estimate_available", False),
        ("no_fault_check_performed", False),
        ("no_flag_assigned", False),
    ],
)
def test_flags_that_nothing_was_found_are_not_those_that_nothing_was_looked_for(meaning, good):
    attributes = {"flag_values": [0, 1], "flag_meanings": f"{meaning} spike"}
    if good:
        assert list(read_flags(np.array([0, 1]), attributes, "file: u_qc").codes) == [0, FLAGGED]
    else:
        with pytest.raises(DataError, match=f"{meaning}.*accept"):
            read_flags(np.array([0, 1]), attributes, "file: u_qc")


@pytest.mark.parametrize("accept", [["interpolated"], ["good", "interpolated"]])
def test_flags_of_bytes_without_sign_are_counted_as_their_numbers(tmp_path, accept):
    """In NetCDF-3 bit 7 of a byte is -128 in the masks, and 128 in the flags as read."""
    path = tmp_path / "unsigned.nc"
    observation_file().to_netcdf(path, format="NETCDF3_CLASSIC")
    meanings = {"flag_masks": np.array([1, -128], "i1"), "flag_meanings": "interpolated failed"}
    if "good" in accept:
        meanings = {"flag_values": np.array([0, 1, -127, -128], "i1"),
                    "flag_meanings": "good interpolated both failed"}  # fmt: skip
    with netCDF4.Dataset(path, "a") as file:
        flags = file.createVariable("u_qc", "i1", ("obs",))
        flags.setncatts({**meanings, "_Unsigned": "true"})
        flags.set_auto_maskandscale(False)
        flags[:] = np.array([0, 1, 129, 128], np.uint8).view("i1")
    table = open_observations(str(path), "u", toy().labels(), accept=accept)
    assert list(table.qc) == [0, 0, FLAGGED, FLAGGED]


def test_flags_are_named_by_the_variable(tmp_path):
    flags = ("obs", np.array([0, 0, 1, 0], np.int32), NUMBERED)
    dataset = observation_file().assign(quality=flags)
    assert read_observations(dataset, toy()).values.size == 4
    dataset["u"].attrs["ancillary_variables"] = "u_stddev quality"
    with pytest.raises(DataError, match="quality: 0 does not say here"):
        read_observations(dataset, toy())
    assert read_observations(dataset, toy(), accept=["good_data"]).values.size == 1
    with pytest.raises(DataError, match="accept names quality flags, but there are none"):
        read_observations(observation_file(), toy(), accept=[1])


@pytest.mark.parametrize("name", ["quality_flag", "u_qf", "wind_status", "DQ"])
def test_flags_without_meanings_that_the_variable_names_are_told(name):
    flags = ("obs", np.array([1, 4, 1, 9], np.int32))
    dataset = observation_file().assign({name: flags})
    labels = toy().labels()
    assert open_observations(dataset, "u", labels).notes == ()  # nobody says that they are of u
    dataset["u"].attrs["ancillary_variables"] = f"u_stddev {name}"
    table = open_observations(dataset, "u", labels)
    assert table.qc.tolist() == [0, 0, 0, 0]
    assert table.notes == (
        f"dataset: {name}: `ancillary_variables` of u names it, and it may hold quality flags, but "
        "without the attribute `flag_meanings` no value was left out by it; if it does, list the "
        "flags of good values by `accept` under [[observations]]",
    )
    accepted = open_observations(dataset, "u", labels, accept=[1])
    assert accepted.qc.tolist() == [0, 11, 0, 11]
    (note,) = accepted.notes
    assert note.startswith(f"dataset: {name}: 2 of 4 not accepted")


def test_only_what_may_be_flags_is_told_as_such():
    count = ("obs", np.arange(4))
    dataset = observation_file().assign(soundings=count)
    dataset["u"].attrs["ancillary_variables"] = "u_stddev soundings absent_flag"
    assert open_observations(dataset, "u", toy().labels()).notes == ()
    dataset["soundings"].attrs["flag_values"] = [0, 1, 2, 3]
    (note,) = open_observations(dataset, "u", toy().labels()).notes
    assert "soundings" in note
    several = dataset.assign(u_flag=count)
    several["u"].attrs["ancillary_variables"] = "soundings u_flag"
    with pytest.raises(DataError, match="expected one variable of quality flags, got soundings, u"):
        open_observations(several, "u", toy().labels(), accept=[1])


def test_characters_on_the_dimension_of_the_values(tmp_path):
    path = stored(tmp_path / "file.nc", observation_file(), "u")
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("u_QC", "S1", "obs")[:] = np.array([b"1", b"4", b"1", b" "])
    assert open_observations(path, "u", toy().labels(), accept=["1"]).qc.tolist() == [0, 11, 0, 10]


TANK = """
import equinox as eqx
import jax.numpy as jnp
from assim import AbstractIntegrator, AbstractODE, Adaptive, Label, Labels, Params


class Tank(AbstractODE):
    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)
    parameters: Params = eqx.field(default_factory=lambda: {"rate": jnp.asarray(0.2, dtype=float)})

    def labels(self):
        state, rate = {"T": Label((), "degC")}, {"rate": Label((), "day-1")}
        return Labels(state=state, parameters=rate, time_unit="days")

    def tendency(self, x, theta, t):
        return {"T": theta["rate"] * (10.0 - x["T"])}
"""
CASE = """
title = "tank"
model.use = "tank.py:Tank"
window = { start = "2000-01-01", times = "observations" }
background.fields.T = { mean = 50.0, stdev = 20.0 }
parameters.rate.prior = { use = "LogNormal", median = 0.2, log_stdev = 0.5 }
[[observations]]
file = "obs.nc"
variable = "T"
"""
VALUES = [53.0983, 46.9749, 37.7608, 30.3809, 20.8887, 16.3036, 14.0123]


def tank(folder, values, attributes, flags=None, more=""):
    """The case of a tank that cools, seven readings of it, as the analysis of it."""
    data = {"T": ("obs", np.array(values, "f4"), {"units": "degC", **attributes})}
    data["T_stddev"] = ("obs", np.full(7, 0.5), {"units": "degC"})
    if flags is not None:
        data["T_qc"] = ("obs", np.array(flags, "i1"), NUMBERED)
    time = ("obs", [0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 9.0], {"units": "days since 2000-01-01"})
    file = xr.Dataset(data, {"time": time})
    file.to_netcdf(folder / "obs.nc", encoding={n: {"_FillValue": None} for n in file.variables})
    (folder / "tank.py").write_text(TANK)
    (folder / "case.toml").write_text(CASE + more)
    return pose(read_case(folder / "case.toml"))


def replaced(**values):
    return [values.get(f"row{row}", value) for row, value in enumerate(VALUES)]


@pytest.mark.parametrize(
    ("values", "attributes"),
    [
        (replaced(row3=-999.0), {"valid_min": np.float32(-50)}),
        (replaced(row3=DEFAULT["f4"]), {}),
    ],
    ids=["valid_min", "default"],
)
def test_what_is_missing_leaves_the_right_answer(tmp_path, values, attributes):
    posed = tank(tmp_path, values, attributes)
    quantities = posed.analysis().quantities
    rate, start = quantities["rate"], quantities["T"]
    assert abs(rate.mean - 0.297) < 0.5 * rate.stddev
    assert abs(start.mean - 59.9) < 0.7 * start.stddev
    assert 0.9 < rate.stddev / 0.006 < 1.2
    assert 0.9 < start.stddev / 0.55 < 1.2
    assert len(posed.notes()) == 1


def test_flags_leave_the_answer_of_the_good_values_alone(tmp_path):
    """As if the others, two gross errors among them, were missing."""
    values, flags = replaced(row2=62.8, row4=45.9), [0, 1, 0, 1, 0, 1, 1]
    posed = tank(tmp_path, values, {}, flags, 'accept = ["good_data"]')
    assert len(posed.notes()) == 1
    good = np.where(np.array(flags) == 1, values, np.nan)
    alone = tank(tmp_path, good, {}).analysis().quantities
    for name, quantity in posed.analysis().quantities.items():
        assert quantity.mean == pytest.approx(alone[name].mean, rel=1e-9)
        assert quantity.stddev == pytest.approx(alone[name].stddev, rel=1e-9)
    assert abs(alone["rate"].mean - 0.297) < 2 * alone["rate"].stddev


def test_flags_of_which_the_case_says_nothing(tmp_path):
    with pytest.raises(DataError, match=r'accept = \["good_data"\] under \[\[observations\]\]'):
        tank(tmp_path, VALUES, {}, [0, 1, 0, 1, 0, 1, 1])


def test_files_are_opened_in_one_place():
    root = Path(assim.__file__).parent
    opening = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "xr.open_" in path.read_text() or "netCDF4.Dataset(" in path.read_text()
    }
    # the others read what assim has written itself, to show or to remove it, or write
    assert {name for name in opening if not name.startswith("show/")} == {
        "files/sources.py",
        "files/write/forecast.py",
        "files/write/restarts.py",
    }
    reading = {
        str(p.relative_to(root))
        for p in root.rglob("*.py")
        if "open_observations(" in p.read_text()
    }
    assert {name for name in reading if not name.startswith("files/")} == {"case/observations.py"}
