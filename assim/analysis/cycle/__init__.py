"""Windows in sequence: how each is analysed, and what it hands on to the next."""
