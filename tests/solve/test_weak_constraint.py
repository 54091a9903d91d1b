"""Weak constraint: linear problems have their answers from the Rauch–Tung–Striebel smoother and
from joint Gaussians; both formulations have one minimum; no model error is strong constraint.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from assim import (
    AbstractModel,
    ErrorScale,
    Label,
    Labels,
    ModelError,
    Observations,
    Params,
    Points,
    State,
    Status,
    Window,
    analyse,
    strong_constraint,
    weak_constraint,
)
from assim.findings.derivatives import gradient_test
from assim.models import Lorenz96, LotkaVolterra
from assim.problem.covariance import Autoregressive, Dense, Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal
from assim.solve.cost import cost
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.laplace import Laplace, laplace
from tests.solve.linear import (
    block_diagonal,
    correlated,
    driven,
    innovation_density,
    ring,
    smooth,
    stacked,
)

CASES = {"driven": (driven, "u"), "ring": (ring, "tracer")}
CLOSE = 1e-8
EXACT = GaussNewton(tolerance=1e-10, inner_tolerance=1e-12, n_inner=400)


def weakened(name, every=1, formulation="forcing", amplitude=0.3, **more):
    """A linear case with model noise, the same as a covariance of z, and its smoother's input."""
    make, field = CASES[name]
    case = make()
    n = case.problem.control.state[field].shape[0]
    q = correlated(n, amplitude, 1.5)
    parameters = case.problem.control.parameters
    problem = weak_constraint(
        case.problem.model,
        case.problem.window,
        {field: case.background[:n]},
        Dense(case.covariance[:n, :n]),
        case.problem.observations,
        parameters,
        model_error=ModelError(Dense(q), every=every, **more),
        formulation=formulation,
    )
    rest = case.background.size - n
    return case, problem, field, block_diagonal([q, np.zeros((rest, rest))])


def apart(got, expected):
    return np.max(np.abs(np.asarray(got) - expected)) / np.max(np.abs(expected))


def solved(problem, minimiser=EXACT):
    """Minimum and Laplace posterior, without what an analysis adds to them."""
    solution = minimise(problem, minimiser, jnp.zeros(problem.size()))
    assert solution.status is Status.CONVERGED
    settings = Laplace(certificate=0)
    return solution, laplace(problem, solution.chi, settings, jax.random.key(0))


def log_evidence(problem, posterior):
    return posterior.log_evidence + float(problem.log_constant())


def trajectory_posterior(problem, gaussian, field):
    """Mean and covariance of the field over the whole trajectory, flattened."""
    values = lambda chi: problem.trajectory(chi).states[field].ravel()  # noqa: E731
    tangent = jax.jacfwd(values)(gaussian.chi)
    return values(gaussian.chi), tangent @ jax.vmap(gaussian.covariance)(tangent).T


@pytest.mark.parametrize(
    ("name", "every", "formulation"),
    [
        ("driven", 1, "forcing"),
        pytest.param("ring", 2, "state", marks=pytest.mark.slow),
        pytest.param("driven", 1, "state", marks=pytest.mark.slow),
        pytest.param("ring", 2, "forcing", marks=pytest.mark.slow),
    ],
)
def test_is_the_smoother(name, every, formulation):
    """Mean and covariance of the state at every slot edge."""
    case, problem, field, noise = weakened(name, every, formulation)
    _, posterior = solved(problem)
    mean, covariance = trajectory_posterior(problem, posterior.gaussian, field)
    smoothed = smooth(case, noise, every)
    n = problem.control.state[field].size
    assert apart(mean, np.concatenate([m[:n] for m, _ in smoothed])) < CLOSE
    for k, (_, expected) in enumerate(smoothed):
        block = covariance[k * n : (k + 1) * n, k * n : (k + 1) * n]
        assert apart(block, expected[:n, :n]) < CLOSE


def whole(case, series):
    """The case with z at every edge as one vector, given the covariance of all η (edges·z)."""
    edges, size = len(case.propagators), case.background.size
    advance = case.propagators[1]
    power = lambda k: np.linalg.matrix_power(advance, k)  # noqa: E731
    grown = np.block(
        [
            [power(k - j) if j <= k else np.zeros((size, size)) for j in range(edges)]
            for k in range(edges)
        ]
    )
    noise = block_diagonal([case.covariance, series])
    covariance = grown @ noise @ grown.T
    background = grown[:, :size] @ case.background
    operators = {
        k: np.hstack([np.zeros((len(h), k * size)), h, np.zeros((len(h), (edges - 1 - k) * size))])
        for k, h in case.operators.items()
    }
    same = [np.eye(edges * size)] * edges
    return case._replace(
        background=background, covariance=covariance, propagators=same, operators=operators
    )


