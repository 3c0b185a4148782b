"""onnxruntime on an NVIDIA GPU: whether it can be had here, and its sessions."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from .untracked import ort

PROVIDER = "CUDAExecutionProvider"
DRIVER = Path("/proc/driver/nvidia/version")  # there once the GPU's driver is loaded
REQUIREMENTS = "requirements-gpu.txt"


class NoCuda(Exception):
    """onnxruntime cannot compute on a GPU here. The message is one sentence."""


def has_provider() -> bool:
    """Whether the onnxruntime that is installed was built for CUDA."""
    return PROVIDER in ort.get_available_providers()


def is_worth_trying() -> bool:
    """Whether a GPU is likely: a driver is loaded, or the installed onnxruntime is built for it."""
    return has_provider() or DRIVER.exists()


def cuda_session(
    model: bytes, options: ort.SessionOptions, tf32: bool = False
) -> ort.InferenceSession:
    """A session on the first GPU.

    Args:
        model: Serialised ONNX.
        options: Of the session.
        tf32: Whether products may have 10 bits of mantissa. Otherwise they are float32, as on the
            CPU.

    Raises:
        NoCuda: onnxruntime was built without CUDA, its libraries or the driver are missing, or the
            model cannot be run there.
    """
    if not has_provider():
        raise NoCuda(f"onnxruntime has no CUDA provider; install {REQUIREMENTS} in its place")
    with redirect_stdout(sys.stderr):  # it prints what it does not find
        ort.preload_dlls()  # CUDA and cuDNN of pip's packages; without them the system's are used
    settings = {
        "use_tf32": "1" if tf32 else "0",
        # The default tries every algorithm on each new size, and photos have many sizes.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    providers = [(PROVIDER, settings), "CPUExecutionProvider"]
    try:
        # Without fallback a GPU that fails later is an error, and not other digits.
        session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime raises types of its own
        why = (str(error).splitlines() or ["it says nothing"])[0]
        raise NoCuda(f"onnxruntime cannot use the GPU: {why}") from error
    if PROVIDER not in session.get_providers():  # onnxruntime only warns, and uses the CPU
        raise NoCuda("onnxruntime found no GPU, or not the CUDA and cuDNN that it was built for")
    return session
