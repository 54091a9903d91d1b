"""Diagnostics of an analysis, against dense matrices in NumPy."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from assim import (
    Derived,
    ErrorScale,
    ModelError,
    Observations,
    Points,
    Window,
    analyse,
    finding,
    likelihood,
    strong_constraint,
    weak_constraint,
)
from assim.analysis.evaluation import Assumed, Departed
from assim.files.write.results import diagnostics_dataset
from assim.findings.consistency import fit
from assim.models import Lorenz96
from assim.problem.covariance import Blocks, Dense, Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import Jeffreys, LogNormal
from assim.solve import columns
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace
from tests.solve.linear import block_diagonal, correlated, driven, ring, stacked

CLOSE = 1e-10  # relative to the largest entry
CASES = {"driven": (driven, "u", "site"), "ring": (ring, "tracer", "x")}
EXACT = GaussNewton(tolerance=1e-10, inner_tolerance=1e-13)
PLAIN = Laplace(certificate=0, members=20)


def apart(got, expected):
    return np.max(np.abs(np.asarray(got) - expected)) / np.max(np.abs(expected))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param][0]()


class Matrices(NamedTuple):
    """One linear problem as matrices on all that is uncertain, z with covariance c."""

    c: np.ndarray
    blocks: dict[str, slice]  # of z
    g: np.ndarray
    r: np.ndarray
    innovation: np.ndarray
    rows: dict[str, slice]  # of instruments

    @property
    def s(self):
        return self.g @ self.c @ self.g.T + self.r

    @property
    def gain(self):
        return self.c @ self.g.T @ np.linalg.inv(self.s)


def split(name, noise=None, formulation="forcing"):
    """A linear case whose last edge is another instrument's, as a problem and as matrices.

    Under weak constraint where the covariance of a jump of the field is given.
    """
    make, field, dim = CASES[name]
    case = make()
    n = case.problem.control.state[field].size
    edges = sorted(case.operators)
    groups = {"early": edges[:-1], "late": edges[-1:]}
    (whole,) = case.problem.observations
    counts = np.cumsum([0, *(len(case.values[k]) for k in edges)])
    rows = {"early": slice(0, counts[-2]), "late": slice(counts[-2], counts[-1])}
    instruments = [
        Observations(
            group,
            np.concatenate([case.values[k] for k in ks]),
            Points.at(
                np.asarray(whole.points.times)[rows[group]],
                {dim: np.asarray(whole.points.coordinates[dim])[rows[group]]},
            ),
            PointSample(field),
            covariance=Blocks(
                [Dense(case.errors[k]) for k in ks], [len(case.values[k]) for k in ks]
            ),
        )
        for group, ks in groups.items()
    ]
    given = (
        case.problem.model,
        case.problem.window,
        {field: case.background[:n]},
        Dense(case.covariance[:n, :n]),
        instruments,
        case.problem.control.parameters,
    )
    innovation, g, r = stacked(case)
    blocks = {"background": slice(0, n), "parameters": slice(n, case.background.size)}
    blocks = {k: b for k, b in blocks.items() if b.start < b.stop}
    matrices = Matrices(case.covariance, blocks, g, r, innovation, rows)
    if noise is None:
        return strong_constraint(*given), matrices
    error = ModelError(Dense(noise))
    problem = weak_constraint(*given, model_error=error, formulation=formulation)
    return problem, jumping(case, matrices, noise)


def jumping(case, matrices, noise):
    """The same with a jump of the field at the end of every slot."""
    slots, n = len(case.propagators) - 1, len(noise)
    added = [
        np.vstack(
            [
                h @ case.propagators[k - j][:, :n] if j <= k else np.zeros((len(h), n))
                for k, h in sorted(case.operators.items())
            ]
        )
        for j in range(1, slots + 1)
    ]
    size = len(matrices.c)
    blocks = {**matrices.blocks, "model_error": slice(size, size + slots * n)}
    c = block_diagonal([matrices.c, *[noise] * slots])
    return matrices._replace(c=c, blocks=blocks, g=np.hstack([matrices.g, *added]))


# ---- innovations ---------------------------------------------------------------------------------


def test_innovation_stdev_is_that_of_hbht_and_r(case):
    _, g, r = stacked(case)
    (got,) = finding.innovation_stdev(case.problem).values()
    assert apart(got, np.sqrt(np.diag(g @ case.covariance @ g.T + r))) < CLOSE


def test_prior_variance_from_random_columns(case, monkeypatch):
    """Within four of its own standard errors, √(2/200) of the variance."""
    _, g, _ = stacked(case)
    monkeypatch.setattr(columns, "EXACT_LIMIT", 3)
    predictions = lambda chi: case.problem.simulate(chi).predictions  # noqa: E731
    origin = jnp.zeros(case.problem.size())
    (got,) = columns.prior_variance(predictions, origin, None, jax.random.key(3)).values()
    error = np.asarray(got) / np.diag(g @ case.covariance @ g.T) - 1
    assert 0 < np.max(np.abs(error)) < 4 * 0.1
    assert np.sqrt(np.mean(error**2)) < 0.2


def observed(kind, scale=None, model=None):
    """The state of Lorenz-96 at the window's start, read as it is."""
    model = model or Lorenz96(n=8)
    window = Window.regular(model, 2, 1)
    points = Points.at(np.zeros(8), {"site": np.arange(8.0)})
    o = Observations("x", np.full(8, 3.0), points, PointSample("x"), 0.5, kind, scale)
    background = {"x": np.linspace(2.0, 4.0, 8)}
    return strong_constraint(model, window, background, Diagonal(0.3), o)


