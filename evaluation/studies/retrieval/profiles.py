"""Effect of colour profiles: queries in other RGB spaces, with and without conversion.

A query's pixels are saved in the space with its profile, as a camera or phone would. Converted, it
looks as before; without its profile, its colours are wrong: dull for wide spaces. The gallery is
unchanged.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageCms
from tqdm import tqdm

from command import print_text
from evaluation.groups import add_labelled_store, store_group_ids
from evaluation.metrics import average_precision, without
from evaluation.metrics.bootstrap import Estimate, estimate
from evaluation.report.results import format_estimate, format_rows
from extractor import Extractor, decode
from extractor.photo.codecs.icc_profiles import SPACES, matrix_profile
from index_store import Store, model_of
from search.ranking import cosine, order

QUERIES = 4  # maximum queries per group
SEED = 0
AS_IS = "sRGB"


def in_space(pixels: np.ndarray, space: str) -> bytes:
    """A PNG of sRGB pixels, uint8 (H, W, 3), in another RGB space with its profile."""
    data = matrix_profile(space)
    converted = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.createProfile("sRGB"),
        ImageCms.ImageCmsProfile(io.BytesIO(data)),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert converted is not None
    buffer = io.BytesIO()
    converted.save(buffer, "PNG", compress_level=1, icc_profile=data)
    return buffer.getvalue()


def measure(
    store: Store,
    extractor: Extractor,
    groups: Mapping[str, Sequence[int]],
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, dict[str, Estimate]]:
    """mAP of the descriptor for queries in each space.

    Args:
        store: the gallery, with its original photos available.
        extractor: extractor that describes the queries.
        groups: ids of photos of the same thing, by name.
        progress: wraps the list of queries.

    Returns:
        Space -> "converted" and "ignored" -> mean over groups, with its interval.
    """
    gallery = np.asarray(store.descriptors, np.float32)
    rng = np.random.default_rng(SEED)
    queries = [
        (name, int(id), set(members) - {id})
        for name, members in groups.items()
        if len(members) > 1
        for id in rng.permutation(members)[:QUERIES].tolist()
    ]
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, id, positives in progress(queries):
        pixels = store.pixels(id)
        saved = {space: in_space(pixels, space) for space in SPACES}
        photos = {(AS_IS, "converted"): pixels, (AS_IS, "ignored"): pixels}
        for space, data in saved.items():
            photos[space, "converted"] = decode(data)
            photos[space, "ignored"] = decode(data, as_stored=True)
        for (space, handling), photo in photos.items():
            ranking = order(cosine(extractor.describe([photo])[0], gallery)).tolist()
            value = average_precision(without(ranking, [id]), positives)
            found.setdefault(space, {}).setdefault(handling, {}).setdefault(name, []).append(value)
    return {
        space: {handling: estimate(values, SEED) for handling, values in by_handling.items()}
        for space, by_handling in found.items()
    }


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `profiles` to the command line's sub-parsers."""
    command = commands.add_parser(
        "profiles", help="queries in other colour spaces: what reading their profiles is worth"
    )
    add_labelled_store(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print mAP by space."""
    extractor = Extractor(model_of(args.store, args.model))
    store = Store(args.store, extractor)
    groups = store_group_ids(args.groups, store)
    found = measure(
        store, extractor, groups, lambda queries: tqdm(queries, desc="queries", disable=None)
    )
    rows = [
        [space, *(format_estimate(by_handling[handling]) for handling in ("converted", "ignored"))]
        for space, by_handling in found.items()
    ]
    print_text(format_rows([["mAP of queries in", "profile read", "profile ignored"], *rows]))
