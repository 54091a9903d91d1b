"""What is said of outer loops as they come."""

import io

from rich.console import Console

from assim.run.terminal.screen import Screen
from assim.solve.minimise.loop import Loop

INF, NAN = float("inf"), float("nan")


def said(*loops: Loop) -> list[str]:
    text = io.StringIO()
    screen = Screen(Console(file=text, highlight=False))
    for loop in loops:
        screen.loop(loop)
    return text.getvalue().splitlines()[1:]


def test_first_guesses_without_a_finite_cost_are_told_once_and_have_not_settled():
    lines = said(*[Loop(1, INF, NAN, 0, 0.1)] * 4)
    assert len(lines) == 1 and "inf" in lines[0]


def test_that_the_others_have_settled_is_said_where_they_have():
    batch = [Loop(1, 3.0, 1.0, 3, 0.1, 4), Loop(2, 2.0, 0.0, 0, 0.1, 3), Loop(3, 2.0, 0.0, 0, 0.1)]
    assert said(*batch)[2:] == ["    3 the other first guesses have settled"]


def test_a_further_batch_that_settles_at_once_is_no_other_first_guess():
    lines = said(Loop(1, 2.0, 0.0, 0, 0.1), Loop(1, 2.0, 0.0, 0, 0.1))
    assert len(lines) == 2 and "settled" not in "".join(lines)
