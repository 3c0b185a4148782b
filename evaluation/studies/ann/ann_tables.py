"""Tables and plot of `evaluation ann`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from index_store.ann.pareto import draw_front, on_front
from index_store.ann.tune import Trial

from .ann_data import neighbour_distances
from .ann_measure import Case, drawn, resident_mb


def best_of(trials: list[Trial], recall: float) -> Trial:
    """The fastest with this recall 10@10; if there is none, the one with the highest recall."""
    enough = [trial for trial in trials if trial.recall10 >= recall]
    return max(enough, key=lambda t: t.speed) if enough else max(trials, key=lambda t: t.recall10)


def case_rows(case: Case, trials: list[Trial], recall: float) -> list[list[str]]:
    """Table, head first: each index at its fastest setting with this recall, fastest first."""
    star = dict(zip(trials, on_front(*points(trials))))
    best = [best_of(list(same), recall) for same in by_name(trials).values()]
    rows = [
        [
            case.title, "setting", "rescored", "recall 10@10", "1@10", "median ms", "queries/s",
            "bytes a vector", "build, processor s", "resident MB", "on the front",
        ]
    ]  # fmt: skip
    for trial in sorted(best, key=lambda t: (t.recall10 < recall, t.ms)):
        rows.append(
            [
                trial.name,
                str(trial.effort or ""),
                str(trial.rescored or ""),
                f"{trial.recall10:.3f}",
                f"{trial.recall1:.3f}",
                f"{trial.ms:.3f}",
                f"{trial.speed:.0f}",
                f"{trial.bytes:.1f}",
                f"{trial.build_s:.0f}",
                f"{resident_mb(case, trial):.0f}",
                "yes" if star[trial] else "",
            ]
        )
    return rows


def by_name(trials: list[Trial]) -> dict[str, list[Trial]]:
    """Trials grouped by index."""
    names = dict.fromkeys(trial.name for trial in trials)
    return {name: [trial for trial in trials if trial.name == name] for name in names}


def points(trials: list[Trial]) -> tuple[np.ndarray, np.ndarray]:
    """Recall 10@10 and queries per second, (n,) each."""
    return np.array([t.recall10 for t in trials]), np.array([t.speed for t in trials])


def growth_rows(measured: dict[Case, list[Trial]], recall: float) -> list[list[str]]:
    """Table, head first: growth of a query's time with the number of drawn vectors."""
    cases = [case for case in measured if case.kind == "drawn"]
    sizes = (f"{len(case.questions.descriptors):,}" for case in cases)
    rows = [["median ms at that recall", *sizes, "growth"]]
    for name in by_name(measured[cases[0]]):
        best = [best_of(by_name(measured[case])[name], recall) for case in cases]
        if all(trial.recall10 >= recall for trial in best):
            times = [f"{trial.ms:.3f}" for trial in best]
            rows.append([name, *times, f"{best[-1].ms / best[0].ms:.1f}"])
    return rows


def draw(measured: dict[Case, list[Trial]], path: Path) -> None:
    """Plot recall against speed for each case, and the distances among real and drawn vectors."""
    from matplotlib.figure import Figure  # slow to import

    crops = next((case for case in measured if case.kind == "crops"), None)
    panels = len(measured) + (crops is not None)
    figure = Figure(figsize=(16, 5.5 * -(-panels // 2)), layout="constrained")
    axes = figure.subplots(-(-panels // 2), 2, squeeze=False).ravel()
    for ax, (case, trials) in zip(axes, measured.items()):
        curves = {name: points(envelope(same)) for name, same in by_name(trials).items()}
        draw_front(ax, curves, case.title)
    if crops is not None:
        draw_distances(axes[panels - 1], crops.questions.descriptors)
    for ax in axes[panels:]:
        ax.remove()
    figure.savefig(path, dpi=80)


def envelope(trials: list[Trial]) -> list[Trial]:
    """The Pareto front of an index's own trials."""
    return [trial for trial, best in zip(trials, on_front(*points(trials))) if best]


def draw_distances(ax: Any, real: np.ndarray) -> None:
    """Histograms of the distances to the first and tenth neighbour, real and drawn."""
    synthetic = np.float32(drawn(real, len(real), 3))
    bins = np.linspace(0, 1.4, 71)
    for rows, name, style in ((np.float32(real), "crops", "-"), (synthetic, "drawn", "--")):
        distances = neighbour_distances(rows)
        for rank, colour in ((1, "C0"), (10, "C3")):
            ax.hist(
                distances[:, rank], bins, histtype="step", ls=style, color=colour,
                label=f"{name}, neighbour {rank}",
            )  # fmt: skip
    ax.set(xlabel="distance", ylabel="vectors", title=f"neighbours among {len(real):,} vectors")
    ax.legend()