def conditioned(case):
    """Mean and covariance of z given the data, all at once."""
    innovation, g, r = stacked(case)
    gain = np.linalg.solve(g @ case.covariance @ g.T + r, g @ case.covariance).T
    return case.background + gain @ innovation, case.covariance - gain @ g @ case.covariance


def correlation_in_time(problem, length):
    times = np.asarray(problem.window.edges)[1:]
    return np.exp(-np.abs(times[:, None] - times) / length)


@pytest.mark.slow
@pytest.mark.parametrize("formulation", ["forcing", "state"])
def test_correlated_in_time(formulation):
    """AR(1) model errors: mean, covariance and evidence from one joint Gaussian."""
    series = Autoregressive(time=0.2)
    case, problem, field, noise = weakened("ring", 1, formulation, in_time=series)
    case = whole(case, np.kron(correlation_in_time(problem, 0.2), noise))
    solution, posterior = solved(problem)
    mean, covariance = conditioned(case)
    got_mean, got = trajectory_posterior(problem, posterior.gaussian, field)
    assert apart(got_mean, mean) < CLOSE
    assert apart(got, covariance) < CLOSE
    half, log_density = innovation_density(case)
    assert abs(solution.cost - half) < CLOSE * half
    assert abs(log_evidence(problem, posterior) - log_density) < CLOSE * abs(log_density)


@pytest.mark.parametrize("formulation", ["forcing", "state"])
def test_evidence(formulation):
    case, problem, _, noise = weakened("driven", 1, formulation)
    slots = problem.window.slots
    _, expected = innovation_density(whole(case, np.kron(np.eye(slots), noise)))
    _, posterior = solved(problem)
    assert abs(log_evidence(problem, posterior) - expected) < CLOSE * abs(expected)


@pytest.mark.slow
def test_amplitude_is_its_marginal_mode():
    """The estimated amplitude maximises its own posterior, the series of η integrated out."""
    prior = LogNormal(median=0.6, log_stdev=0.8)
    scale = ErrorScale("amplitude", prior)
    case, problem, _, noise = weakened("ring", 1, "forcing", 1.0, scale=scale)
    slots = problem.window.slots

    def marginal(w):
        s = 0.6 * np.exp(0.8 * w)
        total = whole(case, np.kron(np.eye(slots), s**2 * noise))
        return w**2 / 2 - innovation_density(total)[1]

    best = scipy.optimize.minimize_scalar(
        marginal, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10}
    )
    step = 1e-3
    curvature = (marginal(best.x + step) - 2 * best.fun + marginal(best.x - step)) / step**2
    for formulation in ("forcing", "state"):
        _, problem, _, _ = weakened("ring", 1, formulation, 1.0, scale=scale)
        solution, posterior = solved(problem, NewtonCG(tolerance=1e-9, n_inner=400))
        white = problem.control.split(solution.chi)["scales"]["amplitude"]
        assert abs(white - best.x) < 1e-6
        stdev = problem.control.split(posterior.gaussian.stdev())["scales"]["amplitude"]
        assert abs(stdev * np.sqrt(curvature) - 1) < 1e-4
        terms = eqx.filter_jit(problem.cost_terms)(solution.chi)
        assert abs(sum(v for k, v in terms.items() if k != "total") - terms["total"]) < 1e-9
        assert abs(terms["total"] - solution.cost) < 1e-9


def test_the_scale_of_observations_is_its_marginal_mode():
    """A known Q and an unknown σ: the one that maximises N(y; 0, σ²I + C) with C of the states."""
    values, q, model = np.random.default_rng(3).normal(size=12).cumsum(), 0.5, Standing()
    observed = Observations(
        "x",
        values,
        Points.at(np.arange(1.0, 13.0)),
        PointSample("x"),
        1.0,
        scale=ErrorScale("noise", LogNormal(median=1.0, log_stdev=1.0)),
    )
    problem = weak_constraint(
        model,
        Window.regular(model, 12, 1),
        {"x": 0.0},
        observations=observed,
        model_error=ModelError(Diagonal(q)),
    )
    states = q**2 * np.minimum.outer(np.arange(1, 13), np.arange(1, 13))

    def marginal(w):
        covariance = states + np.exp(2 * w) * np.eye(12)
        return w**2 / 2 - scipy.stats.multivariate_normal.logpdf(values, cov=covariance)

    best = scipy.optimize.minimize_scalar(marginal, (-1.0, 0.5), tol=1e-12)
    solution = minimise(problem, NewtonCG(tolerance=1e-9), jnp.zeros(problem.size()))
    assert solution.status is Status.CONVERGED
    assert abs(problem.control.split(solution.chi)["scales"]["noise"] - best.x) < 1e-6
    terms = eqx.filter_jit(problem.cost_terms)(solution.chi)
    assert abs(terms["total"] - solution.cost) < 1e-9


