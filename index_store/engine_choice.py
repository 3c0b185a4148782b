"""The engine chosen for a store's photos and queries.

A build chooses it, and the manifest records what all descriptors were computed with. `python -m
extractor benchmark --store` can choose again; that choice is saved outside the generations.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from extractor import Extractor, choose_extractor, open_extractor, read_at_most
from extractor.descriptor.runtime import ENGINES

from .parameters import described_before

FILE = "engine.json"
MAX_BYTES = 10_000

log = logging.getLogger(__name__)


class EngineChoice(BaseModel):
    """Content of `engine.json`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    engine: Annotated[str, Field(pattern=f"^({'|'.join(ENGINES)})$")]
    precision: Annotated[str, Field(pattern="^(float32|int8)$")]


def write_engine(store: Path, engine: str, precision: str) -> None:
    """Save the choice for future descriptors. Raises OSError."""
    partial = store / f".{FILE}"
    partial.write_text(EngineChoice(engine=engine, precision=precision).model_dump_json() + "\n")
    partial.replace(store / FILE)


def engine_of(store: Path) -> dict[str, str] | None:
    """The "engine" and "precision" chosen for a store; None before its first build.

    A damaged `engine.json` is ignored with a warning: the manifest also records what the
    descriptors were computed with.
    """
    try:
        return EngineChoice.model_validate_json(read_at_most(store / FILE, MAX_BYTES)).model_dump()
    except FileNotFoundError:
        pass
    except (OSError, ValidationError):
        log.warning("%s cannot be read; `python -m extractor benchmark` writes it", store / FILE)
    return described_before(store)


def extractor_for(store: Path, model: Path, calls: int = 1) -> tuple[Extractor, str]:
    """The extractor for a store, and a sentence that explains the choice.

    Args:
        store: folder of the store. If it does not exist yet, the engine is chosen by measuring.
        model: path of the float32 model.
        calls: see `Extractor`.

    Raises:
        FileNotFoundError, BadModel: see `Extractor`.
    """
    written = engine_of(store)
    if written is None:
        return choose_extractor(model, calls)
    return open_extractor(model, written, calls)
