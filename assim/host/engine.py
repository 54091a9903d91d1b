"""The engine as an object of a program that keeps its own time loop.

What imports JAX is imported inside the methods: the case says first how JAX is to be used.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np

from assim.case.case import read_case
from assim.case.failure import Exit
from assim.host.arrays import Held, check_array, check_fit, check_taken
from assim.host.clock import TOLERANCE, check_start
from assim.host.errors import Action, EndedError, HostError, words_of
from assim.host.model import Procedure, followed, offer_announcing, offer_functions
from assim.host.ranks import Ranks
from assim.host.run import deviations, stages_of
from assim.host.together import Calls

if TYPE_CHECKING:
    from assim.analysis.analysed import AnalysedWindow
    from assim.analysis.stages import Ended, Stage, Stages

_Call = TypeVar("_Call", bound=Callable)


def _kept(call: _Call) -> _Call:
    """A method whose errors are kept in `last_error` before they are raised."""

    @functools.wraps(call)
    def kept(engine: "Engine", *arguments: Any, **options: Any) -> Any:
        try:
            return call(engine, *arguments, **options)
        except BaseException as error:
            engine.last_error = words_of(error)
            raise

    return cast(_Call, kept)


class Engine:
    """The engine inside a host: a program that steps its own model.

    In this order: `register` the arrays of the host, `register_model` if the window's model is to
    be the host's own, `start`, then `advance` at the end of every step, and `finalise`. What a call
    raises is also in `last_error`; after a HostError the engine is as it was before the call.

    Args:
        case: the case file, of one window or of a cycle of them.
        out: directory of the results; the case's own if not given.
        at_start: write the analysis at the start of its window, from where the host runs again;
            otherwise at its end, or in a cycle at its newest observations, from where it goes on.
        resume: go on with a cycle whose windows are in the directory already.
        quiet: print nothing.
        assignments: values of the case to override, as "a.b=value".
        ranks: the processes of a parallel program, each of which holds an engine.

    Raises:
        CaseError: a case with errors.
    """

    def __init__(
        self,
        case: Path | str,
        out: Path | str | None = None,
        *,
        at_start: bool = False,
        resume: bool = False,
        quiet: bool = True,
        assignments: Sequence[str] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.case = read_case(Path(case), assignments)
        self.case.checked  # noqa: B018 (raises what is wrong with it)
        if resume and "cycle" not in self.case.tree:
            raise HostError("resume: only a cycle is gone on with, and this case has one window")
        self.out = None if out is None else Path(out)
        self.at_start, self.resume, self.quiet = at_start, resume, quiet
        self.last_error = ""
        self.action = Action.NOTHING
        self.time = math.nan  # of the state in the arrays, after a call that wrote them
        self.quiet_until = -math.inf  # before this time nothing is due
        self.held = Held(ranks or Ranks())
        self._calls = Calls(self.held)
        self._begun = False
        self._last = math.nan
        self._due = math.inf  # the next time that matters
        self._stages: Stages | None = None
        self._stage: Stage | None = None
        self._analysed: tuple[AnalysedWindow, int] | None = None
        self._over: BaseException | None = None  # why there is nothing more to come

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.finalise()

    # ---- before the first step -------------------------------------------------------------------

    @_kept
    def register(self, name: str, array: np.ndarray, first: Sequence[int] | None = None) -> None:
        """Let the analysis of a field, or of a parameter, be written into this array in place.

        Args:
            name: of the field or parameter in the model's labels.
            array: of float64 or float32, of the shape that the labels say, of any strides.
            first: where the array is this process's part of a field, without a halo: the index of
                its first element in the whole.

        Raises:
            HostError: no such array, one registered twice, or a call after `start`.
        """
        self._before_start("register")
        self.held.add(name, array, first)

    @_kept
    def register_model(
        self,
        step: Procedure,
        tangent: Procedure | None = None,
        adjoint: Procedure | None = None,
        *,
        context: int = 0,
        thread_safe: bool = False,
    ) -> None:
        """Make the host's own step the model of the window, in place of what [model] has.

        Args:
            step: function in Python or address of a C function, as `PythonModel` or `CModel` has
                it; all three are of one kind.
            tangent: that of its tangent linear, where there is one.
            adjoint: that of its adjoint.
            context: address that C functions are handed.
            thread_safe: whether several threads may be in them at once.

        Raises:
            HostError: no function, functions of both kinds, a [model] that takes none, or a call
                after `start`.
        """
        self._before_start("register_model")
        functions = {"step": step, "tangent": tangent, "adjoint": adjoint}
        table = self.case.checked.model
        offer_functions(table, functions, context=context, thread_safe=thread_safe)
        self.held.functions = [f"{n} of the model" for n, f in functions.items() if f is not None]

    @_kept
    def start(self, t: float) -> Action:
        """Pose the problem, at the start of the window, before the first step.

        The arrays hold the host's state at `t`. It is the background of every field to which the
        case gives neither a value nor a file; fields to which it does are written here.

        Args:
            t: model time of the host, in the unit of the labels.

        Returns:
            NOTHING; RESTART where a cycle is resumed: the arrays hold its last analysis, and `time`
            is when it holds.

        Raises:
            HostError: arrays that are none of the model's, or another time than the window's start.
            CaseError, DataError: of the case and its files, which may be put right; start again.
        """
        self._before_start("start")
        whole = self.held.gather()
        self._together(lambda: self._started(whole, t))
        self._begun = True
        return self.action

    def _started(self, whole: Mapping[str, np.ndarray], t: float) -> Action:
        """Pose the problem, with the arrays of the host as they are."""
        from assim.run.terminal.runtime import configure

        runtime: Any = self.case.runtime
        configure(runtime.device, runtime.precision, runtime.mesh)
        from assim.case.setting import set_up  # which imports JAX

        self.case.tables.background.offer(whole)
        if self.held.ranks.size > 1 and self.held.functions:
            offer_announcing(self.case.checked.model, self._calls.announce)
        setting = set_up(self.case)
        check_fit(whole, setting.labels)
        if not self.resume:
            check_start(setting, t)
        stages = stages_of(setting, self.out, quiet=self.quiet, resume=self.resume)
        try:
            action = self._begin(next(stages), t)
        except BaseException:
            stages.close()
            raise
        self._stages = stages
        return self._done(action)

    # ---- in the time loop ------------------------------------------------------------------------

    def advance(self, t: float) -> Action:
        """Tell that the host has stepped to `t`; analyse if a window is complete.

        Args:
            t: model time of the host, after its step.

        Returns:
            what the host does next; NOTHING, at once, before a window is complete.

        Raises:
            HostError: a call before `start` or after `finalise`, a time that does not increase, or
                a step over the end of a window.
            EndedError: the analysis has not converged (the arrays are as they were), something
                after it failed (they hold the analysis), or the run ended so before.
            DataError, NonFiniteError: as `assim run` has them; the arrays are as they were.
        """
        if self._last < t < self.quiet_until:
            self._last = t
            self.action = Action.NOTHING
            return Action.NOTHING
        return self._arrived(t)

    def seen(self, last: float) -> None:
        """Take note of steps up to a time before which nothing was due, of which nobody told."""
        if last > self._last:
            self._last = last

    @_kept
    def spread(self, name: str, out: np.ndarray | None = None) -> np.ndarray:
        """Standard deviations of the last analysis, at the time at which it was written.

        Args:
            name: of a field or an estimated parameter.
            out: array to write them into, of the field's shape; a new one if not given.

        Raises:
            HostError: no analysis yet, or one without standard deviations of this name.
        """
        shared = self._together(lambda: self.held.share({name: deviations(self._analysed, name)}))
        values = np.asarray(shared[name][self.held.places(name)])
        if out is None:
            return values
        if check_array(name, out).shape != values.shape:
            raise HostError(f"{name}: expected an array of shape {values.shape}, got {out.shape}")
        out[...] = values
        return out

    def finalise(self) -> None:
        """End the run: what is written stands, and the arrays are the host's alone again."""
        if self._stages is not None:
            self._stages.close()
        self.held, self._stages, self._stage = Held(Ranks()), None, None
        self._begun, self._analysed = False, None
        self.quiet_until = -math.inf
        self._over = HostError("the engine has been finalised; make a new one")

    # ---- how it goes on --------------------------------------------------------------------------

    def _before_start(self, call: str) -> None:
        if self._over is not None:
            raise self._over.with_traceback(None)
        if self._begun:
            raise HostError(f"{call}: the engine has started; {call} comes before the first step")

    def _begin(self, stage: "Stage", t: float) -> Action:
        """Write the state from which the host begins."""
        import jax.numpy as jnp

        from assim.files.read.states import read_state

        control, model = stage.problem.control, stage.problem.model
        if self.held.functions:
            check_taken(self.held.arrays, control.parameters)
        first = control(jnp.zeros(control.size()))
        self.held.write({**first.state, **first.parameters})
        if stage.resumed is None:
            self._wait(stage, t)
            return Action.NOTHING
        self.time, folder = stage.resumed
        known = {*model.labels().state, *control.parameters}
        names = [name for name in self.held.arrays if name in known]
        self.held.write(read_state(folder / "analysis.nc", model, names))
        self._wait(stage, self.time)
        return Action.RESTART

    def _wait(self, stage: "Stage", t: float) -> None:
        """Nothing is due before the newest observations of the next window."""
        self._stage, self._last = stage, t
        self._until(math.inf if stage.due is None else stage.due.newest)

    def _until(self, due: float) -> None:
        slot = (
            1.0 if self._stage is None else float(np.diff(self._stage.problem.window.edges).min())
        )
        self._due, self._slack = due, TOLERANCE * slot
        self.quiet_until = due - self._slack

    def _done(self, action: Action) -> Action:
        self.action = action
        return action

    @_kept
    def _arrived(self, t: float) -> Action:
        """A time at which something is due, or something is wrong."""
        self._together(lambda: self._on_arrival(t))
        return self.action

    def _together(self, call: Callable[[], Any]) -> dict[str, np.ndarray]:
        """A call of every process, which the first one makes; what it hands out, whole."""
        self.held.begin()
        if self.held.ranks.size == 1:
            call()
        elif not self.held.ranks.follows:
            self._calls.lead(call, self._standing)
        else:
            standing, error = self._calls.follow(lambda: followed(self.case.checked.model))
            self.time, self._last, self.quiet_until, action = standing
            self.action = Action(int(action))
            if error is not None:
                raise error
        return self.held.shared

    def _standing(self) -> tuple[float, ...]:
        """What every process knows of the run."""
        return self.time, self._last, self.quiet_until, float(self.action)

    def _on_arrival(self, t: float) -> Action:
        if self._over is not None:
            raise self._over.with_traceback(None)
        if self._stages is None:
            raise HostError("advance: the engine has not started; call start before the first step")
        if not t > self._last:
            raise HostError(
                f"advance: time must increase from call to call, got t = {t:g} after {self._last:g}"
            )
        if t > self._due + self._slack:
            raise HostError(
                f"advance: the host has stepped over t = {self._due:g}, where a window is to be "
                f"analysed, to {t:g}; choose a time step that ends there"
            )
        assert self._stage is not None
        if self._stage.due is None:  # the window is run again, from its last analysis
            return self._stop(t)
        return self._done(self._analyse(t))

    def _stop(self, t: float) -> Action:
        self.time = self._last = t
        self._until(math.inf)
        return self._done(Action.STOP)

    def _analyse(self, t: float) -> Action:
        """The window that is complete, and the state from which the host goes on."""
        assert self._stages is not None
        try:
            stage = next(self._stages)
            ended = self._rest(stage)
        except StopIteration as end:
            ended = end.value
            self._over = EndedError(ended.code, ended.words)
            raise self._over from None
        except BaseException as error:
            self._over = error
            raise
        if ended is None or ended.code != Exit.NOT_CONVERGED:
            action = self._take(stage, t)
        if ended is not None and ended.code != Exit.DONE:
            self._over = EndedError(ended.code, ended.words)
            self._until(-math.inf)
            raise self._over
        return action

    def _rest(self, stage: "Stage") -> "Ended | None":
        """How the run ends, where this was the last window."""
        if stage.due is not None:
            return None
        from assim.analysis.stages import to_the_end

        assert self._stages is not None
        return to_the_end(self._stages)

    def _take(self, stage: "Stage", t: float) -> Action:
        """Write an analysis into the arrays."""
        assert stage.analysed is not None
        analysed, newest = stage.analysed, stage.newest
        edge = 0 if self.at_start else newest
        self._analysed = analysed, edge
        fields = {name: values[edge] for name, values in analysed.analysis.items()}
        self.held.write({**fields, **analysed.scalars})
        if not self.at_start:
            self.time = t
            self._wait(stage, t)
            return Action.ANALYSED if stage.due else Action.STOP
        self.time = float(analysed.window.edges[0])
        self._wait(stage, self.time)
        if stage.due is None:
            self._until(float(analysed.window.edges[newest]))
        return Action.RESTART
