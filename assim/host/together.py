"""What all processes of a parallel program do together: one leads, the others follow."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from assim.couple.errors import StoppedError
from assim.host.arrays import Held
from assim.host.errors import EndedError, HostError, code_of, other_process, words_of

if TYPE_CHECKING:
    from assim.couple.code import Code


OPERATIONS = ("step", "tangent", "adjoint")  # of a model's functions
_ENDED = -1


class Calls:
    """Calls of the engine, which the first process makes, and of the model, which all make.

    Within a call of the engine process 0 says what function of the model is about to be called, and
    hands on its arguments; the others wait for that, call the same, and leave the result to it.

    Args:
        held: the arrays of this process, which know of the others.
    """

    def __init__(self, held: Held) -> None:
        self.held, self.ranks = held, held.ranks

    def lead(self, call: Callable[[], Any], standing: Callable[[], tuple[float, ...]]) -> None:
        """Make a call of the engine, and tell the others how it ended.

        Args:
            call: what it is; arrays that it shares are handed to all.
            standing: numbers that all know afterwards.
        """
        error: BaseException | None = None
        try:
            call()
        except BaseException as raised:
            error = raised
        shared = {name: np.array(v, float, order="C") for name, v in self.held.shared.items()}
        self.ranks.pass_on(np.array([_ENDED, 0]))
        self.ranks.said(
            {
                "code": 0 if error is None else code_of(error),
                "words": "" if error is None else words_of(error),
                "standing": standing(),
                "shapes": {name: values.shape for name, values in shared.items()},
                "written": self.held.written,
            }
        )
        for values in shared.values():
            self.ranks.pass_on(values)
        if error is not None:
            raise error

    def announce(self, operation: str, given: list[np.ndarray]) -> None:
        """Say to the others what function this process, the first, calls next."""
        numbers = np.concatenate([np.asarray(value, float).ravel() for value in given])
        self.ranks.pass_on(np.array([OPERATIONS.index(operation), numbers.size]))
        self.ranks.pass_on(numbers)

    def follow(
        self, functions: Callable[[], "Code"]
    ) -> tuple[tuple[float, ...], HostError | EndedError | None]:
        """Call what functions the first process calls, until its call of the engine ends.

        Args:
            functions: makes the functions of the model, once the first process calls any: before
                that it may find fault with the case, and tells.

        Returns:
            what all know afterwards, and the error that ended it.
        """
        code: Code | None = None
        while (head := self._head())[0] != _ENDED:
            code = code or functions()
            operation, numbers = OPERATIONS[head[0]], np.zeros(head[1])
            self.ranks.pass_on(numbers)
            try:
                code.call(operation, code.shaped(operation, numbers))
            except StoppedError as own:  # the first has its own, or waits in it and never tells
                print(f"process {self.ranks.number}: {own}", file=sys.stderr, flush=True)
        said = self.ranks.said(None)
        for name, shape in said["shapes"].items():
            values = np.zeros(shape)
            self.ranks.pass_on(values)
            self.held.share({name: values})
        self.held.write({name: self.held.shared[name] for name in said["written"]})
        error = other_process(said["code"], said["words"]) if said["code"] else None
        return tuple(said["standing"]), error

    def _head(self) -> list[int]:
        """What comes next, and of how many numbers."""
        head = np.zeros(2, np.int64)
        self.ranks.pass_on(head)
        return [int(number) for number in head]
