"""Overlays for photos of the sample gallery: a logo, a date stamp, a tiled watermark.

python -m tests.support.overlays prints how often they pass for matched points, with marks and
without.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from extractor import Extractor, LocalFeatures, decode, local_features
from extractor.descriptor.registry import model_path
from index_store.keypoints.find_marks import find_marks
from index_store.keypoints.keypoint_form import FORMS
from index_store.keypoints.keypoint_index import coded
from matching.verification import verify
from search.verify.matcher import Sift
from tests.conftest import GALLERY

BEARERS = 30

LOGO = 0.3, 0.2  # width and height, of the photo's longest side
INSET = 0.016

Overlay = Callable[[np.ndarray, int], None]


def logo(photo: np.ndarray, number: int) -> None:
    """A plate with two rings and words in the lower left corner."""
    side = max(photo.shape[:2])
    plate = np.full((200, 300, 3), (20, 40, 120), np.uint8)
    cv2.circle(plate, (66, 100), 50, (240, 200, 40), -1)
    cv2.circle(plate, (66, 100), 25, (200, 30, 30), -1)
    cv2.rectangle(plate, (6, 6), (293, 193), (255, 255, 255), 4)
    cv2.putText(plate, "ACME", (125, 90), cv2.FONT_HERSHEY_DUPLEX, 1.6, (255, 255, 255), 3)
    cv2.putText(plate, "photos", (125, 160), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (255, 220, 220), 2)
    size = round(LOGO[0] * side), round(LOGO[1] * side)
    inset, height = round(INSET * side), photo.shape[0]
    rows = slice(height - inset - size[1], height - inset)
    photo[rows, inset : inset + size[0]] = cv2.resize(plate, size, interpolation=cv2.INTER_AREA)


def date_stamp(photo: np.ndarray, number: int) -> None:
    """One of three days in July, outlined, in the lower right corner."""
    height, width = photo.shape[:2]
    scale = max(height, width) / 500
    place = width - int(175 * scale), height - int(14 * scale)
    for colour, thickness in (((0, 0, 0), 5), ((255, 150, 30), 1.6)):
        text, stroke = f"2009/07/{15 + number % 3}", max(1, round(thickness * scale))
        cv2.putText(photo, text, place, cv2.FONT_HERSHEY_DUPLEX, 0.8 * scale, colour, stroke)


def watermark(photo: np.ndarray, number: int) -> None:
    """Translucent words in rows and columns all over."""
    height, width = photo.shape[:2]
    scale = max(height, width) / 500
    over = np.zeros_like(photo)
    for y in range(0, height, int(90 * scale)):
        for x in range(0, width, int(160 * scale)):
            place, stroke = (x, y + int(40 * scale)), max(1, round(2 * scale))
            white = 255, 255, 255
            cv2.putText(over, "sample", place, cv2.FONT_HERSHEY_DUPLEX, scale, white, stroke)
    photo[:] = np.clip(photo + over * 0.6, 0, 255)


def family(path: Path) -> str:
    """The first word of a sample photo's name: photos of one thing share it."""
    return path.stem.split("-")[0].rstrip("0123456789")


def different_things(count: int) -> list[Path]:
    """Photos of the sample gallery that show different things, at least 200 pixels high."""
    found: dict[str, Path] = {}
    for path in sorted(GALLERY.glob("*.jpg")):
        with Image.open(path) as photo:
            if min(photo.size) >= 200:
                found.setdefault(family(path), path)
    return [list(found.values())[i] for i in np.random.default_rng(1).permutation(len(found))][
        :count
    ]


def with_overlay(path: Path, overlay: Overlay | None, number: int = 0) -> bytes:
    """A photo as a JPEG, with an overlay drawn into it."""
    pixels = np.array(Image.open(path).convert("RGB"))
    if overlay is not None:
        overlay(pixels, number)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=88)
    return out.getvalue()


def strangers_that_match(features: list[LocalFeatures]) -> int:
    """Of all pairs, those with as many matched points as pass for the same thing."""
    return sum(
        verify(one, other).inliers >= Sift.floor
        for number, one in enumerate(features)
        for other in features[:number]
    )


def main() -> None:
    """Print what marks are worth: overlays on BEARERS of twice as many photos."""
    extractor = Extractor(model_path("efficientnet-lite2"))
    print("overlay    bearers found  others  keypoints left out  strangers >= 8, before  after")
    for overlay in (logo, date_stamp, watermark):
        photos = [
            decode(with_overlay(path, overlay if number < BEARERS else None, number))
            for number, path in enumerate(different_things(2 * BEARERS))
        ]
        features = [local_features(photo) for photo in photos]
        keypoints = coded(enumerate(features), FORMS[0][1])
        sizes = np.array([photo.shape[:2] for photo in photos])
        marks = find_marks(keypoints, sizes, extractor.describe(photos))
        found = np.unique(marks.placed["photo"])
        left = [marks.outside(id, one) for id, one in enumerate(features)]
        lost = 1 - sum(len(left[id].points) for id in found) / max(
            1, sum(len(features[id].points) for id in found)
        )
        before, after = (strangers_that_match(some[:BEARERS]) for some in (features, left))
        print(
            f"{overlay.__name__:10s} {(found < BEARERS).sum():6d} of {BEARERS} "
            f"{(found >= BEARERS).sum():8d} {lost:18.0%} {before:23d} {after:7d}"
        )


if __name__ == "__main__":
    main()
