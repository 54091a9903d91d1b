"""Where a forecast starts: members of the posterior that a finished run has left."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.cycle.plan import Plan
from assim.analysis.failures import spelt
from assim.analysis.forecast import Past, StartMembers
from assim.case.case import Case
from assim.case.pose import Posed, pose_setting
from assim.case.pose_cycle import PosedCycle, pose_cycle
from assim.case.setting import Setting
from assim.devices import over_members, program
from assim.files.errors import DataError
from assim.files.fingerprint import WINDOW, digests, problem_digest
from assim.files.netcdf import hash_file
from assim.files.read.manifest import NAME, STATES, changed_inputs, damaged, read_manifest
from assim.files.read.states import read_state
from assim.files.write.analysed import read_carry
from assim.files.write.forecast import attributes_of, read_members
from assim.files.write.results import certificates
from assim.findings.fit import Fit
from assim.problem.cycled import at_edges
from assim.problem.departure import Problem
from assim.problem.model import AbstractDynamics
from assim.problem.window import Window
from assim.solve.minimise.status import Status
from assim.statistics.resampling import systematic

MEMBERS = 100
_SETTLED = str(Status.CONVERGED)
_FREE = {  # tables of a case that do not change what its posterior is of
    *("title", "output", "runtime", "twin", "minimiser", "posterior"),
    *("predictive", "findings", "quantities", "forecast_impact", "sloppy"),
}


class Origin(NamedTuple):
    """What a forecast is made of."""

    draws: StartMembers  # members, at the first of the edges
    edges: np.ndarray  # slot edges from there to where the forecast starts, one or more
    slot: float  # length of a slot, in the model's time unit
    slots: int  # of a window of the case
    reference: str | None  # date of model time zero
    past: Past | None = None  # every member's model errors before the forecast, where known
    file: Path = Path()  # that the members come from
    words: str = ""  # the same for people
    warnings: tuple[str, ...] = ()  # what to know about them


def origin_of(setting: Setting, directory: Path, number: int | None, seed: int) -> Origin:
    """Members of the posterior in a directory of results.

    Their number is by default what a cycle's scheme carries, or 100.
    """
    case = setting.case
    if "cycle" in case.tree:
        return _of_cycle(setting, directory, number, seed)
    number = MEMBERS if number is None else number
    path = directory / "posterior.nc"
    if not path.is_file():
        raise DataError(_absent(directory))
    words: Mapping[str, Any] = attributes_of(path)
    _check_case(case, path, words)
    _check_code(case, path, words)
    if case.checked.model_error is None:
        start = _of_posterior(setting, directory, number, seed)
    else:
        start, again = _repeated(setting, directory, number, seed)
        fit = {Fit.name: words[Fit.name]} if Fit.name in words else {}  # of the same problem
        words = {**again, **fit}
    method = f"{path}, by {words.get('assim_method', 'an unknown method')}"
    return start._replace(file=path, words=method, warnings=(*start.warnings, *_doubts(words)))


def _absent(directory: Path) -> str:
    if not (directory / "analysis.nc").is_file():
        return (
            f"{directory}: holds no analysis; run the case first (`assim run CASE.toml --out "
            f"{directory}`), or name its directory with --from"
        )
    return (
        f"{directory}: holds an analysis but no posterior.nc, whose members a forecast starts "
        "from; where none failed (`assim check` of the directory says so), give the case a table "
        "[posterior], keep the file (output.keep), and run it again"
    )


def _check_case(case: Case, path: Path, words: Mapping[str, Any]) -> None:
    """Refuse a file that another case has made."""
    try:
        made = tomllib.loads(str(words.get("assim_config", "")))
    except tomllib.TOMLDecodeError:
        made = {}
    given = tomllib.loads(case.text())
    made, given = ({**tree, "model": _without_files(tree.get("model"))} for tree in (made, given))
    changed = [key for key in sorted({*made, *given} - _FREE) if made.get(key) != given.get(key)]
    if changed:
        raise DataError(
            f"{path}: was made by another case, or by this one before it was changed: "
            f"{', '.join(f'[{key}]' for key in changed)} differ; give the case as it was, with "
            "the same --set, or run it again"
        )


def _check_code(case: Case, path: Path, words: Mapping[str, Any]) -> None:
    """Refuse code that has changed since the analysis was made by it."""
    before = _digests(words, "assim_inputs")
    changed = [n for n, p in case.code().items() if n in before and hash_file(p) != before[n]]
    if changed:
        raise DataError(
            f"{case.input_path(changed[0])}: has changed since {path} was made; put it back, or "
            "run the case again"
        )


def _digests(words: Mapping[str, Any], key: str) -> dict[str, str]:
    """sha256 by name, of an attribute that has one a line."""
    lines = str(words.get(key, "")).splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _without_files(model: Any) -> Any:
    """The table of a model without where its inputs are: those are compared by what they hold."""
    if not isinstance(model, dict):
        return model
    return {
        key: {**value, "file": "", "variable": ""}
        if isinstance(value, dict) and "file" in value
        else value
        for key, value in model.items()
    }


def _check_window(path: Path, model: AbstractDynamics, window: Window) -> None:
    """Refuse inputs of the model that differ inside the window from those of the analysis."""
    before = _digests(attributes_of(path), "assim_window_inputs")
    now = digests(model, window)
    changed = [name for name, digest in now.items() if before.get(name) != digest]
    if not before:
        raise DataError(f"{path}: does not say what it was made with; run the analysis again")
    if changed and changed[0] == WINDOW:
        raise DataError(f"{path}: was made with other slots than the case has now; run it again")
    if changed:
        raise DataError(
            f"{path}: was made with another input {changed[0]!r} of the model: inside the window "
            "of the analysis it must be the same, and may differ after it alone; give that series, "
            "or run the case again"
        )


def _doubts(words: Mapping[str, Any]) -> tuple[str, ...]:
    """What the run has said against its own posterior."""
    doubts = []
    if words.get("assim_status", "converged") != "converged":
        doubts.append("The analysis has not converged; the forecast starts from it all the same.")
    if words.get("trust") == "doubtful":
        doubts.append(f"The posterior is doubtful: {words.get('advice', '')}")
    if words.get("trust") == "failed":
        doubts.append("The posterior has failed by its own certificates: do not use the spread.")
    if words.get(Fit.name) == "poor":
        doubts.append(
            "The data did not fit the problem as stated, so that its error bars, and the spread "
            "here, are not those of what was measured: `assim check` of the results says what."
        )
    if Fit.name not in words:
        doubts.append("Whether the data fit was not tested, so that nothing here is certified.")
    return tuple(doubts)


def _of_last_window(lines: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the manifest's lines of all windows say against the state that is gone on from."""
    unsettled = [line for line in lines if line.get("minimiser", "none") not in ("none", _SETTLED)]
    last, doubts = lines[-1], []
    if last in unsettled:
        doubts.append(
            f"The analysis of the last window has not converged ({last['minimiser']}); the "
            "forecast starts from it all the same."
        )
    elif last.get("state") == "forecast":
        doubts.append(
            f"The last window was not analysed but forecast ({last.get('reason', '')}): the "
            "forecast starts from what was known before."
        )
    if before := len(unsettled) - (last in unsettled):
        doubts.append(f"{before} of the windows before have not converged.")
    return tuple(doubts)


