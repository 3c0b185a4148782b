"""Training pools packed into parts, and weights in parts."""
