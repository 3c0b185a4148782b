"""How descriptors are made with a net: the published way, unless asked otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from extractor import WORKING_SIDE
from model import GeMResNet, Provenance, Whitening


class BadRecipe(Exception):
    """What is asked for does not go together; the message is one sentence."""


@dataclass(frozen=True)
class Recipe:
    """What is done with a photo beside the network itself.

    Attributes:
        longest_side: pixels that photos are shrunk to.
        scales: factors of that size at which each photo is described.
        whitening: learned after training, applied last; None for none.
    """

    longest_side: int
    scales: tuple[float, ...] = (1.0,)
    whitening: Whitening | None = None

    def output_dim(self, network: GeMResNet) -> int:
        """Components of the descriptors that this recipe makes with a network."""
        return network.output_dim if self.whitening is None else len(self.whitening.projection)

    def msp(self, network: GeMResNet) -> float:
        """The power by which the scales' descriptors are averaged, as published.

        It is the network's own GeM exponent. Whitened values can be negative and have no power, so
        there it is 1.
        """
        powered = len(self.scales) > 1 and network.whiten is None
        return float(network.pool.p.detach()) if powered else 1.0


def check_side(longest_side: int) -> int:
    """The longest side in pixels, if photos can have it. Raises BadRecipe."""
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
    """The recipe for a checkpoint.

    A whitening that the checkpoint holds is used in its form for several scales ("ms") or for one
    ("ss").

    Args:
        provenance: what the checkpoint says of itself.
        longest_side: pixels; None for what the checkpoint was made for.
        scales: numbers, or "published".
        dim: dimensions to keep of a whitening learned afterwards; None for all.
        whitened: False leaves a stored whitening out.

    Raises:
        BadRecipe: these do not go together.
    """
    side = check_side(provenance.longest_side if longest_side is None else longest_side)
    scales = provenance.published_scales if scales == "published" else scales
    mode = "ms" if len(scales) > 1 else "ss"
    learned = provenance.learned_whitening if whitened else {}
    whitening = learned.get(mode)
    if learned and whitening is None:
        kind = "several scales" if mode == "ms" else "one scale"
        raise BadRecipe(
            f"the checkpoint holds no whitening for {kind}; --no-whitening exports it without one"
        )
    if dim is not None:
        if whitening is None:
            raise BadRecipe(
                "--dim cuts a whitening learned afterwards, and this checkpoint holds none"
            )
        whitening = cut(whitening, dim)
    return Recipe(side, scales, whitening)


def cut(whitening: Whitening, dim: int | None) -> Whitening:
    """The first `dim` dimensions of a whitening, all for None. Raises BadRecipe."""
    try:
        return whitening if dim is None else whitening.truncated(dim)
    except ValueError as error:
        raise BadRecipe(str(error)) from None
