"""What a person sees while a case runs: loops, windows, results, and where they were written."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from assim.files.log import Log, analysis_figures, window_figures
from assim.files.names import AGREEMENT
from assim.show.cells import four_digits, number_text, quantity_row, with_stddev

if TYPE_CHECKING:
    from assim.analysis.analyse import Analysis
    from assim.analysis.cycle.measures import Measures
    from assim.solve.minimise.loop import Loop

_WIDTH = 120  # of tables in files and pipes
_LOST = 1.5  # 2J/m of a cycle whose covariances cannot be right
_LOOP_HEADING = f"{'loop':>5} {'cost':>14} {'gradient norm':>14} {'inner':>6} {'seconds':>9}"
_ROWS = 12  # windows that the table shows
_CONVERSIONS = 6  # of units that are told: a cycle has them in every file
_LINES = 20  # of a whole cycle, where the output is no terminal
_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 60  # windows in the small curve
_BOTH, _RATIO = ("RMSE", "spread"), ("spread/RMSE",)  # of one field; of several in their units


class Screen:
    """Plain lines, with tables drawn where the output is a terminal.

    A log has the same, quiet or not, as numbers.
    """

    def __init__(
        self, console: Console | None = None, quiet: bool = False, log: Log | None = None
    ) -> None:
        self.log = log or Log()
        self.console = console or Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = _WIDTH
        self.quiet = quiet
        self._headed = self._settled = False

    def say(self, text: str = "", style: str | None = None) -> None:
        """One line or several."""
        if text:
            self.log.event("message", text=text)
        self._print(text, style)

    def _print(self, text: str, style: str | None = None) -> None:
        if not self.quiet:
            self.console.print(text, style=style, markup=False)

    def loop(self, loop: "Loop") -> None:
        """One outer loop; while others go on, nothing of a lowest first guess that has settled."""
        self.log.event("loop", **loop._asdict())
        if not self._headed:
            self._print(_LOOP_HEADING, "bold")
            self._headed = True
        if self._rests(loop):
            return
        self._print(
            f"{loop.number:>5} {loop.cost:>14.8g} {loop.gradient_norm:>14.3e} "
            f"{loop.inner_iterations:>6} {loop.seconds:>9.3f}"
        )

    def _rests(self, loop: "Loop") -> bool:
        """Whether the lowest first guess has settled before this loop and others go on.

        So it is where there is no finite cost, as there was none before.
        """
        finite = math.isfinite(loop.cost)
        before = self._settled and not (finite and loop.number <= 1)  # 1: of further first guesses
        rests, self._settled = before, loop.inner_iterations == 0
        if rests and self._settled and loop.running == 0 and finite:
            self._print(f"{loop.number:>5} the other first guesses have settled")
        return rests and self._settled

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
        """A table, its first column to the left and the others to the right."""
        drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for number, column in enumerate(columns):
            drawn.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(str(cell) for cell in row))
        if not self.quiet:
            self.console.print(drawn)

    def results(self, analysis: "Analysis") -> None:
        """Posterior of every scalar quantity, and how far it can be trusted."""
        from assim.findings.fit import verdict_of

        self.log.event("result", **analysis_figures(analysis))
        self.say()
        if analysis.quantities:
            columns = ("quantity", "mean", "stddev", "5 %", "95 %", "MAP", "units")
            self.table(columns, (quantity_row(*pair) for pair in analysis.quantities.items()))
        for name, quantity in analysis.quantities.items():
            if quantity.note:
                self.say(f"{name}: median {quantity.q50:.5g}; {quantity.note}.")
        if len(analysis.posteriors) > 1:
            self._compared(analysis)
        fit: Any = analysis.findings.get("fit")
        for name, posterior in analysis.posteriors.items():
            self.say(f"{name} ({verdict_of(analysis, posterior)}): {posterior.advice}")
        if analysis.choice:
            self.say(analysis.choice)
        reported = analysis.posterior
        if reported is not None and str(reported.trust) == "failed":
            self.say(f"{analysis.chosen} has failed: use none of its error bars.", "bold red")
        self.fit(None if fit is None else fit.summary())
        if "skill" in analysis.findings:
            self.skill(analysis.findings["skill"].summary())
        self._minima(analysis)

    def fit(self, summary: Mapping[str, Any] | None) -> None:
        """Whether the data agree with the problem as stated, and what does not."""
        if summary is None:
            self.say(
                "Whether the data fit was not tested, so that nothing is certified.", "bold red"
            )
            return
        if summary["verdict"] == "poor":
            self.say(
                "The data do not fit the problem as stated, so that its error bars are not those "
                "of what was measured:",
                "bold red",
            )
        if (words := number_text(summary["p_value"], ".1g")) != "–":
            total, expected = summary["chi_squared"], summary["chi_squared_expected"]
            self.say(f"χ² = {total:.4g} where {expected:.4g} is expected (p = {words}).")
        for remark in summary["remarks"]:
            self.say(f"- {remark}")
        for line in summary["untested"]:
            self.say(line)

    def skill(self, summary: Mapping[str, Any]) -> None:
        """How well the analysis agrees with the readings of every instrument."""
        self.say()
        rows = (
            (
                name + " (held back)" * own["held_back"],
                f"{own['analysis']['number']:,}",
                *(four_digits(own["analysis"][key]) for key in AGREEMENT),
                own["units"],
            )
            for name, own in summary.items()
        )
        self.table(("analysis − readings", "count", *AGREEMENT.values(), "units"), rows)

    def _compared(self, analysis: "Analysis") -> None:
        """Mean and standard deviation of every scalar by every method, and what each cost."""
        methods = analysis.posteriors
        rows = [
            (name, *(with_stddev(method.quantities[name]) for method in methods.values()))
            for name in analysis.quantities
        ]
        rows.append(("gradients", *(f"{method.gradients:,}" for method in methods.values())))
        rows.append(("seconds", *(f"{method.seconds:.1f}" for method in methods.values())))
        self.table(("mean ± stddev", *methods), rows)

    def _minima(self, analysis: "Analysis") -> None:
        solution = analysis.solution
        if len(solution.minima) > 1:
            self.say(f"{len(solution.minima)} minima were met:")
            for minimum in solution.minima:
                self.say(f"  cost {minimum.cost:.6g}, from {_starts(minimum.starts)}")
        if solution.failed_starts:
            self.say(f"The model is not finite at {_starts(solution.failed_starts)}.")

    @contextmanager
    def following(self, windows: int, done: int) -> Iterator[Callable[[int, Any, Any], None]]:
        """A function to call after every window of a cycle, of which some are done before."""
        dashboard = Dashboard(self.console, windows, done)

        def follow(number: int, measures: "Measures", entry: Mapping[str, Any]) -> None:
            numbers = {"number": number, "windows": windows, **window_figures(measures)}
            self.log.event("window", **numbers, state=entry["state"], seconds=entry["seconds"])
            if not self.quiet:
                dashboard.window(number, measures, entry)

        with nullcontext() if self.quiet else dashboard.live or nullcontext():
            yield follow

    def cycled(self, summary: dict[str, Any]) -> None:
        """How the windows of a cycle ended, and means over them."""
        self.log.event("result", **summary)
        self.say()
        self.say(*_ended(summary))
        rows = []
        for kind in ("background", "analysis", "smoother"):
            spread = "spread" if kind == "analysis" else f"spread_{kind}"
            errors = summary.get(f"rmse_{kind}_by_field", {})
            if summary[spread] is not None:
                numbers = (summary.get(f"rmse_{kind}"), summary[spread])
                rows.append((kind, *map(four_digits, numbers)))
                continue
            for name, value in summary[f"{spread}_by_field"].items():  # in units of their own
                rows.append((f"{name}, {kind}", four_digits(errors.get(name)), four_digits(value)))
        self.table(("mean over windows", "RMSE", "spread"), rows)
        mean = summary["chi_squared"]
        self.say(
            f"chi-squared {four_digits(mean)} (1 where all covariances are right), "
            * (mean is not None)
            + f"inflation {four_digits(summary['inflation'])}, degrees of freedom for signal "
            f"{four_digits(summary['signal'])}"
        )
        for name, quantity in summary.get("quantities", {}).items():
            if isinstance(quantity["mean"], float):
                pair = (four_digits(quantity["mean"]), four_digits(quantity["stddev"]))
                self.say(f"{name} after the newest window: {' ± '.join(pair)}")
        if (mean or 0.0) > _LOST:
            self.say(
                "Departures are much larger than the covariances make likely: the cycle may have "
                "lost the truth. Give more members, inflation, or a share of the static covariance "
                "(cycle.method), and see `assim check`.",
                "bold red",
            )

    def rejected(self, counts: dict[str, dict[str, int]]) -> None:
        """Observations of every instrument by flag, where any was rejected."""
        for name, count in counts.items():
            (fate, number), *others = count.items()
            flags = [f"{n} {flag}" for flag, n in others if n]
            if flags:
                kept = f"{number} {fate.replace('_', ' ')}"
                self.say(f"Observations of {name}: {kept}; rejected: {', '.join(flags)}.")

    def notes(self, notes: Iterable[str]) -> None:
        """What is unusual in the inputs, but accepted."""
        for note in notes:
            self.say(note, "yellow")

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Conversions of units in the block that no list of notes has: at its end, each once."""
        from assim.files.units import listening

        with listening() as converted:
            try:
                yield
            finally:
                words = list(dict.fromkeys(converted))
                self.notes(words[:_CONVERSIONS])
                if len(words) > _CONVERSIONS:
                    self.say(f"So were {len(words) - _CONVERSIONS} others.", "yellow")

    def failed(self, failures: Mapping[str, str]) -> None:
        """What failed after the minimisation, by stage, and why."""
        from assim.analysis.failures import spelt

        for stage, why in failures.items():
            self.say(f"Failed, and left out: {spelt(stage)}: {why}", "bold red")

    def written(self, directory: Path, paths: Iterable[Path]) -> None:
        """Where the results are."""
        paths = list(paths)
        self.log.event("written", directory=str(directory), files=[str(path) for path in paths])
        self._print(f"Wrote to {directory}: {', '.join(_grouped(directory, paths))}")

    def removed(self, names: Iterable[str]) -> None:
        """Files of earlier results in whose place others are."""
        if several := sorted(names):
            self.say(f"Removed, as of earlier results: {', '.join(several)}", "yellow")


