"""Open a photo with the codec of its detected format only."""

from __future__ import annotations

import io
from functools import cache

from PIL import AvifImagePlugin, Image

from ..containers import Container
from ..errors import UnsupportedImage
from ..formats import BY_KEY
from ..limits import draft_side, jpeg2000_levels
from .wide_tiff import wide_image

# libavif, libheif and libjxl would start a decoder thread per core, each with its own stack, but
# photos are already decoded concurrently.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@cache
def prepare() -> None:
    """Register the codecs that Pillow does not include, once."""
    import pillow_heif
    import pillow_jxl.JpegXLImagePlugin as jpegxl

    pillow_heif.register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )
    jpegxl.DECODE_THREADS = 0


def open_image(data: bytes, found: Container) -> Image.Image:
    """Open a photo that `containers.inspect` has accepted, without decoding it.

    Args:
        data: content of the file.
        found: result of inspecting it.

    Raises:
        OSError, SyntaxError, ValueError and others: raised by the codec.
    """
    if found.kind in ("heic", "jpegxl"):
        prepare()
    try:
        image = Image.open(io.BytesIO(data), formats=BY_KEY[found.kind].openers)
    except Image.UnidentifiedImageError:
        if found.kind == "tiff" and found.depth > 8:
            return wide_image(data, found)
        raise
    if found.kind == "jpeg":
        # libjpeg skips detail that would be discarded: 3 to 4 times faster on a 12 MP photo.
        side = draft_side(*image.size)
        image.draft("RGB", (side, side))
    elif found.kind == "tiff" and found.page:
        image.seek(found.page)
    elif found.kind == "jpeg2000" and (levels := jpeg2000_levels(found)):
        image.reduce = levels  # type: ignore[method-assign,assignment]
    elif found.kind == "jpegxl" and not getattr(image, "jpeg", False):
        image.info.pop("exif", None)  # libjxl has already applied the orientation
    return image


def raw_preview(data: bytes) -> tuple[bytes, int]:
    """The JPEG preview embedded in a raw file, and LibRaw's code for its orientation.

    Raises:
        UnsupportedImage: the file has no JPEG preview.
    """
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            preview = raw.extract_thumb()
            flip = raw.sizes.flip
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise UnsupportedImage(f"The raw photo has no readable preview ({reason}).") from None
    if preview.format != rawpy.ThumbFormat.JPEG:
        raise UnsupportedImage("The raw photo's preview is not a JPEG.")
    return bytes(preview.data), flip
