"""Each kind of photo is read as what it shows, or left out with a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from extractor import BadPhoto, decode, format_of
from extractor.photo import formats
from extractor.photo.formats import START
from tests.conftest import ROOT
from tests.support.every_format import KINDS, Kind, picture

READ = [kind for kind in KINDS if not kind.error]


def expected(kind: Kind, shape: tuple[int, ...]) -> np.ndarray:
    """The picture as a kind of file should show it."""
    image = picture().convert("L").convert("RGB") if kind.is_grey else picture()
    if shape[:2] == (image.height, image.width):
        return np.asarray(image)
    if shape[1] == image.width:  # without its last rows
        return np.asarray(image)[: shape[0]]
    return np.asarray(image.resize((shape[1], shape[0])))


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.name)
def test_what_is_read_is_the_picture(kind):
    pixels = decode(kind.make())
    assert pixels.dtype == np.uint8
    height, width = pixels.shape[:2]
    if kind.name != "end-missing.jpg":
        assert abs(width / height - picture().width / picture().height) < 0.01
    difference = np.abs(pixels.astype(int) - expected(kind, pixels.shape)).mean()
    assert difference < kind.tolerance


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k.error and k.name != "layers.psd"], ids=lambda kind: kind.name
)
def test_what_is_left_out_has_its_reason(kind):
    with pytest.raises(BadPhoto, match=kind.error):
        decode(kind.make())


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.name)
def test_name_and_content_say_one_format(kind):
    suffix = kind.name[kind.name.rindex(".") :]
    (by_name,) = (format for format in formats.ALL if suffix in format.suffixes)
    data = kind.make()
    by_content = format_of(data[:START])
    assert by_content is not None
    # Some raw photos look like a TIFF at their beginning.
    assert by_content.key in ({"raw", "tiff"} if by_name.key == "raw" else {by_name.key})


def test_every_format_has_a_file():
    seen = {kind.name[kind.name.rindex(".") :] for kind in READ}
    for format in formats.ALL:
        assert seen & set(format.suffixes), format.key


def test_the_table_of_formats_is_current():
    """After a change: python -m extractor, between the two marks of docs/formats.md."""
    text = (ROOT / "docs" / "formats.md").read_text()
    shown = text.partition("<!-- formats -->\n")[2].partition("<!-- /formats -->")[0]
    assert shown.strip() == formats.table().strip()
