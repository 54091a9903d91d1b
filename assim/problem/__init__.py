"""WHAT is asked: builds the normalised departures d(χ). Sees no file and no solver."""
