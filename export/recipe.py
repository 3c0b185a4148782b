"""How descriptors are made with a net: the published way unless asked otherwise. Goes into the exported file."""

from __future__ import annotations

from dataclasses import dataclass

from extractor import WORKING_SIDE
from model import Provenance, Whitening


class BadRecipe(Exception):
    """What is asked for does not go together; the message is one sentence."""


@dataclass(frozen=True)
class Recipe:
    """longest_side: pixels. scales: of each photo. whitening: learned after training, applied last."""

    longest_side: int
    scales: tuple[float, ...] = (1.0,)
    whitening: Whitening | None = None


def choose_recipe(
    provenance: Provenance,
    longest_side: int | None = None,
    scales: tuple[float, ...] | str = (1.0,),
    dim: int | None = None,
) -> Recipe:
    """The recipe for a checkpoint. scales: numbers, or "published". A stored Lw is used in its "ms" form for several
    scales, else "ss", and cut to `dim`. Raises BadRecipe.
    """
    longest_side = longest_side or provenance.longest_side
    if not 32 <= longest_side <= WORKING_SIDE:
        raise BadRecipe(f"the longest side must be 32 to {WORKING_SIDE} pixels, not {longest_side}")
    scales = provenance.published_scales if scales == "published" else scales
    mode = "ms" if len(scales) > 1 else "ss"
    learned = provenance.learned_whitening
    whitening = learned.get(mode)
    if learned and whitening is None:
        raise BadRecipe(
            f"the checkpoint holds no whitening for {'several scales' if mode == 'ms' else 'one scale'}"
        )
    if dim is not None:
        if whitening is None:
            raise BadRecipe(
                "--dim cuts a whitening learned afterwards, and this checkpoint holds none"
            )
        try:
            whitening = whitening.truncated(dim)
        except ValueError as error:
            raise BadRecipe(str(error)) from None
    return Recipe(longest_side, scales, whitening)