def _of_posterior(setting: Setting, directory: Path, number: int, seed: int) -> Origin:
    """Members at the window's start, from their file; fields without one are the analysis'."""
    model, labels = setting.model, setting.labels
    table, path = setting.case.checked, directory / "posterior.nc"
    by_times = table.window.times == "observations"
    rows = [t.rows(t.file_path(t.file), labels) for t in table.observations if by_times]
    window = setting.window(rows)
    _check_window(path, model, window)
    scales = {t.error.name: () for t in table.observations if t.error.name is not None}
    biases = {term.name: () for t in table.observations for term in t.bias}
    parameters = {name: labels.parameters[name].dims for name in table.priors()}
    fields = {name: label.dims for name, label in labels.state.items()}
    members = read_members(path, {**scales, **biases, **parameters, **fields})
    for name in (*parameters, *scales, *biases):
        if name not in members:
            raise DataError(f"{path}: expected members of {name!r}, there are none")
    weights = members["weight"]
    fixed = [name for name in fields if name not in members]
    still = read_state(directory / "analysis.nc", model, fixed, setting.start) if fixed else {}
    chosen = _chosen(weights, number, seed)
    state = {n: members[n][chosen] for n in fields if n in members}
    state |= {n: np.broadcast_to(np.asarray(v), (number, *v.shape)) for n, v in still.items()}
    kinds = (parameters, scales, biases)
    draws = StartMembers(state, *({name: members[name][chosen] for name in kind} for kind in kinds))
    return _origin(draws, window, np.asarray(window.edges), weights.size)


