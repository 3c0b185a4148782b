"""RGB array -> unit descriptor: models, runtimes and the choice between them."""
