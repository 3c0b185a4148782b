"""The one way in for a visitor's photo: whatever decodes uploads is called from here only."""

from __future__ import annotations

import numpy as np

from extractor import decode


def decode_upload(data: bytes, as_stored: bool = False) -> np.ndarray:
    """The pixels of an upload, uint8 RGB (H, W, 3). Arguments and errors as `extractor.decode`."""
    return decode(data, as_stored)