def _ended(summary: Mapping[str, Any]) -> tuple[str, str | None]:
    """How the minimisations of a cycle's windows ended, and the style of that."""
    counts, windows = dict(summary["statuses"]), summary["windows"]
    number = sum(counts.values())
    ways = [f"{n} {name.replace('_', ' ')}" for name, n in counts.items()]
    ways += [f"{windows - number} with nothing to minimise"] * (windows > number)
    lost = counts.get("converged", 0) < number / 2
    return f"{windows} windows: {', '.join(ways)}.", "bold red" if lost else None


def _grouped(directory: Path, paths: Iterable[Path]) -> list[str]:
    """Names of files; several in one folder, or alike up to their first "_", by a pattern."""
    alike: dict[Path, list[Path]] = {}
    for path in (file.relative_to(directory) for file in paths):
        first, part, _ = path.stem.partition("_")
        stem = "*" if path.parent.name else f"{first}_*" if part else first
        alike.setdefault(path.with_name(stem + path.suffix), []).append(path)
    return [
        f"{pattern} ({len(some)} files)" if len(some) > 1 else str(some[0])
        for pattern, some in alike.items()
    ]


def _starts(number: int) -> str:
    return "1 first guess" if number == 1 else f"{number} first guesses"


class Dashboard:
    """A live table in a terminal; elsewhere one line for every twentieth of the windows."""

    def __init__(self, console: Console, windows: int, done: int) -> None:
        self.windows, self.done, self.begin = windows, done, time.perf_counter()
        self.before = done
        self.settled: float | None = None  # when the first window of this process was done
        self.judged: tuple[str, ...] = _BOTH
        self.rows: deque[tuple[str, ...]] = deque(maxlen=_ROWS)
        self.history: deque[float] = deque(maxlen=_HISTORY)
        self.flagged: Counter[str] = Counter()
        self.console = console
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def window(self, number: int, measures: "Measures", entry: Mapping[str, Any]) -> None:
        """Take in a finished window."""
        self.done = number + 1
        if self.settled is None:
            self.settled = time.perf_counter()
        seconds = sum(entry["seconds"].values())
        errors = None if measures.errors is None else measures.errors.analysis
        spreads = measures.spreads.analysis
        self.judged = _BOTH if len(spreads) == 1 else _RATIO
        cells = (
            f"{measures.number:.0f}",
            number_text(measures.chi_squared),
            *_judged(errors, spreads),
            f"{measures.inflation:.3f}",
            f"{seconds:.3f}",
            entry["state"] + (f": {entry['reason']}" if entry["reason"] else ""),
        )
        self.rows.append((str(number), *cells))
        self.history.append(float(measures.chi_squared))
        fates = (file["fate"] for file in entry["observations"].values())
        self.flagged.update(fate for fate in fates if fate != "used")
        if entry["reason"]:
            self.flagged["not converged" if entry["state"] == "analysed" else entry["state"]] += 1
        if self.live is not None:
            self.live.update(self._drawn(), refresh=True)
        elif self._due(number):
            self.console.print(self._line(), markup=False)

    def _due(self, number: int) -> bool:
        every = max(1, self.windows // _LINES)
        return (number + 1) % every == 0 or number + 1 == self.windows

    def _line(self) -> str:
        pairs = list(zip(self._columns(), self.rows[-1], strict=True))[1:-2]
        values = ", ".join(f"{name} {value}" for name, value in pairs)
        return f"{self._progress()}: {values}{self._flags()}"

    def _columns(self) -> tuple[str, ...]:
        return ("window", "observations", "2J/m", *self.judged, "inflation", "seconds", "state")

    def _progress(self) -> str:
        """What is done and left, by the windows after the first of this process, which compiles."""
        number, now = self.done - self.before, time.perf_counter()
        done = f"{self.done} of {self.windows} windows done"
        if number < 2 or self.settled is None:
            return f"{done}, compiled and analysed in {now - self.begin:.0f} s"
        each = (now - self.settled) / (number - 1)
        left = each * (self.windows - self.done)
        return f"{done}, {1000 * each:.0f} ms each, {left:.0f} s left"

    def _flags(self) -> str:
        if not self.flagged:
            return ""
        return "; so far " + ", ".join(f"{count} {fate}" for fate, count in self.flagged.items())

    def _drawn(self) -> Group:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in self._columns():
            table.add_column(column, justify="left" if column == "state" else "right")
        for row in self.rows:
            table.add_row(*row)
        curve = Text(f"2J/m {_curve(self.history)}")
        return Group(Text(self._progress() + self._flags()), table, curve)


def _judged(errors: Mapping[str, Any] | None, spreads: Mapping[str, Any]) -> tuple[str, ...]:
    """RMSE and spread of one field; of several the mean of spread/RMSE, which has no unit."""
    if len(spreads) == 1:
        (spread,) = spreads.values()
        error = None if errors is None else next(iter(errors.values()))
        return "–" if error is None else number_text(error), number_text(spread)
    if errors is None:
        return ("–",)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [np.divide(spreads[name], errors[name]) for name in spreads]
    return (number_text(np.mean(ratios)),)


def _curve(values: Any) -> str:
    """Small bars, from 0 to twice what is expected; a gap where there is no value."""
    highest = len(_BARS) - 1
    levels = (int(v / 2 * len(_BARS)) if np.isfinite(v) else -1 for v in values)
    return "".join(_BARS[min(highest, level)] if level >= 0 else " " for level in levels)