@pytest.mark.parametrize(
    ("kind", "variance"),
    [
        (likelihood.Gaussian(), lambda p: 0.25 + 0 * p),
        (likelihood.LogNormal(), lambda p: 0.25 * p**2),
        (likelihood.Poisson(), lambda p: p),
    ],
)
def test_innovation_stdev_of_every_kind_of_error(kind, variance):
    (got,) = finding.innovation_stdev(observed(kind)).values()
    expected = np.sqrt(0.09 + variance(np.linspace(2.0, 4.0, 8)))
    assert apart(got, expected) < CLOSE


def test_error_scale_enters_at_its_median_and_moves_nothing():
    problem = observed(likelihood.Gaussian(), ErrorScale("sigma", Jeffreys(2.0)))
    (got,) = finding.innovation_stdev(problem).values()
    assert apart(got, np.full(8, np.sqrt(0.09 + 4 * 0.25))) < CLOSE


def test_a_flat_coordinate_makes_innovations_infinite():
    variance = columns.prior_variance(
        lambda chi: {"p": jnp.stack([chi[0] + chi[1], 2 * chi[1]])},
        jnp.zeros(2),
        jnp.array([1.0, 0.0]),
        None,
    )
    np.testing.assert_allclose(variance["p"], [np.inf, 4.0])


# ---- consistency of the cost ---------------------------------------------------------------------


@functools.cache
def solved(name, *formulation):
    noise = correlated(6, 0.3, 1.5) if formulation else None
    problem, matrices = split(name, noise, *formulation)
    return matrices, analyse(problem, EXACT, PLAIN)


@pytest.fixture(
    scope="module",
    params=[
        "driven",
        "driven-state",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ring", "driven-forcing")),
    ],
)
def analysed(request):
    return solved(*request.param.split("-"))


def test_influence_is_the_diagonal_of_the_hat_matrix(analysed):
    m, analysis = analysed
    hat = np.diag(m.g @ m.gain)
    for name, rows in m.rows.items():
        one = finding.consistency(analysis).instruments[name]
        assert apart(one.influence, hat[rows]) < CLOSE
        assert abs(one.signal - hat[rows].sum()) < CLOSE * hat[rows].sum()
        spread = np.diag(m.g @ (m.c - m.gain @ m.s @ m.gain.T) @ m.g.T)
        assert apart(one.predicted_stdev, np.sqrt(spread)[rows]) < CLOSE


