"""A trained network as an ONNX file for a box without torch: weights whole, or as int8 with a scale per output.

The graph holds the normaliser too: raw features in, the target in its own unit out.
Source: ONNX operators, opset 17; Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference (2018), symmetric weights per channel.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lineside_plugins.learning.network import Mlp
from lineside_plugins.learning.normaliser import CLIP, Normaliser

Floats: TypeAlias = NDArray[np.float64]
Bounds: TypeAlias = tuple[float, float]
_OPSET, _IR = 17, 9  # understood by every ONNX Runtime since 1.15
_INT8 = 127.0


class _Graph:
    """Nodes and stored arrays in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.stored: list[Any] = []

    def keep(self, name: str, values: NDArray[Any]) -> str:
        self.stored.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out


def exported(
    network: Mlp, normaliser: Normaliser, scale: Floats, offset: Floats, within: Bounds | None = None, *, int8: bool
) -> bytes:
    """``network`` over normalised features as an ONNX file; what it says times ``scale`` (K,) plus ``offset`` (K,).

    Input ``rows`` float32 (R, F), NaN = missing; output ``target`` float32 (R, K), cut to what the target can be
    (``within``).
    """
    graph = _Graph()
    at = _normalised(graph, normaliser, marked=network.inputs > len(normaliser.mean))
    linear = [layer for layer in network.layers if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(linear):
        weight = layer.weight.detach().cpu().numpy().T
        at = graph.add("MatMul", [at, _weight(graph, f"w{i}", weight, int8=int8)], f"m{i}")
        at = graph.add("Add", [at, graph.keep(f"b{i}", layer.bias.detach().cpu().numpy())], f"a{i}")
        if i + 1 < len(linear):
            at = graph.add("Mul", [at, graph.add("Sigmoid", [at], f"s{i}")], f"h{i}")
    at = graph.add("Mul", [at, graph.keep("scale", np.asarray(scale, dtype=np.float32))], "scaled")
    moved = "moved" if within else "target"
    at = graph.add("Add", [at, graph.keep("offset", np.asarray(offset, dtype=np.float32))], moved)
    if within:
        bounds = [graph.keep(f"bound{i}", np.asarray(v, dtype=np.float32)) for i, v in enumerate(within)]
        graph.add("Clip", [at, *bounds], "target")
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["R", len(normaliser.mean)])
    target = helper.make_tensor_value_info("target", TensorProto.FLOAT, ["R", len(offset)])
    body = helper.make_graph(graph.nodes, "regressor", [rows], [target], graph.stored)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    found: bytes = model.SerializeToString()
    return found


def _normalised(graph: _Graph, normaliser: Normaliser, *, marked: bool) -> str:
    """Scaled features, beside missing marks where the network reads them, as ``Normaliser`` makes them."""
    missing = graph.add("IsNaN", ["rows"], "missing")
    mean = graph.keep("mean", normaliser.mean.astype(np.float32))
    std = graph.keep("std", normaliser.std.astype(np.float32))
    filled = graph.add("Where", [missing, mean, "rows"], "filled")
    scaled = graph.add("Div", [graph.add("Sub", [filled, mean], "centred"), std], "in_std")
    ends = [graph.keep(f"clip{i}", np.asarray(v, dtype=np.float32)) for i, v in enumerate((-CLIP, CLIP))]
    clipped = graph.add("Clip", [scaled, *ends], "clipped")
    if not marked:
        return clipped
    marks = graph.add("Cast", [missing], "marks", to=TensorProto.FLOAT)
    return graph.add("Concat", [clipped, marks], "given", axis=1)


def _weight(graph: _Graph, name: str, weight: NDArray[np.float32], *, int8: bool) -> str:
    """A stored matrix (in, out), or int8 values with the scale of each output that make it when the file is loaded."""
    if not int8:
        return graph.keep(name, weight.astype(np.float32))
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-12).astype(np.float32) / _INT8
    rounded = np.clip(np.round(weight / scale), -_INT8, _INT8).astype(np.int8)
    stored = [graph.keep(f"{name}_int8", rounded), graph.keep(f"{name}_scale", scale)]
    zero = graph.keep(f"{name}_zero", np.zeros(len(scale), dtype=np.int8))
    return graph.add("DequantizeLinear", [*stored, zero], name, axis=1)
