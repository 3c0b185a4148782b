"""Argument types for numbers: reject invalid values with a readable message."""

from __future__ import annotations

import argparse


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def size(text: str) -> float:
    """A non-negative number, for argparse."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a size")
    return value


def count(text: str, least: int = 1) -> int:
    """An integer of at least `least`, for argparse."""
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is not {least} or more")
    return value


def amount(text: str) -> int:
    """A non-negative integer, for argparse."""
    return count(text, least=0)