def test_expected_costs(analysed):
    """E[2J_k] of the prior = tr(C_k⁻¹ E[δz_k δz_kᵀ]), δz = K(y - Gz_b), in closed form
    tr(G_k C_k G_kᵀ S⁻¹); and of an instrument tr(R_k⁻¹ E[d dᵀ]).
    """
    m, analysis = analysed
    found = finding.consistency(analysis)
    inverse = np.linalg.inv(m.s)
    assert set(found.terms) == set(m.blocks)
    for name, block in m.blocks.items():
        expected = np.trace(m.g[:, block] @ m.c[block, block] @ m.g[:, block].T @ inverse) / 2
        assert abs(found.terms[name].expected - expected) < 1e-9 * expected
        cost = m.innovation @ inverse @ m.g[:, block] @ m.c[block, block] @ m.g[:, block].T
        assert abs(found.terms[name].cost - cost @ inverse @ m.innovation / 2) < 1e-9
    departures = (np.eye(len(m.r)) - m.g @ m.gain) @ m.s @ (np.eye(len(m.r)) - m.g @ m.gain).T
    for name, rows in m.rows.items():
        expected = np.trace(np.linalg.solve(m.r[rows, rows], departures[rows, rows])) / 2
        assert abs(found.instruments[name].expected - expected) < 1e-9 * expected


def test_chi_squared(analysed):
    m, analysis = analysed
    found = finding.consistency(analysis)
    expected = m.innovation @ np.linalg.solve(m.s, m.innovation)
    assert abs(found.chi_squared - expected) < 1e-9 * expected
    assert found.degrees == len(m.r)
    assert abs(found.p_value - scipy.stats.chi2.sf(expected, len(m.r))) < 1e-9


def test_standard_deviation_of_costs_is_bounded(analysed):
    """Var[2J_k] = 2 tr(P_k²), with P_k the covariance of what is squared."""
    m, analysis = analysed
    keep = np.eye(len(m.r)) - m.g @ m.gain
    for name, rows in m.rows.items():
        root = np.linalg.inv(np.linalg.cholesky(m.r[rows, rows]))
        p = root @ (keep @ m.s @ keep.T)[rows, rows] @ root.T
        exact = np.sqrt(2 * np.trace(p @ p)) / 2
        bound = finding.consistency(analysis).instruments[name].expected_stdev
        assert exact <= bound * (1 + 1e-12) and bound < 3 * exact


def test_desroziers(analysed):
    """From whitened departures, values that are not NaN where their squares are positive."""
    m, analysis = analysed
    after = m.innovation - m.g @ m.gain @ m.innovation
    prior = m.g @ m.c @ m.g.T
    state = bool(analysis.problem.control.later)
    for name, rows in m.rows.items():
        one = finding.consistency(analysis).instruments[name]
        whiten = np.linalg.inv(np.linalg.cholesky(m.r[rows, rows]))
        before, left = whiten @ m.innovation[rows], whiten @ after[rows]
        assert abs(one.error_variance_ratio - np.mean(before * left)) < 1e-9
        assert abs(one.error_stdev - np.sqrt(np.mean(np.diag(m.r)[rows]))) < CLOSE
        assert one.nonlinearity < 1e-9
        if state:  # the prior of states is in their jumps
            assert np.isnan(one.background_stdev) and np.isnan(one.background_ratio)
            continue
        assumed = np.mean(np.diag(whiten @ prior[rows, rows] @ whiten.T))
        ratio = np.mean(before * (before - left)) / assumed
        assert abs(one.background_variance_ratio - ratio) < 1e-9
        assert abs(one.background_stdev - np.sqrt(np.mean(np.diag(prior)[rows]))) < CLOSE


def test_a_negative_estimate_keeps_its_sign():
    """d_a = -1 and d_i = 1: σ_o² comes to -1, and has no root."""
    moments = columns.Moments(*({"x": np.full(2, 0.5)} for _ in range(4)))
    departures = Departed(*({"x": v * np.ones(2)} for v in (1.0, -1.0, -2.0)))
    ones, rest = {"x": np.ones(2)}, ({}, 0, 0.0)
    one = fit(departures, moments, Assumed(ones, ones, *rest, ones, True), "x")
    assert one.error_variance_ratio == -1.0 and np.isnan(one.error_ratio)
    assert one.background_variance_ratio == 4.0 and one.background_ratio == 2.0
    assert one.nonlinearity == 0.0


