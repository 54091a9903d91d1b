"""A step in C inside the engine: numbers as of the same model in JAX, and what is refused."""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.couple import trampoline
from assim.models import Lorenz96
from assim.solve.cost import cost, exact_linearisation, gauss_newton_linearisation
from assim.solve.posterior.laplace import local_gaussian
from tests.couple.compiled import chaotic, library, lorenz96, needs_compiler

pytestmark = needs_compiler

F = jnp.asarray(8.0)
STEP = {"step": "lorenz96_step"}
ONE = assim.Labels({"x": assim.Label()})


def closeness(ours, theirs):
    """Largest difference, as a share of the largest value."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in pairs)


def both(function, *given):
    """How far a function of a step is from the same of the engine's own."""
    steps = [lambda x, f, m=m: m.step({"x": x}, {"F": f}, 0.0)["x"] for m in MODELS()]
    return closeness(*(jax.jit(function(step))(*given) for step in steps))


def MODELS():
    return lorenz96(), Lorenz96()


def cubed(step):
    return lambda x, f: jnp.sum(step(x, f) ** 3)


X = jnp.asarray(chaotic())
V = jnp.asarray(chaotic(seed=1))
SEVERAL = jnp.stack([X, X + 1, X - 1])
DERIVATIVES = {
    "step": (lambda step: step, X, F),
    "jvp": (lambda step: lambda x, f: jax.jvp(step, (x, f), (V, 2 * F)), X, F),
    "vjp": (lambda step: jax.grad(cubed(step), (0, 1)), X, F),
    "vjp of the forcing alone": (lambda step: jax.grad(cubed(step), 1), X, F),
    "jacfwd": (lambda step: jax.jacfwd(step, (0, 1)), X, F),
    "jacrev": (lambda step: jax.jacrev(step, (0, 1)), X, F),
    "vmap": (lambda step: jax.vmap(step, (0, None)), SEVERAL, F),
    "vmap of vmap": (
        lambda step: jax.vmap(jax.vmap(jax.grad(cubed(step), (0, 1)), (0, None)), (None, 0)),
        SEVERAL,
        jnp.asarray([8.0, 7.0]),
    ),
    "grad of vmap": (
        lambda step: jax.grad(lambda x, f: jnp.sum(jax.vmap(step, (0, None))(x, f) ** 2), (0, 1)),
        SEVERAL,
        F,
    ),
    "remat": (lambda step: jax.grad(jax.checkpoint(cubed(step)), (0, 1)), X, F),
    "forward over reverse": (lambda step: jax.hessian(cubed(step), (0, 1)), X, F),
    "reverse over forward": (
        lambda step: jax.jacrev(jax.jacfwd(cubed(step), (0, 1)), (0, 1)),
        X,
        F,
    ),
    "reverse over reverse": (
        lambda step: jax.jacrev(jax.jacrev(cubed(step), (0, 1)), (0, 1)),
        X,
        F,
    ),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_step_and_derivatives_are_those_of_the_model_in_jax(name):
    assert both(*DERIVATIVES[name]) < (1e-10 if "over" in name else 1e-13)


@pytest.mark.parametrize("slots, steps", [(6, 1), (1, 6), (3, 4)])
def test_trajectories_and_their_gradients(slots, steps):
    window = assim.Window.regular(Lorenz96(), slots, steps)

    def run(model):
        states = lambda x: model.states({"x": x}, {"F": F}, window.edges, steps)["x"]  # noqa: E731
        return jax.jit(lambda x: (states(x), jax.grad(lambda x: jnp.sum(states(x) ** 2))(x)))(X)

    assert closeness(*map(run, MODELS())) < 1e-12


def test_gradient_of_a_long_run_computes_steps_again():
    """The scan's checkpoints, with as many steps as need them; a weak forcing, without chaos."""
    start, weak, ends = jnp.asarray(chaotic(4000)) / 20, jnp.asarray(0.5), jnp.array([0.0, 15.0])

    def slope(model):
        states = lambda x: model.states({"x": x}, {"F": weak}, ends, 300)["x"]  # noqa: E731
        return jax.jit(jax.grad(lambda x: jnp.sum(states(x)[-1] ** 2)))(start)

    assert closeness(slope(lorenz96(4000)), slope(Lorenz96(n=4000))) < 1e-11


def problem(model, **given):
    """Every second site observed at every edge but the first, of six slots of two steps."""
    window, sites = assim.Window.regular(model, slots=6, steps=2), np.arange(0.0, 40.0, 2.0)
    times, where = (a.ravel() for a in np.meshgrid(window.edges[1:], sites, indexing="ij"))
    rng = np.random.default_rng(3)
    truth = Lorenz96().states({"x": X}, {"F": F}, window.edges, 2)["x"]
    values = truth[1:, ::2].ravel() + 0.5 * rng.standard_normal(times.size)
    instrument = assim.Observations(
        "x",
        values,
        assim.Points.at(times, {"site": where}),
        assim.operator.PointSample("x"),
        stdev=0.5,
        **given,
    )
    return assim.strong_constraint(
        model,
        window,
        background={"x": X + 0.3 * rng.standard_normal(40)},
        covariance=assim.covariance.Diagonal(0.5),
        observations=instrument,
        parameters={"F": assim.prior.Normal(8.5, 0.5)},
    )


@pytest.mark.parametrize("linearise", [gauss_newton_linearisation, exact_linearisation])
def test_cost_gradient_and_hessian_products(linearise):
    chi, v = jnp.asarray(chaotic(41, 4) - 8) / 5, jnp.asarray(chaotic(41, 5) - 8)

    def parts(model):
        own = problem(model)

        def run(chi):
            here = linearise(own, chi)
            return here.cost, here.gradient, here.hessian(v)

        return jax.jit(run)(chi)

    assert closeness(*map(parts, MODELS())) < 1e-10


MINIMISERS = [
    assim.minimiser.GaussNewton(tolerance=1e-10, inner_tolerance=1e-6),
    assim.minimiser.NewtonCG(tolerance=1e-10),
    assim.minimiser.LBFGS(tolerance=1e-8),
]


@pytest.mark.parametrize("minimiser", MINIMISERS, ids=lambda m: type(m).__name__)
def test_whole_analysis_with_its_posterior(minimiser):
    """Where a minimiser stops, J tells no more, up to 10⁻⁷ from χ*; a direct Newton step does."""

    def run(model):
        own, settings = problem(model), assim.posterior.Laplace(certificate=0)
        chi = assim.analyse(own, minimiser, settings).solution.chi

        def step(chi):
            here = exact_linearisation(own, chi)
            return chi - jnp.linalg.solve(jax.vmap(here.hessian)(jnp.eye(chi.size)), here.gradient)

        exact = jax.jit(step)(chi)
        assert closeness(chi, exact) < 1e-6
        return exact, local_gaussian(own, exact, settings, jax.random.key(0)).stdev()

    assert closeness(*map(run, MODELS())) < 1e-10


def test_error_scale_by_the_exact_hessian():
    """What Laplace takes the exact Hessian for: second derivatives are differences of adjoints."""
    scale = {"scale": assim.ErrorScale("scale", assim.prior.LogNormal(1.0, 0.5))}
    given = assim.minimiser.NewtonCG(tolerance=1e-10), assim.posterior.Laplace(certificate=0)
    ours, theirs = (assim.analyse(problem(model, **scale), *given) for model in MODELS())
    assert ours.laplace.hessian == theirs.laplace.hessian == "exact Hessian"
    assert closeness(ours.solution.chi, theirs.solution.chi) < 1e-9
    assert closeness(ours.laplace.gaussian.stdev(), theirs.laplace.gaussian.stdev()) < 1e-8


def test_third_derivatives_are_refused():
    step = lambda x: lorenz96().step({"x": x}, {"F": F}, 0.0)["x"][0]  # noqa: E731
    with pytest.raises(assim.ModelContractError, match="third ones"):
        jax.jacfwd(jax.hessian(step))(X)


def test_no_derivative_in_time():
    model = lorenz96()
    with pytest.raises(assim.ModelContractError, match="no derivative in time"):
        jax.jvp(lambda t: model.step({"x": X}, {"F": F}, t)["x"], (jnp.zeros(()),), (jnp.ones(()),))


def test_sees_a_sign_error_in_the_adjoint():
    model = lorenz96(40, "-DSIGN(a)=-(a)")
    result = assim.derivatives.adjoint_test(lambda x: model.step({"x": x}, {"F": F}, 0.0)["x"], X)
    assert not result.passed and result.relative > 1e-4
    chosen = assim.derivatives.tangent_linear_test(
        lambda x: model.step({"x": x}, {"F": F}, 0.0)["x"], X
    )
    assert chosen.passed


# ---- without a tangent, or an adjoint ------------------------------------------------------------


def test_adjoint_alone_is_enough_for_lbfgs():
    minimiser = assim.minimiser.LBFGS(tolerance=1e-8)
    ours = assim.analyse(problem(lorenz96(tangent=None)), minimiser, None)
    theirs = assim.analyse(problem(Lorenz96()), minimiser, None)
    assert closeness(ours.solution.chi, theirs.solution.chi) < 1e-8


def test_tangent_that_is_needed_and_not_there():
    with pytest.raises(assim.ModelContractError, match=r"needs the tangent.*differences.*LBFGS"):
        assim.analyse(problem(lorenz96(tangent=None)), assim.minimiser.GaussNewton(), None)


def test_adjoint_that_is_needed_and_not_there():
    with pytest.raises(assim.ModelContractError, match=r"needs the adjoint.*ETKF"):
        assim.analyse(problem(lorenz96(adjoint=None)), assim.minimiser.LBFGS(), None)


def test_tangent_by_differences_of_steps():
    model = lorenz96(tangent="differences")
    once = lambda m, x: m.step({"x": x}, {"F": F}, 0.0)["x"]  # noqa: E731
    of = lambda m, v: jax.jvp(lambda x: once(m, x), (X,), (v,))[1]  # noqa: E731
    assert closeness(of(model, V), of(Lorenz96(), V)) < 1e-11
    rows = lambda m: jax.vmap(lambda v: of(m, v))(SEVERAL)  # noqa: E731
    assert closeness(rows(model), rows(Lorenz96())) < 1e-11


def test_forecast_of_a_step_alone():
    model = lorenz96(tangent=None, adjoint=None)
    run = lambda m: m.states({"x": X}, {"F": F}, jnp.array([0.0, 0.1, 0.2]), 2)["x"]  # noqa: E731
    assert closeness(run(model), run(Lorenz96())) < 1e-13


# ---- threads, failures ---------------------------------------------------------------------------


STOPS = r"StoppedError: CModel\(/.*trouble\.so\): the step returned -5"


def of_trouble(symbol, **given):
    return assim.foreign.CModel(library("trouble"), ONE, 1.0, step=symbol, **given)


def members(model, values):
    step = jax.jit(jax.vmap(lambda x: model.step({"x": x}, {}, 0.0)["x"]))
    return np.asarray(step(jnp.asarray(values, float)))


def with_two_threads(line):
    """A line of Python run in a process of its own, whose XLA has two threads."""
    program = (
        "import jax; jax.config.update('jax_enable_x64', True)\n"
        f"from tests.couple.test_c_model import members, of_trouble\n{line}"
    )
    flags = {"XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **flags}, capture_output=True, text=True
    )


def test_members_run_in_parallel_where_the_model_says_so():
    """In a process of its own, whose XLA has two threads."""
    done = with_two_threads(
        "print(*(members(of_trouble('counting', thread_safe=s), range(20)).max() for s in (0, 1)))"
    )
    alone, together = map(float, done.stdout.split())
    assert alone == 1.0, done.stderr
    if (os.cpu_count() or 1) > 1 and len(os.sched_getaffinity(0)) > 1:
        assert together > 1.0


def test_failed_member_is_nan_and_the_others_are_not():
    model = of_trouble("failing")
    np.testing.assert_array_equal(members(model, [0.0, 5.0, 2.0]), [1.0, np.nan, 3.0])
    assert model.code.failures() == (1, 7)
    assert "1 steps" in model.may_end_early() and "code 7" in model.may_end_early()


def test_model_that_stops_the_program():
    with pytest.raises(Exception, match=STOPS):
        members(of_trouble("failing"), [0.0, 50.0])


def test_stop_names_the_operation():
    model = of_trouble("failing", tangent="failing_tangent")
    slope = lambda x: jax.jvp(lambda x: model.step({"x": x}, {}, 0.0)["x"], (x,), (x,))[1]  # noqa: E731
    with pytest.raises(Exception, match=r"StoppedError: CModel\(/.*\): the tangent returned -6"):
        jax.block_until_ready(jax.jit(slope)(jnp.asarray(1.0)))


def test_stop_tells_the_code_of_the_call_that_stopped():
    """Another member fails after it, in another thread of a process with two."""
    done = with_two_threads("members(of_trouble('failing_late', thread_safe=True), [0, 1, 50])")
    assert "trouble.so): the step returned -5" in done.stderr, done.stderr


def test_made_again_it_is_the_same_entry():
    made = [of_trouble("failing") for _ in range(3)]
    assert len({model.code.number for model in made}) == 1
    assert of_trouble("failing", thread_safe=True).code.number != made[0].code.number
    members(made[0], [5.0])
    assert of_trouble("failing").code.failures() == (0, 0)


def test_many_models_have_room():
    loaded = ctypes.CDLL(str(library("trouble")))
    address = ctypes.cast(loaded.failing, ctypes.c_void_p).value
    first = trampoline.add("one of many", address, 0, 0, 1, False)
    last = [trampoline.add("one of many", address, 0, 0, k, False) for k in range(1, 5000)][-1]
    assert last == first + 4998


# ---- refusals ------------------------------------------------------------------------------------


def test_library_that_is_not_there():
    with pytest.raises(ValueError, match=r"'no\.so' cannot be loaded \(from /"):
        assim.foreign.CModel("no.so", ONE, 1.0, step="a")


def test_library_that_the_system_finds_by_its_name():
    model = assim.foreign.CModel("libm.so.6", ONE, 1.0, step="cos")
    (file,) = model.code_files()
    assert file.is_absolute() and file.name == "libm.so.6"
    with pytest.raises(ValueError, match=r"libm\.so\.6 has no symbol 'malloc'.*libc.* has it"):
        assim.foreign.CModel("libm.so.6", ONE, 1.0, step="malloc")


class Within(assim.AbstractModel):
    """A model that has another."""

    inner: assim.foreign.CModel
    dt: float = 1.0
    parameters: assim.Params = eqx.field(default_factory=dict)

    def labels(self):
        return self.inner.labels()

    def step(self, x, theta, t):
        return self.inner.step(x, theta, t)


def test_files_that_decide_what_it_computes(tmp_path):
    table = tmp_path / "table.dat"
    table.write_text("1")
    model = of_trouble("failing", files=[table])
    assert model.code_files() == (library("trouble"), table)
    assert Within(model).code_files() == model.code_files()
    assert Lorenz96().code_files() == ()
    with pytest.raises(ValueError, match=r"CModel.*files: there is no file /.*no\.dat"):
        of_trouble("failing", files=["no.dat"])


def test_symbol_that_is_missing():
    with pytest.raises(ValueError, match=r"trouble\.so has no symbol 'fly' for the step; `nm -D`"):
        of_trouble("fly")


def test_symbol_of_another_library_is_none_of_this():
    with pytest.raises(ValueError, match=r"trouble\.so has no symbol 'malloc'.*libc.* has it"):
        of_trouble("malloc")


def test_null_pointer():
    with pytest.raises(ValueError, match="address of the step is 0"):
        assim.foreign.CModel(None, ONE, 1.0, step=0)


def test_symbol_without_a_library():
    with pytest.raises(ValueError, match="no library is given"):
        assim.foreign.CModel(None, ONE, 1.0, step="step")


def test_field_of_a_wrong_shape():
    with pytest.raises(assim.ModelContractError, match=r"'x' has shape \(39,\).*say \(40,\)"):
        lorenz96().step({"x": X[1:]}, {"F": F}, 0.0)


def test_parameter_that_is_missing():
    with pytest.raises(assim.ModelContractError, match="no parameter 'F' was given, but none"):
        lorenz96().step({"x": X}, {}, 0.0)


def test_single_precision_is_refused():
    with pytest.raises(assim.ModelContractError, match=r"float32.*double precision.*enable_x64"):
        lorenz96().step({"x": X.astype("float32")}, {"F": F}, 0.0)


def test_step_in_time_must_be_positive():
    with pytest.raises(ValueError, match="dt must be positive"):
        assim.foreign.CModel(None, ONE, 0.0, step=1)


# ---- the trampoline ------------------------------------------------------------------------------


def test_by_addresses():
    loaded = ctypes.CDLL(str(library("trouble")))
    address = ctypes.cast(loaded.failing, ctypes.c_void_p).value
    model = assim.foreign.CModel(None, ONE, 1.0, step=address)
    np.testing.assert_array_equal(members(model, [0.0, 1.0]), [1.0, 2.0])


def test_warns_where_there_is_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(UserWarning, match=r"back through Python.*no C\+\+.*no-such-compiler.*CXX"):
        assert trampoline._library.__wrapped__() is None


def test_warns_where_the_compiler_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSIM_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    with pytest.warns(UserWarning, match=r"back through Python.*false could not build"):
        assert trampoline._library.__wrapped__() is None


def test_warns_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASSIM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match=r"cache .*file/cache cannot be written \(Not a directory"):
        assert trampoline._loaded().assim_add
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_made_and_cannot_be_loaded_is_made_anew(tmp_path, monkeypatch):
    def nothing(found, folder):
        (folder / "made.so").write_text("no library")
        return folder / "made.so"

    monkeypatch.setenv("ASSIM_CACHE_DIR", str(tmp_path))
    with monkeypatch.context() as broken:
        broken.setattr(trampoline, "_compiled", nothing)
        with pytest.warns(UserWarning, match=r"back through Python.*this system does not load it"):
            assert trampoline._library.__wrapped__() is None
    assert [path.read_text() for path in tmp_path.iterdir()] == ["no library"]
    assert trampoline._loaded().assim_add


