"""onnxruntime on an NVIDIA GPU: detection and sessions."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from .untracked import ort

PROVIDER = "CUDAExecutionProvider"
DRIVER = Path("/proc/driver/nvidia/version")  # exists once the GPU's driver is loaded
REQUIREMENTS = "requirements-gpu.txt"


class NoCuda(Exception):
    """onnxruntime cannot run on a GPU here. The message is one sentence."""


def has_provider() -> bool:
    """Whether the installed onnxruntime was built with CUDA."""
    return PROVIDER in ort.get_available_providers()


def is_worth_trying() -> bool:
    """Whether a GPU is likely: a driver is loaded, or the installed onnxruntime has CUDA."""
    return has_provider() or DRIVER.exists()


def cuda_session(
    model: bytes, options: ort.SessionOptions, tf32: bool = False
) -> ort.InferenceSession:
    """A session on the first GPU; float32 unless `tf32` is set.

    Args:
        model: serialised ONNX model.
        options: session options.
        tf32: whether products may be rounded to 10 bits of mantissa. Otherwise they are float32, as
            on the CPU.

    Raises:
        NoCuda: onnxruntime was built without CUDA, its libraries or the driver are missing, or the
            model cannot run on the GPU.
    """
    if not has_provider():
        raise NoCuda(f"onnxruntime has no CUDA provider; install {REQUIREMENTS} in its place")
    with redirect_stdout(sys.stderr):  # preload_dlls prints the libraries it does not find
        ort.preload_dlls()  # CUDA and cuDNN from pip packages, if installed; else the system's
    settings = {
        "use_tf32": "1" if tf32 else "0",
        # The default benchmarks every algorithm for each new input size, and photos have many.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    providers = [(PROVIDER, settings), "CPUExecutionProvider"]
    try:
        # No fallback: a later GPU failure must raise, not silently change the digits.
        session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        reason = (str(error).splitlines() or ["it says nothing"])[0]
        raise NoCuda(f"onnxruntime cannot use the GPU: {reason}") from error
    if PROVIDER not in session.get_providers():  # onnxruntime only warns and falls back to the CPU
        raise NoCuda("onnxruntime found no GPU, or not the CUDA and cuDNN that it was built for")
    return session
