"""The words and tables of a report, from `summary.json` and the files' attributes."""

from typing import Any

import numpy as np

from assim.files.names import FLAGS
from assim.show.consistency import expected_cost
from assim.show.density import draws
from assim.show.finished import Run, methods_of, span_of, spelt_units, time_of
from assim.show.methods import told
from assim.show.page import (
    GOOD,
    POOR,
    UNSURE,
    alike,
    escaped,
    folded,
    known,
    notice,
    number,
    paragraph,
    table,
    with_spread,
)

NO_QUANTITIES = "no scalar quantity was estimated, or no posterior was asked for."
NO_TRAJECTORY = "the directory holds no trajectory.nc with a field over time."
NO_DRAWS = "the directory holds no posterior.nc with draws of scalar quantities."
NO_OBSERVATIONS = "the directory holds no feedback.nc with observations and departures."
NO_DIAGNOSTICS = "the directory holds no diagnostics.nc with outer loops."
NO_SPECTRUM = "diagnostics.nc holds no eigenvalues of the Hessian."
NO_PROVENANCE = "no NetCDF file of this run tells where it comes from."


def title(run: Run) -> str:
    """The title of the case; where there is none, the directory's name."""
    titles = ((stage, file.attrs.get("title")) for stage, file in run.files.items())
    given = (str(title).removesuffix(f": {stage}") for stage, title in titles if title)
    return str(run.summary.get("title") or next(given, run.directory.resolve().name))


def heading(run: Run) -> str:
    """Title, window and how the minimisation ended."""
    status = str(run.summary.get("status", "unknown"))
    lowered = status.lower().replace("_", " ")
    verdict = GOOD if lowered in {"converged", "done", "ok"} else UNSURE
    verdict = POOR if any(word in lowered for word in ("finite", "fail", "error")) else verdict
    lead = lowered.capitalize() + "."
    return "\n".join(
        [
            f"<h1>{escaped(title(run))}</h1>",
            paragraph(" · ".join([run.directory.resolve().name, *_window(run)]), "soft"),
            notice(run.summary.get("advice", ""), verdict, lead),
        ]
    )


def _window(run: Run) -> list[str]:
    file = run.files.get("trajectory")
    time = None if file is None else time_of(file)
    return [] if time is None or time.size < 2 else span_of(time)


# ---- quantities ----------------------------------------------------------------------------------


def quantities(run: Run) -> list[str]:
    """The table of quantities, and a word about the posterior where there is one."""
    given = _tables(run.summary.get("quantities"))
    prior = prior_intervals(run)
    rows = [_quantity(name, one, prior.get(name, "–")) for name, one in given.items()]
    header = ("", "mean ± standard deviation", "90 % interval", "median", "MAP", "units",
              "prior 90 %")  # fmt: skip
    alone = [] if run.methods else [told(*one) for one in methods_of(run.summary).items()]
    return [table(header, rows), _draws_used(given), *alone]


def _draws_used(given: dict[str, dict[str, Any]]) -> str:
    """How many draws derived quantities come from."""
    numbers = {name: known(one.get("draws")) for name, one in given.items()}
    derived = {name: int(n) for name, n in numbers.items() if n is not None}
    if not derived:
        return ""
    least, names = min(derived.values()), ", ".join(derived)
    text = f"Derived from the trajectories of draws, {least} at least: {names}. "
    return paragraph(text + f"A mean is off by about {number(100 / least**0.5, 2)} per cent of the "
                     "standard deviation by sampling.", "soft")  # fmt: skip


def prior_intervals(run: Run) -> dict[str, str]:
    """5 and 95 per cent of the prior draws of every scalar quantity, as text."""
    found = {}
    for one in draws(run):
        if one.prior is not None and one.prior.size > 1:
            low, high = np.quantile(one.prior, (0.05, 0.95))
            found[one.name] = f"{number(float(low), 3)} … {number(float(high), 3)}"
    return found


def _quantity(name: str, one: dict[str, Any], prior: str) -> tuple[str, ...]:
    stddev = one.get("stddev")
    mean, spread = with_spread(one.get("mean"), stddev)
    low, middle, high, mode = (alike(one.get(key), stddev) for key in ("q05", "q50", "q95", "map"))
    units = spelt_units(one.get("units"))
    called = f"{name}: {one['long_name']}" if one.get("long_name") else name
    return called, f"{mean} ± {spread}", f"{low} … {high}", middle, mode, units, prior


# ---- observations --------------------------------------------------------------------------------


def observations(run: Run) -> str:
    """How many observations of every instrument were used, and why others were not."""
    given = run.summary.get("observations")
    if isinstance(given, dict) and "used" in given:
        given = {"all": given}
    counts = {name: _flags(one) for name, one in _tables(given).items()}
    flags = list(dict.fromkeys(flag for one in counts.values() for flag in one))
    rows = [(name, *(one.get(flag, 0) for flag in flags)) for name, one in counts.items()]
    codes = {words.replace("_", " "): code for code, words in FLAGS.items()}
    header = (f"{flag} ({codes[flag]})" if flag in codes else flag for flag in flags)
    rejected = any(flag in codes for flag in flags)
    text = "Numbers in brackets are the flags of rejected values in feedback.nc."
    return table(("", *header), rows) + (paragraph(text, "soft") if rejected else "")


