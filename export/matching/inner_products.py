"""ONNX models for the product of two byte matrices.

onnxruntime computes them with the processor's byte instructions. `matching.ratio_test` uses the
generated files, because serving has no onnx package.

    python -m export.matching.inner_products
"""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, checker, helper

from command import print_lines

FOLDER = Path(__file__).resolve().parents[2] / "matching"
OUT = {"inner_products.onnx": False, "inner_products_signed.onnx": True}
IR_VERSION, OPSET = 8, 13


def inner_products(signed: bool) -> bytes:
    """The model of query @ hit.T: uint8 (n, d) and (k, d) to int32 (n, k).

    Args:
        signed: whether it takes the hit's bytes as int8, reduced by 128. The product is the same.
    """
    value = helper.make_tensor_value_info
    hit = TensorProto.INT8 if signed else TensorProto.UINT8
    zeros = [
        helper.make_tensor("query_zero", TensorProto.UINT8, [], [0]),
        helper.make_tensor("hit_zero", hit, [], [-128 if signed else 0]),
    ]
    factors = ["query", "columns", "query_zero", "hit_zero"]
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["hit"], ["columns"]),
            helper.make_node("MatMulInteger", factors, ["products"]),
        ],
        "products",
        [value("query", TensorProto.UINT8, ["n", "d"]), value("hit", hit, ["k", "d"])],
        [value("products", TensorProto.INT32, ["n", "k"])],
        zeros,
    )
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


if __name__ == "__main__":
    for name, signed in OUT.items():
        (FOLDER / name).write_bytes(inner_products(signed))
        print_lines(f"wrote {name} ({(FOLDER / name).stat().st_size} bytes)")
