"""A table of bad inputs: each must end with its exit code and say what is wrong, where."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.run.toy import MODEL, Spoil, Toy, observations


class Bad(NamedTuple):
    name: str
    spoil: Spoil
    code: int
    words: tuple[str, ...]


def setting(path: str, value: Any) -> Spoil:
    """Set a key of the case."""

    def spoil(toy: Toy) -> None:
        *keys, last = path.split(".")
        node: Any = toy.case
        for key in keys:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[last] = value

    return spoil


def data(name: str, change: Any) -> Spoil:
    """Change a dataset."""
    return lambda toy: setattr(toy, name, change(getattr(toy, name)))


def code(old: str, new: str) -> Spoil:
    """Change the model file."""

    def spoil(toy: Toy) -> None:
        assert old in MODEL
        toy.model = MODEL.replace(old, new)

    return spoil


def units(name: str, text: str) -> Any:
    return lambda ds: ds.assign({name: ds[name].assign_attrs(units=text)})


def where(name: str, index: Any, value: float) -> Any:
    def change(ds: Any) -> Any:
        values = ds[name].values.copy()
        values[index] = value
        return ds.assign({name: (ds[name].dims, values, ds[name].attrs)})

    return change


def regrown(ds: Any) -> Any:
    return ds.isel(cell=[0, 1])


def repeated(ds: Any) -> Any:
    return ds.assign_coords(cell=("cell", [0.0, 1.0, 1.0], {"units": "m"}))


SORRY = """
from assim import operator

class Sorry(operator.PointSample):
    def __check_init__(self):
        raise NotImplementedError("not yet")
