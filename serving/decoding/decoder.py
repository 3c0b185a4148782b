"""Uploads are decoded in processes of their own, under the limits of the settings."""

from __future__ import annotations

from functools import lru_cache

from extractor.photo.decode import Decoded
from extractor.photo.decoder import Decoder, NoDecoder

from ..operations import prometheus
from ..refusal import busy
from ..settings import settings

RETRY_SECONDS = 10


class UploadDecoder(Decoder):
    """A `Decoder` whose ends are counted, and that refuses instead of failing."""

    def read(self, data: bytes, as_stored: bool = False) -> Decoded:
        """As `Decoder.read`. Raises Refused, 503, where that raises NoDecoder."""
        try:
            return super().read(data, as_stored)
        except NoDecoder:
            raise busy("decoder", RETRY_SECONDS) from None

    def ended(self, why: str) -> None:
        """Count it."""
        prometheus.DECODERS_ENDED.labels(why).inc()


@lru_cache
def decoder() -> UploadDecoder:
    """The decoder of this process, as the settings have it when it is first asked for."""
    return UploadDecoder(settings().uploads, settings().decode_workers)
