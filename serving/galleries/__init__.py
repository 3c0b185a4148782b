"""The galleries of this process, and their caches."""
