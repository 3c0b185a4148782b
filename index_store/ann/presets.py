"""Index presets: faiss factory strings with placeholders for the size of a gallery.

Cost and recall of each preset: `python -m index_store tune` on a store, `python -m evaluation ann`
over gallery sizes. Sources: IVF-PQ, Jegou et al. 2011; OPQ, Ge et al. 2013; 4-bit fast scan, Andre
et al. 2017; HNSW, Malkov and Yashunin 2018; RaBitQ, Gao and Long 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POINTS_PER_CENTROID = 39  # faiss warns below this; with fewer, centroids are meaningless
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
        title: display name.
        template: faiss factory string; `choose_parameters` fills in the sizes.
        parameter: search parameter that trades accuracy for speed: "nprobe", lists visited;
            "efSearch", candidates kept while walking the graph; "" for a form that scans all
            vectors.
        exact: whether it stores the vectors uncompressed.
    """

    title: str
    template: str
    parameter: str = ""
    exact: bool = False

    @property
    def effort(self) -> int:
        """Default value of the parameter, when untuned; 0 without a parameter."""
        return {"nprobe": NPROBE, "efSearch": EF_SEARCH, "": 0}[self.parameter]


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
        "OPQ, IVF-PQ, lists by HNSW", "OPQ{codes},IVF{nlist}_HNSW32,PQ{codes}x{bits}np", "nprobe"
    ),
    "ivf-pq4": Preset("IVF, 4-bit PQ, fast scan", "IVF{nlist},PQ{small_codes}x4fs", "nprobe"),
    "opq-ivf-pq4": Preset(
        "OPQ, IVF, 4-bit PQ, fast scan", "OPQ{small_codes},IVF{nlist},PQ{small_codes}x4fs", "nprobe"
    ),
    "ivf-rabitq": Preset("IVF, RaBitQ, fast scan", "RR{dim},IVF{nlist},RaBitQfs", "nprobe"),
}
DEFAULT_PRESET = "ivf-pq"
EXACT_BELOW = 10_000  # photos: a query compares with all of them in less than a millisecond


def default_preset(count: int) -> str:
    """The preset of a gallery of `count` photos, unless one was chosen."""
    return "flat" if count < EXACT_BELOW else DEFAULT_PRESET


@dataclass(frozen=True)
class IndexParameters:
    """Build and search parameters of an index.

    Attributes:
        preset: name of a preset in PRESETS.
        factory: faiss index factory string.
        effort: value of the preset's parameter; 0 without one.
        automatic: whether `default_preset` chose the preset, so that it follows the gallery's size.
    """

    preset: str
    factory: str
    effort: int
    automatic: bool = False


def choose_parameters(count: int, dim: int, preset: str = DEFAULT_PRESET) -> IndexParameters:
    """Parameters for a gallery, with no more lists or centroids than it can train.

    Codes: one per CODE_DIM components (or the nearest divisor below).

    Args:
        count: number of vectors.
        dim: components per vector.
        preset: name of a preset in PRESETS.

    Raises:
        KeyError: there is no such preset.
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
    effort = min(form.effort, nlist) if form.parameter == "nprobe" else form.effort
    return IndexParameters(preset, factory, effort)


def most_lists(count: int) -> int:
    """The largest power of two up to 4 sqrt(count) that leaves POINTS_PER_CENTROID of `count`
    vectors per list."""
    return 2 ** int(np.log2(max(1, min(trainable(count), 4 * np.sqrt(count), MAX_LISTS))))


def most_bits(count: int) -> int:
    """The largest number of bits, up to MAX_BITS, whose 2**bits centroids `count` can train."""
    return int(np.clip(np.log2(trainable(count)), 1, MAX_BITS))


def trainable(count: int) -> int:
    """Number of centroids that `count` vectors can train."""
    return max(1, count // POINTS_PER_CENTROID)


def most_codes(dim: int, components: int) -> int:
    """The largest divisor of `dim` that leaves at least `components` per code."""
    return max(m for m in range(1, max(1, dim // components) + 1) if dim % m == 0)
