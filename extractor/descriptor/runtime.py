"""Inference engines behind one interface: onnxruntime on CPU or GPU, and OpenVINO if installed."""

from __future__ import annotations

import importlib.util
from typing import Protocol

import numpy as np

from .cuda import cuda_session, has_provider
from .untracked import import_openvino, ort

ENGINES = ("onnxruntime", "onnxruntime-cuda", "openvino", "openvino-bf16")


class Runtime(Protocol):
    """A model loaded into an engine; thread-safe.

    Attributes:
        metadata: the metadata of the model file.
    """

    metadata: dict[str, str]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Describe photos: normalised float32 (N, 3, h, w) -> unit vectors float32 (N, D)."""
        ...


class OnnxRuntime:
    """onnxruntime on the CPU. Rejects models with weights in external files."""

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
    """onnxruntime on a GPU, in float32. Raises NoCuda if that is impossible."""

    def __init__(self, model: bytes):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = cuda_session(model, options)
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(["descriptor"], {"image": batch})[0]


class OpenVino:
    """OpenVINO on the CPU; optionally bfloat16, on processors that support it."""

    def __init__(self, model: bytes, threads: int, calls: int, bfloat16: bool):
        openvino = import_openvino()
        core = openvino.Core()
        graph = core.read_model(model)
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": calls,
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            # With pinning, all single-threaded processes would share the first core.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(graph, "CPU", settings)
        # OpenVINO drops the file's metadata, so onnxruntime reads it, without optimising the graph.
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._compiled.create_infer_request().infer({"image": batch})[0].copy()


def is_available(engine: str) -> bool:
    """Whether the packages that an engine needs are installed."""
    if engine == "onnxruntime-cuda":
        return has_provider()
    return engine == "onnxruntime" or importlib.util.find_spec("openvino") is not None


def start_runtime(engine: str, model: bytes, threads: int, calls: int) -> Runtime:
    """Load a model into an engine.

    Args:
        engine: name in ENGINES.
        model: content of the ONNX file.
        threads: number of threads.
        calls: number of concurrent calls, which share the threads.

    Raises:
        Exception: the engine's own errors for a model that it cannot run.
    """
    if engine == "onnxruntime":
        return OnnxRuntime(model, threads, calls)
    if engine == "onnxruntime-cuda":
        return CudaRuntime(model)
    return OpenVino(model, threads, calls, bfloat16=engine == "openvino-bf16")
