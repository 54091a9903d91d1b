"""What fails after the minimisation: it is named, and everything else is kept."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assim.solve.posterior.ensemble import Trust

INTERRUPTED = "interrupted"
LONGEST = 300  # characters of an error; XLA's go on for pages
Failures = dict[str, str]  # why, by stage as in `Analysis.seconds`
OF_METHOD = "posterior_"  # begins the stage of each method
FAILED = str(Trust.FAILED)  # that in a method which raised


class StoppedAnalysis(KeyboardInterrupt):
    """Ctrl-C while a method was running; `analysis` has the minimum and the methods before it."""

    def __init__(self, analysis: Any) -> None:
        super().__init__("interrupted while the posterior was sampled")
        self.analysis = analysis


@contextmanager
def kept(failures: Failures, stage: str) -> Iterator[None]:
    """Note under the stage why what is inside failed, and go on unless it was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        failures[stage] = INTERRUPTED
        raise
    except Exception as error:  # whatever it is, what is finished is not lost
        failures[stage] = reason(error)


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
