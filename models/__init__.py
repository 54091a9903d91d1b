"""Models that come with assim: one file each, written against the public names of `assim` alone."""

if __name__ != "assim.models":
    raise ImportError(
        f"this package is `assim.models`, but was imported as {__name__!r}: "
        "write `import assim.models` or `from assim.models import ...`"
    )
