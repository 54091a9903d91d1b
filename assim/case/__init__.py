"""From a TOML text to the objects that it describes."""
