"""Decoding of uploads in separate processes, under the limits of the settings."""

from __future__ import annotations

from functools import lru_cache

from extractor.photo.decode import Decoded
from extractor.photo.decoder import Decoder, NoDecoder

from ..operations import prometheus
from ..refusal import busy
from ..settings import settings

RETRY_SECONDS = 10


class UploadDecoder(Decoder):
    """A `Decoder` that counts processes that end and raises Refused when none is available."""

    def read(self, data: bytes, as_stored: bool = False) -> Decoded:
        """As `Decoder.read`, but raises Refused (503) instead of NoDecoder."""
        try:
            return super().read(data, as_stored)
        except NoDecoder:
            raise busy("decoder", RETRY_SECONDS) from None

    def ended(self, reason: str) -> None:
        """Count a process that has ended. reason: its label in the metrics."""
        prometheus.DECODERS_ENDED.labels(reason).inc()


@lru_cache
def decoder() -> UploadDecoder:
    """The decoder of this process, created with the settings of the first call."""
    return UploadDecoder(settings().uploads, settings().decode_workers)
