"""Training pools packed into parts of limited size."""
