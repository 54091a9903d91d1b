"""What weights say of moments, and which limit keeps these from being published."""

import numpy as np
import pytest

from assim.statistics.accuracy import Errors
from assim.statistics.importance_weights import ImportanceWeights
from assim.statistics.pareto import ParetoSmoothed, Tail

GOOD = ParetoSmoothed(np.full(10, 0.1), 0.1, 5000.0, 0.0, 0.05)
FINE, LIGHT = Errors(0.01, 0.01, 0.01), Tail(0.2, 0.1)


@pytest.mark.parametrize(
    ("smoothed", "errors", "squares", "words"),
    [
        (GOOD, FINE, LIGHT, ""),
        (GOOD, FINE, Tail(0.44, 0.08), "k̂ of squares with its error, 0.52, is not below 0.5"),
        (
            GOOD._replace(k_hat=0.48),
            FINE,
            LIGHT,
            "k̂ with its error, 0.53, is not below 0.5",
        ),
        (GOOD._replace(effective_draws=300.0), FINE, LIGHT, "effective draws are fewer than 400"),
        (
            GOOD,
            Errors(0.04, 0.01),
            LIGHT,
            "means are known within 0.040, not 0.03",
        ),
        (
            GOOD,
            Errors(0.01, 0.0151, np.nan),
            LIGHT,
            "standard deviations are known within 1.51 %, not 1.5 %; "
            "quantiles are known within nan %, not 1.5 %",
        ),
    ],
)
def test_the_limit_that_is_missed_is_named(smoothed, errors, squares, words):
    weights = ImportanceWeights(smoothed, errors, squares, 0.0)
    assert weights.beyond() == words
    assert weights.trusted() == (not words)


def test_an_error_that_is_not_zero_is_not_said_to_be():
    words = Errors(2e-5, 1e-6, 0.003).words()
    assert words == (
        "standard deviations within 0.1 % and means within 0.001 of one, "
        "quantiles within 0.3 % of their interval"
    )


def test_no_error_is_a_negative_zero():
    words = Errors(2e-18, 1e-17, 1e-17).words()
    assert words == (
        "standard deviations within 0.0 % and means within 0.000 of one, "
        "quantiles within 0.0 % of their interval"
    )
