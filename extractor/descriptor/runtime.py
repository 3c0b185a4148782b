"""What runs the network: onnxruntime on the CPU or a GPU, or, where it is installed, OpenVINO."""

from __future__ import annotations

import importlib.util
from typing import Protocol

import numpy as np

from .cuda import cuda_session, has_provider
from .untracked import import_openvino, ort

ENGINES = ("onnxruntime", "onnxruntime-cuda", "openvino", "openvino-bf16")


class Runtime(Protocol):
    """Thread-safe. run: normalised float32 (N, 3, h, w) -> unit vectors float32 (N, D)."""

    metadata: dict[str, str]

    def run(self, batch: np.ndarray) -> np.ndarray: ...


class OnnxRuntime:
    """onnxruntime on the CPU. It refuses a model that keeps its weights in other files."""

    def __init__(self, model: bytes, threads: int, calls: int):
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, threads // calls)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(["descriptor"], {"image": batch})[0]


class CudaRuntime:
    """onnxruntime on a GPU, in float32. Raises NoCuda where it cannot."""

    def __init__(self, model: bytes):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = cuda_session(model, options)
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(["descriptor"], {"image": batch})[0]


class OpenVino:
    """OpenVINO on the CPU; bfloat16 computes in half the digits on processors that can."""

    def __init__(self, model: bytes, threads: int, calls: int, bfloat16: bool):
        openvino = import_openvino()

        core = openvino.Core()
        graph = core.read_model(model)
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": calls,
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            # Else all processes that infer with one thread share the first core.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(graph, "CPU", settings)
        # OpenVINO does not keep the file's metadata; onnxruntime reads it without optimising
        # anything.
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._compiled.create_infer_request().infer({"image": batch})[0].copy()


def is_available(engine: str) -> bool:
    """Whether the packages an engine needs are installed."""
    if engine == "onnxruntime-cuda":
        return has_provider()
    return engine == "onnxruntime" or importlib.util.find_spec("openvino") is not None


def start(engine: str, model: bytes, threads: int, calls: int) -> Runtime:
    """An engine by its name in ENGINES; `calls` calls side by side share the threads.

    Raises what the engine raises for a model it cannot run.
    """
    if engine == "onnxruntime":
        return OnnxRuntime(model, threads, calls)
    if engine == "onnxruntime-cuda":
        return CudaRuntime(model)
    return OpenVino(model, threads, calls, bfloat16=engine == "openvino-bf16")
