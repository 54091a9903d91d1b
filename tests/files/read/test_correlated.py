"""Correlated errors from a file: `<v>_covariance(obs, obs_other)`, cut to the rows used."""

import numpy as np
import pytest

from assim.files.errors import DataError
from assim.files.read.observations import read_observations, to_instrument
from assim.files.read.tables import observed_variables, open_observations
from assim.files.read.windows import read_window
from assim.problem.covariance import Dense, Diagonal
from assim.problem.likelihood import LogNormal
from tests.files.toy import made, observation_file, toy

MATRIX = 0.04 * np.exp(-np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0))) / 2)


def correlated(values=(1.0, 2.0, 3.0, 4.0), matrix=MATRIX, units="m2 s-2", **more):
    dataset = observation_file(values).drop_vars("u_stddev")
    attrs = {} if units is None else {"units": units}
    return dataset.assign(u_covariance=(("obs", "obs_other"), matrix, attrs), **more)


def read(dataset, **given):
    return read_observations(dataset, toy(), read_window(observation_file(), toy()), **given)


def formed(covariance):
    eye = np.eye(covariance.size())
    factor = np.stack([np.asarray(covariance.sqrt(column)) for column in eye], axis=1)
    return factor @ factor.T


def test_the_whole_matrix():
    found = read(correlated())
    assert isinstance(found.covariance, Dense)
    np.testing.assert_allclose(formed(found.covariance), MATRIX, rtol=1e-12)
    assert observed_variables(correlated(), toy().labels()) == ["u"]


def test_it_is_cut_to_the_rows_used():
    kept = [0, 2, 3]
    found = read(correlated((1.0, np.nan, 3.0, 4.0)))
    np.testing.assert_allclose(formed(found.covariance), MATRIX[np.ix_(kept, kept)], rtol=1e-12)
    # What is not finite may stand where a row is not used.
    holed = MATRIX.copy()
    holed[1], holed[:, 1] = np.nan, np.nan
    again = read(correlated((1.0, np.nan, 3.0, 4.0), holed))
    np.testing.assert_array_equal(again.covariance.factor, found.covariance.factor)
    with pytest.raises(DataError, match=r"u_covariance: expected finite.*got 7"):
        read(correlated(matrix=holed))


def test_it_goes_before_standard_deviations():
    both = correlated().assign(u_stddev=("obs", np.full(4, 9.0)))
    np.testing.assert_allclose(read(both).covariance.variance(), np.full(4, 0.04))
    given = read(both, stdev=0.3)
    np.testing.assert_allclose(given.covariance.stdev, np.full(4, 0.3))


@pytest.mark.parametrize(
    ("given", "key"),
    [({"stdev": 0.3}, "error.stdev"), ({"covariance": Diagonal(0.3)}, "covariance")],
)
def test_errors_that_the_user_gives_stand_in_place_of_it_and_that_is_told(given, key):
    table, window = (
        open_observations(correlated(), "u", toy().labels()),
        read_window(observation_file(), toy()),
    )
    instrument = made(table, toy(), window, **given)
    np.testing.assert_allclose(instrument.observations.covariance.variance(), np.full(4, 0.09))
    assert instrument.table.notes == (
        f"dataset: u_covariance: not used, as {key} stands in place of the errors of the file; "
        f"leave out {key} to use it",
    )
    assert made(table, toy(), window).table.notes == ()
    without = open_observations(observation_file(), "u", toy().labels())
    assert made(without, toy(), window, **given).table.notes == ()


def test_its_covariances_can_be_left_out():
    found = read(correlated(), correlated=False)
    assert isinstance(found.covariance, Diagonal)
    np.testing.assert_allclose(found.covariance.stdev, np.full(4, 0.2))


def test_logarithms_have_no_units():
    assert read(correlated(units="1"), likelihood=LogNormal()).covariance.size() == 4
    with pytest.raises(DataError, match="u_covariance: expected units '1'"):
        read(correlated(), likelihood=LogNormal())


def test_a_subset_keeps_its_block():
    found = read(correlated()).subset(np.array([True, False, True, True]))
    np.testing.assert_allclose(
        formed(found.covariance), MATRIX[np.ix_([0, 2, 3], [0, 2, 3])], rtol=1e-12
    )
    np.testing.assert_array_equal(found.values, [1, 3, 4])


def test_feedback_has_its_standard_deviations():
    table = open_observations(correlated(), "u", toy().labels())
    made = to_instrument(table, toy(), read_window(observation_file(), toy()))
    np.testing.assert_allclose(made.observations.covariance.variance(), np.diag(MATRIX))


ASYMMETRIC = MATRIX + np.diag([1e-3, 0, 0], 1)
SINGULAR = np.full((4, 4), 0.04)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (correlated(units="m s-1"), r"u_covariance: expected units 'm2 s-2', got 'm s-1'"),
        (correlated(units=None), r"no units attribute"),
        (correlated(matrix=ASYMMETRIC), r"symmetric matrix.*row 0, column 1.*\(C \+ Cᵀ\)/2"),
        (correlated(matrix=SINGULAR - 1e-6 * np.eye(4)), r"4 rows used: .*not positive definite"),
        (correlated().isel(obs_other=[0, 1]), r"u_covariance: expected the dimension of the val"),
    ],
)
def test_matrices_that_cannot_be_used(dataset, words):
    with pytest.raises(DataError, match=words):
        read(dataset)
