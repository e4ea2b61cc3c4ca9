"""A quantised program as an ONNX file, in either of the forms that runtimes take.

`qdq` has floating-point operators between pairs of QuantizeLinear and DequantizeLinear, which runtimes fuse;
`qoperator` has operators on integers (those of ONNX, and of ONNX Runtime where ONNX has none). Neither needs an
activation node: an integer that saturates at 0 is ReLU. Clips are written where it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.core import options
from archscout.core.errors import UsageError, nearest
from archscout.deploy.program import Operator
from archscout.deploy.quantise import LEAST, SHARED, Quantised
from archscout.deploy.schemes import Grid

FORMS = ("qdq", "qoperator")
_OPSET, _IR = 18, 8
_OF_ONNX_RUNTIME = "com.microsoft"
_FULL = (-128, 127)
_INT32 = 6
"""TensorProto.INT32."""


def check_form(form: object) -> None:
    """Raises `UsageError` for what is no form of the file."""
    if not isinstance(form, str) or form not in FORMS:
        raise UsageError(
            f"int8 networks are written as {' or '.join(FORMS)}, not as {options.shown(form)}: {nearest(form, FORMS)}"
        )


def to_onnx(quantised: Quantised, form: str = "qdq") -> bytes:
    """The bytes of an ONNX file: input `input` (stored numbers, float32), output `output` (float32), any batch size.

    Args:
        quantised: the program and its integers.
        form: `qdq` or `qoperator`.

    Raises:
        UsageError: there is no such form.
    """
    import onnx
    from onnx import TensorProto, helper

    check_form(form)
    program = quantised.program
    writer = _Writer(quantised) if form == "qdq" else _OperatorWriter(quantised)
    writer.write()
    graph = helper.make_graph(
        writer.nodes,
        "archscout",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *program.shapes[0]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", *program.answer_shape])],
        initializer=[onnx.numpy_helper.from_array(array, name) for name, array in writer.tensors.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    if form == "qoperator":
        opsets.append(helper.make_opsetid(_OF_ONNX_RUNTIME, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="archscout")
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


class _Writer:
    """The QDQ form. The value n lies in `v<n>` as integers."""

    def __init__(self, quantised: Quantised) -> None:
        self.quantised = quantised
        self.nodes: list[Any] = []
        self.tensors: dict[str, np.ndarray] = {}

    def write(self) -> None:
        program = self.quantised.program
        normalised = "input"
        for name, kind, numbers, neutral in (("mean", "Sub", program.mean, 0.0), ("std", "Div", program.std, 1.0)):
            if bool((numbers != neutral).any()):
                normalised = self.node(kind, [normalised, self.tensor(name, numbers.numpy())], f"less_{name}")
        self.quantise(normalised, 0)
        for operator in program.operators:
            self.operator(operator)
        answer = self.dequantise(program.output)
        shape = self.tensor("answer_shape", np.array([0, *program.answer_shape], np.int64))
        self.node("Reshape", [answer, shape], "output")

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"make_{output}", **attributes))
        return output

    def tensor(self, name: str, array: np.ndarray) -> str:
        self.tensors[name] = array
        return name

    def grid(self, value: int) -> list[str]:
        """The names of scale and zero of a value."""
        grid = self.quantised.grids[value]
        return [
            self.tensor(f"v{value}_scale", grid.scale.numpy().astype(np.float32).reshape(())),
            self.tensor(f"v{value}_zero", grid.zero.numpy().astype(np.int8).reshape(())),
        ]

    def quantise(self, numbers: str, value: int, clamp: tuple[int, int] = _FULL) -> None:
        grid = self.quantised.grids[value]
        bounds = (max(grid.low, clamp[0]), min(grid.high, clamp[1]))
        if bounds != _FULL:
            ends = [
                self.tensor(f"v{value}_{name}", _number(grid, q))
                for name, q in zip(("low", "high"), bounds, strict=True)
            ]
            numbers = self.node("Clip", [numbers, *ends], f"v{value}_clipped")
        self.node("QuantizeLinear", [numbers, *self.grid(value)], f"v{value}")

    def dequantise(self, value: int, reader: object = "answer", integers: str = "") -> str:
        """The value (or a form of its integers) as numbers, by a node of the reader's own, which runtimes fuse best."""
        integers = integers or f"v{value}"
        return self.node("DequantizeLinear", [integers, *self.grid(value)], f"v{value}_for_{reader}")

    def flattened(self, value: int) -> str:
        name = f"v{value}_flat"
        if not any(name in node.output for node in self.nodes):
            self.node("Flatten", [f"v{value}"], name, axis=1)
        return name

    def integers(self, operator: Operator, value: int) -> str:
        """The integers that an operator reads of a value: flat, or without the rows and columns that it leaves out."""
        if operator.kind == "linear":
            return self.flattened(value)
        if min(operator.padding) >= 0:
            return f"v{value}"
        starts = [max(0, -padding) for padding in operator.padding]
        name = f"v{value}_from_{starts[0]}_{starts[1]}"
        if not any(name in node.output for node in self.nodes):
            ends = [
                self.tensor(f"{name}_{what}", np.array(numbers, np.int64))
                for what, numbers in (
                    ("starts", starts),
                    ("ends", self.quantised.program.shapes[value][1:]),
                    ("axes", [2, 3]),
                )
            ]
            self.node("Slice", [f"v{value}", *ends], name)
        return name

    def clamp(self, operator: Operator) -> tuple[int, int]:
        grid = self.quantised.grids[operator.output]
        return grid.bound(operator.clamp[0]), grid.bound(operator.clamp[1])

    def weights(self, operator: Operator) -> tuple[list[str], str]:
        """The names of weight, its scale and zero; and of the bias, int32."""
        layer, name = self.quantised.layers[operator.output], f"w{operator.output}"
        shape = () if layer.grid.scale.numel() == 1 else (-1,)
        weight = [
            self.tensor(name, layer.weight.numpy().astype(np.int8)),
            self.tensor(f"{name}_scale", layer.grid.scale.numpy().astype(np.float32).reshape(shape)),
            self.tensor(f"{name}_zero", layer.grid.zero.numpy().astype(np.int8).reshape(shape)),
        ]
        return weight, self.tensor(f"{name}_bias", layer.bias.numpy().astype(np.int32))

    def moved(self, operator: Operator) -> bool:
        """Write an operator that looks numbers up or takes some as they are; whether it is one: both forms have it."""
        source, out = f"v{operator.inputs[0]}", f"v{operator.output}"
        if operator.kind == "channels":
            self.node(
                "Gather", [source, self.tensor(f"{out}_channels", np.array(operator.channels, np.int64))], out, axis=1
            )
        elif operator.kind == "table":
            table = self.tensor(f"{out}_table", self.quantised.table(operator).numpy().astype(np.int8))
            whole = self.node("Cast", [source], f"{out}_whole", to=_INT32)
            place = self.node("Sub", [whole, self.tensor("least", np.array(LEAST, np.int32))], f"{out}_place")
            self.node("Gather", [table, place], out, axis=0)
        return operator.kind in ("channels", "table")

    def operator(self, operator: Operator) -> None:
        if self.moved(operator):
            return
        out = operator.output
        inputs = [
            self.dequantise(v, f"v{out}_{place}", self.integers(operator, v)) for place, v in enumerate(operator.inputs)
        ]
        if operator.weight is not None:
            weight, bias = self.weights(operator)
            many = len(self.tensors[weight[1]].shape)
            axis = {"axis": 0} if many else {}
            inputs.append(self.node("DequantizeLinear", weight, f"{weight[0]}_numbers", **axis))
            unit = self.quantised.unit(operator, operator.inputs[0]).numpy().astype(np.float32)
            scale = self.tensor(f"{bias}_scale", unit.reshape((-1,) if many else ()))
            zero = self.tensor(f"{bias}_zero", np.zeros(self.tensors[scale].shape, np.int32))
            inputs.append(self.node("DequantizeLinear", [bias, scale, zero], f"{bias}_numbers", **axis))
        kinds = {
            "conv": "Conv", "linear": "Gemm", "max_pool": "MaxPool", "average_pool": "AveragePool",
            "mean": "GlobalAveragePool", "add": "Add", "multiply": "Mul", "concat": "Concat",
        }  # fmt: skip
        name = f"v{out}_numbers"
        if operator.kind == "clamp":
            low, high = operator.clamp
            ends = [self.tensor(f"{name}_{n}", np.array(end, np.float32)) for n, end in (("low", low), ("high", high))]
            self.node("Clip", [*inputs, *ends], name)
        else:
            self.node(kinds[operator.kind], inputs, name, **_attributes(operator))
        self.quantise(name, out, self.clamp(operator))


