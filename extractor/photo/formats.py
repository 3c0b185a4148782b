"""Table of photo formats, shared by folders, the page, zip archives and the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

START = 64  # leading bytes that identify the format, except of a raw photo that looks like a TIFF
MAX_BRANDS = 16  # maximum brands of an ISO media file that are compared


@dataclass(frozen=True)
class Format:
    """One photo format.

    Attributes:
        key: name in `GEM_FORMATS`.
        name: display name.
        suffixes: file name suffixes, lower case, with the dot.
        media_types: browsers' media types; within a subtype, those that browsers know come first.
        openers: Pillow's names of the format.
        is_uploaded: whether visitors may upload it by default, without `GEM_FORMATS`.
        scope: which variants are supported.
    """

    key: str
    name: str
    suffixes: tuple[str, ...]
    media_types: tuple[str, ...]
    openers: tuple[str, ...]
    is_uploaded: bool
    scope: str


ALL = (
    Format(
        "jpeg",
        "JPEG",
        (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"),
        ("image/jpeg",),
        ("JPEG",),
        True,
        "Grey, RGB, CMYK and YCCK; baseline and progressive; the first picture of an MPO; 8 bits a "
        "colour. If only the end of the file is missing, the rest is read.",
    ),
    Format(
        "png",
        "PNG",
        (".png", ".apng"),
        ("image/png", "image/apng"),
        ("PNG",),
        True,
        "All colour types, 1 to 16 bits; the still picture of an APNG.",
    ),
    Format(
        "webp",
        "WebP",
        (".webp",),
        ("image/webp",),
        ("WEBP",),
        True,
        "Lossy and lossless; the first frame of an animation.",
    ),
    Format(
        "heic",
        "HEIC",
        (".heic", ".heif", ".hif", ".heics", ".heifs"),
        ("image/heic", "image/heif"),
        ("HEIF",),
        True,
        "HEVC, 8 to 12 bits; the primary picture of a burst; grids of tiles; turned and mirrored "
        "as the container says, regardless of EXIF.",
    ),
    Format(
        "avif",
        "AVIF",
        (".avif", ".avifs"),
        ("image/avif",),
        ("AVIF",),
        True,
        "8 to 12 bits; the first frame of an animation; turned and mirrored as the container says.",
    ),
    Format(
        "tiff",
        "TIFF",
        (".tif", ".tiff"),
        ("image/tiff",),
        ("TIFF",),
        False,
        "The largest page; BigTIFF; strips and tiles; 1 to 32 bits and floating point; grey, "
        "palette, RGB, CMYK, Lab; uncompressed, LZW, deflate, JPEG, PackBits, fax.",
    ),
    Format("bmp", "BMP", (".bmp", ".dib"), ("image/bmp",), ("BMP",), False, "1 to 32 bits, RLE."),
    Format("gif", "GIF", (".gif",), ("image/gif",), ("GIF",), False, "The first frame."),
    Format(
        "jpeg2000",
        "JPEG 2000",
        (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
        ("image/jp2", "image/jpx"),
        ("JPEG2000",),
        False,
        "JP2 and bare codestreams; grey, RGB, with transparency; 8 and 16 bits.",
    ),
    Format(
        "jpegxl",
        "JPEG XL",
        (".jxl",),
        ("image/jxl",),
        ("JXL",),
        False,
        "Containers and bare codestreams; the first frame of an animation.",
    ),
    Format(
        "raw",
        "camera raw",
        tuple(
            ".3fr .arw .cr2 .cr3 .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw"
            " .rw2 .rwl .sr2 .srf .srw .x3f".split()
        ),
        (),
        (),
        False,
        "The JPEG preview that the camera has put into the file, if its longest side has at least "
        "1024 pixels.",
    ),
)
BY_KEY = {format.key: format for format in ALL}
SUFFIXES = tuple(suffix for format in ALL for suffix in format.suffixes)
UPLOADED = tuple(format.key for format in ALL if format.is_uploaded)

TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
RAWS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")
STARTS = (
    ("jpeg", (b"\xff\xd8\xff",)),
    ("png", (b"\x89PNG\r\n\x1a\n",)),
    ("gif", (b"GIF87a", b"GIF89a")),
    ("raw", RAWS),
    ("tiff", TIFFS),
    ("jpeg2000", (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("jpegxl", (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
)
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # possible sizes of the second header, bytes
AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}


def format_of(start: bytes) -> Format | None:
    """The format of a file by its first START bytes, None for an unknown one.

    `containers.inspect` recognises raw photos that are built as TIFFs.
    """
    for key, heads in STARTS:
        if start.startswith(heads):
            is_canon = key == "tiff" and start[8:10] == b"CR"
            return BY_KEY["raw" if is_canon else key]
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return BY_KEY["webp"]
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in BMP_HEADERS:
        return BY_KEY["bmp"]
    if start[4:8] == b"ftyp":
        return of_brands(start)
    return None


def of_brands(start: bytes) -> Format | None:
    """The format of an ISO media file, by the brands in its first box."""
    end = min(int.from_bytes(start[:4], "big"), len(start), 16 + 4 * MAX_BRANDS)
    brands = {start[8:12], *(start[at : at + 4] for at in range(16, end - 3, 4))}
    if b"crx " in brands:
        return BY_KEY["raw"]
    if brands & AVIF_BRANDS:
        return BY_KEY["avif"]
    return BY_KEY["heic"] if brands & HEIC_BRANDS else None


def names(keys: Iterable[str]) -> str:
    """Display names of formats, separated by commas."""
    return ", ".join(BY_KEY[key].name for key in keys)


def suffixes(keys: Iterable[str]) -> tuple[str, ...]:
    """All suffixes of the formats."""
    return tuple(suffix for key in keys for suffix in BY_KEY[key].suffixes)


def table() -> str:
    """All formats as a Markdown table, one row each."""
    rows = [
        "| format | `GEM_FORMATS` | suffixes | folders | uploads | what is read |",
        "|---|---|---|---|---|---|",
    ]
    for format in ALL:
        ends = " ".join(f"`{suffix}`" for suffix in format.suffixes)
        uploads = "yes" if format.is_uploaded else "if named"
        rows.append(
            f"| {format.name} | `{format.key}` | {ends} | yes | {uploads} | {format.scope} |"
        )
    return "\n".join(rows)
