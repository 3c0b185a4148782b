"""How much of each photo's keypoints the keypoint index keeps, by the size of the gallery."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss

QUANTIZERS = Path(__file__).parent / "keypoint_quantizers"  # by `learn_keypoint_index`


@dataclass(frozen=True)
class KeypointForm:
    """How much of each photo's keypoints is kept, and how they are searched.

    Real keypoints crowd in few lists: the list of a keypoint is on average 14 times longer than the
    average of 65,536 lists. So larger galleries have more lists, which are searched in less time
    for the same recall.

    Attributes:
        points: The strongest so many of a photo.
        code_bytes: What a descriptor's residual is packed into.
        centroids: Of each half of a descriptor.
        probed: Lists that are searched for each keypoint of a query, the nearest first.
        compared: Keypoints that each keypoint of a query is compared with at most. It bounds the
            time of a query; the limit is reached where lists are longest, by the details that
            tell least.
    """

    points: int
    code_bytes: int
    centroids: int
    probed: int
    compared: int

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return self.centroids**2

    @property
    def head_bytes(self) -> int:
        """Length of the file's head."""
        return 4 * (1 + self.lists)


# Most photos of a gallery, and its form.
FORMS = (
    (10_000, KeypointForm(600, 16, 256, 16, 6_000)),
    (100_000, KeypointForm(300, 16, 512, 24, 30_000)),
    (2**31, KeypointForm(150, 16, 512, 24, 150_000)),
)


def form_for(photos: int) -> KeypointForm:
    """The form for a gallery of so many photos."""
    return next(form for most, form in FORMS if photos <= most)


def form_parameters(form: KeypointForm) -> dict[str, int]:
    """What a manifest says of a form, the shipped centroids and codes included."""
    digest = zlib.crc32(quantizer_file(form).read_bytes())
    return {"points": form.points, "code_bytes": form.code_bytes, "quantizer": digest}


def form_of(parameters: dict[str, int]) -> KeypointForm:
    """The form that a manifest names. Raises ValueError if this version does not have it."""
    for _, form in FORMS:
        if form_parameters(form) == parameters:
            return form
    raise ValueError("the keypoint index has a form that this version does not read")


def quantizer_file(form: KeypointForm) -> Path:
    """Where the shipped centroids and codes of a form lie."""
    return QUANTIZERS / f"imi{form.centroids}-pq{form.code_bytes}.faiss"


def empty_index(form: KeypointForm) -> Any:
    """The shipped centroids and codes, as an index without any keypoint."""
    return faiss.read_index(str(quantizer_file(form)))
