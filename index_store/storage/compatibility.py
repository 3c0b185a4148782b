"""Whether a store fits this version and a model, and which model fits a store."""

from __future__ import annotations

from pathlib import Path

from extractor import Extractor
from extractor.descriptor.registry import DEFAULT, model_path, name_of
from extractor.keypoints import keypoint_codes

from ..errors import StoreMismatch
from .generation import opening
from .manifest import Manifest


def check_model(manifest: Manifest, extractor: Extractor | None) -> None:
    """Raise StoreMismatch if descriptors of `extractor` are not comparable with the store's."""
    if extractor is not None and extractor.fingerprint != manifest.fingerprint:
        raise StoreMismatch(
            f"The store was made with another model ({manifest.model['architecture']}, "
            f"{manifest.dim} dimensions, fingerprint {manifest.fingerprint[:12]}) than the one at "
            f"hand ({extractor.card.architecture}, {extractor.card.output_dim} dimensions, "
            f"{extractor.fingerprint[:12]}). Build it again with this model."
        )


def check_keypoints(manifest: Manifest) -> None:
    """Raise StoreMismatch if this version does not support the store's keypoints."""
    stored = manifest.parameters.get("local_features", {})
    expected = {"layout": keypoint_codes.LAYOUT, "codebook": keypoint_codes.shipped().digest}
    if any(stored.get(name) != value for name, value in expected.items()):
        raise StoreMismatch(
            "The store's keypoints were encoded by another version of this program. Build it again."
        )


def model_of(path: Path, given: str | Path | None = None) -> Path:
    """The model file for a store.

    Args:
        path: folder of the store.
        given: name in `extractor.descriptor.registry.MODELS` or path of a model file, for a store
            whose model is not in the registry. None or empty for the project's default model.

    Raises:
        StoreMissing, StoreMismatch, StoreCorrupt: see `Store`.

    """
    with opening(Path(path)) as generation:
        registered = name_of(generation.manifest.fingerprint)
    return model_path(str(registered or given or DEFAULT))