@pytest.mark.slow
def test_innovations_are_exact_with_random_columns(monkeypatch):
    """Of a linear problem with fewer eigenpairs than controls they are those of the background."""
    monkeypatch.setattr(columns, "EXACT_LIMIT", 3)
    problem, m = split("driven")
    settings = Laplace(rank=2, dense_limit=0, certificate=0, members=2)
    analysis = analyse(problem, EXACT, settings)
    assert analysis.laplace.eigenvalues.size < problem.size()
    after = m.innovation - m.g @ m.gain @ m.innovation
    for name, rows in m.rows.items():
        one = finding.consistency(analysis).instruments[name]
        whiten = np.linalg.inv(np.linalg.cholesky(m.r[rows, rows]))
        ratio = np.mean((whiten @ m.innovation[rows]) * (whiten @ after[rows]))
        assert one.nonlinearity < 1e-9 and abs(one.error_variance_ratio - ratio) < 1e-9


@pytest.mark.slow
def test_nonlinearity_compares_innovations():
    """A prediction that bends: log-normal errors of a state moved by half its value."""
    problem = observed(likelihood.LogNormal())
    analysis = analyse(problem, EXACT, PLAIN)
    chi = analysis.solution.chi
    d = lambda chi: problem(chi).normalised  # noqa: E731
    linear = d(chi) - jax.jvp(d, (chi,), (chi,))[1]
    expected = np.linalg.norm(d(0 * chi) - linear) / np.linalg.norm(d(0 * chi) - d(chi))
    one = finding.consistency(analysis).instruments["x"]
    assert expected > 0.01 and abs(one.nonlinearity - expected) < 1e-9
    assert abs(one.error_variance_ratio - np.mean(d(chi) * linear)) < 1e-9


def test_model_error_and_its_standard_deviation(analysed):
    m, analysis = analysed
    if "model_error" not in m.blocks:
        assert not analysis.model_error_stdev
        return
    block = m.blocks["model_error"]
    covariance = m.c - m.gain @ m.s @ m.gain.T
    ((name, stdev),) = analysis.model_error_stdev.items()
    assert apart(np.ravel(stdev), np.sqrt(np.diag(covariance)[block])) < CLOSE
    eta = np.ravel(analysis.analysis.control.model_error[name])
    assert apart(eta, (m.gain @ m.innovation)[block]) < 1e-9


@pytest.mark.parametrize("limit", [0, 2000])
def test_columns_of_truncated_eigenpairs(limit, monkeypatch):
    """Σ s c cᵀ = A⁻¹ and Σ c cᵀ = I: exactly, or with random columns for what is left out."""
    monkeypatch.setattr(columns, "EXACT_LIMIT", limit)
    u = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0]
    gaussian = Gaussian(jnp.zeros(8), jnp.array([5.0, 2.0, 0.5]), jnp.asarray(u))
    vectors, shares = columns.posterior_columns(gaussian, jax.random.key(0))
    exact = np.asarray(jax.vmap(gaussian.covariance)(jnp.eye(8)))
    for scale, expected in ((shares, exact), (jnp.ones_like(shares), np.eye(8))):
        got = np.asarray((vectors * scale[:, None]).T @ vectors)
        inside = u.T @ (got - expected) @ u
        assert np.max(np.abs(inside)) < 1e-12
        assert np.max(np.abs(got - expected)) < (1e-12 if limit else 0.4)
    assert len(vectors) == (11 if limit else 203)


@pytest.mark.slow
def test_no_p_value_where_an_error_scale_is_estimated():
    problem = observed(likelihood.Gaussian(), ErrorScale("sigma", LogNormal(1.0, 0.5)))
    found = finding.consistency(analyse(problem, posterior=PLAIN))
    assert np.isnan(found.p_value) and np.isnan(found.degrees)
    assert set(found.terms) == {"background", "parameters"}
    assert np.isnan(found.terms["parameters"].expected) and found.terms["background"].expected > 0
    one = found.instruments["x"]
    assert np.isnan(one.expected) and np.isnan(one.expected_stdev) and 0 < one.signal < 8


