"""Timing bar of a search."""

from __future__ import annotations

import html

from search import MATCHERS, RERANKERS, SearchResult

from ..i18n.translate import number, tr
from ..state.options import label

COLOURS = {  # of the stages, in the order in which they run
    "decode": "#94a3b8",
    "describe": "#0ea5a4",
    "keypoints": "#f8b4b0",
    "index": "#f59e0b",
    "details": "#eab308",
    **dict.fromkeys(RERANKERS, "#8b5cf6"),
    **dict.fromkeys(MATCHERS, "#ef6461"),
    "graph": "#22c55e",
}


def stage_name(stage: str) -> str:
    """Title of a stage in the visitor's language."""
    names = {
        "descriptor": tr("descriptor"),
        "decode": tr("decode"),
        "describe": tr("describe"),
        "keypoints": tr("keypoints"),
        "index": tr("index"),
        "details": tr("details"),
        "graph": tr("matching graph"),
    }
    return names.get(stage) or label(stage)


def timing_bar(result: SearchResult) -> str:
    """HTML of a thin stacked bar and its legend; stages with reused results are faded."""
    timings = result.reused_ms | result.timings_ms
    total = sum(timings.values()) or 1
    parts, legend = [], []
    for stage, colour in COLOURS.items():
        if stage not in timings:
            continue
        ms = timings[stage]
        new = stage in result.timings_ms
        faded = "" if new else ' class="reused"'
        title = html.escape(tr("just now") if new else tr("from before, reused"))
        label = number(ms) if ms >= 10 else number(ms, 1)
        parts.append(f'<i{faded} style="width:{100 * ms / total:.1f}%;background:{colour}"></i>')
        legend.append(
            f'<span{faded} title="{title}"><i style="background:{colour}"></i>'
            f"{html.escape(stage_name(stage))} {label} ms</span>"
        )
    track = f'<div class="track">{"".join(parts)}</div>'
    return f'<div class="times">{track}<div class="legend">{"".join(legend)}</div></div>'