def _chosen(weights: np.ndarray, number: int, seed: int) -> np.ndarray:
    """So many members by number, each as often as its weight says, in an order of chance."""
    order = np.random.default_rng(seed).permutation(weights.size)
    chosen: np.ndarray = order[systematic(weights[order], number)]
    return chosen


def _origin(
    draws: StartMembers, window: Window, edges: np.ndarray, known: int, past: Past | None = None
) -> Origin:
    """What a forecast after one window is made of, with a word where members are repeated."""
    number, slots = draws.size(), window.slots
    slot = float(window.edges[-1] - window.edges[0]) / slots
    repeated = f"The posterior has {known} members: some of the {number} are the same."
    warnings = (repeated,) if number > known else ()
    return Origin(draws, edges, slot, slots, window.reference, past, warnings=warnings)


def _repeated(
    setting: Setting, directory: Path, number: int, seed: int
) -> tuple[Origin, Mapping[str, Any]]:
    """Members at the window's end, its model errors included, which no file holds.

    The analysis is made again from the case's files, by the methods that the case asks for now.
    Returned are, too, the certificates of that analysis, which may be others than those in files.
    """
    posed, path = pose_setting(setting), directory / "posterior.nc"
    _check_problem(path, posed)
    if posed.posterior is None:
        what = "a forecast with model error makes the posterior again, and the case asks for none"
        raise setting.case.fault("posterior", f"{what}; give it as it was when {path} was made")
    analysis = posed.analysis()
    if analysis.posterior is None:
        raise DataError(f"{path}: cannot be made again: {' '.join(_failed(analysis))}")
    weights = np.asarray(analysis.posterior.weights)
    chi = analysis.posterior.chi[jnp.asarray(_chosen(weights, number, seed))]
    window = posed.problem.window
    edges = np.asarray(window.edges)
    draws, series = _at_end(posed.problem, chi)
    past = Past(edges, series) if series else None
    start = _origin(draws, window, edges[-1:], weights.size, past)
    start = start._replace(warnings=(*start.warnings, *_failed(analysis)))
    return start, certificates(analysis, analysis.posterior)


def _failed(analysis: Analysis) -> list[str]:
    """What failed as the analysis was made again, in words."""
    return [f"Failed, and left out: {spelt(s)}: {why}." for s, why in analysis.failures.items()]


@program
def _at_end(problem: Problem, chi: jax.Array) -> tuple[StartMembers, dict[str, jax.Array]]:
    """Members at the window's end, and the white series of their model errors."""

    def start(chi: jax.Array) -> tuple[StartMembers, dict[str, jax.Array]]:
        physical, end = problem.control(chi), problem.trajectory(chi).at_end()
        draws = StartMembers(end, physical.parameters, physical.scales, physical.biases)
        error = problem.control.model_error
        if error is None or error.in_time is None:
            return draws, {}
        if problem.control.later:
            s = problem.control.amplitude(physical.scales)
            eta = {name: value / s for name, value in problem.model_error(chi).items()}
            white = jax.vmap(error.joint.whiten)(eta)
            return draws, {name: series[: problem.control.jumps] for name, series in white.items()}
        white = problem.control.split(chi)["model_error"]
        return draws, {n: jax.vmap(error.in_time.sqrt, 1, 1)(w) for n, w in white.items()}

    return over_members(start, chi, MEMBERS)


