"""Descriptor network -> ONNX, with proof that nothing was lost (needs torch and onnx; serving does not import this)."""

from .parity import ParityError, ParityRow, check_parity
from .to_onnx import export_onnx, to_onnx

__all__ = ["ParityError", "ParityRow", "check_parity", "export_onnx", "to_onnx"]