@pytest.mark.slow
@pytest.mark.parametrize("formulation", ["forcing", "state"])
def test_squares_and_expectations_where_an_amplitude_is_estimated(formulation):
    """χ² is χᵀWχ + dᵀd, with a posterior or not: neither log s nor the volume is a square."""
    problem, _ = split("driven")
    error = ModelError(Diagonal(0.3), scale=ErrorScale("s", LogNormal(1.0, 0.5)))
    known = (problem.model, problem.window, problem.control.state)
    problem = weak_constraint(
        *known, Diagonal(0.5), problem.observations, model_error=error, formulation=formulation
    )
    bare = analyse(problem, posterior=None)
    chi = bare.solution.chi
    expected = float(chi @ (problem.weight() * chi) + jnp.sum(problem(chi).normalised ** 2))
    assert abs(bare.chi_squared / expected - 1) < 1e-12
    number = sum(o.values.size for o in problem.observations)
    ratio = diagnostics_dataset(bare)["chi_squared_ratio"]
    assert abs(float(ratio) * number / expected - 1) < 1e-12
    full = analyse(problem, posterior=PLAIN)
    found = finding.consistency(full)
    assert abs(found.chi_squared / full.chi_squared - 1) < 1e-12
    assert abs(full.chi_squared / expected - 1) < 1e-12
    assert np.isnan(found.degrees)
    assert np.isnan([found.terms[term].expected for term in ("parameters", "model_error")]).all()
    signal = sum(one.signal for one in found.instruments.values())
    assert diagnostics_dataset(full.with_findings(found))["degrees_of_freedom"] == signal


# ---- observation impact --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ahead"), [("driven", True), ("ring", False)])
def test_observation_impact_of_a_quadratic_measure(name, ahead):
    """Σ δe_i = e(x^a) - e(x^b), and each δe_i = (y - Gz_b)_i (Kᵀē)_i."""
    m, analysis = solved(name)
    problem, case = analysis.problem, CASES[name][0]()
    (field,) = problem.control.state
    n = problem.control.state[field].size
    window, power = None, len(case.propagators) - 1
    if ahead:
        slots, steps = 2, problem.window.steps
        window = Window.regular(problem.model, slots, steps, start=float(problem.window.edges[-1]))
        power += slots
    forward = np.linalg.matrix_power(case.propagators[1], power)[:n]
    target, weight = np.linspace(-1, 1, n), np.linspace(0.5, 2, n)
    measure = finding.ForecastError({field: target}, {field: weight})
    found = finding.observation_impact(analysis, measure, window)
    after = case.background + m.gain @ m.innovation
    e = [float(weight @ (forward @ z - target) ** 2) for z in (case.background, after)]
    assert abs(found.background - e[0]) < 1e-9 * e[0]
    assert abs(found.analysis - e[1]) < 1e-9 * e[0]
    assert abs(found.total() - (e[1] - e[0])) < CLOSE * abs(e[0])
    mean = forward.T @ (weight * (forward @ (case.background + after) - 2 * target))
    each = m.innovation * (m.gain.T @ mean)
    for instrument, rows in m.rows.items():
        assert apart(found.observations[instrument], each[rows]) < 1e-9


@pytest.mark.slow
def test_impact_sums_up_for_other_likelihoods():
    """Σ δe_i = ē·χ*, whatever the likelihood, as Wχ* = -Gᵀd at the minimum."""
    kind = likelihood.Huber(0.5)
    problem = observed(kind)
    settings = Laplace(hessian="gauss_newton", certificate=0, members=2)
    analysis = analyse(problem, EXACT, settings)
    measure = finding.ForecastError({"x": np.zeros(8)})
    found = finding.observation_impact(analysis, measure)
    chi = analysis.solution.chi
    e = lambda chi: measure(problem.trajectory(chi))  # noqa: E731
    mean = (jax.grad(e)(0 * chi) + jax.grad(e)(chi)) / 2
    assert abs(found.total() - float(mean @ chi)) < 1e-7 * abs(float(mean @ chi))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "reference"),
    [(100.0, None), (None, "2000-01-01")],
)
def test_a_forecast_goes_on_from_the_window(start, reference):
    problem = observed(likelihood.Gaussian())
    analysis = analyse(problem, EXACT, PLAIN)
    end = float(problem.window.edges[-1])
    forecast = Window.regular(
        problem.model, 1, 1, start=end if start is None else start, reference=reference
    )
    words = rf"ends, at {end:g} since None, got {start or end:g} since {reference};"
    with pytest.raises(ValueError, match=words):
        finding.observation_impact(analysis, finding.ForecastError({"x": np.zeros(8)}), forecast)


