"""A case whose files are in other units than its model gives the same analysis, and says so."""

import json
from pathlib import Path

import pytest
import xarray as xr

from tests.run.toy import Toy


def in_grams(dataset: xr.Dataset) -> xr.Dataset:
    """The same amounts and errors in another unit."""
    names = [name for name in ("x", "x_stddev") if name in dataset]
    return dataset.assign({n: (1000 * dataset[n]).assign_attrs(units="g") for n in names})


def outcome(toy: Toy) -> tuple[dict, str]:
    result = toy.write().run()
    assert result.exit_code == 0, result.output
    return json.loads((toy.out / "summary.json").read_text()), result.output


@pytest.mark.parametrize("name", ["background", "observations"])
def test_files_in_grams(tmp_path: Path, name: str) -> None:
    expected, _ = outcome(Toy(tmp_path / "kilograms"))
    toy = Toy(tmp_path / "grams")
    setattr(toy, name, in_grams(getattr(toy, name)))
    summary, output = outcome(toy)
    assert summary["cost"]["total"] == pytest.approx(expected["cost"]["total"], rel=1e-9)
    told = [note for note in summary["notes"] if "converted from 'g' to 'kg' (× 0.001)" in note]
    assert any(f"{name}.nc: x" in note for note in told)
    assert "converted from 'g' to 'kg'" in output.replace("\n", " ")
