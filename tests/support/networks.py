"""A ResNet for tests: one block a stage, made, traced, saved and trained in a third of the time.

Importing this makes its name known. Parts and names of parameters are those of the real ones, and
the tests of the shipped model and of `test_model` run on those.
"""

from __future__ import annotations

from model.network import BLOCKS

SMALL = "resnet14"
BLOCKS[SMALL] = (1, 1, 1, 1)
DEEPER = "resnet17"  # SMALL with one block more
BLOCKS[DEEPER] = (1, 2, 1, 1)
