"""Opening a photo's file by the codec of its format, and by no other."""

from __future__ import annotations

import io
from functools import cache

from PIL import AvifImagePlugin, Image

from ..containers import Container
from ..errors import UnsupportedImage
from ..formats import BY_KEY
from ..limits import draft_side, jpeg2000_levels
from .wide_tiff import wide_image

# libavif, libheif and libjxl would decode with a thread a core, each with a stack of its own;
# photos are decoded side by side already.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@cache
def prepare() -> None:
    """Load the codecs that Pillow has no part in, once."""
    import pillow_heif
    import pillow_jxl.JpegXLImagePlugin as jpegxl

    pillow_heif.register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )
    jpegxl.DECODE_THREADS = 0


def open_image(data: bytes, found: Container) -> Image.Image:
    """The picture of a file that `containers.inspect` has found no fault with; not yet decoded.

    Args:
        data: The file.
        found: In it.

    Raises:
        What the codec raises: OSError, SyntaxError, ValueError and others.
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
        # Lets libjpeg skip what would be thrown away: 3 to 4 times faster on a 12 MP photo.
        side = draft_side(*image.size)
        image.draft("RGB", (side, side))
    elif found.kind == "tiff" and found.page:
        image.seek(found.page)
    elif found.kind == "jpeg2000" and (levels := jpeg2000_levels(found)):
        image.reduce = levels  # type: ignore[method-assign,assignment]
    elif found.kind == "jpegxl" and not getattr(image, "jpeg", False):
        image.info.pop("exif", None)  # libjxl has turned it already
    return image


def raw_preview(data: bytes) -> tuple[bytes, int]:
    """The JPEG that a camera has put into a raw file, and LibRaw's number of its turn.

    Raises:
        UnsupportedImage: there is none that is a JPEG.
    """
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            preview = raw.extract_thumb()
            flip = raw.sizes.flip
    except rawpy.LibRawError as error:
        why = error.args[0] if error.args else ""
        why = why.decode(errors="replace") if isinstance(why, bytes) else why
        raise UnsupportedImage(f"The raw photo has no readable preview ({why}).") from None
    if preview.format != rawpy.ThumbFormat.JPEG:
        raise UnsupportedImage("The raw photo's preview is no JPEG.")
    return bytes(preview.data), flip
