"""The pages of the documentation, and their blocks of code (see `docs/contributing.md`)."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
CODE = {"python", "toml", "console", "fortran"}  # blocks of these languages are run
PLAIN = {"text"}  # equations, and what programs print

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"[#!] file: (\S+)\n")
_EXIT = re.compile(r"# exit (\d+)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which it starts."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that the block is the content of, if its first line names one."""
        found = _FILE.match(self.text)
        return None if found is None else found[1]


@dataclass(frozen=True)
class Command:
    """One line of a console block after its `$`: the words, and the exit code to expect."""

    words: list[str]
    code: int


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1].strip(), found[2], text[: found.start()].count("\n") + 1)
        for found in _FENCE.finditer(text)
    ]


def under(page: Path, title: str) -> list[Block]:
    """Blocks of the section of a page that has this title."""
    text = page.read_text(encoding="utf-8")
    heads = [text[: h.start()].count("\n") + 1 for h in re.finditer("^## ", text, re.MULTILINE)]
    start = text[: text.index(f"\n## {title}\n") + 1].count("\n") + 1
    end = min((head for head in heads if head > start), default=text.count("\n") + 2)
    return [block for block in blocks(page) if start < block.line < end]


def commands(block: Block) -> list[Command]:
    if block.language != "console":
        return []
    lines = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    return [Command(shlex.split(line, comments=True), exit_code(line)) for line in lines]


def exit_code(line: str) -> int:
    found = _EXIT.search(line)
    return 0 if found is None else int(found[1])


def of_shipped_case(command: Command) -> bool:
    """Whether a command works on a case in `cases/`: those are run with the slow tests."""
    return any(word.startswith("cases/") for word in command.words)


def rows(page: Path, head: str) -> list[list[str]]:
    """Cells of every row of the tables of a page whose first column has this head."""
    lines, inside, cells = page.read_text(encoding="utf-8").splitlines(), False, []
    for line in lines:
        row = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        inside = bool(row) and (inside or row[0] == head)
        if inside and row[0] != head and not re.fullmatch("[-:]+", row[0]):
            cells.append(row)
    assert cells, f"{name_of(page)} has no table with the head {head}"
    return cells
