"""Export descriptor networks to ONNX, and prove that the file reproduces the network.

Requires torch and onnx. Serving does not import it.
"""

import model  # noqa: F401 - first, as its error says what to install if torch is missing

from .backbone import Backbone, read_backbone, to_descriptor
from .cut import BadBackbone
from .parity import ParityError, ParityRow, check_parity, original_in_torch
from .recipe import BadRecipe, Recipe, choose_recipe
from .to_onnx import to_onnx, write_model
