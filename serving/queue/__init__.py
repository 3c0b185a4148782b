"""Fair queue, admission control and rate limits."""
