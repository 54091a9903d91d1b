import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.netcdf import write_dataset
from assim.files.read.states import (
    nearest_times,
    read_state,
    read_stdev,
    read_trajectory,
)
from assim.files.sources import opened
from assim.files.units import same_units
from assim.files.write.encode import state_dataset
from tests.files.toy import background_file, state, toy


def rejects(dataset, *words, read=read_state, **given):
    with pytest.raises(DataError) as error:
        read(dataset, toy(), **given)
    for word in ("dataset" if isinstance(dataset, xr.Dataset) else str(dataset), *words):
        assert word in str(error.value)


@pytest.mark.parametrize("time", [None, 3.0])
@pytest.mark.parametrize("time_unit", ["days", "years", "1"])
def test_round_trip_is_bit_exact(tmp_path, time, time_unit):
    model, written = toy(time_unit), state()
    reference = None if time_unit == "1" else "2000-01-01"
    stdev = {name: np.abs(value) for name, value in written.items()}
    dataset = state_dataset(model.labels(), written, time, reference, stdev)
    write_dataset(dataset, tmp_path / "background.nc", title="background")
    for source in (dataset, tmp_path / "background.nc", str(tmp_path / "background.nc")):
        for found, want in (
            (read_state(source, model), written),
            (read_stdev(source, model), stdev),
        ):
            assert found.keys() == want.keys()
            for name in want:
                assert isinstance(found[name], jnp.ndarray)
                np.testing.assert_array_equal(found[name], want[name])


def test_any_order_of_dimensions():
    turned = background_file().transpose("x", "y")
    np.testing.assert_array_equal(read_state(turned, toy())["u"], np.arange(6.0).reshape(2, 3))


def trajectory(units="days since 2000-01-01"):
    days = xr.Variable("time", [0.0, 1.0, 2.0], {"units": units})
    steps = [background_file() + day for day in range(3)]
    for step in steps:
        for name in step.data_vars:
            step[name].attrs["units"] = "m s-1"
    return xr.concat(steps, "time").assign_coords(time=days)


def test_a_state_of_a_trajectory_is_chosen_by_its_date():
    found = read_state(trajectory(), toy(), time="2000-01-02")
    np.testing.assert_array_equal(found["u"], np.arange(6.0).reshape(2, 3) + 1)
    assert read_state(trajectory("1"), toy("1"), time=2.0)["c"] == 2.5
    assert read_state(trajectory().isel(time=[2]), toy())["c"] == 2.5


def test_a_trajectory_without_a_date_is_refused():
    rejects(trajectory(), "u", "3 along 'time'", "2000-01-01T00:00:00")
    rejects(trajectory(), "time", "2000-01-02T12", "nearest is at 2000-01-02", time="2000-01-02T12")
    rejects(trajectory(), "trajectory.nc has the state at every slot edge", time="2000-01-02T12")
    rejects(trajectory(), "expected a date", time=1.0)
    rejects(trajectory("1"), "expected a number", time="2000-01-02")


def test_a_single_time_that_is_no_dimension_counts_as_one_that_is():
    """`isel(time=1)` leaves one number, `isel(time=[1])` a dimension of length one."""
    for taken in (1, [1]):
        second = trajectory().isel(time=taken)
        assert read_state(second, toy(), time="2000-01-02")["c"] == 1.5
        assert read_state(second, toy())["c"] == 1.5  # which asks for no time
        rejects(second, "time", "2000-01-01", "nearest is at 2000-01-02", time="2000-01-01")
    number = trajectory("1").isel(time=1)
    assert read_state(number, toy("1"), time=1.0)["c"] == 1.5
    rejects(number, "time", "a state at 2.0", "nearest is at 1.0", time=2.0)


def test_a_single_time_by_its_standard_name_and_no_other_date():
    second = trajectory().isel(time=1).rename(time="valid")
    second["valid"].attrs["standard_name"] = "time"
    rejects(second, "valid", "nearest is at 2000-01-02", time="2000-01-01")
    rejects(second, "valid", "nearest is at 2000-01-02", time="2000-01-01", clock="valid")
    second["valid"].attrs["standard_name"] = "forecast_reference_time"
    assert read_state(second, toy(), time="2000-01-01")["c"] == 1.5
    made = second.drop_vars("valid").assign(made=np.datetime64("2024-05-01", "ns"))
    assert read_state(made, toy(), time="2000-01-01")["c"] == 1.5


