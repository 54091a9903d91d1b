"""Checks of arguments, in the words in which every class refuses one.

Each check takes the object whose attributes the arguments are, and raises a ValueError that names
its class, the argument, what it must be and what it is.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any

_NAME = re.compile(r"(?:[A-Za-z0-9_]|[^\x00-\x7f])[^\x00-\x1f/\x7f]*")  # as NetCDF has it
_LONGEST = 200  # bytes of a name, to which files add endings: NetCDF takes 256
_HELD = {
    "weight": "the weights of draws",
    "realization": "the numbers of draws",
    "prior_realization": "the numbers of draws from the prior",
}
_ABOUT = {  # endings of what files of results say of a quantity
    "_prior": "draws from the prior of",
    "_mean": "the mean of",
    "_stddev": "the standard deviation of",
    "_background": "the background of",
    "_increment": "the increment of",
    "_model_error": "the model error of",
    "_model_error_stddev": "the standard deviation of the model error of",
    "_model_error_prior_stddev": "the assumed standard deviation of the model error of",
    "_members": "the members of",
    "_q05": "a quantile of",
    "_q50": "the median of",
    "_q95": "a quantile of",
}
Size = Annotated[int, "size"]  # how many of something arrays have: a case asks whether they fit


def check_settings(owner: object, **rules: Any) -> None:
    """Refuse an argument below a bound, or that is none of the words it may be.

    Args:
        owner: has the arguments.
        rules: by argument, the number that it must at least be, or a tuple of words.
    """
    for name, rule in rules.items():
        given = getattr(owner, name)
        if isinstance(rule, tuple):
            if given not in rule:
                raise _refusal(owner, name, f"be one of {rule}, got {given!r}")
        elif not given >= rule:
            raise _refusal(owner, name, f"be at least {rule}, got {given}")


def positive(owner: object, *names: str, **spelt: str) -> None:
    """Refuse a number, or an array, that is not above 0 everywhere, or infinite somewhere.

    Args:
        owner: has the arguments.
        names: of its attributes.
        spelt: further attributes, each with the name that its argument has for the user.
    """
    import numpy as np  # a case is checked before it is needed

    for attribute, name in ({name: name for name in names} | spelt).items():
        given = getattr(owner, attribute)
        if not np.all((np.asarray(given) > 0) & np.isfinite(given)):
            raise _refusal(owner, name, f"be positive and finite, got {given}")


def finite(owner: object, *names: str, **spelt: str) -> None:
    """Refuse a number, or an array, that is not finite everywhere; arguments as `positive` has."""
    import numpy as np

    for attribute, name in ({name: name for name in names} | spelt).items():
        given = getattr(owner, attribute)
        if not np.all(np.isfinite(given)):
            raise _refusal(owner, name, f"be finite, got {given}")


def not_negative(owner: object, *names: str) -> None:
    """Refuse a number below 0, or that is none."""
    for name in names:
        if not (given := getattr(owner, name)) >= 0:
            raise _refusal(owner, name, f"not be negative, got {given}")


def below(bound: float, owner: object, *names: str) -> None:
    """Refuse a number that is not below a bound, or that is none."""
    for name in names:
        if not (given := getattr(owner, name)) < bound:
            raise _refusal(owner, name, f"be below {bound}, got {given}")


def a_share(owner: object, *names: str) -> None:
    """Refuse a number that does not lie between 0 and 1."""
    for name in names:
        if not 0 < (given := getattr(owner, name)) < 1:
            raise _refusal(owner, name, f"lie between 0 and 1, got {given}")


def valid_name(name: str) -> str:
    """A name that a variable of a NetCDF file can have, as those of results must.

    Raises:
        ValueError: what it must be.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name) and name == name.strip()):
        raise ValueError(
            "must be a name that a NetCDF file can have: not empty, first a letter, a digit or _, "
            f"without '/', line ends or spaces at its ends; got {name!r}"
        )
    if (size := len(name.encode(errors="replace"))) > _LONGEST:
        raise ValueError(f"must be a name of at most {_LONGEST} bytes, got {size}")
    return name


def check_names(owner: str, what: str, *names: str) -> None:
    """Refuse names that no variable of a NetCDF file can have.

    Args:
        owner: whose names they are, to begin the message with.
        what: each of them is.
        names: to check.
    """
    for name in names:
        try:
            valid_name(name)
        except ValueError as error:
            raise ValueError(f"{owner}: {what} {error}") from None


def check_free(owner: str, names: Iterable[str]) -> None:
    """Refuse names of quantities under which files of results hold something else.

    Args:
        owner: whose names they are, to begin the message with.
        names: of everything that one file may hold: fields, parameters, error scales, biases and
            derived quantities.
    """
    names = list(names)
    for name in names:
        held = _HELD.get(name)
        for ending, words in _ABOUT.items():
            if name.endswith(ending) and name.removesuffix(ending) in names:
                held = f"{words} {name.removesuffix(ending)!r}"
        if held is not None:
            raise ValueError(
                f"{owner}: files of results hold {held} under the name {name!r}; choose another"
            )


def _refusal(owner: object, name: str, must: str) -> ValueError:
    return ValueError(f"{type(owner).__name__}: {name} must {must}")


def hint(
    name: str, known: Iterable[str], otherwise: str = "it has", none: str = "it has none"
) -> str:
    """What may have been meant by a name that is not known: the nearest, or all there are.

    Args:
        name: as it was given.
        known: those that there are.
        otherwise: what precedes the list of all where none is near.
        none: what is said where there are none.
    """
    known = sorted(known)
    if near := get_close_matches(name, known, 1):
        return f"did you mean {near[0]!r}?"
    return f"{otherwise} {', '.join(known)}" if known else none


def nearest(name: str, known: Iterable[str]) -> str:
    """`hint` for a key of which one is expected."""
    return hint(name, known, "it may be", "nothing may be given here")
