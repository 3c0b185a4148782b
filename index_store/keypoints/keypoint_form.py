"""Form of the keypoint index: how much of each photo's keypoints it keeps, by gallery size."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss

QUANTIZERS = Path(__file__).parent / "keypoint_quantizers"  # by `learn_keypoint_index`


@dataclass(frozen=True)
class KeypointForm:
    """Storage and search parameters of the keypoint index.

    Real keypoints cluster in few lists: the list of a keypoint is on average 14 times longer than
    the average of 65,536 lists. So larger galleries have more lists, which are searched in less
    time for the same recall.

    Attributes:
        points: maximum keypoints per photo, the strongest.
        code_bytes: bytes per encoded residual of a descriptor.
        centroids: centroids for each half of a descriptor.
        probed: lists searched for each keypoint of a query, nearest first.
        compared: maximum keypoints compared with each keypoint of a query. It bounds the time of a
            query, and is reached in the longest lists, by the least distinctive keypoints.
    """

    points: int
    code_bytes: int
    centroids: int
    probed: int
    compared: int

    @property
    def lists(self) -> int:
        """Number of lists."""
        return self.centroids**2

    @property
    def head_bytes(self) -> int:
        """Size of the file's head in bytes."""
        return 4 * (1 + self.lists)


# Maximum photos in a gallery, and the form for it.
FORMS = (
    (10_000, KeypointForm(600, 16, 256, 16, 6_000)),
    (100_000, KeypointForm(300, 16, 512, 24, 30_000)),
    (2**31, KeypointForm(150, 16, 512, 24, 150_000)),
)


def form_for(photos: int) -> KeypointForm:
    """The form for a gallery of `photos` photos."""
    return next(form for max_photos, form in FORMS if photos <= max_photos)


def form_parameters(form: KeypointForm) -> dict[str, int]:
    """A form as stored in a manifest, including a checksum of the shipped centroids and codes."""
    digest = zlib.crc32(quantizer_file(form).read_bytes())
    return {"points": form.points, "code_bytes": form.code_bytes, "quantizer": digest}


def form_of(parameters: dict[str, int]) -> KeypointForm:
    """The form in a manifest. Raises ValueError if this version does not support it."""
    for _, form in FORMS:
        if form_parameters(form) == parameters:
            return form
    raise ValueError("the keypoint index has a form that this version does not read")


def quantizer_file(form: KeypointForm) -> Path:
    """Path of the shipped centroids and codes of a form."""
    return QUANTIZERS / f"imi{form.centroids}-pq{form.code_bytes}.faiss"


def empty_index(form: KeypointForm) -> Any:
    """An index with the shipped centroids and codes, and without keypoints."""
    return faiss.read_index(str(quantizer_file(form)))