def test_impact_needs_a_posterior_and_known_weights():
    problem = observed(likelihood.Gaussian())
    with pytest.raises(ValueError, match="has no posterior"):
        finding.observation_impact(
            analyse(problem, posterior=None), finding.ForecastError({"x": np.zeros(8)})
        )
    with pytest.raises(ValueError, match="weight of 'y', which is not verified"):
        finding.ForecastError({"x": np.zeros(8)}, {"y": 1.0})


# ---- derived quantities --------------------------------------------------------------------------


@pytest.mark.slow
def test_derived_quantities_of_a_linear_problem():
    """A value of the state, and its square with mean m² + s², each within four sampling errors."""
    problem = observed(likelihood.Gaussian())
    first = lambda trajectory: trajectory.states["x"][0, 0]  # noqa: E731
    wanted = {
        "first": Derived(first, "K", "the first value"),
        "square": Derived(lambda trajectory: first(trajectory) ** 2),
    }
    analysis = analyse(problem, EXACT, Laplace(members=400), quantities=wanted)
    gain = 0.09 / (0.09 + 0.25)
    mean, variance = 2.0 + gain * 1.0, 0.09 * (1 - gain)
    got, square = analysis.quantities["first"], analysis.quantities["square"]
    assert abs(got.mean - mean) < 4 * np.sqrt(variance / 10_000) and abs(got.map - mean) < 1e-9
    assert abs(got.stddev / np.sqrt(variance) - 1) < 4 / np.sqrt(2 * got.draws)
    assert (got.units, got.long_name, got.draws) == ("K", "the first value", 10_000)
    assert abs(got.q95 - got.q05 - 2 * 1.645 * np.sqrt(variance)) < 0.05 * np.sqrt(variance)
    deviation = 2 * mean * np.sqrt(variance)
    assert abs(square.mean - (mean**2 + variance)) < 4 * deviation / np.sqrt(10_000)
    prior = got.prior
    assert abs(prior[1] - 2.0) < 0.05 and abs(prior[2] - prior[0] - 2 * 1.645 * 0.3) < 0.15
    members = analysis.derived["first"].members
    np.testing.assert_allclose(members, analysis.draws.state["x"][:, 0], rtol=1e-12)
    np.testing.assert_allclose(
        analysis.derived["first"].prior, analysis.prior_draws.state["x"][:, 0], rtol=1e-12
    )


def test_derived_quantities_leave_out_what_is_not_finite():
    problem = observed(likelihood.Gaussian())
    root = Derived(lambda trajectory: jnp.sqrt(trajectory.states["x"][0, 0] - 2.26))
    analysis = analyse(
        problem, EXACT, Laplace(certificate=0, members=100), quantities={"root": root}
    )
    one = analysis.quantities["root"]
    assert 20 < one.draws < 80 and one.mean > 0
    nothing = Derived(lambda trajectory: jnp.nan * trajectory.times[0])
    analysis = analyse(problem, EXACT, PLAIN, quantities={"nothing": nothing})
    assert np.isnan(analysis.quantities["nothing"].mean)
    assert np.isnan(analysis.quantities["nothing"].prior).all()


def test_derived_quantity_needs_a_name_of_its_own():
    problem = observed(likelihood.Gaussian())
    with pytest.raises(ValueError, match="quantity 'x': a field"):
        analyse(problem, quantities={"x": Derived(lambda trajectory: trajectory.times[0])})


# ---- first guesses -------------------------------------------------------------------------------


def test_a_window_lengthened_step_by_step_ends_at_the_same_minimum():
    _, analysis = solved("driven")
    solution = analyse(analysis.problem, EXACT, None, stages=2).solution
    np.testing.assert_allclose(solution.chi, analysis.solution.chi, atol=1e-9)
    with pytest.raises(ValueError, match="at least one stage"):
        analyse(analysis.problem, stages=0)


def test_a_first_guess_takes_the_place_of_the_median():
    problem = observed(likelihood.Gaussian())
    best = analyse(problem, EXACT, None).solution
    again = analyse(problem, EXACT, None, first_guess=best.chi).solution
    assert again.loops[0].cost == pytest.approx(best.cost, rel=1e-12) and len(again.loops) <= 2
    with pytest.raises(
        ValueError, match=r"first_guess must be a control .* \(8,\), got shape \(3,\)"
    ):
        analyse(problem, first_guess=np.zeros(3))
