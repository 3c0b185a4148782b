"""onnxruntime and OpenVINO with telemetry off. Import them only from here.

By default both store events or an identity in the home folder and contact their vendors' servers.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library loads

import onnxruntime as ort  # noqa: E402

ort.disable_telemetry_events()


def quiet_session(model: bytes, threads: int = 0) -> ort.InferenceSession:
    """A session on the processor that logs errors only.

    Args:
        model: the ONNX file.
        threads: number of cores to use; 0 for all.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def import_openvino() -> ModuleType:
    """Import OpenVINO. Raises ImportError if it is not installed."""
    # Importing it also imports its converter, which reports that unless this module is missing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino
