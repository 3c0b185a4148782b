"""RGB array -> unit descriptor: models, runtimes and their choice."""