"""
DATA = [
    Bad("no background", data("background", lambda ds: None), 3, ("background.nc", "no such file")),
    Bad("no observations", data("observations", lambda ds: None), 3, ("observations.nc",)),
    Bad("not NetCDF", data("background", lambda ds: b"nonsense"), 3, ("background.nc", "NetCDF")),
    Bad("empty file", data("observations", lambda ds: b""), 3, ("observations.nc",)),
    Bad("no variable", data("background", lambda ds: ds.rename(x="z")), 3, ("'x'", "z")),
    Bad("no observed variable", setting("observations.0.variable", "y"), 3, ("'y'", "it has x")),
    Bad("units of the background", data("background", units("x", "s")), 3, ("'kg'", "'s'")),
    Bad("units of observations", data("observations", units("x", "s")), 3, ("'kg'", "'s'")),
    Bad("dimension", data("background", lambda ds: ds.rename(cell="node")), 3, ("cell", "node")),
    Bad("length", data("background", regrown), 3, ("3 points", "got 2")),
    Bad("missing value", data("background", where("x", 1, np.nan)), 3, ("x", "finite")),
    Bad("all missing", data("observations", where("x", slice(None), np.nan)), 3, ("12 missing",)),
    Bad(
        "outside the window", setting("window.start", "2001-01-01"), 3, ("12 window", "2001-01-01")
    ),
    Bad(
        "outside the domain",
        data("observations", where("cell", slice(None), 9.0)),
        3,
        ("12 domain",),
    ),
    Bad("repeated position", data("background", repeated), 3, ("cell", "the model's grid")),
    Bad("zero stdev", data("background", where("x_stddev", 1, 0.0)), 3, ("x_stddev", "positive")),
    Bad(
        "negative stdev",
        data("observations", where("x_stddev", 2, -1.0)),
        3,
        ("x_stddev", "positive"),
    ),
    Bad("no stdev", data("observations", lambda ds: ds.drop_vars("x_stddev")), 3, ("x_stddev",)),
]
CASE = [
    Bad("unknown key", setting("observations.0.foo", 1), 2, ("observations.0.foo", "it may be")),
    Bad("misspelt key", setting("window.slot", 4), 2, ("window.slot", "did you mean 'slots'?")),
    Bad("misspelt table", setting("parameter", {}), 2, ("did you mean 'parameters'?",)),
    Bad("cycle of no windows", setting("cycle", {}), 2, ("cycle.windows: this key is missing",)),
    Bad("wrong type", setting("window.slots", "four"), 2, ("window.slots", "whole", "'four'")),
    Bad("no model", lambda toy: toy.case.pop("model"), 2, ("model: the table is missing",)),
    Bad("no observations table", lambda toy: toy.case.pop("observations"), 2, ("observations",)),
    Bad("no slots", lambda toy: toy.case["window"].pop("slots"), 2, ("window", "slots = N")),
    Bad("number for a date", setting("window.start", 3), 2, ("window.start", "date")),
    Bad("no date", setting("window.start", "yesterday"), 2, ("window.start", "yesterday")),
    Bad("end before start", setting("window.end", "1999-01-01"), 2, ("window.end", "later")),
    Bad("end off the steps", setting("window.end", "2000-01-02"), 2, ("window", "whole number of")),
    Bad("zero stdev", setting("background.fields", {"x": {"stdev": 0.0}}), 2,
        ("background.fields.x.stdev", "must be above 0")),
    Bad("negative error", setting("observations.0.error", {"stdev": -0.1}), 2,
        ("observations.0.error.stdev", "must be above 0")),
    Bad("zero covariance", setting("background.covariance", {"use": "Diagonal", "stdev": 0.0}), 2,
        ("background.covariance", "positive")),
    Bad("unknown field", setting("background.fields", {"xx": {"stdev": 1.0}}), 2,
        ("background.fields.xx", "no field", "x")),
    Bad("unknown field in the output", setting("output.variables", ["xx"]), 2,
        ("output.variables", "no field 'xx'", "x")),
    Bad("unknown field in the twin", setting("twin.stdev", {"xx": 1.0}), 2,
        ("twin.stdev.xx", "no field 'xx'")),
    Bad("steps beside an end", lambda toy: toy.case["window"].update(end="2000-01-05", steps=1), 2,
        ("window", "either end or steps")),
    Bad("unknown parameter", setting("parameters.rat", {"value": 1.0}), 2,
        ("parameters.rat", "did you mean 'rate'?")),
    Bad("value of a wrong shape", setting("parameters.rate", {"value": [1.0, 2.0]}), 2,
        ("parameters.rate.value", "must be a number")),
    Bad("unknown minimiser", setting("minimiser.use", "GaussNewtn"), 2,
        ("minimiser.use", "did you mean 'GaussNewton'?")),
    Bad("posterior for a minimiser", setting("minimiser.use", "assim.names.posterior:Laplace"), 2,
        ("minimiser.use", "no minimiser")),
    Bad("minimiser for a posterior", setting("posterior.use", "assim.names.minimiser:Adam"), 2,
        ("posterior.use", "no posterior")),
    Bad("unknown argument", setting("minimiser.n_outr", 3), 2,
        ("minimiser.n_outr", "did you mean 'n_outer'?")),
    Bad("mistyped argument", setting("minimiser.n_outer", "four"), 2,
        ("minimiser.n_outer", "whole", "'four'")),
    Bad("missing argument", setting("parameters.rate.prior", {"use": "Normal", "mean": 1.0}), 2,
        ("parameters.rate.prior", "'stdev'")),
    Bad("prior without its mean", setting("parameters.rate.prior", {
        "use": "TruncatedNormal", "mean": -1.0, "stdev": 1.0, "lower": 0.0}), 2,
        ("parameters.rate.prior", "excludes its own mean")),
    Bad("prior and value", setting("parameters.rate.value", 1.0), 2, ("parameters.rate", "either")),
    Bad("no covariance", data("background", lambda ds: ds.drop_vars("x_stddev")), 2,
        ("background.fields.x", "x_stddev")),
    Bad("nothing estimated", lambda toy: (
        setting("background.covariance", {"use": "none"})(toy), toy.case.pop("parameters")), 2,
        ("nothing to estimate",)),
    Bad("field of the operator", setting("observations.0.operator", {
        "use": "PointSample", "variable": "y"}), 3, ("'y'", "PointSample")),
]  # fmt: skip
MODELS = [
    Bad("unknown model", setting("model.use", "Lorenz97"), 2, ("model.use", "Lorenz96")),
    Bad("no model file", setting("model.use", "toi.py:Decay"), 2, ("model.use", "toi.py")),
    Bad("no such class", setting("model.use", "toy.py:Decai"), 2, ("model.use", "'Decay'")),
    Bad("no such module", setting("model.use", "nowhere:Decay"), 2, ("model.use", "nowhere")),
    Bad("no model class", setting("model.use", "toy.py:Label"), 2, ("model.use", "no model")),
    Bad("raises on import", code("import numpy as np", "import numpy as np\n1 / 0"), 2,
        ("model.use", "ZeroDivisionError", "toy.py, line 7")),
    Bad("no syntax", code("import numpy as np", "import ("), 2, ("SyntaxError", "toy.py, line 6")),
    Bad("raises in its step", code("leak = 0.1", "leak = theta['leak']"), 2,
        ("model", "KeyError", "leak", "toy.py, line")),
    Bad("breaks the rules of JAX", code("+ leak", "+ leak[:, None]"), 2,
        ("model", "ValueError", "toy.py, line")),
    Bad("changes the shape", code('{"x": y}', '{"x": y[:2]}'), 2, ("model", "shape", "'x'")),
    Bad("changes the dtype", code('{"x": y}', '{"x": y.astype(jnp.float32)}'), 2,
        ("model", "dtype", "float32")),
    Bad("changes the keys", code('return {"x"', 'return {"y"'), 2, ("model", "['x']", "['y']")),
    Bad("unlabelled parameter", code('{"rate": jnp', '{"rat": jnp'), 2, ("model", "rat")),
    Bad("raises when it is made", lambda toy: (
        setting("observations.0.operator", {"use": "toy.py:Sorry"})(toy),
        setattr(toy, "model", MODEL + SORRY)), 2,
        ("observations.0.operator", "Sorry failed: NotImplementedError: not yet")),
    Bad("unknown time unit", code('"days"', '"hour"'), 2,
        ("model", "'hour'", "'hours'", "toy.py, line")),
    Bad("raises in its labels", code("cell = Coordinate", "cell = Coordinat"), 2,
        ("model", "NameError", "toy.py, line")),
    Bad("reads no JSON", code("leak = 0.1", "leak = __import__('json').loads('{')"), 2,
        ("model", "JSONDecodeError", "toy.py, line")),
]  # fmt: skip


@pytest.mark.parametrize("bad", [*DATA, *CASE, *MODELS], ids=lambda bad: bad.name)
def test_bad_input(bad: Bad, toy: Toy) -> None:
    bad.spoil(toy)
    result = toy.write().run()
    said = result.stderr
    assert result.exit_code == bad.code, said or result.exception
    for word in bad.words:
        assert word in said
    assert "Traceback" not in said
    assert not toy.out.exists()


def test_truncated_file(toy: Toy) -> None:
    toy.write()
    path = toy.folder / "observations.nc"
    path.write_bytes(path.read_bytes()[:2000])
    result = toy.run()
    assert result.exit_code == 3
    assert "observations.nc" in result.stderr


def test_all_errors_at_once(toy: Toy) -> None:
    toy.case["window"]["slotz"] = 3
    toy.case["minimiser"]["use"] = "Gauss"
    toy.case["parameters"]["rat"] = {"value": 1.0}
    toy.case["observations"][0]["likelihood"] = {"use": "Gausian"}
    result = toy.write().run()
    assert result.exit_code == 2
    for word in ("4 errors in", "window.slotz", "minimiser.use", "parameters.rat", "'Gaussian'"):
        assert word in result.stderr


def test_all_bad_files_at_once(toy: Toy) -> None:
    toy.background, toy.observations = None, None
    result = toy.write().run()
    assert result.exit_code == 3
    assert "background.nc" in result.stderr
    assert "observations.nc" in result.stderr


def test_case_file_itself(toy: Toy) -> None:
    from tests.run.toy import invoke

    missing = invoke("run", str(toy.folder / "no.toml"))
    assert (missing.exit_code, "no.toml" in missing.stderr) == (2, True)
    toy.write()
    (toy.folder / "case.toml").write_text("a = [")
    broken = toy.run()
    assert (broken.exit_code, "not valid TOML" in broken.stderr) == (2, True)


def test_rows_are_counted_and_oddities_noted(toy: Toy) -> None:
    ds = observations().isel(obs=[5, 0, 1, 1, 2, 4, 11, 3])
    time, x = ds["time"].values.copy(), ds["x"].values.copy()
    time[-1], x[0] = 9.0, np.nan
    toy.observations = ds.assign(x=("obs", x, ds["x"].attrs)).assign_coords(
        time=("obs", time, ds["time"].attrs)
    )
    result = toy.write().run(command="check")
    assert result.exit_code == 0, result.stderr
    for words in ("6 of 8 used", "1 missing", "1 window", "1 values repeat"):
        assert words in result.stdout
    for words in ("not in the order of time", "adjoint", "memory", "Every check passed"):
        assert words in result.stdout
