"""Parameters that define a store's content, and whether existing results can be reused."""

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
    """Everything that determines the extracted data of a photo. Equal specs give equal results.

    Attributes:
        fingerprint: `Extractor.fingerprint` of the model.
        dim: components of a descriptor (D).
        model: the model's card, and the SHA-256 of its file.
        described_by: engine and precision, which affect a descriptor's digits besides the model.
        extraction: parameters of all other data that is extracted from a photo.
    """

    fingerprint: str
    dim: int
    model: dict[str, Any]
    described_by: dict[str, str]
    extraction: dict[str, dict]

    @property
    def facts(self) -> str:
        """The spec as a string, equal for specs with equal results."""
        return json.dumps([self.fingerprint, self.described_by, self.extraction], sort_keys=True)


def extraction_spec_of(extractor: Extractor, as_stored: bool) -> ExtractionSpec:
    """The spec of a build with this extractor."""
    return ExtractionSpec(
        extractor.fingerprint,
        extractor.card.output_dim,
        {**dataclasses.asdict(extractor.card), "sha256": extractor.model_sha256},
        {"engine": extractor.engine, "precision": extractor.card.precision},
        extraction_parameters(as_stored),
    )


def extraction_spec_in(manifest: Manifest) -> ExtractionSpec:
    """The spec that a generation was built with."""
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
    """Parameters of the thumbnails and keypoints of each photo."""
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

    A killed build's journal takes precedence over the live generation.
    """
    with suppress(ValueError, TypeError, LookupError, RecursionError):
        return json.loads(build_journal.read_fingerprint(store / build_journal.FILE_NAME) or "")[1]
    with suppress(StoreError), opening(store) as generation:
        return generation.manifest.described_by
    return None


def is_reusable(manifest: Manifest, spec: ExtractionSpec) -> bool:
    """Whether a store's extracted data equals what a build with this spec would extract.

    Assumes the same model. Logs a warning if only the descriptors' digits would differ.
    """
    before = extraction_spec_in(manifest)
    if before.extraction != spec.extraction:
        return False
    if before.described_by != spec.described_by:
        log.warning(
            "The store's descriptors are %(precision)s by %(engine)s, "
            "the new ones would not be: all photos are described again.",
            before.described_by,
        )
    return before.described_by == spec.described_by


def index_parameters(
    count: int, dim: int, preset: str | None, before: Manifest | None
) -> IndexParameters:
    """Parameters of a store's index: the requested preset, or the previous one, or the default.

    A tuned effort is kept as long as the index has the form that it was tuned for.

    Args:
        count: number of photos.
        dim: components of a descriptor.
        preset: name of a preset in PRESETS, or None.
        before: manifest of the live generation, or None.
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
    """The store's cached comparisons that were made with the same parameters. Raises OSError."""
    parameters = {"local_features": spec.extraction["local_features"]}
    parameters |= {name: spec.extraction[name] for name in ("decode",) if name in spec.extraction}
    return Comparisons(store, {**parameters, "verification": verification.PARAMETERS})


def is_compared(manifest: Manifest | None) -> bool:
    """Whether a generation's photos were compared with each other; True for no generation."""
    return manifest is None or bool(manifest.parameters.get("matching"))


def graph_parameters() -> dict:
    """Parameters of the graph that diffusion runs on."""
    return {
        "neighbours": affinity.NEIGHBOURS,
        "background": affinity.BACKGROUND,
        "proof": affinity.PROOF,
    }


def matching_parameters() -> dict:
    """Parameters of the matching graph, and of the comparisons that it consists of."""
    return {**matching_graph.PARAMETERS, "verification": verification.PARAMETERS}


def derived_parameters(
    index: IndexParameters, keypoints: KeypointForm, matching: bool
) -> dict[str, dict]:
    """Parameters of the derived data. matching: whether photos are compared with each other."""
    return {
        "ann": dataclasses.asdict(index),
        "graph": graph_parameters(),
        "diffusion": {
            "alpha": diffusion.ALPHA,
            "block": diffusion.BLOCK,
            "region": diffusion.REGION,
            "kept": diffusion.KEPT,
        },
        "keypoints": form_parameters(keypoints),
        "matching": matching_parameters() if matching else {},
    }