class _OperatorWriter(_Writer):
    """The QOperator form."""

    def operator(self, operator: Operator) -> None:
        if self.moved(operator):
            return
        out, x = operator.output, operator.inputs[0]
        clamp = self.clamp(operator)
        name = f"v{out}" if clamp == _FULL else f"v{out}_whole"
        first, last, own = [self.integers(operator, x), *self.grid(x)], self.grid(out), {"domain": _OF_ONNX_RUNTIME}
        match operator.kind:
            case "conv":
                weight, bias = self.weights(operator)
                self.node("QLinearConv", [*first, *weight, *last, bias], name, **_attributes(operator))
            case "linear":
                weight, bias = self.weights(operator)
                self.node("QGemm", [*first, *weight, bias, *last], name, transB=1, **own)
            case "add" | "multiply":
                other, kind = operator.inputs[1], {"add": "QLinearAdd", "multiply": "QLinearMul"}[operator.kind]
                self.node(kind, [*first, f"v{other}", *self.grid(other), *last], name, **own)
            case "mean":
                self.node("QLinearGlobalAveragePool", [*first, *last], name, channels_last=0, **own)
            case "average_pool":
                self.node("QLinearAveragePool", [*first, *last], name, **_attributes(operator), **own)
            case "max_pool":
                self.node("MaxPool", first[:1], name, **_attributes(operator))
            case "concat":
                parts = [part for v in operator.inputs for part in (f"v{v}", *self.grid(v))]
                self.node("QLinearConcat", [*last, *parts], name, axis=1, **own)
            case "clamp":
                numbers = self.dequantise(x, f"v{out}")
                self.node("QuantizeLinear", [numbers, *last], name)
        if clamp != _FULL and operator.kind not in SHARED:
            ends = [
                self.tensor(f"v{out}_{n}", np.array(q, np.int8)) for n, q in zip(("low", "high"), clamp, strict=True)
            ]
            self.node("Clip", [name, *ends], f"v{out}")
        elif clamp != _FULL:
            self.node("Identity", [name], f"v{out}")


