"""A small Lorenz-96 twin on files, of one window or of a cycle, and hosts that step it in NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from assim.case.toml import write

N, DT, SLOTS, STEPS, F = 12, 0.05, 4, 2, 8.0
END = SLOTS * STEPS * DT


def tendency(x: np.ndarray, f: float = F) -> np.ndarray:
    """Lorenz (1996), eq. 1."""
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + f


def step(x: np.ndarray, f: float = F) -> np.ndarray:
    """One classical Runge-Kutta step."""
    k1 = tendency(x, f)
    k2 = tendency(x + DT / 2 * k1, f)
    k3 = tendency(x + DT / 2 * k2, f)
    k4 = tendency(x + DT * k3, f)
    return x + DT * (k1 + 2 * k2 + 2 * k3 + k4) / 6


def background() -> np.ndarray:
    """The state at the window's start that the hosts begin with."""
    x = F + np.sin(np.arange(N))
    for _ in range(40):
        x = step(x)
    return x


def observed(edges: int = SLOTS, steps: int = STEPS, seed: int = 1) -> xr.Dataset:
    """Every second site at so many slot edges after the first, with errors of 0.5."""
    rng = np.random.default_rng(seed)
    x, rows = background() + rng.standard_normal(N), []
    for number in range(1, edges + 1):
        for _ in range(steps):
            x = step(x)
        rows += [(number * steps * DT, site, x[site]) for site in range(0, N, 2)]
    time, site, value = np.array(rows).T
    value = value + 0.5 * rng.standard_normal(len(value))
    return xr.Dataset(
        {"x": ("obs", value, {"units": "1"})},
        {"time": ("obs", time, {"units": "1"}), "site": ("obs", site, {"units": "1"})},
    )


def tables(**changed: Any) -> dict[str, Any]:
    """A case whose background is the host's."""
    return {
        "title": "Host",
        "model": {"use": "Lorenz96", "n": N, "dt": DT},
        "window": {"start": 0.0, "slots": SLOTS, "steps": STEPS},
        "background": {"covariance": {"use": "Diagonal", "stdev": 1.0}},
        "observations": [{"file": "observations.nc", "variable": "x", "error": {"stdev": 0.5}}],
        "minimiser": {"use": "GaussNewton", "starts": 1, "tolerance": 1e-12, "n_outer": 20},
        "posterior": {"use": "none"},
        "output": {"keep": ["analysis", "trajectory"]},
        **changed,
    }


def cycle(windows: int = 3) -> dict[str, Any]:
    """The tables of windows in sequence."""
    method = {"use": "FourDVar", "carry": "ensemble", "members": 8}
    cycle = {"windows": windows, "method": method}
    return tables(cycle=cycle, posterior={"use": "Laplace"})


def written(folder: Path, case: dict[str, Any], windows: int = 1) -> Path:
    """The case file, with its observations beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.toml").write_text(write(case), encoding="utf-8")
    window = case["window"]
    observed(windows * window["slots"], window["steps"]).to_netcdf(folder / "observations.nc")
    return folder / "case.toml"


def by_itself(folder: Path, case: dict[str, Any], out: Path, windows: int = 1) -> None:
    """Run the case by the engine alone, with the same background in a file."""
    from rich.console import Console

    from assim.case.case import read_case
    from assim.run.cycle.cycle import run_cycle
    from assim.run.terminal.screen import Screen
    from assim.run.window import run_case

    ring = ("site", np.arange(float(N)), {"units": "1"})
    values = {"x": ("site", background(), {"units": "1"})}
    case = {**case, "background": {**case["background"], "file": "background.nc"}}
    path = written(folder, case, windows)
    xr.Dataset(values, {"site": ring}).to_netcdf(folder / "background.nc")
    run = run_cycle if "cycle" in case else run_case
    assert run(read_case(path), out, Screen(Console(), quiet=True)) == 0


def opened(path: Path) -> xr.Dataset:
    """A file of results, in memory."""
    with xr.open_dataset(path, decode_times=False) as file:
        return file.load()


# ---- a host's own step, with its tangent and adjoint ---------------------------------------------


def described(**changed: Any) -> dict[str, Any]:
    """The case of a host whose own step is the window's model, with the forcing estimated."""
    model = {
        "use": "HostModel",
        "dt": DT,
        "fields": {"x": {"dims": ["site"], "long_name": "Lorenz-96 variable"}},
        "coordinates": {"site": {"size": N, "period": float(N)}},
        "parameters": {"F": {"value": F, "long_name": "forcing"}},
    }
    prior = {"use": "Normal", "mean": F, "stdev": 0.5}
    return tables(model=model, parameters={"F": {"prior": prior}}, **changed)


def linear(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The tangent linear of the tendency at x."""
    down, up = np.roll(x, -1) - np.roll(x, 2), np.roll(v, -1) - np.roll(v, 2)
    return up * np.roll(x, 1) + down * np.roll(v, 1) - v


def transposed(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Its adjoint."""
    right, left = np.roll(x, 2) * np.roll(w, 1), np.roll(x, -1) * np.roll(w, -2)
    return right - left + (np.roll(x, -2) - np.roll(x, 1)) * np.roll(w, -1) - w


TO, WEIGHTS = DT * np.array([0.0, 0.5, 0.5, 1.0]), DT * np.array([1.0, 2.0, 2.0, 1.0]) / 6


def stages(x: np.ndarray, f: float) -> list[np.ndarray]:
    """The states of the four stages of a step."""
    several, k = [], np.zeros(N)
    for to in TO:
        several.append(x + to * k)
        k = tendency(several[-1], f)
    return several


def host_step(x: Any, theta: Any, t: float) -> Any:
    """As `register_model` takes it."""
    return {"x": step(x["x"], float(theta["F"]))}


def host_tangent(x: Any, theta: Any, t: float, dx: Any, dtheta: Any) -> Any:
    k, v = np.zeros(N), dx["x"].copy()
    for y, to, weight in zip(stages(x["x"], float(theta["F"])), TO, WEIGHTS, strict=True):
        k = linear(y, dx["x"] + to * k) + dtheta["F"]
        v += weight * k
    return {"x": v}


def host_adjoint(x: Any, theta: Any, t: float, by: Any) -> Any:
    k, w, g = np.zeros(N), by["x"].copy(), 0.0
    several = zip(stages(x["x"], float(theta["F"])), TO, WEIGHTS, strict=True)
    for y, to, weight in reversed(list(several)):
        k = weight * by["x"] + k
        v, g = transposed(y, k), g + k.sum()
        w += v
        k = to * v
    return {"x": w}, {"F": g}