def _flags(one: dict[str, Any]) -> dict[str, object]:
    rejected = one.get("rejected", {})
    if not isinstance(rejected, dict):
        rejected = {"rejected": rejected}
    loose = {k: v for k, v in one.items() if k not in {"used", "rejected"} and known(v) is not None}
    told = {**rejected, **loose}
    return {"used": one.get("used"), **{str(k).replace("_", " "): v for k, v in told.items()}}


# ---- minimisation --------------------------------------------------------------------------------


def costs(run: Run) -> str:
    """The terms of the cost at the minimum."""
    terms = run.summary.get("cost")
    if not isinstance(terms, dict):
        return ""
    ordered = [key for key in terms if key != "total"] + ["total"] * ("total" in terms)
    rows: list[tuple[object, ...]] = [
        (k.replace("_", " "), _six(terms[k]), expected_cost(run, k)) for k in ordered
    ]
    if "gradient_norm" in run.summary:
        rows.append(("gradient norm ‖∇J‖", run.summary["gradient_norm"], ""))
    if not any(row[2] for row in rows):
        return table(("Cost at the minimum", ""), [row[:2] for row in rows])
    return table(("Cost at the minimum", "", "expected"), rows)


def _six(value: object) -> str:
    return number(float(parsed), 6) if (parsed := known(value)) is not None else number(value)


FAR = 10.0  # nats above the lowest minimum, at which another has next to no weight


def minima(run: Run) -> str:
    """The distinct minima, where several first guesses met more than one."""
    given = run.summary.get("minima")
    rows = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    failed = known(run.summary.get("failed_starts")) or 0
    lost = (
        paragraph(f"From {failed:.0f} first guesses the model left its domain.") if failed else ""
    )
    if len(rows) < 2:
        return lost
    lowest, second = (known(one.get("cost")) for one in rows[:2])
    above = second - lowest if lowest is not None and second is not None else 0.0
    others = f"{len(rows) - 1} other minima were met, the next" if len(rows) > 2 else ""
    text = f"{others or 'Another minimum was met,'} {number(above, 3)} nats above the lowest. "
    if above > FAR:
        text += "What is reported describes the lowest; others hardly count unless far more of the "
        text += "posterior's volume lies about them."
    else:
        text += "The posterior has more than one mode, of which a Gaussian or particles describe "
        text += "the lowest alone: run Tempering, or chains (NUTS or MCLMC)."
    cells = [(str(k + 1), _six(one.get("cost")), one.get("starts")) for k, one in enumerate(rows)]
    return (
        notice(text, UNSURE if above <= FAR else "")
        + table(("Minimum", "cost", "first guesses that led there"), cells)
        + lost
    )


def twin(run: Run) -> str:
    """Distance from the truth against the spread that was predicted, in a twin."""
    errors, spreads = run.summary.get("rmse"), run.summary.get("spread")
    if known(errors) is not None:
        errors, spreads = {"all fields": errors}, {"all fields": spreads}
    if not isinstance(errors, dict):
        return ""
    spreads = spreads if isinstance(spreads, dict) else {}
    places = [key for one in errors.values() if isinstance(one, dict) for key in one]
    places = list(dict.fromkeys(places))
    rows = [
        (name, *(map(one.get, places) if isinstance(one, dict) else [one]), spreads.get(name))
        for name, one in errors.items()
    ]
    return table(("Twin", *(f"RMSE of the {p}" for p in places or ["analysis"]), "spread"), rows)


def seconds(run: Run) -> str:
    """Wall time by stage."""
    given = run.summary.get("seconds")
    if not isinstance(given, dict):
        return ""
    rows = [(name.replace("_", " "), number(value, 3)) for name, value in given.items()]
    return table(("Stage", "seconds"), rows)


# ---- provenance ----------------------------------------------------------------------------------


def provenance(run: Run) -> list[str]:
    """Version, inputs and configuration, as the files tell them."""
    told = {**run.attributes(), **{k: v for k, v in run.summary.items() if k.startswith("assim_")}}
    keys = ("assim_version", "assim_config_sha256", "source", "history")
    rows = [
        (key.removeprefix("assim_").replace("_", " "), told[key]) for key in keys if key in told
    ]
    facts = "\n".join(paragraph(f"{key}: {value}", "soft") for key, value in rows)
    inputs = (
        folded("Inputs and their SHA-256", told["assim_inputs"]) if "assim_inputs" in told else ""
    )
    config = folded("Configuration", told["assim_config"]) if "assim_config" in told else ""
    return [facts, inputs, config]


def _tables(given: object) -> dict[str, dict[str, Any]]:
    """The entries of a JSON object that are objects themselves."""
    if not isinstance(given, dict):
        return {}
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}
