"""The GeM-ResNet descriptor network, and the checkpoints it is loaded from.

Requires torch. Serving does not import it.
"""

from command import require_package

require_package("torch", "requirements-train.txt")

from .checkpoints.checkpoint import load_checkpoint  # noqa: E402
from .checkpoints.state import BadCheckpoint, build_network  # noqa: E402
from .network import GeM, GeMResNet, SecondOrderAttention, l2n  # noqa: E402
from .provenance import Provenance  # noqa: E402
from .whitening import Whitening, learn_whitening, pca_whitening, power_whitening  # noqa: E402
