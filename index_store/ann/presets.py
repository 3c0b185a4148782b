"""The forms that an index can have, by name: faiss factory strings with room for a gallery's size.

What a preset costs and finds: `python -m index_store tune` on a store, `python -m evaluation ann`
over sizes. Sources: IVF-PQ, Jegou et al. 2011; OPQ, Ge et al. 2013; 4-bit fast scan, Andre et al.
2017; HNSW, Malkov and Yashunin 2018; RaBitQ, Gao and Long 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POINTS_PER_CENTROID = 39  # faiss warns below; fewer make centroids that describe nothing
MAX_LISTS = 65536
MAX_BITS = 8
CODE_DIM = 8  # descriptor components per code of up to MAX_BITS bits
SMALL_CODE_DIM = 4  # descriptor components per code of 4 bits
NPROBE = 32
EF_SEARCH = 64


@dataclass(frozen=True)
class Preset:
    """One form of an index.

    Attributes:
        title: For people.
        template: faiss' factory string; `choose_parameters` fills in the sizes.
        knob: What a search's accuracy hangs on: "nprobe", lists visited; "efSearch", candidates
            that the walk through the graph keeps; "" for a form that always looks at all vectors.
        exact: Whether it keeps the vectors as they are.
    """

    title: str
    template: str
    knob: str = ""
    exact: bool = False

    @property
    def effort(self) -> int:
        """The knob's value where nobody has tuned it; 0 without a knob."""
        return {"nprobe": NPROBE, "efSearch": EF_SEARCH, "": 0}[self.knob]


PRESETS = {
    "ivf-pq": Preset("IVF-PQ", "IVF{nlist},PQ{codes}x{bits}np", "nprobe"),
    "flat": Preset("flat search", "Flat", exact=True),
    "pq": Preset("PQ", "PQ{codes}x{bits}np"),
    "pq4": Preset("4-bit PQ, fast scan", "PQ{small_codes}x4fs"),
    "hnsw": Preset("HNSW", "HNSW32,Flat", "efSearch", exact=True),
    "hnsw-pq": Preset("HNSW over PQ codes", "HNSW32,PQ{codes}x{bits}np", "efSearch"),
    "hnsw-sq": Preset("HNSW over 8-bit codes", "HNSW32,SQ8", "efSearch"),
    "ivf-flat": Preset("IVF-Flat", "IVF{nlist},Flat", "nprobe", exact=True),
    "ivf-hnsw-pq": Preset(
        "IVF-PQ, lists by HNSW", "IVF{nlist}_HNSW32,PQ{codes}x{bits}np", "nprobe"
    ),
    "opq-ivf-hnsw-pq": Preset(
        "OPQ, IVF-PQ, lists by HNSW",
        "OPQ{codes},IVF{nlist}_HNSW32,PQ{codes}x{bits}np",
        "nprobe",
    ),
    "ivf-pq4": Preset("IVF, 4-bit PQ, fast scan", "IVF{nlist},PQ{small_codes}x4fs", "nprobe"),
    "opq-ivf-pq4": Preset(
        "OPQ, IVF, 4-bit PQ, fast scan",
        "OPQ{small_codes},IVF{nlist},PQ{small_codes}x4fs",
        "nprobe",
    ),
    "ivf-rabitq": Preset("IVF, RaBitQ, fast scan", "RR{dim},IVF{nlist},RaBitQfs", "nprobe"),
}
DEFAULT_PRESET = "ivf-pq"
EXACT_BELOW = 10_000  # photos: comparing with all of them takes a query less than a millisecond


def default_preset(count: int) -> str:
    """The preset of a gallery of `count` photos for which nobody has chosen one."""
    return "flat" if count < EXACT_BELOW else DEFAULT_PRESET


@dataclass(frozen=True)
class IndexParameters:
    """How an index is built and searched.

    Attributes:
        preset: A name of PRESETS.
        factory: faiss' index factory string.
        effort: The value of the preset's knob; 0 without one.
        automatic: Whether the preset is `default_preset`'s choice, and follows the gallery's size.
    """

    preset: str
    factory: str
    effort: int
    automatic: bool = False


def choose_parameters(count: int, dim: int, preset: str = DEFAULT_PRESET) -> IndexParameters:
    """Parameters for a gallery, never more lists or centroids than it can train.

    Codes: one for CODE_DIM components (or the nearest divisor below).

    Args:
        count: How many vectors.
        dim: How many components each of them has.
        preset: A name of PRESETS.

    Raises:
        KeyError: There is no such preset.
    """
    nlist = most_lists(count)
    form = PRESETS[preset]
    factory = form.template.format(
        dim=dim,
        nlist=nlist,
        bits=most_bits(count),
        codes=most_codes(dim, CODE_DIM),
        small_codes=most_codes(dim, SMALL_CODE_DIM),
    )
    effort = min(form.effort, nlist) if form.knob == "nprobe" else form.effort
    return IndexParameters(preset, factory, effort)


def most_lists(count: int) -> int:
    """The largest power of two up to 4 sqrt(count) that leaves each list POINTS_PER_CENTROID of
    `count` vectors."""
    return 2 ** int(np.log2(max(1, min(trainable(count), 4 * np.sqrt(count), MAX_LISTS))))


def most_bits(count: int) -> int:
    """The most, up to MAX_BITS, whose 2**bits centroids get as many."""
    return int(np.clip(np.log2(trainable(count)), 1, MAX_BITS))


def trainable(count: int) -> int:
    """Centroids that so many vectors can train."""
    return max(1, count // POINTS_PER_CENTROID)


def most_codes(dim: int, components: int) -> int:
    """The largest divisor of `dim` that leaves each code at least so many components."""
    return max(m for m in range(1, max(1, dim // components) + 1) if dim % m == 0)
