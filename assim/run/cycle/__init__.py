"""Windows in sequence, over files or in memory."""
