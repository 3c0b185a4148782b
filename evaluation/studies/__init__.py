"""Benchmarks of single rooms: what one part costs, and what it is worth beside its rivals."""
