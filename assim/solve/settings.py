"""What every class of settings refuses."""

from typing import Any


def check_settings(method: object, **rules: Any) -> None:
    """Refuse settings outside their choices, or below their least value.

    Args:
        method: the object that holds them, whose class messages name.
        rules: by setting, a tuple of what it may be, or the number that it must at least be.

    Raises:
        ValueError: for the first rule that is broken.
    """
    kind = type(method).__name__
    for name, rule in rules.items():
        given = getattr(method, name)
        if isinstance(rule, tuple):
            if given not in rule:
                raise ValueError(f"{kind}: {name} must be one of {rule}, got {given!r}")
        elif given < rule:
            raise ValueError(f"{kind}: {name} must be at least {rule}, got {given}")
