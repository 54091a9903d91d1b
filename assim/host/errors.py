"""What a host is told: actions, codes of errors, and misuse of the engine."""

import enum

from assim.case.failure import Exit, exit_code, message, stop_words

MISUSE = 20  # calls out of order, names, shapes and pointers that are none
STOPPED = 22  # a function of the program's own model stopped the analysis


class Action(enum.IntEnum):
    """What a host does next."""

    NOTHING = 0  # go on: nothing was due
    ANALYSED = 1  # go on: the arrays hold the analysis at the time of the call
    RESTART = 2  # set the clock to `time`: the arrays hold the analysis there
    STOP = 3  # as ANALYSED, and it was the last: stop, or go on with a forecast


class HostError(ValueError):
    """A call that a host should not have made; the engine is as it was before."""


class EndedError(RuntimeError):
    """A run that ended otherwise than well; what it has written stands.

    Args:
        code: how it ended, as the exit code of `assim run`.
        text: the same in words.
    """

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


def other_process(code: int, text: str) -> HostError | EndedError:
    """The error of the process that analyses, raised in one that follows it."""
    return HostError(text) if code == MISUSE else EndedError(code, text)


def code_of(error: BaseException) -> int:
    """The code of an error: that of `assim run`, MISUSE or STOPPED; never 0."""
    if isinstance(error, HostError):
        return MISUSE
    if stop_words(error) is not None:
        return STOPPED
    return int(error.code if isinstance(error, EndedError) else exit_code(error))


def words_of(error: BaseException) -> str:
    """An error in plain words; one of ours with its kind."""
    if isinstance(error, HostError | EndedError):
        return str(error)
    if code_of(error) == Exit.INTERNAL:
        return f"internal error, please report: {type(error).__name__}: {error}"
    return message(error)
