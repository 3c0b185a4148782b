"""Pareto front of recall against speed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MARKERS = "osD^v<>PXpd*hH8"


def on_front(recall: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Which points no other one dominates, that is, equals or beats in both and beats in one.

    Args:
        recall: (n,).
        speed: queries per second, (n,).

    Returns:
        bool (n,).
    """
    better = (recall >= recall[:, None]) & (speed >= speed[:, None])
    better &= (recall > recall[:, None]) | (speed > speed[:, None])
    return np.logical_not(better.any(axis=1))


def draw_front(axes: Any, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str) -> None:
    """Plot recall against speed, with the front of all curves as a broad dashed line.

    Args:
        axes: matplotlib axes to draw on.
        curves: recalls (n,) and queries per second (n,), by name.
        title: title of the plot.
    """
    for i, (name, (recall, speed)) in enumerate(curves.items()):
        order = np.argsort(recall)
        axes.plot(
            recall[order], speed[order], marker=MARKERS[i % len(MARKERS)], ms=4, lw=1, label=name,
            color=f"C{i % 10}", ls="-" if i < 10 else ":",
        )  # fmt: skip
    recall = np.concatenate([recall for recall, _ in curves.values()])
    speed = np.concatenate([speed for _, speed in curves.values()])
    best = on_front(recall, speed)
    order = np.argsort(recall[best])
    axes.plot(recall[best][order], speed[best][order], "k--", lw=2.5, alpha=0.4, label="front")
    axes.set(xlabel="recall 10@10", ylabel="queries a second, one thread", title=title)
    axes.set_yscale("log")
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8)


def save_front(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path, title: str) -> None:
    """Save `draw_front` as a picture, PNG or SVG by its suffix.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # an optional dependency, slow to import

    figure = Figure(figsize=(9, 6), layout="constrained")
    draw_front(figure.subplots(), curves, title)
    figure.savefig(path, dpi=110)
