"""How far a posterior may be trusted."""

import enum

UNINFORMED = (
    "A coordinate without a prior of its own is not informed by the observations either: what "
    "depends on it is arbitrary; give it a proper prior."
)


class Trust(enum.IntEnum):
    """How far a posterior may be trusted, by its own certificates."""

    FAILED = 0
    DOUBTFUL = 1
    CERTIFIED = 2

    def __str__(self) -> str:
        return self.name.lower()
