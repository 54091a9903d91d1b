"""A cycle says of its first window what `check` says of it: what readings lose between edges."""

import numpy as np
import pytest

from tests.run.toy import Toy, observations

WORDS = "readings lie between slot edges where the trajectory bends"


@pytest.mark.slow
def test_a_cycle_says_it_once_and_check_the_same(toy: Toy) -> None:
    toy.model = toy.model.replace('theta["rate"] * x["x"]', '5 * theta["rate"] * x["x"]')
    toy.case["window"] |= {"slots": 2, "steps": 2}
    toy.case["cycle"] = {"windows": 2, "method": {"use": "FourDVar"}}
    toy.case["background"]["covariance"] = {"use": "Diagonal", "stdev": 0.5}
    toy.case.pop("posterior")
    toy.observations = observations()
    toy.observations["time"].values[:] = np.repeat([1.0, 3.0, 5.0, 7.0], 3)
    toy.observations["x_stddev"].values[:] = 0.01
    toy.write()
    result = toy.run()
    assert result.exit_code == 0, result.stderr or result.exception
    assert result.stdout.count(WORDS) == 1
    assert WORDS in toy.run(command="check").stdout
