"""A tiny model on a grid with a scalar field, and its files: what the tests of files share."""

from dataclasses import fields

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.analysis.analyse import Analysis, Quantity
from assim.analysis.posterior import Posterior
from assim.files.netcdf import flag_attributes
from assim.files.read.observations import to_instrument
from assim.files.read.quality import Uncertainty
from assim.files.read.states import read_state
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.files.write.feedback import point_table
from assim.problem.arrays import Coordinate, Grid, Label, Labels, Trajectory
from assim.problem.constraint import strong_constraint
from assim.problem.control import Physical
from assim.problem.covariance import Diagonal
from assim.problem.departure import Simulation
from assim.problem.model import AbstractModel
from assim.problem.observation import ErrorScale
from assim.problem.prior import LogNormal
from assim.solve.minimise.loop import End, Loop, Minimum, Solution
from assim.solve.minimise.status import Status
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import LaplacePosterior

UNITS = "m s-1"


class Toy(AbstractModel):
    """A field u(y, x) that decays to the scalar c, a day a step."""

    parameters: dict
    dt: float = eqx.field(default=1.0, static=True)
    time_unit: str = eqx.field(default="days", static=True)

    def step(self, x, theta, t):
        del t
        decay = jnp.exp(-theta["rate"] * self.dt)
        return {"u": x["c"] + decay * (x["u"] - x["c"]), "c": x["c"]}

    def labels(self):
        return Labels(
            state={
                "u": Label(("y", "x"), UNITS, "wind"),
                "c": Label((), UNITS, "climate"),
            },
            parameters={"rate": Label((), "day-1", "decay rate")},
            coordinates={
                "y": Coordinate(np.array([0.0, 1.0]), "km", "northward distance"),
                "x": Coordinate(np.array([0.0, 1.0, 2.0]), "km", "eastward distance"),
            },
            time_unit=self.time_unit,
        )


def toy(time_unit="days"):
    return Toy({"rate": jnp.asarray(0.1)}, time_unit=time_unit)


def state(seed=0):
    return {"u": np.random.default_rng(seed).normal(size=(2, 3)), "c": np.asarray(1 / 3)}


def background_file():
    """A valid background in memory, as a user may make it."""
    u = np.arange(6.0).reshape(2, 3)
    return xr.Dataset(
        {
            "u": (("y", "x"), u, {"units": UNITS}),
            "c": ((), 0.5, {"units": UNITS}),
            "u_stddev": (("y", "x"), np.full((2, 3), 0.1), {"units": UNITS}),
        },
        {"y": ("y", [0.0, 1.0], {"units": "km"}), "x": ("x", [0.0, 1.0, 2.0], {"units": "km"})},
    )


def observation_file(values=(1.0, 2.0, 3.0, 4.0), units="days since 2000-01-01"):
    """A valid point table in memory: one value a day."""
    n = len(values)
    return xr.Dataset(
        {
            "u": ("obs", np.array(values), {"units": UNITS, "long_name": "observed wind"}),
            "u_stddev": ("obs", np.full(n, 0.1), {"units": UNITS}),
        },
        {
            "time": ("obs", np.arange(n) + 0.0, {"units": units}),
            "x": ("obs", np.linspace(0.0, 2.0, n), {"units": "km"}),
            "y": ("obs", np.linspace(0.0, 1.0, n), {"units": "km"}),
        },
    )


def made(table, model, window, **given):
    """As `to_instrument`, with errors as `read_observations` takes them."""
    names = [field.name for field in fields(Uncertainty) if field.name in given]
    uncertainty = Uncertainty(**{name: given.pop(name) for name in names})
    return to_instrument(table, model, window, uncertainty=uncertainty, **given)


def observations_dataset(instruments, labels, window):
    """Only the observations, in the layout of observations.nc."""
    return point_table([(instrument, []) for instrument in instruments], labels, window)


