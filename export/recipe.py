"""Recipe: how a network describes a photo. The default is the published one."""

from __future__ import annotations

from dataclasses import dataclass

from extractor import WORKING_SIDE
from model import GeMResNet, Provenance, Whitening


class BadRecipe(Exception):
    """The requested options are incompatible. The message is one sentence."""


@dataclass(frozen=True)
class Recipe:
    """Processing of a photo before and after the network.

    Attributes:
        longest_side: size in pixels to which photos are shrunk.
        scales: factors of that size at which each photo is described.
        whitening: whitening learned after training, applied last; None for none.
    """

    longest_side: int
    scales: tuple[float, ...] = (1.0,)
    whitening: Whitening | None = None

    def output_dim(self, network: GeMResNet) -> int:
        """Dimensions of the descriptors that this recipe produces with a network."""
        return network.output_dim if self.whitening is None else len(self.whitening.projection)

    def msp(self, network: GeMResNet) -> float:
        """Exponent of the power mean over several scales, called msp in the published code.

        It is the network's GeM exponent; 1 for a network with a whitening, whose values can be
        negative.
        """
        has_exponent = len(self.scales) > 1 and network.whiten is None
        return float(network.pool.p.detach()) if has_exponent else 1.0


def check_side(longest_side: int) -> int:
    """Validate the longest side, in pixels. Raises BadRecipe."""
    if not 32 <= longest_side <= WORKING_SIDE:
        raise BadRecipe(f"the longest side must be 32 to {WORKING_SIDE} pixels, not {longest_side}")
    return longest_side


def choose_recipe(
    provenance: Provenance,
    longest_side: int | None = None,
    scales: tuple[float, ...] | str = (1.0,),
    dim: int | None = None,
    whitened: bool = True,
) -> Recipe:
    """Choose the recipe for a checkpoint.

    If the checkpoint has a whitening, its version for several scales ("ms") or one ("ss") is used.

    Args:
        provenance: provenance of the checkpoint.
        longest_side: pixels; None for that of the checkpoint.
        scales: numbers, or "published".
        dim: dimensions to keep of a learned whitening; None for all.
        whitened: False to ignore a stored whitening.

    Raises:
        BadRecipe: the options are incompatible.
    """
    side = check_side(provenance.longest_side if longest_side is None else longest_side)
    scales = provenance.published_scales if scales == "published" else scales
    mode = "ms" if len(scales) > 1 else "ss"
    learned = provenance.learned_whitening if whitened else {}
    whitening = learned.get(mode)
    if learned and whitening is None:
        kind = "several scales" if mode == "ms" else "one scale"
        raise BadRecipe(
            f"the checkpoint has no whitening for {kind}; --no-whitening exports it without one"
        )
    if dim is not None:
        if whitening is None:
            raise BadRecipe(
                "--dim truncates a whitening learned afterwards, and this checkpoint has none"
            )
        whitening = truncated(whitening, dim)
    return Recipe(side, scales, whitening)


def truncated(whitening: Whitening, dim: int | None) -> Whitening:
    """The first `dim` dimensions of a whitening, all for None. Raises BadRecipe."""
    try:
        return whitening if dim is None else whitening.truncated(dim)
    except ValueError as error:
        raise BadRecipe(str(error)) from None
