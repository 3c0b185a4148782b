"""Made photos for the tests of verification: facades, window grids, pages of text, logos. uint8
RGB.
"""

from __future__ import annotations

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480


def texture(
    seed: int, width: int = WIDTH, height: int = HEIGHT, contrast: float = 40
) -> np.ndarray:
    """A wall nothing else looks like: noise at several scales."""
    rng = np.random.default_rng(seed)
    wall = np.full((height, width), 130.0)
    for cell in (4, 8, 16, 32):
        noise = rng.normal(size=(height // cell + 2, width // cell + 2))
        wall += contrast / 2 * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(wall, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def plain(seed: int) -> np.ndarray:
    """A background with little of its own: faint blobs, as sky and water have."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.normal(size=(6, 8)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(150 + 25 * blobs, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def window_grid(photo: np.ndarray, rows: int, columns: int, margin: int = 55) -> np.ndarray:
    """The photo with rows x columns of one and the same window, spread out to this margin in
    pixels.
    """
    photo, width, height = photo.copy(), 34, 50
    for top in np.linspace(margin, HEIGHT - margin - height, rows).astype(int):
        for left in np.linspace(margin, WIDTH - margin - width, columns).astype(int):
            right, bottom = left + width, top + height
            cv2.rectangle(photo, (left, top), (right, bottom), (40, 45, 60), -1)
            cv2.rectangle(photo, (left, top), (right, bottom), (225, 220, 210), 3)
            cv2.line(
                photo, ((left + right) // 2, top), ((left + right) // 2, bottom), (225, 220, 210), 2
            )
            cv2.line(
                photo, (left, top + height // 3), (right, top + height // 3), (225, 220, 210), 2
            )
            cv2.rectangle(photo, (left - 4, bottom + 2), (right + 4, bottom + 6), (90, 80, 70), -1)
    return photo


def facade(seed: int, rows: int = 4, columns: int = 6) -> np.ndarray:
    """A building: its own wall, with a grid of the windows that all buildings here have."""
    return window_grid(texture(seed, contrast=22), rows, columns)


def write(
    photo: np.ndarray, lines: list[str], left: int, top: int, scale: float = 0.7, colour: int = 255
) -> np.ndarray:
    photo = photo.copy()
    for number, line in enumerate(lines):
        at = (left, int(top + number * 34 * scale))
        cv2.putText(photo, line, at, cv2.FONT_HERSHEY_DUPLEX, scale, (colour,) * 3, 1, cv2.LINE_AA)
    return photo


def page(seed: int) -> np.ndarray:
    """A page of random words in one font: the letters are the same on every page."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    lines = [
        " ".join("".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(7))
        for _ in range(17)
    ]
    return write(np.full((HEIGHT, WIDTH, 3), 240, np.uint8), lines, 20, 40, colour=20)


def sign(seed: int, width: int = 150, height: int = 110) -> np.ndarray:
    """A small painted board."""
    rng = np.random.default_rng(seed)
    board = np.full((height, width, 3), 235, np.uint8)
    for _ in range(45):
        x, y = rng.integers(0, (width, height))
        shade = tuple(int(v) for v in rng.integers(0, 255, 3))
        half = rng.integers(3, 14, 2)
        cv2.ellipse(
            board,
            (int(x), int(y)),
            (int(half[0]), int(half[1])),
            float(rng.integers(180)),
            0,
            360,
            shade,
            -1,
        )
    return board


def put(photo: np.ndarray, patch: np.ndarray, left: int, top: int) -> np.ndarray:
    photo = photo.copy()
    photo[top : top + len(patch), left : left + patch.shape[1]] = patch
    return photo


def warped(
    photo: np.ndarray, homography: np.ndarray, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The photo mapped by a homography, in a picture of (width, height), by default its own."""
    return cv2.warpPerspective(
        photo, homography, size or photo.shape[1::-1], borderMode=cv2.BORDER_REFLECT
    )
