"""Photo bytes -> upright RGB array, safely: formats, limits, decoding in a worker process."""
