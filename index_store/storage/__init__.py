"""How a store's bytes lie on disk."""
