"""What every table of a case file is."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class Table(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Plugin(BaseModel):
    """A plug-in: `use` and the constructor's arguments."""

    model_config = ConfigDict(extra="allow", strict=True)

    use: str


class CovarianceTable(Table):
    """A covariance: a plug-in, or a file that holds it."""

    model_config = ConfigDict(extra="allow", strict=True)

    use: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.use is None) == (self.file is None):
            raise ValueError('give either use = "..." or file = "..."')
        if self.file is not None and self.model_extra:
            extra = next(iter(self.model_extra))
            raise ValueError(f"a covariance from a file takes no argument, got {extra!r}")
        return self
