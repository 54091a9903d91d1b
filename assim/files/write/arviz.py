"""A posterior as ArviZ reads it: a DataTree with the names of its groups.

`arviz.from_netcdf` and `xarray.open_datatree` read the file that `to_netcdf` of it writes.
"""

from math import isfinite

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.analysis.analyse import Analysis
from assim.analysis.posterior import Posterior
from assim.files.names import variable_name
from assim.files.netcdf import time_variable
from assim.files.write.results import posterior_dataset
from assim.findings.fit import verdict_of
from assim.problem.departure import Problem
from assim.problem.observation import Observations
from assim.problem.predictive import counted, predictive
from assim.statistics.resampling import systematic

_PRIOR = "_prior"


def to_datatree(
    analysis: Analysis, posterior: Posterior | None = None, seed: int = 0
) -> xr.DataTree:
    """Groups posterior, prior, posterior_predictive, log_likelihood, observed_data, sample_stats.

    All have dimensions `chain` and `draw` but `observed_data`. Members of unequal weight are
    resampled, systematically, to as many of equal weight, as ArviZ knows no weights. Readings of an
    instrument lie along `<name>_obs`, with coordinates `<name>_time` and positions; those of weight
    0 are left out. A value of `log_likelihood` is that of one reading, to the power of its weight;
    instruments whose errors are correlated have none.

    Args:
        analysis: an analysis with a posterior.
        posterior: which; the one reported where None.
        seed: of the predictive draws.

    Raises:
        ValueError: the analysis has no posterior.
    """
    posterior = posterior or analysis.posterior
    if posterior is None:
        raise ValueError("to_datatree: the analysis has no posterior; ask for one")
    members = posterior_dataset(analysis, posterior)
    chosen, chains = _equal(posterior), posterior.chains
    names = [str(name) for name in members.data_vars if name != "weight"]
    own = [name for name in names if not name.endswith(_PRIOR)]
    before = {n.removesuffix(_PRIOR): members[n] for n in names if n.endswith(_PRIOR)}
    prior = xr.Dataset({n: v.rename({v.dims[0]: "realization"}) for n, v in before.items()})
    chi = np.asarray(posterior.chi)[chosen]
    problem = counted(analysis.problem)
    predicted = predictive(problem, jnp.asarray(chi), jax.random.key(seed))
    observations, places = problem.observations, _places(problem)
    tree = {
        "posterior": _by_chain(members[own].isel(realization=chosen), chains),
        "prior": _by_chain(prior.drop_vars("realization", errors="ignore"), 1),
        "posterior_predictive": _rows(predicted.readings, observations, chains, places),
        "log_likelihood": _rows(predicted.log_densities, observations, chains, places),
        "observed_data": xr.Dataset({
            variable_name(o.name): (_row_dim(o), np.asarray(o.values), {"units": o.units})
            for o in observations
        }).assign_coords(places),
        "sample_stats": _statistics(predicted.log_density, analysis, posterior, chains),
    }  # fmt: skip
    root = xr.Dataset(attrs={"inference_library": "assim", "sampling_method": posterior.method})
    return xr.DataTree.from_dict({"/": root, **{k: v for k, v in tree.items() if v.data_vars}})


def _equal(posterior: Posterior) -> np.ndarray:
    """Members of equal weight, by number; all of them where their weights are equal."""
    weights, number = posterior.weights, posterior.weights.size
    equal = np.ptp(weights) <= 1e-9 / number
    return np.arange(number) if equal else np.asarray(systematic(weights, number))


def _chained(values: np.ndarray | jax.Array, chains: int) -> np.ndarray:
    """An array of members as one of chains and draws."""
    array = np.asarray(values)
    return array.reshape(chains, len(array) // chains, *array.shape[1:])


def _by_chain(dataset: xr.Dataset, chains: int) -> xr.Dataset:
    """`realization` as chain and draw, first in every variable."""
    content = {}
    for name, variable in dataset.data_vars.items():
        dims = ("chain", "draw", *variable.dims[1:])
        content[name] = xr.Variable(dims, _chained(variable.values, chains), variable.attrs)
    places = {n: v for n, v in dataset.coords.items() if "realization" not in (n, *v.dims)}
    return _numbered(xr.Dataset(content, places))


def _rows(
    values: dict[str, jax.Array],
    observations: tuple[Observations, ...],
    chains: int,
    places: dict[str, xr.Variable],
) -> xr.Dataset:
    """Values of every reading, and when and where it was made."""
    dataset = xr.Dataset({
        variable_name(o.name): (("chain", "draw", _row_dim(o)), _chained(values[o.name], chains))
        for o in observations
        if o.name in values
    })  # fmt: skip
    here = {name: place for name, place in places.items() if place.dims[0] in dataset.dims}
    return _numbered(dataset.assign_coords(here))


def _places(problem: Problem) -> dict[str, xr.Variable]:
    """Time and positions of the readings, along the rows of their instrument."""
    unit, reference = problem.model.labels().time_unit, problem.window.reference
    places = {}
    for o in problem.observations:
        name, dim = variable_name(o.name), _row_dim(o)
        times = time_variable(np.asarray(o.points.times), unit, reference, dim)
        places[f"{name}_time"] = xr.Variable(*times)
        for axis, column in o.points.coordinates.items():
            places[f"{name}_{axis}"] = xr.Variable(dim, np.asarray(column))
    return places


def _row_dim(o: Observations) -> str:
    return f"{variable_name(o.name)}_obs"


def _statistics(
    log_density: dict[str, jax.Array], analysis: Analysis, posterior: Posterior, chains: int
) -> xr.Dataset:
    """Log density of all readings for every draw, and the certificates."""
    total = np.sum([np.asarray(v) for v in log_density.values()], axis=0)
    numbers = {n: v for n, v in posterior.certificates.items() if isfinite(v)}
    content = {"log_likelihood": (("chain", "draw"), _chained(total, chains))}
    words = {"trust": str(posterior.trust), "verdict": str(verdict_of(analysis, posterior))}
    return _numbered(xr.Dataset(content, attrs={**words, **numbers}))


def _numbered(dataset: xr.Dataset) -> xr.Dataset:
    sizes = {dim: dataset.sizes[dim] for dim in ("chain", "draw") if dim in dataset.sizes}
    return dataset.assign_coords({dim: np.arange(size) for dim, size in sizes.items()})
