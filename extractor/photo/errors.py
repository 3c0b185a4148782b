"""What is said of a photo that cannot be used."""

from __future__ import annotations


class BadPhoto(Exception):
    """The photo cannot be used; str(error) is a sentence for the person who sent it."""


class UnsupportedImage(BadPhoto):
    """Not a photo of a format that is read, or a damaged one."""


class ImageTooLarge(BadPhoto):
    """More bytes, pixels, memory or time than the limits allow."""
