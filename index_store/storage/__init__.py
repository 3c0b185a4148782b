"""Storage format: how a store's data is laid out on disk."""
