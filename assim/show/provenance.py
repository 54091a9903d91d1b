"""Where the results come from: version, inputs and configuration."""

from assim.show.finished import Run
from assim.show.page import folded, paragraph
from assim.show.section import Section


def provenance(run: Run) -> list[str]:
    """Version, inputs and configuration, from the attributes of a file."""
    attributes = run.attributes()
    keys = ("assim_version", "assim_config_sha256", "source", "history")
    facts = [
        paragraph(f"{key.removeprefix('assim_').replace('_', ' ')}: {attributes[key]}", "soft")
        for key in keys
        if key in attributes
    ]
    long = {"Inputs and their SHA-256": "assim_inputs", "Configuration": "assim_config"}
    return ["\n".join(facts)] + [
        folded(title, attributes[key]) for title, key in long.items() if key in attributes
    ]


SECTION = Section("Provenance", provenance, missing="no NetCDF file of this run has attributes.")
