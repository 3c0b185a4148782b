"""onnxruntime and OpenVINO with their telemetry off. They are imported from here, nowhere else.

Left alone, both keep events or an identity in the home folder and look up their vendors' addresses.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, while the library is loaded

import onnxruntime as ort  # noqa: E402

ort.disable_telemetry_events()


def import_openvino() -> ModuleType:
    """OpenVINO, if it is installed. Raises ImportError."""
    # Its converter is imported along, and reports that unless its reporter cannot be imported.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


__all__ = ["import_openvino", "ort"]
