"""Between the visitors of a public server and the engine: limits, queue, galleries."""
