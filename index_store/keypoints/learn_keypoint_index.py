"""Learn the centroids and codes of the keypoint index, from photos that are in no gallery.

python -m index_store.keypoints.learn_keypoint_index --photos FOLDER
"""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np

from command import CommandParser, print_lines
from extractor import SUFFIXES, BadPhoto, local_features, read_photo
from plurals import quantity

from .keypoint_form import FORMS, QUANTIZERS, KeypointForm, quantizer_file

POINTS = 400  # keypoints per photo, the strongest
SAMPLE = 300_000  # maximum number of training descriptors
SEED = 0


def learn(descriptors: np.ndarray, form: KeypointForm) -> faiss.Index:
    """Train an empty index. Deterministic for the same input.

    Args:
        descriptors: uint8 (n, 128), RootSIFT from many photos; at most SAMPLE of them are used.
        form: form of the index.
    """
    drawn = np.random.default_rng(SEED).permutation(len(descriptors))[:SAMPLE]
    rows = descriptors[np.sort(drawn)].astype(np.float32)
    index = faiss.index_factory(128, f"IMI2x{form.centroids.bit_length() - 1},PQ{form.code_bytes}")
    index.train(rows)
    return index


def main() -> None:
    parser = CommandParser(
        prog="python -m index_store.keypoints.learn_keypoint_index",
        description="Learn the centroids and codes of the keypoint index.",
    )
    parser.add_argument("--photos", type=Path, required=True, help="with its sub-folders")
    parser.add_argument("--out", type=Path, default=QUANTIZERS)
    args = parser.parse_args()
    files = sorted(path for path in args.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = []
    for path in files:
        try:
            found.append(local_features(read_photo(path)).strongest(POINTS).descriptors)
        except (BadPhoto, OSError):
            continue
    descriptors = np.concatenate(found)
    for form in {quantizer_file(form): form for _, form in FORMS}.values():
        path = args.out / quantizer_file(form).name
        faiss.write_index(learn(descriptors, form), str(path))
        print_lines(f"wrote {path.name} from {quantity(len(found), 'photo')}")


if __name__ == "__main__":
    main()
