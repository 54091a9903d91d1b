"""Model error: what is asked of its covariances."""

import pytest

from assim import ModelError, Window
from assim.models import Lorenz96
from assim.problem.covariance import Autoregressive, Diagonal

MODEL = Lorenz96(n=4)
WINDOW = Window.regular(MODEL, slots=3, steps=1)


def test_the_correlation_in_time_has_variance_1():
    """Otherwise it would multiply Q."""
    with pytest.raises(ValueError, match=r"in_time is a correlation.*variance must be 1"):
        ModelError(Diagonal(0.1), Autoregressive(0.2, 2.0)).on(MODEL, WINDOW)
    fitted = ModelError(Diagonal(0.1), Autoregressive(0.2)).on(MODEL, WINDOW)
    assert fitted.stdev(3)["x"] == pytest.approx(0.1)


def test_an_unknown_field_is_told():
    with pytest.raises(ValueError, match=r"no field 'xx'; did you mean 'x'"):
        ModelError({"xx": Diagonal(0.1)}).on(MODEL, WINDOW)
