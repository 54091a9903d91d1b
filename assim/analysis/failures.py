"""What fails after the minimisation: it is named, and everything else is kept."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from assim.solve.posterior.ensemble import Trust

Result = TypeVar("Result")
INTERRUPTED = "interrupted"
LONGEST = 300  # characters of an error; XLA's go on for pages
Failures = dict[str, str]  # why, by stage as in `Analysis.seconds`
OF_METHOD = "posterior_"  # begins the stage of each method
FIRST_GUESSES = "first_guesses"  # the stage of those that follow the first of them
FAILED = str(Trust.FAILED)  # that in a method which raised


class StoppedAnalysis(KeyboardInterrupt):
    """Ctrl-C after a minimum was reached; `analysis` has it, and what was finished since."""

    def __init__(self, analysis: Any) -> None:
        super().__init__("interrupted after the minimisation")
        self.analysis = analysis


@contextmanager
def kept(failures: Failures, stage: str) -> Iterator[None]:
    """Note under the stage why what is inside failed, and go on unless it was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        _note_interrupt(failures, stage)
        raise
    except Exception as error:  # whatever it is, what is finished is not lost
        failures[stage] = reason(error)


@contextmanager
def stopping(failures: Failures, stage: str) -> Iterator[None]:
    """As `kept`; Ctrl-C ends what is inside, and nothing else."""
    with suppress(KeyboardInterrupt), kept(failures, stage):
        yield


def insisting(failures: Failures, stage: str, work: Callable[[], Result]) -> Result:
    """What nothing is left without: begun once more where Ctrl-C ends it; the next one raises."""
    try:
        return work()
    except KeyboardInterrupt:
        _note_interrupt(failures, stage)
        return work()


def _note_interrupt(failures: Failures, stage: str) -> None:
    """The innermost stage, which is left first, is that which was interrupted."""
    if not interrupted(failures):
        failures[stage] = INTERRUPTED


def interrupted(failures: Failures) -> bool:
    """Whether Ctrl-C ended one of the stages."""
    return INTERRUPTED in failures.values()


def reason(error: BaseException) -> str:
    """An error as Python names it, the first lines of what it says, and where it was raised."""
    said = " ".join(str(error).split())
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]} …"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {said}{where}"


def of_methods(failures: Failures) -> dict[str, str]:
    """Those of the methods, by the method's name."""
    return {
        stage.removeprefix(OF_METHOD): why
        for stage, why in failures.items()
        if stage.startswith(OF_METHOD)
    }


def spelt(stage: str) -> str:
    """A stage in words."""
    method = stage.removeprefix(OF_METHOD)
    return stage.replace("_", " ") if method == stage else f"posterior {method}"