def _check_problem(path: Path, posed: Posed) -> None:
    """Refuse files that pose another problem than the run's; after the window they may differ."""
    _check_window(path, posed.problem.model, posed.problem.window)
    words = attributes_of(path)
    if words.get("assim_problem_sha256") == problem_digest(posed.problem):
        return
    before = _digests(words, "assim_inputs")
    changed = [name for name, digest in posed.inputs.items() if before.get(name) != digest]
    raise DataError(
        f"{', '.join(changed) or 'the case'}: no longer poses the problem that {path} was made of: "
        "inside the window something has changed; run the case again"
    )


def _of_cycle(setting: Setting, directory: Path, number: int | None, seed: int) -> Origin:
    """Members where the window after the last finished one would start."""
    case = setting.case
    if setting.tables.cycled().twin:
        what = "an experiment in memory leaves nothing behind from which to go on"
        raise case.fault("cycle.twin", what)
    lines = read_manifest(directory)
    if len(lines) < 2:
        raise DataError(_absent(directory))
    if lines[0].get("config_sha256") != case.fingerprint():
        raise DataError(
            f"{directory}: holds a cycle of another case, or of this one before it was changed; "
            "give it as it was (the title, [output] and cycle.windows, burn_in and on_failure may "
            "differ)"
        )
    posed = pose_cycle(setting)
    _check_cycle(directory, posed, lines[0])
    done = len(lines) - 1
    path = _carried(directory, lines)
    carry = read_carry(path, posed.cycle.start())
    asked = MEMBERS if number is None else number
    ahead, newest, slot = _ahead(posed.cycle.plan, np.asarray(posed.edges), done)
    problem = at_edges(posed.cycle.problem, jnp.asarray(ahead))
    draws = posed.cycle.scheme.draws(problem, carry, asked, jax.random.key(seed), newest)
    if draws is None:
        kind = type(posed.cycle.scheme).__name__
        what = f"nothing can be drawn from what {kind} hands on; write its method `draws`"
        raise case.fault("cycle.method", what)
    if asked > (size := draws.size()) and number is not None:
        raise DataError(
            f"{path}: holds {size} members, which are used as they are; --members may be at most "
            f"that, got {number}"
        )
    if number is not None and number < size:
        draws = draws.taken(np.random.default_rng(seed).permutation(size)[:number])
    start = ahead[newest : newest + 1]
    given = (draws, start, slot, posed.cycle.plan.slots, posed.reference)
    words = f"{path}, by {type(posed.cycle.scheme).__name__}"
    return Origin(*given, file=path, words=words, warnings=_of_last_window(lines[1:]))


def _carried(directory: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """The file of what the last window has handed on."""
    name = f"{STATES}/{len(lines) - 2:06d}.nc"
    if damaged(directory, {"files": {name: lines[-1]["files"].get(name, "")}}):
        what = "is missing or has changed since its window was finished"
        raise DataError(f"{directory / name}: {what}")
    return directory / name


def _check_cycle(directory: Path, posed: PosedCycle, heading: Mapping[str, Any]) -> None:
    """Refuse code and files that have changed since the cycle was run, as a window's are.

    Series that drive the model may go on, or differ, after its windows.
    """
    case, free = posed.case, posed.tables.model.files()
    changed = [name for name in changed_inputs(heading, case.input_path) if name not in free]
    if changed:
        raise DataError(
            f"{case.input_path(changed[0])}: is missing or has changed since the cycle in "
            f"{directory} was run; put it back, or run the cycle again"
        )
    if "series" not in heading:
        what = "does not say what it was made with; run the cycle again"
        raise DataError(f"{directory / NAME}: {what}")
    before, now = heading["series"]["sha256"], posed.series(heading["series"]["span"])["sha256"]
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        raise DataError(
            f"{directory}: was made with another input {changed[0]!r} of the model: inside the "
            "windows of the cycle it must be the same, and may differ after them alone; give that "
            "series, or run the cycle again"
        )


def _ahead(plan: Plan, edges: np.ndarray, done: int) -> tuple[np.ndarray, int, float]:
    """Slot edges of the window after so many, number of the newest so far, length of a slot."""
    slot = float(edges[-1] - edges[0]) / (len(edges) - 1)
    first = int(plan.first_slot(done))
    more = edges[-1] + slot * np.arange(1, max(1, first + plan.slots + 2 - len(edges)))
    own = np.concatenate([edges, more])[first : first + plan.slots + 1]
    return own, plan.shift * done - first, slot
