"""The product of two byte matrices as an ONNX model.

onnxruntime runs it on the processor's byte instructions. `search.verify.ratio_test` serves with the
file that this makes: serving has no onnx package.

    python -m export.inner_products
"""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, checker, helper

OUT = Path(__file__).resolve().parent.parent / "search" / "verify" / "inner_products.onnx"
IR_VERSION, OPSET = 8, 13


def inner_products() -> bytes:
    """The model of query @ hit.T: uint8 (n, d) and (k, d) to int32 (n, k)."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["hit"], ["columns"]),
            helper.make_node("MatMulInteger", ["query", "columns"], ["products"]),
        ],
        "products",
        [
            value("query", TensorProto.UINT8, ["n", "d"]),
            value("hit", TensorProto.UINT8, ["k", "d"]),
        ],
        [value("products", TensorProto.INT32, ["n", "k"])],
    )
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


if __name__ == "__main__":
    OUT.write_bytes(inner_products())
    print(f"wrote {OUT.name} ({OUT.stat().st_size} bytes)")