def test_a_time_that_is_selected_is_taken_whatever_it_is():
    options = {"time": "2000-01-01", "select": {"time": 1.0}}
    assert read_state(trajectory(), toy(), **options)["c"] == 1.5
    np.testing.assert_allclose(read_stdev(trajectory(), toy(), **options)["u"], 1.1)


def changed(name, **attrs):
    dataset = background_file()
    dataset[name].attrs.update(attrs)
    return dataset


def with_value(value):
    dataset = background_file()
    dataset["u"].values[1, 2] = value
    return dataset


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (background_file().rename(u="u0"), ["u", "did you mean 'u0'?", "there is none"]),
        (background_file().drop_vars("c"), ["c", "it has"]),
        (background_file().rename(x="lon"), ["u", "('y', 'x')", "('y', 'lon')", "rename"]),
        (background_file().expand_dims("z"), ["u", "('z', 'y', 'x')"]),
        (background_file().isel(x=[0, 1]), ["u", "expected 3 points along 'x'", "got 2"]),
        (background_file().assign_coords(x=[0.0, 1.0, 2.5]), ["x", "at 2.5 instead of 2"]),
        (background_file().assign_coords(x=[0.0, 1.0, 1.0]), ["x", "number 2 from the lowest"]),
        (background_file().assign_coords(x=[0.0, np.nan, 1.0]), ["x", "finite", "1 NaN"]),
        (background_file().assign_coords(x=["a", "b", "c"]), ["x", "dtype"]),
        (changed("u", units="km"), ["u", "'m s-1'", "'km'", "convert"]),
        (changed("x", units="s"), ["x", "'km'", "'s'"]),
        (background_file().drop_attrs(), ["u", "no units attribute"]),
        (with_value(np.nan), ["u", "1 of 6", "{'y': 1, 'x': 2}"]),
        (with_value(-np.inf), ["u", "1 of 6", "infinite"]),
        (background_file().assign(u=(("y", "x"), [["a"] * 3] * 2, {"units": "m/s"})), ["dtype"]),
    ],
)
def test_what_does_not_fit_the_model_is_named(dataset, words):
    rejects(dataset, *words)


def test_coordinates_may_be_left_out():
    assert read_state(background_file().drop_vars(["x", "y"]), toy())["u"].shape == (2, 3)


def test_only_the_fields_asked_for_are_read():
    assert set(read_state(background_file().drop_vars("c"), toy(), ["u"])) == {"u"}
    rejects(background_file(), "no field 'w'", fields=["w"])


def test_spreads_are_read_where_they_matter_alone():
    faulty = background_file()
    faulty["u_stddev"].attrs["scale_factor"] = "a tenth"
    assert read_state(faulty, toy())["u"].shape == (2, 3)
    faulty["u"].values[0, 0] = 1e12  # is it far from its spread?
    with pytest.raises(DataError, match="scale_factor"):
        read_state(faulty, toy())


def test_a_spread_that_is_not_finite_somewhere_hides_no_far_value():
    for missing in (np.nan, np.inf):
        faulty = background_file()
        faulty["u"].values[0, 0] = 1e36
        faulty["u_stddev"].values[1, 1] = missing
        rejects(faulty, "u", "1e+36")
        faulty["u_stddev"].values[:] = missing
        rejects(faulty, "u", "1e+36")


def test_standard_deviations():
    assert set(read_stdev(background_file(), toy())) == {"u"}
    rejects(background_file(), "c_stddev", "there is none", read=read_stdev, fields=["c"])
    bad = background_file()
    bad["u_stddev"].values[0, 1] = 0.0
    rejects(bad, "u_stddev", "1 of 6", "(0, 1)", read=read_stdev)
    bad["u_stddev"].values[:] = 0.0
    assert read_stdev(bad, toy()) == {}


