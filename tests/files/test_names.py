"""Columns beside an observed variable: of listed names alone, and never read as observed."""

import numpy as np
import pytest

from assim import read_observations
from assim.analysis.analysed import Reading
from assim.files.names import Ancillary, Column
from assim.files.netcdf import write_dataset
from assim.files.read.tables import observed_variables, open_observations
from assim.files.read.windows import read_window
from assim.files.write.analysed import readings_dataset
from assim.files.write.feedback import point_table
from assim.files.write.forecast import forecast_feedback
from assim.findings.verification import VerifiedReadings
from assim.problem import likelihood
from assim.problem.observation import ErrorScale
from assim.problem.prior import Jeffreys
from tests.files.toy import UNITS, made, observation_file, toy

NUMBERS = np.arange(4.0)


def instrument(**given):
    model = toy()
    table = open_observations(observation_file(), "u", model.labels())
    return made(table, model, read_window(observation_file(), model), **given)


def every_column(one):
    """A column of every name there is, but for those that every table has."""
    given = (Ancillary.STDEV, Ancillary.QC, Ancillary.COVARIANCE)  # the last is a matrix
    return [Column(end, NUMBERS, "what", UNITS) for end in Ancillary if end not in given]


def written(kind, **given):
    one, model = instrument(**given), toy()
    where = model.labels(), read_window(observation_file(), model)
    if kind == "forecast":
        return forecast_feedback(
            [one], [VerifiedReadings(*[NUMBERS] * len(VerifiedReadings._fields))], *where
        )
    if kind == "window":
        pair = one, Reading(*[NUMBERS] * len(Reading._fields))
        return readings_dataset([pair], *where, scales={"s": 1.5})
    return point_table([(one, every_column(one))], *where)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("kind", ["everything", "forecast", "window"])
def test_what_is_written_can_be_read_again(kind, bare, tmp_path):
    file = written(kind)
    for name in file.data_vars if bare else ():
        file[name].attrs = {"units": file[name].attrs.get("units", "1")}
    write_dataset(file, tmp_path / "feedback.nc", title="feedback")
    assert observed_variables(tmp_path / "feedback.nc", toy().labels()) == ["u"]
    found = read_observations(tmp_path / "feedback.nc", toy())
    np.testing.assert_array_equal(found.values, [1, 2, 3, 4])
    np.testing.assert_array_equal(found.covariance.stdev, 0.1)


def test_every_column_is_named_by_its_variable():
    file = written("everything")
    assert set(file["u"].attrs["ancillary_variables"].split()) == set(file.data_vars) - {"u"}


def test_a_column_of_a_users_own_is_not_read_as_observed():
    one, model = instrument(), toy()
    where = model.labels(), read_window(observation_file(), model)
    dataset = point_table([(one, [Column("_novel", NUMBERS, "what", UNITS)])], *where)
    assert "u_novel" in dataset and observed_variables(dataset, model.labels()) == ["u"]


@pytest.mark.parametrize("kind", ["forecast", "window"])
def test_attributes_say_what_errors_are(kind):
    plain = written(kind)["u"].attrs
    assert (plain["likelihood"], plain["errors_of"]) == ("Gaussian", "value")
    assert "error_scale" not in plain and "error_scale_value" not in plain
    given = {"likelihood": likelihood.LogNormal(), "stdev": 0.1}
    found = written(kind, scale=ErrorScale("s", Jeffreys()), **given)["u"].attrs
    assert (found["likelihood"], found["errors_of"]) == ("LogNormal", "logarithm")
    assert found["error_scale"] == "s"
    assert found.get("error_scale_value") == {"window": 1.5, "forecast": None}[kind]
