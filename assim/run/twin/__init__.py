"""Twin experiments: truth, observations and background of a case."""