class Standing(AbstractModel):
    """x(t+1) = x(t)."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=dict)

    def labels(self) -> Labels:
        return Labels({"x": Label((), "1")}, {}, time_unit="1")

    def step(self, x: State, theta: Params, t: jax.Array) -> State:
        return x


# ---- Lorenz-96 -----------------------------------------------------------------------------------


def twin(
    formulation, amplitude=0.3, seed=0, every=1, acts="jump", n=12, slots=6, steps=2, spin=100
):
    """Lorenz-96 whose truth is forced by F = 8.5, its model by 8; every second site observed."""
    model, rng = Lorenz96(n=n, dt=0.1 / steps), np.random.default_rng(seed)
    window = Window.regular(model, slots, steps)
    true = eqx.tree_at(lambda m: m.parameters, model, {"F": jnp.asarray(8.5)})
    spun = true.states(
        {"x": 8 + jnp.asarray(rng.normal(size=n))}, true.parameters, window.edges, spin * steps
    )
    start = spun["x"][-1]
    truth = np.asarray(true.states({"x": start}, true.parameters, window.edges, steps)["x"])
    sites = np.arange(0, n, 2)
    points = Points.at(
        np.repeat(np.asarray(window.edges)[1:], sites.size),
        {"site": np.tile(sites.astype(float), slots)},
    )
    values = truth[1:, sites] + 0.5 * rng.normal(size=(slots, sites.size))
    given = (
        model,
        window,
        {"x": np.asarray(start) + rng.normal(size=n)},
        Diagonal(1.0),
        Observations("x", values.ravel(), points, PointSample("x"), stdev=0.5),
    )
    if formulation == "strong":
        return strong_constraint(*given)
    error = ModelError(Diagonal(amplitude), every=every, acts=acts)
    return weak_constraint(*given, model_error=error, formulation=formulation)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_formulations_have_one_minimum(seed):
    tight = GaussNewton(tolerance=1e-9, n_outer=60, n_inner=400)
    forcing, state = (
        analyse(twin(formulation, seed=seed, every=2), tight, None)
        for formulation in ("forcing", "state")
    )
    assert forcing.solution.status is Status.CONVERGED
    assert state.solution.status is Status.CONVERGED
    assert abs(forcing.solution.cost - state.solution.cost) < 1e-8 * forcing.solution.cost
    one, other = forcing.analysis, state.analysis
    np.testing.assert_allclose(
        one.trajectory.states["x"], other.trajectory.states["x"], rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(one.predictions["x"], other.predictions["x"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        forcing.problem.model_error(forcing.solution.chi)["x"],
        state.problem.model_error(state.solution.chi)["x"],
        atol=1e-5,
    )
    for term in ("background", "observation", "model_error", "total"):
        one, other = forcing.cost_analysis[term], state.cost_analysis[term]
        assert abs(one - other) < 1e-4 * forcing.solution.cost


@pytest.mark.slow
def test_small_model_error_tends_to_strong_constraint():
    """The minimum's distance from that of strong constraint falls like Q, amplitude squared."""
    tight = GaussNewton(tolerance=1e-10, n_outer=60, n_inner=400)
    strong = analyse(twin("strong"), tight, None).analysis.trajectory.states["x"]
    distances = []
    for amplitude in (1e-2, 1e-3, 1e-4):
        weak = analyse(twin("forcing", amplitude), tight, None).analysis.trajectory.states["x"]
        distances.append(float(jnp.max(jnp.abs(weak - strong))))
    slopes = -np.diff(np.log10(distances))
    assert np.all(np.abs(slopes - 2) < 0.1), distances


@pytest.mark.parametrize("formulation", [pytest.param("forcing", marks=pytest.mark.slow), "state"])
def test_derivatives(formulation):
    problem = twin(formulation)
    chi = 0.1 * jax.random.normal(jax.random.key(0), (problem.size(),))
    values = lambda chi: problem(chi).normalised  # noqa: E731
    direction = jax.random.normal(jax.random.key(1), chi.shape)
    tangent = jax.jvp(values, (chi,), (direction,))[1]
    rests = [
        np.linalg.norm(values(chi + e * direction) - values(chi) - e * tangent)
        for e in (1e-3, 1e-4)
    ]
    assert abs(np.log10(rests[0] / rests[1]) - 2) < 0.01
    w = jax.random.normal(jax.random.key(2), tangent.shape)
    back = jax.vjp(values, chi)[1](w)[0]
    assert abs(tangent @ w - back @ direction) < 1e-12 * np.linalg.norm(tangent) * np.linalg.norm(w)


