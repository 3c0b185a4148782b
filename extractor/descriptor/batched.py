"""Dynamic batching: concurrent calls with photos of the same shape run as one batch.

A GPU takes hardly longer for sixteen photos than for one. The calling threads need no coordination:
while one batch runs, requests queue up for the next.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from .runtime import Runtime

MAX_BATCH = 32  # photos of 320 pixels: less than 3 GB with a ResNet-101


@dataclass(eq=False)  # compared by identity
class Request:
    """One call: its batch, then its result or error."""

    batch: np.ndarray
    result: np.ndarray | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.error is not None


class Batched:
    """A `Runtime` that joins concurrent calls whose photos have the same shape.

    Args:
        runtime: runs the joined batches, one at a time.
        max_batch: maximum photos in a batch; a single call with more runs alone.
    """

    def __init__(self, runtime: Runtime, max_batch: int = MAX_BATCH):
        self.metadata = runtime.metadata
        self._runtime, self._max_batch = runtime, max_batch
        self._waiting: list[Request] = []
        self._queue_lock = threading.Lock()  # guards the queue
        self._run_lock = (
            threading.Lock()
        )  # held by the caller that runs a batch, for the others too

    def run(self, batch: np.ndarray) -> np.ndarray:
        request = Request(batch)
        with self._queue_lock:
            self._waiting.append(request)
        with self._run_lock:
            if not request.is_done:  # another thread may have run it meanwhile
                self._run_together(self._take(request))
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _take(self, first: Request) -> list[Request]:
        """Dequeue a request and the others that fit into its batch."""
        with self._queue_lock:
            requests, free = [first], self._max_batch - len(first.batch)
            for other in self._waiting:
                is_compatible = (
                    other.batch.shape[1:] == first.batch.shape[1:] and len(other.batch) <= free
                )
                if other is not first and is_compatible:
                    requests.append(other)
                    free -= len(other.batch)
            self._waiting = [request for request in self._waiting if request not in requests]
        return requests

    def _run_together(self, requests: list[Request]) -> None:
        try:
            rows = self._runtime.run(np.concatenate([request.batch for request in requests]))
        except Exception as error:  # any engine error is reported to every caller
            for request in requests:
                request.error = error
            return
        ends = np.cumsum([len(request.batch) for request in requests])
        for request, part in zip(requests, np.split(rows, ends[:-1])):
            request.result = part
