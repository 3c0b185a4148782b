"""Errors for photos that cannot be used."""


class BadPhoto(Exception):
    """The photo cannot be used; str(error) is a sentence for the person who sent it."""


class UnsupportedImage(BadPhoto):
    """The photo is damaged or not of a supported format."""


class ImageTooLarge(BadPhoto):
    """The photo exceeds the limits on bytes, pixels, memory or time."""
