"""Batches by size: what several threads ask of an engine at a time runs together.

A GPU takes hardly longer for sixteen photos than for one. The threads that decode photos need not
know of each other: while one batch runs, requests gather for the next.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from .runtime import Runtime

MAX_BATCH = 32  # photos of 320 pixels: less than 3 GB in a ResNet-101


@dataclass(eq=False)  # each call is itself
class Request:
    """One call: its batch, then its result or what went wrong."""

    batch: np.ndarray
    result: np.ndarray | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.error is not None


class Batched:
    """A `Runtime` that joins concurrent calls whose photos have the same shape.

    Args:
        runtime: Runs the joined batches, one at a time.
        most: Photos in a batch; a single call with more runs by itself.
    """

    def __init__(self, runtime: Runtime, most: int = MAX_BATCH):
        self.metadata = runtime.metadata
        self._runtime, self._most = runtime, most
        self._waiting: list[Request] = []
        self._gate = threading.Lock()  # of the list
        self._engine = threading.Lock()  # whoever has it runs a batch, for others as well

    def run(self, batch: np.ndarray) -> np.ndarray:
        request = Request(batch)
        with self._gate:
            self._waiting.append(request)
        with self._engine:
            if not request.is_done:  # else another thread ran it while this one waited
                self._run_together(self._take(request))
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _take(self, first: Request) -> list[Request]:
        """A request and those that fit beside it, no longer waiting."""
        with self._gate:
            taken, room = [first], self._most - len(first.batch)
            for other in self._waiting:
                fits = other.batch.shape[1:] == first.batch.shape[1:] and len(other.batch) <= room
                if other is not first and fits:
                    taken.append(other)
                    room -= len(other.batch)
            self._waiting = [request for request in self._waiting if request not in taken]
        return taken

    def _run_together(self, taken: list[Request]) -> None:
        try:
            rows = self._runtime.run(np.concatenate([request.batch for request in taken]))
        except Exception as error:  # whatever the engine raises is every caller's error
            for request in taken:
                request.error = error
            return
        ends = np.cumsum([len(request.batch) for request in taken])
        for request, part in zip(taken, np.split(rows, ends[:-1])):
            request.result = part
