"""The page on published codes, run as it stands, section by section."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.docs.pages import ROOT, rows, under

PAGE = ROOT / "docs" / "how-to" / "real-codes.md"


def ran(title: str, folder: Path, names: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a section in a folder; `names` are what they share."""
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        for block in under(PAGE, title):
            if block.file is not None:
                (folder / block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(compile("\n" * block.line + block.text, str(PAGE), "exec"), names)
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)
    return names


def moments(points: np.ndarray, log_density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of two unknowns, from their density on a grid.

    The grid must hold all of it: on its edges there is next to nothing.
    """
    share = np.exp(log_density - log_density.max())
    share /= share.sum()
    edges = [share[0], share[-1], share[:, 0], share[:, -1]]
    assert max(edge.sum() for edge in edges) < 1e-4
    mean = np.einsum("ij,ijk->k", share, points)
    return mean, np.sqrt(np.einsum("ij,ijk->k", share, (points - mean) ** 2))


def stated(code: str) -> list[list[str]]:
    """The two rows of the page's table that belong to a code."""
    table = rows(PAGE, "Code")
    first = next(n for n, row in enumerate(table) if row[0] == code)
    return table[first : first + 2]


def figures(cell: str) -> tuple[float, float]:
    """Mean and standard deviation of a cell as "1.22 ± 0.05"."""
    mean, stdev = cell.split(" ± ")
    return float(mean), float(stdev)


def check_posterior(code: str, names: list[str], analysis: Any, reference: Any) -> None:
    """The posterior is the reference's, and the page has the figures of both, to a tenth of σ."""
    for row, name, mean, stdev in zip(stated(code), names, *reference, strict=True):
        own = analysis.quantities[name]
        assert own.mean == pytest.approx(mean, abs=0.1 * stdev), name
        assert own.stddev == pytest.approx(stdev, rel=0.05), name
        for cell, found in ((row[5], (own.mean, own.stddev)), (row[6], (mean, stdev))):
            assert figures(cell) == pytest.approx(found, abs=0.1 * stdev), name


def lines(text: str) -> int:
    """Lines of code, without blank ones and the line that names the file."""
    return sum(bool(line.strip()) for line in text.splitlines()) - text.startswith("# file:")
