"""Storage format: how a store's data is laid out on disk; docs/storage.md is one page about it."""
