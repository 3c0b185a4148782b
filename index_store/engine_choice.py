"""Which engine describes a store's photos and its queries, as it was chosen once.

A build chooses, and its manifest keeps what every descriptor was made with. `python -m extractor
benchmark --store` may choose again: that is kept beside the generations.
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
    """What `engine.json` holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    engine: Annotated[str, Field(pattern=f"^({'|'.join(ENGINES)})$")]
    precision: Annotated[str, Field(pattern="^(float32|int8)$")]


def write_engine(store: Path, engine: str, precision: str) -> None:
    """Choose what describes from now on. Raises OSError."""
    partial = store / f".{FILE}"
    partial.write_text(EngineChoice(engine=engine, precision=precision).model_dump_json() + "\n")
    partial.replace(store / FILE)


def engine_of(store: Path) -> dict[str, str] | None:
    """ "engine" and "precision" that were chosen for a store; None before its first build.

    A damaged `engine.json` is passed over with a warning: what the descriptors were made with is
    known without it.
    """
    try:
        return EngineChoice.model_validate_json(read_at_most(store / FILE, MAX_BYTES)).model_dump()
    except FileNotFoundError:
        pass
    except (OSError, ValidationError):
        log.warning("%s cannot be read; `python -m extractor benchmark` writes it", store / FILE)
    return described_before(store)


def extractor_for(store: Path, model: Path, calls: int = 1) -> tuple[Extractor, str]:
    """What describes photos for a store, and a sentence on why.

    Args:
        store: Its folder. For one that is not there yet the engine is chosen by measuring.
        model: The float32 model's file.
        calls: As of `Extractor`.

    Raises:
        FileNotFoundError, BadModel: As `Extractor`.
    """
    written = engine_of(store)
    if written is None:
        return choose_extractor(model, calls)
    return open_extractor(model, written, calls)
