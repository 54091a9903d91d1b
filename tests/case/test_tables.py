"""The tables of a case: read before JAX, and made of whatever can be read of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from assim.case.case import CaseTable, read_case
from assim.case.failure import CaseError
from assim.case.setting import set_up
from tests.run.toy import MODEL, Toy

COUNTED = MODEL.replace(
    "    def labels(self):",
    '    made = []\n\n    def __check_init__(self):\n        Decay.made.append("once")\n\n'
    "    def labels(self):",
    1,
)


def test_a_case_is_read_and_checked_before_jax(toy: Toy) -> None:
    toy.case["window"]["slotz"] = 3
    path = toy.write_case() if toy.folder.is_dir() else toy.write().write_case()
    code = (
        "import sys\nfrom pathlib import Path\nfrom assim.case.case import read_case\n"
        f"case = read_case(Path({str(path)!r}))\nprint([fault.path for fault in case.faults])\n"
        "print([name for name in ('jax', 'numpy', 'xarray', 'equinox') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["['window.slotz']", "[]"]


def test_a_word_where_a_table_is_expected_is_shown_the_table(toy: Toy) -> None:
    toy.case["observations"][0]["likelihood"] = "LogNormal"
    toy.case["window"] = "x"
    path = toy.write_case() if toy.folder.is_dir() else toy.write().write_case()
    faults = {fault.path: str(fault) for fault in read_case(path).faults}
    expected = """must be a table, as { use = "LogNormal" }, got 'LogNormal'"""
    assert faults["observations.0.likelihood"].endswith(expected)
    assert faults["window"].endswith("must be a table, got 'x'")


def test_every_table_knows_where_it_stands() -> None:
    tree = {
        "model": {"use": "Lorenz63"},
        "parameters": {"r": {"prior": {"use": "Normal"}}},
        "observations": [{"bias": [{"name": "b", "prior": {"use": "Normal"}}]}],
        "posterior": {"use": "Laplace"},
    }
    tables = CaseTable.loose(tree)
    tables.place(tree, Path("folder"), checked=False)
    assert tables.parameters["r"].prior.at("mean") == "parameters.r.prior.mean"
    assert tables.observations[0].bias[0].prior.at() == "observations.0.bias.0.prior"
    assert tables.posterior[0].at("members") == "posterior.members"
    assert tables.posterior[0].file_path("a.nc") == Path("folder/a.nc")
    listed = {"posterior": ["Laplace"]}
    tables = CaseTable.loose(listed)
    tables.place(listed, Path(), checked=False)
    assert tables.posterior[0].at() == "posterior.0"


def test_what_is_no_table_is_left_out_where_tables_belong() -> None:
    tables = CaseTable.loose({"parameters": 3, "background": "x", "observations": [1, {"bias": 2}]})
    assert tables.parameters == {} and "background" not in vars(tables)
    keys = [key for key, _ in tables.members()]
    assert [key for key in keys if key.startswith("obs")] == ["observations.1"]


def test_two_cases_share_no_table(toy: Toy) -> None:
    path = toy.write().write_case()
    first, second = read_case(path), read_case(path)
    pairs = zip(first.tables.members(), second.tables.members(), strict=True)
    assert all(one is not other for (_, one), (_, other) in pairs)


@pytest.mark.parametrize("posterior", ["../own.py:Own", ["Laplace", "../own.py:Own"]])
def test_a_posterior_that_is_its_name_alone_is_code_too(toy: Toy, posterior: object) -> None:
    toy.case["posterior"] = posterior
    case = read_case(toy.write().folder / "case.toml")
    assert set(case.code()) == {"toy.py", "../own.py"}


def test_a_plug_in_is_made_once(toy: Toy) -> None:
    toy.model = COUNTED
    case = read_case(toy.write().write_case())
    assert case.tables.faults() == []
    model = case.tables.plain_model()
    assert model is case.tables.model.build() and type(model).made == ["once"]


@pytest.mark.parametrize(
    "given", [{"error": {"stdev": 0.5}}, {"covariance": {"use": "Diagonal", "stdev": 0.5}}]
)
def test_counts_are_given_no_error(toy: Toy, given: dict) -> None:
    """None of a Poisson law would be used."""
    toy.case["observations"][0] |= {"likelihood": {"use": "Poisson"}, **given}
    toy.write()
    with pytest.raises(CaseError, match=r"observations\.0\.(error\.stdev|covariance): Poisson"):
        set_up(read_case(toy.folder / "case.toml"))
