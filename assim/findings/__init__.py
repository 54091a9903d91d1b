"""What else follows from an analysis: one finding a file."""
