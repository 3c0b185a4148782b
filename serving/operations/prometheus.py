"""Metrics for Prometheus, without names of visitors or files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGE_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
WAIT_SECONDS = (0.01, 0.1, 0.3, 1, 3, 10, 30)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # memory, files, processor time
GCCollector(registry=REGISTRY)

STAGES = Histogram(
    "gem_stage_seconds", "A stage of a search.", ["stage"], buckets=STAGE_SECONDS, registry=REGISTRY
)
SEARCHES = Counter("gem_searches", "Search answers.", ["by"], registry=REGISTRY)
WAITED = Histogram(
    "gem_queue_wait_seconds", "Wait in the queue.", buckets=WAIT_SECONDS, registry=REGISTRY
)
REFUSED = Counter(
    "gem_refused",
    "Refused work by reason; `left`: the visitor did not wait for it.",
    ["why"],
    registry=REGISTRY,
)
DECODERS_ENDED = Counter(
    "gem_decoders_ended",
    "Decoding processes that ended during a photo or could not be started.",
    ["why"],
    registry=REGISTRY,
)
QUEUE = Gauge("gem_queue_length", "Tasks in the queue.", registry=REGISTRY)
RUNNING = Gauge("gem_queue_running", "Running tasks.", registry=REGISTRY)
SESSIONS = Gauge("gem_sessions", "Visitors' sessions held.", ["state"], registry=REGISTRY)
CONNECTIONS = Gauge("gem_connections", "Pages open.", registry=REGISTRY)
SESSIONS_CLOSED = Counter("gem_sessions_forgotten", "Abandoned sessions closed.", registry=REGISTRY)
HELD = Gauge("gem_upload_bytes", "Bytes of uploads that arrive or are held.", registry=REGISTRY)
PHOTOS = Gauge("gem_gallery_photos", "Photos served.", ["model", "generation"], registry=REGISTRY)
DAMAGED = Gauge(
    "gem_gallery_damaged_photos",
    "Photos not served because they are damaged in the store.",
    ["model", "generation"],
    registry=REGISTRY,
)
NOT_OPENED = Counter(
    "gem_gallery_not_opened", "Generations that could not be opened.", registry=REGISTRY
)


def observe_stages(timings_ms: Mapping[str, float]) -> None:
    """Record the durations of an answer's stages."""
    for stage, ms in timings_ms.items():
        STAGES.labels(stage).observe(ms / 1000)


def watch_queue(waiting: Callable[[], int], running: Callable[[], int]) -> None:
    """Read the queue's gauges from these functions."""
    QUEUE.set_function(waiting)
    RUNNING.set_function(running)


def show_galleries(served: Iterable[tuple[str, str, int, int]]) -> None:
    """Set the gauges of galleries. served: (model, generation, photos, damaged photos) each."""
    PHOTOS.clear()
    DAMAGED.clear()
    for model, generation, photos, damaged in served:
        PHOTOS.labels(model, generation).set(photos - damaged)
        DAMAGED.labels(model, generation).set(damaged)


def text() -> bytes:
    """All metrics in the text format of Prometheus."""
    return generate_latest(REGISTRY)
