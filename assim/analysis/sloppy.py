"""Which combinations of what was estimated the data fix, and which they leave to the prior."""

from assim.analysis.analyse import Analysis
from assim.analysis.findings import Sloppy
from assim.solve.sloppy import directions, profile

MOST = 40  # named coordinates


def stiff_and_sloppy(analysis: Analysis, with_profile: bool = False) -> Sloppy | None:
    """Eigenpairs of what the data say of the estimated scalars, in their whitened coordinates.

    Args:
        analysis: an analysis with a posterior.
        with_profile: whether J is minimised along the sloppiest direction.

    Returns:
        None without a posterior, or where no scalar or more than 40 are estimated.
    """
    if analysis.laplace is None:
        return None
    problem, names = analysis.problem, analysis.problem.control.names()
    scalars = [name for name in names if "[" not in name and "." not in name]
    if not 0 < len(scalars) <= MOST:
        return None
    gaussian = analysis.laplace.gaussian
    found = directions(gaussian, problem.weight(), names, scalars)
    along = profile(problem, gaussian, found, -1, names) if with_profile else None
    return Sloppy(found, along)