def test_no_folder_is_left_without_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSIM_CACHE_DIR", "off")
    monkeypatch.setattr(trampoline, "cache_directory", lambda: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert trampoline._loaded().assim_add
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_by_callbacks(monkeypatch):
    monkeypatch.setattr(trampoline, "library", lambda: None)
    model = lorenz96()
    assert model.code.number is None

    def slope(m):
        cube = lambda x, f: jnp.sum(m.step({"x": x}, {"F": f}, 0.0)["x"] ** 3)  # noqa: E731
        return jax.jit(jax.vmap(jax.grad(cube, (0, 1)), (0, None)))(SEVERAL, F)

    assert closeness(slope(model), slope(Lorenz96())) < 1e-13
    failing = of_trouble("failing")
    np.testing.assert_array_equal(members(failing, [0.0, 5.0]), [1.0, np.nan])
    assert failing.code.failures() == (1, 7)
    with pytest.raises(Exception, match=STOPS):
        members(failing, [0.0, 50.0])


def test_compiled_once_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSIM_CACHE_DIR", str(tmp_path))
    first = trampoline._loaded()._name
    assert list(tmp_path.iterdir()) == [Path(first)]
    monkeypatch.setattr(subprocess, "run", None)
    assert trampoline._loaded()._name == first


def test_cost_is_infinite_where_a_step_fails():
    window, start = assim.Window.regular(of_trouble("failing"), slots=2), {"x": jnp.asarray(3.5)}
    seen = assim.Observations(
        "x", np.zeros(1), assim.Points.at([1.0], {}), assim.operator.PointSample("x"), stdev=1.0
    )
    posed = assim.strong_constraint(
        of_trouble("failing"),
        window,
        background=start,
        covariance=assim.covariance.Diagonal(1.0),
        observations=seen,
    )
    assert float(cost(posed, jnp.zeros(1))) == np.inf
    assert np.isfinite(float(cost(posed, jnp.full(1, -2.0))))


def test_source_is_part_of_the_package():
    assert (Path(trampoline.__file__).parent / "trampoline.cpp").is_file()
