"""What a terminal shows, and where a run stands: screen, runtime, directory."""
