"""The HTTP API, and what operators ask: alive, ready, metrics."""
