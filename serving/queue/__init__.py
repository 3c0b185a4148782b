"""Who is served next: fair queue, admission, rate limits."""