def test_tendency_acts_throughout_a_group():
    """A constant η is a larger F: Lorenz-96 with η = 0.5 is one with F = 8.5, to first order in dt.

    η is added after each step; with half the step the difference is half as large.
    """
    apart = []
    for steps in (4, 8):  # no long spin-up, after which rounding would decide where the window is
        problem = twin("forcing", acts="tendency", every=3, steps=steps, spin=1)
        white = problem.control.split(jnp.zeros(problem.size()))
        eta = jnp.full_like(white["model_error"]["x"], 0.5 / 0.3)
        chi = problem.control.join({**white, "model_error": {"x": eta}})
        got = problem.trajectory(chi).states["x"]
        x0, more = {"x": problem.control.state["x"]}, {"F": jnp.asarray(8.5)}
        expected = problem.model.states(x0, more, problem.window.edges, steps)["x"]
        plain = problem.trajectory(jnp.zeros(problem.size())).states["x"]
        apart.append(np.linalg.norm(got - expected) / np.linalg.norm(plain - expected))
    assert apart[1] < 0.1
    assert abs(np.log2(apart[0] / apart[1]) - 1) < 0.1, apart


def test_tendency_of_an_ode_model():
    """η added to the tendency of an ODE model is exact: it may stand for a harvest."""
    model = LotkaVolterra()
    window = Window.at(model, [0.0, 0.5, 1.0])
    observed = Observations("hare", [30.0], Points.at([1.0]), PointSample("hare"), stdev=1.0)
    start = {"hare": 30.0, "lynx": 4.0}
    error = ModelError({"hare": Diagonal(2.0)}, acts="tendency")
    problem = weak_constraint(model, window, start, None, observed, model_error=error)
    assert problem.control.names() == ["model_error.hare[0]", "model_error.hare[1]"]
    chi = jnp.asarray([1.5, -0.5])
    got = problem.trajectory(chi).states

    theta = {name: float(value) for name, value in model.parameters.items()}

    def tendency(t, x, eta):
        h, p = x
        return [
            (theta["alpha"] - theta["beta"] * p) * h + eta,
            (-theta["gamma"] + theta["delta"] * h) * p,
        ]

    x = [30.0, 4.0]
    for k, eta in enumerate([3.0, -1.0]):
        solved = scipy.integrate.solve_ivp(
            tendency, (0, 0.5), x, args=(eta,), rtol=1e-11, atol=1e-11
        )
        x = solved.y[:, -1]
        np.testing.assert_allclose([got["hare"][k + 1], got["lynx"][k + 1]], x, rtol=1e-5)


@pytest.mark.slow
def test_amplitude_of_an_adaptive_ode_model():
    """The gradient of J with the volume, by forward derivatives alone, passes a Taylor test."""
    model = LotkaVolterra()
    window = Window.at(model, [0.0, 0.5, 1.0])
    points = Points.at([0.5, 1.0])
    observed = Observations("hare", [33.0, 30.0], points, PointSample("hare"), stdev=1.0)
    scale = ErrorScale("amplitude", LogNormal(median=1.0, log_stdev=0.5))
    error = ModelError({"hare": Diagonal(2.0)}, acts="tendency", scale=scale)
    start = {"hare": 30.0, "lynx": 4.0}
    problem = weak_constraint(model, window, start, None, observed, model_error=error)
    result = gradient_test(lambda chi: cost(problem, chi), jnp.asarray([0.5, -0.3, 0.2]))
    assert result.passed, result
    assert analyse(problem, NewtonCG()).solution.status is Status.CONVERGED


def test_bad_model_errors():
    with pytest.raises(ValueError, match="groups of 4 slots do not fill a window of 6"):
        twin("forcing", every=4)
    with pytest.raises(ValueError, match="acts must be one of"):
        ModelError(Diagonal(1.0), acts="push")
    with pytest.raises(ValueError, match="state formulation"):
        twin("state", acts="tendency")
    with pytest.raises(ValueError, match="formulation: must be one of"):
        twin("both")
    with pytest.raises(ValueError, match="does not fit"):
        twin("forcing", amplitude=np.ones(5))
