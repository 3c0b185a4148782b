"""What shapes a store besides its photos, and whether what is kept of a photo can be used again."""

from __future__ import annotations

import dataclasses
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extractor import Extractor
from extractor.keypoints import keypoint_codes, sift
from matching import verification

from . import extraction
from .ann.presets import IndexParameters, choose_parameters, default_preset
from .errors import StoreError
from .graph import affinity, matching_graph
from .graph import offline_diffusion as diffusion
from .graph.comparisons import Comparisons
from .keypoints.keypoint_form import KeypointForm, form_parameters
from .storage import build_journal, extraction_cache
from .storage.generation import opening
from .storage.manifest import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractionSpec:
    """How photos become what a store keeps of them. Equal makings give equal contents.

    Attributes:
        fingerprint: `Extractor.fingerprint` of the model.
        dim: Components of a descriptor (D).
        model: The model's card, and the SHA-256 of its file.
        described_by: What besides the model decides the digits of a descriptor.
        extraction: Parameters of everything else that is kept of a photo.
    """

    fingerprint: str
    dim: int
    model: dict[str, Any]
    described_by: dict[str, str]
    extraction: dict[str, dict]

    @property
    def facts(self) -> str:
        """Equal for makings that would keep the same of a photo."""
        return json.dumps([self.fingerprint, self.described_by, self.extraction], sort_keys=True)


def extraction_spec_of(extractor: Extractor, as_stored: bool) -> ExtractionSpec:
    """How a build with this extractor makes them."""
    return ExtractionSpec(
        extractor.fingerprint,
        extractor.card.output_dim,
        {**dataclasses.asdict(extractor.card), "sha256": extractor.model_sha256},
        {"engine": extractor.engine, "precision": extractor.card.precision},
        extraction_parameters(as_stored),
    )


def extraction_spec_in(manifest: Manifest) -> ExtractionSpec:
    """How those of a generation were made."""
    stages = ("decode", "colours", "thumbnails", "local_features")
    parameters = manifest.parameters
    return ExtractionSpec(
        manifest.fingerprint,
        manifest.dim,
        manifest.model,
        manifest.described_by,
        {stage: parameters[stage] for stage in stages if stage in parameters},
    )


def extraction_parameters(as_stored: bool) -> dict[str, dict]:
    """What shapes the thumbnails and keypoints kept of each photo."""
    return {
        **({"decode": {"as_stored": 1}} if as_stored else {"colours": {"srgb": 1}}),
        "thumbnails": {
            "longest_side": extraction.THUMBNAIL_SIDE,
            "quality": extraction.THUMBNAIL_QUALITY,
        },
        "local_features": {
            "longest_side": sift.SIFT_SIDE,
            "exact_photos": extraction_cache.EXACT_PHOTOS,
            "points": sift.STORED_POINTS,
            "layout": keypoint_codes.LAYOUT,
            "codebook": keypoint_codes.shipped().digest,
            "budget": extraction_cache.LOCAL_FEATURES_BUDGET,
        },
    }


def described_before(store: Path) -> dict[str, str] | None:
    """`ExtractionSpec.described_by` of the descriptors that a build would continue with, or None.

    That is a killed build's journal first, else the live generation.
    """
    with suppress(ValueError, TypeError, LookupError, RecursionError):
        return json.loads(build_journal.read_fingerprint(store / build_journal.FILE_NAME) or "")[1]
    with suppress(StoreError), opening(store) as generation:
        return generation.manifest.described_by
    return None


def is_reusable(manifest: Manifest, spec: ExtractionSpec) -> bool:
    """Whether what a store of the same model keeps of each photo is what a build would make now.

    Says so in the log if only the descriptors' digits would differ.
    """
    before = extraction_spec_in(manifest)
    if before.extraction != spec.extraction:
        return False
    if before.described_by != spec.described_by:
        log.warning(
            "The store's descriptors are %(precision)s by %(engine)s, "
            "the new ones would not be: all photos are described anew.",
            before.described_by,
        )
    return before.described_by == spec.described_by


def index_parameters(
    count: int, dim: int, preset: str | None, before: Manifest | None
) -> IndexParameters:
    """The form of a store's index: the one asked for, or as before, or `default_preset`.

    A tuned effort is kept as long as the index has the form that it was tuned for.

    Args:
        count: How many photos.
        dim: Components of a descriptor.
        preset: A name of PRESETS, or None.
        before: Of the live generation, or None.
    """
    stored = None if before is None else IndexParameters(**before.parameters["ann"])
    if preset is None and stored is not None and not stored.automatic:
        preset = stored.preset
    chosen = choose_parameters(count, dim, preset or default_preset(count))
    chosen = dataclasses.replace(chosen, automatic=preset is None)
    if stored is not None and stored.factory == chosen.factory:
        return dataclasses.replace(stored, automatic=chosen.automatic)
    return chosen


def comparisons_of(store: Path, spec: ExtractionSpec) -> Comparisons:
    """What is known of pairs of photos in a store. Raises OSError."""
    made_by = {"local_features": spec.extraction["local_features"]}
    made_by |= {name: spec.extraction[name] for name in ("decode",) if name in spec.extraction}
    return Comparisons(store, {**made_by, "verification": verification.PARAMETERS})


def is_compared(manifest: Manifest | None) -> bool:
    """Whether the photos of a generation were compared with each other; True for no generation."""
    return manifest is None or bool(manifest.parameters.get("matching"))


def derived_parameters(
    index: IndexParameters, keypoints: KeypointForm, matching: bool
) -> dict[str, dict]:
    """What shapes all that is made of all photos at once. matching: whether they are compared."""
    return {
        "ann": dataclasses.asdict(index),
        "graph": {"neighbours": affinity.NEIGHBOURS, "background": affinity.BACKGROUND},
        "diffusion": {
            "alpha": diffusion.ALPHA,
            "block": diffusion.BLOCK,
            "region": diffusion.REGION,
            "kept": diffusion.KEPT,
        },
        "keypoints": form_parameters(keypoints),
        "matching": matching_graph.PARAMETERS if matching else {},
    }
