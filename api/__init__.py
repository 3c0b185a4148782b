"""The HTTP API, and the endpoints for operators: liveness, readiness, metrics."""
