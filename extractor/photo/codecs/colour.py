"""Pixels of any mode and colour profile -> 8-bit sRGB, for describing and showing.

Integers of more than 8 bits are scaled by the bits that the photo uses, other numbers by their
range. An embedded ICC profile is applied; a broken one is ignored, as browsers do.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from .icc_profiles import matrix_profile

MAX_PROFILE = 8 * 2**20  # bytes; profiles of printing presses have 0.5 to 3 MB
DEPTHS = (8, 10, 12, 14, 16)  # bits per sample that cameras and scanners use
MODES = {"RGB ": ("RGB", "RGBA"), "GRAY": ("L", "LA"), "CMYK": ("CMYK",), "Lab ": ("LAB",)}
MIN_RANGE = 1e-30
PALETTES = ("P", "PA", "1")
# Colour primaries and transfer curves (ITU-T H.273) named by photos without an ICC profile.
PRIMARIES = {9: "BT.2020", 12: "Display P3"}
STANDARD_CURVES = (1, 6, 13, 14, 15)


def scaled(values: np.ndarray) -> np.ndarray:
    """Numbers of any type and range, scaled to 0 to 255.

    Non-negative integers of up to 16 bits are divided by the largest number of as many bits as the
    photo uses, so that 12-bit data in 16-bit numbers is not black. Fractions from 0 to 1 keep their
    range; everything else is stretched from its minimum to its maximum.

    Args:
        values: (H, W) or (H, W, 3).

    Returns:
        uint8, same shape. NaN becomes 0.
    """
    numbers = values.astype(np.float32)
    finite = np.isfinite(numbers)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(numbers[finite].min()), float(numbers[finite].max())
    if np.issubdtype(values.dtype, np.integer) and 0 <= low and high < 2 ** DEPTHS[-1]:
        low, high = 0.0, float(white_of(int(high)))
    elif 0 <= low and high <= 1:
        low, high = 0.0, 1.0
    numbers -= low
    numbers *= 255 / max(high - low, MIN_RANGE)
    return np.nan_to_num(numbers, nan=0, posinf=255, neginf=0).clip(0, 255).astype(np.uint8)


def white_of(largest: int) -> int:
    """The largest number of as many bits as the photo uses. largest: its maximum, below 2^16."""
    return next(2**bits - 1 for bits in DEPTHS if largest < 2**bits)


def resizable(image: Image.Image) -> Image.Image:
    """The image in a mode that Lanczos resampling supports.

    Palettes and bitmaps become RGB(A); numbers of more than 8 bits become 8-bit grey.
    """
    if image.mode.startswith(("I", "F")):  # Pillow would clip instead of scale
        numbers = np.asarray(image)
        small = scaled(numbers)
        if isinstance(clear := image.info.get("transparency"), int):
            small[numbers == clear] = 255  # transparency always becomes white
        grey = Image.fromarray(small)
        grey.info = image.info
        return grey
    if image.mode in PALETTES or (image.has_transparency_data and image.mode not in ("RGBA", "LA")):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB, with transparency over white."""
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    pixels = to_srgb(image)
    if alpha is None:
        return pixels
    white = Image.new("RGB", image.size, "white")
    white.paste(pixels, mask=alpha)
    return white


def to_srgb(image: Image.Image) -> Image.Image:
    """8-bit RGB without alpha, converted from the image's profile if it has one that fits."""
    profile = profile_of(image)
    if profile is None:
        return image.convert("RGB")
    without_alpha = image.convert(image.mode[:-1]) if image.mode in ("RGBA", "LA") else image
    try:
        fitting = MODES.get(profile.profile.xcolor_space, ())
        if image.mode not in fitting:
            return without_alpha.convert("RGB")
        converted = ImageCms.profileToProfile(
            without_alpha, profile, srgb(), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB"
        )
    except (ImageCms.PyCMSError, ValueError, OSError):
        # Pillow cannot convert Lab without a profile, so only its lightness is kept.
        return (
            Image.merge("RGB", [without_alpha.getchannel(0)] * 3)
            if without_alpha.mode == "LAB"
            else (without_alpha.convert("RGB"))
        )
    assert converted is not None
    return converted


def profile_of(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The image's colour profile; None for sRGB, and for a profile that cannot be read."""
    data = image.info.get("icc_profile")
    if not data:
        if image.mode == "LAB":
            return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        declared = image.info.get("nclx_profile") or {}
        primaries = PRIMARIES.get(declared.get("color_primaries", 0))
        if primaries is None or declared.get("transfer_characteristics") not in STANDARD_CURVES:
            return None
        data = matrix_profile(primaries)
    if not isinstance(data, bytes) or len(data) > MAX_PROFILE:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        is_srgb = "sRGB" in (profile.profile.profile_description or "")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if is_srgb else profile


@lru_cache(1)
def srgb() -> ImageCms.ImageCmsProfile:
    """The target profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