def test_files_that_cannot_be_read(tmp_path):
    good, path = tmp_path / "background.nc", tmp_path / "bad.nc"
    dataset = state_dataset(toy().labels(), state(), 0.0, "2000-01-01")
    write_dataset(dataset, good, title="background")
    rejects(tmp_path / "backgroud.nc", "no such file", "did you mean 'background.nc'?")
    rejects(tmp_path / "missing" / "b.nc", "nor the folder")
    rejects(tmp_path, "a folder")
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    rejects(path, "truncated", "ncdump")
    path.write_text("not a NetCDF file")
    rejects(path, "expected a readable NetCDF file")
    path.write_bytes(b"")
    rejects(path, "expected a readable NetCDF file")


def test_a_file_damaged_inside_is_refused(tmp_path, monkeypatch):
    """The header reads well; only the values of a variable do not.

    The library may abort where it closes such a file; any other is closed, whatever is wrong.
    """
    path = tmp_path / "background.nc"
    values = np.random.default_rng(0).normal(size=(2, 50_000))
    big = xr.Dataset({"u": (("y", "x"), values, {"units": "m s-1"})})
    write_dataset(big, path, title="background")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    files = []

    class Collected(netCDF4.Dataset):
        def __init__(self, *given):
            super().__init__(*given)
            files.append(self)

    monkeypatch.setattr(netCDF4, "Dataset", Collected)
    with pytest.raises(DataError, match="never"), opened(path) as dataset:
        raise DataError("never met")
    with pytest.raises(DataError, match="truncated"), opened(path) as dataset:
        dataset["u"].load()
    assert [file.isopen() for file in files] == [False, True]


def test_an_attribute_that_the_library_cannot_read(tmp_path, monkeypatch):
    """As of netCDF4 an AttributeError, which is not the user's."""
    path = tmp_path / "background.nc"
    write_dataset(state_dataset(toy().labels(), state(), 0.0, "2000-01-01"), path, title="b")

    def attributes(_):
        raise AttributeError("NetCDF: Can't open HDF5 attribute")

    monkeypatch.setattr(xr.backends.NetCDF4DataStore, "get_attrs", attributes)
    rejects(path, "Can't open HDF5 attribute", "ncdump")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("m s-1", "m/s", True),
        ("m s-1", "m s**-1", True),
        ("m.s^-1", "s-1 m", True),
        ("kg m-2 s-1", "kg/m2/s", True),
        ("days", "day", True),
        ("year", "years", True),
        ("", "1", True),
        ("m s-1", "metres per second", True),
        ("degC", "Celsius", True),
        ("degC", "celsius", True),
        ("degree_C", "°C", True),
        ("degrees_C", "deg_C", True),
        ("degC m-1", "degrees_Celsius/m", True),
        ("K", "Kelvin", True),
        ("K", "degrees_K", True),
        ("hPa", "mbar", True),
        ("hPa", "millibars", True),
        ("degrees_east", "degreeE", True),
        ("degree", "°", True),
        ("K", "°C", False),
        ("hPa", "Pa", False),
        ("degree", "degC", False),
        ("km", "m", False),
        ("K", "degC", False),
        ("m s-1", "m s-2", False),
        ("m", "ms", False),
    ],
)
def test_spellings_of_units(one, other, same):
    assert same_units(one, other) is same


def test_states_of_a_trajectory_in_any_order():
    turned, times = trajectory().isel(time=[2, 0, 1]), np.array([1.0, 0.0, 2.0, 1.0])
    found = read_trajectory(turned, toy(), times, "2000-01-01")["u"]
    np.testing.assert_array_equal(found[:, 0, 0], times)
    one = read_trajectory(trajectory().isel(time=[1]), toy(), times[:1], "2000-01-01")["c"]
    assert one.shape == (1,)


def test_a_time_that_a_trajectory_lacks_has_its_date():
    def read(source, model, **given):
        return read_trajectory(source, model, np.array([0.0, 1.5]), "2000-01-01")

    rejects(trajectory(), "2000-01-02T12:00:00", "assim twin --force", "twin.truth", read=read)


@pytest.mark.parametrize("number", [1, 2, 7])
def test_nearest_times_are_those_of_a_full_search(number):
    rng = np.random.default_rng(number)
    own, wanted = rng.permutation(rng.normal(size=number)), rng.normal(size=20)
    wanted[3] = own[-1]
    index, there = nearest_times(own, wanted)
    np.testing.assert_array_equal(index, np.argmin(np.abs(own[None] - wanted[:, None]), axis=1))
    assert there[3] and there.sum() == 1