def instruments(model, window):
    """Two instruments from two tables; the second has rows of every fate."""
    labels = model.labels()
    second = observation_file((1.0, np.nan, 2.0, 5.0, 9.0))
    flags = ("obs", np.array([0, 0, 1, 0, 0], np.int32), flag_attributes("quality flag"))
    second = second.assign(u_qc=flags)
    scale = ErrorScale("sigma", LogNormal(1.0, 0.5))
    found = []
    for dataset, name, given in ((observation_file(), "u", None), (second, "speed", scale)):
        table = open_observations(dataset, "u", labels)
        found.append(made(table, model, window, scale=given, name=name))
    return found


def _simulation(problem, group, seed):
    draw, edges = np.random.default_rng(seed).normal, np.asarray(problem.window.edges)
    states = {"u": draw(size=(edges.size, 2, 3)), "c": draw(size=edges.size)}
    parameters = {"rate": np.asarray(0.1)}
    start = {name: value[0] for name, value in states.items()}
    return Simulation(
        Physical(start, parameters, {"sigma": np.asarray(1.0)}, {}, {}, {}),
        Trajectory(edges, states, parameters, Grid.of(problem.model.labels())),
        {i.observations.name: draw(size=i.used.sum()) for i in group},
        {},
    )


def _draws(seed):
    draw = np.random.default_rng(seed).normal
    state = {"u": draw(size=(8, 2, 3)), "c": draw(size=8)}
    return Physical(state, {"rate": draw(size=8)}, {"sigma": draw(size=8)}, {}, {}, {})


def posterior(after, draws):
    return Posterior(
        method="laplace",
        kind="laplace",
        trust=Trust.CERTIFIED,
        advice="k̂ = 0.30: close to the true one.",
        certificates={"k_hat": 0.3, "effective_draws": float("nan"), "left_out": 0.25},
        log_evidence=-3.0,
        quantities={
            "rate": Quantity(0.11, 0.02, 0.1, 0.07, 0.1, 0.14, "day-1"),
            "sigma": Quantity(1.1, float("inf"), 1.0, 0.5, 1.0, 2.0, "1"),
        },
        chi=np.zeros((8, 2)),
        draws=draws,
        weights=np.full(8, 1 / 8),
        trajectory_stdev={n: 0 * v + 0.3 for n, v in after.trajectory.states.items()},
    )


def analysis():
    """An analysis put together by hand, with its instruments."""
    model = toy()
    window = read_window(observation_file(), model)
    group = instruments(model, window)
    problem = strong_constraint(
        model,
        window,
        read_state(background_file(), model),
        Diagonal(1.0),
        [instrument.observations for instrument in group],
        parameters={"rate": LogNormal(0.1, 0.5)},
    )
    chi = np.full(problem.size(), 0.1)
    before, after = (_simulation(problem, group, seed) for seed in (0, 1))
    draws, prior_draws = (_draws(seed) for seed in (2, 3))
    costs = {"background": 1.0, "observation": 2.0, "model_error": 0.0, "parameters": 0.5}
    return group, Analysis(
        problem=problem,
        solution=Solution(
            chi=chi,
            cost=3.5,
            gradient_norm=1e-9,
            status=Status.CONVERGED,
            loops=(Loop(0, 9.0, 1.0, 3, 0.5), Loop(1, 5.0, 1e-9, 4, 0.1)),
            minima=(Minimum(5.0, 3, chi), Minimum(7.0, 1, chi)),
            ends=(
                *[End(5.0, Status.CONVERGED)] * 3,
                End(7.0, Status.CONVERGED),
                End(float("nan"), Status.NON_FINITE),
            ),
            state=None,
        ),
        laplace=LaplacePosterior(
            gaussian=Gaussian(chi, np.array([3.0, 1.0]), np.eye(chi.size)[:, :2]),
            left_out=0.25,
            log_evidence=-3.0,
            hessian="exact",
        ),
        background=before,
        analysis=after,
        posteriors={"laplace": posterior(after, draws)},
        chosen="laplace",
        prior_draws=prior_draws,
        cost_background={**costs, "total": 9.0},
        cost_analysis={**costs, "total": 3.5},
        prior_stdev=problem.control.stdev(),
        log_constant=float(problem.log_constant()),
        chi_squared=6.6,
        seconds={"minimise": 1.5},
    )
