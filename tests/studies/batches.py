"""Results of a study, one line of JSON a batch, with the commit and the date that it was made on.

A study that was stopped goes on where it was: what its file holds is not computed again. A batch
made on another commit stays as it is; delete its lines to have it made again.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def commit() -> str:
    """Short name of the commit, with a + where files differ from it."""
    described = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(
        described, cwd=HERE, capture_output=True, text=True, check=True
    ).stdout.strip()


class Batches:
    """The batches of one study, by the words that say which it is.

    Args:
        name: of the study; its file is NAME.jsonl beside this one.
    """

    def __init__(self, name: str) -> None:
        self.path = HERE / f"{name}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        self.lines = [json.loads(line) for line in lines]
        self.commit = commit()

    def of(self, **which: Any) -> list[dict[str, Any]]:
        """The batches whose entries are these."""
        return [line for line in self.lines if which.items() <= line.items()]

    def keep(self, result: dict[str, Any], **which: Any) -> None:
        """Append one batch, whole or not at all."""
        line = which | {"commit": self.commit, "date": time.strftime("%Y-%m-%d")} | result
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)