def _number(grid: Grid, q: int) -> np.ndarray:
    return np.asarray(float((q - grid.zero) * grid.scale), np.float32)


def _attributes(operator: Operator) -> dict[str, Any]:
    """The attributes of the ONNX operator, as lists of numbers. What negative padding leaves out is left out before."""
    pads = [max(0, padding) for padding in (*operator.padding, *(operator.after or operator.padding))]
    match operator.kind:
        case "conv":
            return {
                "kernel_shape": list(operator.weighted()[0].shape[2:]), "strides": list(operator.stride), "pads": pads,
                "dilations": list(operator.dilation), "group": operator.groups,
            }  # fmt: skip
        case "max_pool":
            return {"kernel_shape": list(operator.kernel), "strides": list(operator.stride), "pads": pads}
        case "average_pool":
            count = int(operator.count_padding)
            kernel = list(operator.kernel)
            return {"kernel_shape": kernel, "strides": list(operator.stride), "pads": pads, "count_include_pad": count}
        case "linear":
            return {"transB": 1}
        case "concat":
            return {"axis": 1}
    return {}


def steps_apart(quantised: Quantised, x: Tensor, answers: np.ndarray) -> Tensor:
    """How many integers a runtime's answers (numbers) to stored inputs are from ours, each."""
    grid = quantised.grids[quantised.program.output]
    return (grid.quantise(torch.from_numpy(answers)) - quantised.integers(x)).abs()
