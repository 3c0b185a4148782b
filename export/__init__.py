"""Descriptor network -> ONNX, with proof that nothing was lost (needs torch and onnx; serving does not import this)."""

import model  # noqa: F401 - first, because it says what to install where torch is missing

from .parity import ParityError, ParityRow, check_parity
from .recipe import BadRecipe, Recipe, choose_recipe
from .to_onnx import export_onnx, to_onnx

__all__ = [
    "BadRecipe",
    "ParityError",
    "ParityRow",
    "Recipe",
    "check_parity",
    "choose_recipe",
    "export_onnx",
    "to_onnx",
]
