"""A finding of one's own: one class, which then stands in all files."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from assim import analyse, strong_constraint
from assim.analysis.finding import AbstractFinding, RowColumn, Variable, flags
from assim.files.read.observations import to_instrument
from assim.files.read.states import read_state
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.files.write.feedback import feedback_dataset
from assim.files.write.results import diagnostics_dataset
from assim.files.write.summary import summary
from assim.problem.covariance import Diagonal
from assim.solve.posterior.laplace import Laplace
from tests.files.toy import background_file, observation_file, toy


@dataclasses.dataclass(frozen=True)
class Misfit(AbstractFinding):
    """Departures from the analysis in units of their errors, by instrument."""

    name: ClassVar[str] = "misfit"
    departures: dict[str, np.ndarray]

    def variables(self):
        largest = [np.max(np.abs(d)) for d in self.departures.values()]
        return {
            "misfit_instrument": flags("misfit_instrument", list(self.departures), "instrument"),
            "misfit_largest": Variable(("misfit_instrument",), largest, "largest departure"),
            "misfit_count": Variable((), sum(d.size for d in self.departures.values()), "values"),
        }

    def columns(self, instrument):
        return [RowColumn("_misfit", self.departures[instrument], "normalised departure of", True)]


@pytest.fixture(scope="module")
def answer():
    model = toy()
    window = read_window(observation_file(), model)
    table = open_observations(observation_file((1.5, np.nan, 2.5, 3.0)), "u", model.labels())
    group = [to_instrument(table, model, window, name="my speed")]
    given = (model, window, read_state(background_file(), model), Diagonal(1.0))
    problem = strong_constraint(*given, [one.observations for one in group])
    return group, analyse(problem, posterior=Laplace(members=2, certificate=0))


def test_a_finding_is_in_every_file(answer):
    group, analysis = answer
    departures = {n: np.asarray(d) for n, d in analysis.departures.after.items()}
    with_misfit = analysis.with_findings(Misfit(departures))
    (values,) = departures.values()

    diagnostics = diagnostics_dataset(with_misfit)
    largest = np.max(np.abs(values))
    assert diagnostics["misfit_largest"].values == [largest]
    assert diagnostics["misfit_largest"].attrs == {
        "finding": "misfit", "units": "1", "long_name": "largest departure",
    }  # fmt: skip
    assert diagnostics["misfit_count"] == 3 and diagnostics["misfit_count"].dtype == np.int32
    assert diagnostics["misfit_instrument"].attrs["flag_meanings"] == "my_speed"

    feedback = feedback_dataset(group, with_misfit)
    np.testing.assert_array_equal(feedback["my_speed_misfit"][[0, 2, 3]], values)
    assert np.isnan(feedback["my_speed_misfit"][1])
    assert feedback["my_speed_misfit"].attrs["long_name"].startswith("normalised departure of ")

    told = summary(with_misfit)["misfit"]
    assert told == {"misfit_largest": {"my_speed": largest}, "misfit_count": 3}
    assert "misfit" not in summary(analysis)


@dataclasses.dataclass(frozen=True)
class Anything(AbstractFinding):
    name: ClassVar[str] = "anything"
    content: dict

    def variables(self):
        return self.content

    def columns(self, instrument):
        return [RowColumn("_anything", np.zeros(2), "nothing of", True)]


class Cost(Anything):
    name: ClassVar[str] = "cost"


def test_findings_do_not_write_over_what_is_there(answer):
    group, analysis = answer
    here = diagnostics_dataset(analysis)
    for taken in ("chi_squared_ratio", "loop"):
        dims = ("loop",) if taken == "loop" else ()
        values = np.zeros(here.sizes["loop"] if dims else ())
        given = analysis.with_findings(Anything({taken: Variable(dims, values, "other")}))
        with pytest.raises(ValueError, match=f"has a variable '{taken}' already.*anything_{taken}"):
            diagnostics_dataset(given)
    with pytest.raises(ValueError, match=r"'cost': summary\.json has an entry of this name"):
        summary(analysis.with_findings(Cost({})))
    with pytest.raises(
        ValueError, match=r"my speed_anything has the shape \(2,\), expected \(3,\)"
    ):
        feedback_dataset(group, analysis.with_findings(Anything({})))


def test_what_is_no_finding_is_refused(answer):
    _, analysis = answer
    with pytest.raises(TypeError, match=r"assim\.finding\.AbstractFinding or None, got int"):
        analysis.with_findings(7)


def test_numbers_by_what_flags_mean():
    content = {
        "axis": flags("axis", ["a b", "c"], "axis"),
        "table": Variable(("axis", "place"), [[1.0, 2.0], [3.0, 4.0]], "a table"),
        "turned": Variable(("place", "axis"), [[1, 3]], "the same"),
    }
    assert Anything(content).summary() == {
        "table": {"a_b": [1.0, 2.0], "c": [3.0, 4.0]},
        "turned": [{"a_b": 1, "c": 3}],
    }
