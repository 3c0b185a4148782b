"""The GeM-ResNet descriptor network and the checkpoints it is read from (needs torch; serving does not import this)."""

from .checkpoint import BadCheckpoint, Provenance, build_network, load_checkpoint
from .network import GeM, GeMResNet, l2n

__all__ = ["BadCheckpoint", "GeM", "GeMResNet", "Provenance", "build_network", "l2n", "load_checkpoint"]
