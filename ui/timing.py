"""Where the time of a search went: one thin bar."""

from __future__ import annotations

from search import SearchResult

STAGES = {  # name and colour
    "decode": ("decode", "#94a3b8"),
    "describe": ("describe", "#0ea5a4"),
    "keypoints": ("keypoints", "#f8b4b0"),
    "index": ("index", "#f59e0b"),
    "diffusion": ("diffusion", "#8b5cf6"),
    "sift": ("SIFT", "#ef6461"),
}


def timing_bar(result: SearchResult) -> str:
    """HTML of one thin stacked bar and its legend; stages whose earlier result was reused are
    faded.
    """
    timings = result.reused_ms | result.timings_ms
    total = sum(timings.values()) or 1
    parts, legend = [], []
    for stage, (name, colour) in STAGES.items():
        if stage not in timings:
            continue
        ms = timings[stage]
        faded = "" if stage in result.timings_ms else ' class="reused"'
        title = "just now" if stage in result.timings_ms else "from before, reused"
        shown = f"{ms:.0f}" if ms >= 10 else f"{ms:.1f}"
        parts.append(f'<i{faded} style="width:{100 * ms / total:.1f}%;background:{colour}"></i>')
        legend.append(
            f'<span{faded} title="{title}"><i style="background:{colour}"></i>'
            f"{name} {shown} ms</span>"
        )
    track = f'<div class="track">{"".join(parts)}</div>'
    return f'<div class="times">{track}<div class="legend">{"".join(legend)}</div></div>'
