"""Storm water by SWMM, as the page on published codes has it, beside SWMM without assim."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from tests.couple.real_codes import PAGE, check_posterior, lines, moments, ran, stated
from tests.docs.pages import under

solver = pytest.importorskip("swmm.toolkit.solver", reason="SWMM is not installed (extra `codes`)")
enum = pytest.importorskip("swmm.toolkit.shared_enum")
TITLE, FOOT, SLOTS = "SWMM, a program", 0.3048, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("swmm")


@pytest.fixture(scope="module")
def page(folder):
    names = {"__name__": "__main__", "assim": assim, "jnp": jnp, "np": np}
    return ran(TITLE, folder, names)


def depths(folder, roughness, width):
    """In the two junctions at the ends of slots, in m, by one run that is never stopped."""
    text = (folder / "storm.inp").read_text()
    text = text[: text.index("[FILES]")] + text[text.index("[RAINGAGES]") :]
    fields = {"start:.6f": "00:00:00", "end:.6f": "01:00:00"}
    fields |= {"roughness": str(float(roughness)), "width": str(float(width))}
    for name, value in fields.items():
        text = text.replace(f"{{{name}}}", value)
    (folder / "whole.inp").write_text(text)
    solver.swmm_open(*(str(folder / f"whole.{kind}") for kind in ("inp", "rpt", "out")))
    solver.swmm_start(0)
    found = []
    for number in range(1, SLOTS * 180 + 1):  # of 5 s each
        solver.swmm_step()
        if number % 180 == 0:
            found.append([solver.node_get_result(n, enum.NodeResult.DEPTH) for n in (0, 1)])
    solver.swmm_end()
    solver.swmm_close()
    return np.array(found)


def reference(folder, readings):
    """Means and standard deviations of roughness and width, by J on a grid."""
    z = np.linspace(-3.5, 3.5, 41)
    points, log_density = np.empty((41, 41, 2)), np.empty((41, 41))
    for i, u in enumerate(z):
        for j, v in enumerate(z):
            roughness, width = 0.015 * np.exp(0.2 * u), 200.0 * np.exp(0.3 * v)
            misfit = (depths(folder, roughness, width) - readings) / 0.01
            log_density[i, j] = -0.5 * (np.sum(misfit**2) + u**2 + v**2)
            points[i, j] = roughness, width
    return moments(points, log_density)


def test_the_posterior_is_that_of_a_grid(page, folder):
    analysis = page["drained"]
    readings = np.asarray(page["gauges"].values).reshape(SLOTS, 2) * FOOT
    expected = reference(folder, readings)
    check_posterior("SWMM", ["roughness", "width"], analysis, expected)


def test_restarts_change_nothing(page, folder):
    """Slots joined by hotstart files are one run, to the digits of single precision."""
    joined = np.asarray(page["flood"]["depth"][1:, :2]) * FOOT
    np.testing.assert_allclose(joined, depths(folder, 0.017, 150.0), rtol=1e-6)


def test_lines():
    program, model = [block.text for block in under(PAGE, TITLE)][1:3]
    assert int(stated("SWMM")[0][2]) == lines(program) + lines(model)
