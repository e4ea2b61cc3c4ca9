"""A network is read as a program: one run, operator by operator as PyTorch dispatches them.

So a module of a user's own is read as well, and a network without weights (the meta device) too, for counting. What is
read must answer as the network does, or it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.core.errors import ArchscoutError, UsageError
from archscout.deploy.channels import TAKING, taken
from archscout.deploy.form import form
from archscout.deploy.fused import fused
from archscout.deploy.operands import applied, arguments, pair
from archscout.deploy.padded import Padded, padded
from archscout.deploy.program import Operator, Program
from archscout.deploy.refusals import refusal
from archscout.networks.memory import memory_of, tensors_in

TOLERANCE = 1e-4
"""How far, as a share of the largest output, the program may be from the network."""


def read(network: nn.Module, input_shape: Sequence[int]) -> Program:
    """The program of a network in its deployed form (`archscout.deploy.form`).

    Batch normalisation that could not be folded is a depthwise convolution, an activation belongs to the operator
    before it where nothing else reads that one, and what is never read is left out.

    Args:
        network: takes one tensor, inputs as they are stored; it is left as it was.
        input_shape: of one example, (C, H, W).

    Raises:
        UsageError: the network has an operator that no program has, or more than one output; it is named.
        ArchscoutError: the program does not answer as the network does.
    """
    if len(input_shape) != 3:
        raise UsageError(
            f"integer code is made of networks for images (C x H x W), not for inputs {tuple(input_shape)}."
        )
    folded = form(network, input_shape)
    reader = _Reader(input_shape, _device(folded))
    try:
        with torch.no_grad(), reader:
            answer = folded(reader.input)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ArchscoutError(f"the network does not run on inputs of {_shown(input_shape)} ({reason}).") from error
    if not isinstance(answer, Tensor):
        raise UsageError("integer code is made of networks with one output: this one has several.")
    program = reader.program(answer)
    _check(program, folded, input_shape)
    return program


def _shown(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in (*network.parameters(), *network.buffers())), torch.device("cpu"))


def _check(program: Program, network: nn.Module, input_shape: Sequence[int]) -> None:
    if _device(network).type == "meta":
        return
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for scale in (1.0, 255.0):  # normalised numbers, or pixels
            x = torch.rand((2, *input_shape), generator=generator) * scale
            expected = network(x)
            try:
                off = float((program.run(x) - expected).abs().max())
            except RuntimeError:  # shapes that do not fit
                off = math.inf
            if not off <= TOLERANCE * max(1.0, float(expected.abs().max())):
                raise ArchscoutError(
                    f"the network cannot be written as integer code: read operator by operator it answers differently "
                    f"(by {off:.2g}); look for code that depends on the values of its inputs."
                )


# -- reading ----------------------------------------------------------------------------------------------------------

_VIEWS = ("view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze", "expand")
_IDENTITIES = frozenset((*_VIEWS, "detach", "alias", "clone", "contiguous", "_to_copy"))

_FUNCTIONS = frozenset(
    {"hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "tanh", "elu", "celu", "leaky_relu", "mish", "softplus"}
)
"""Of single numbers: a table has them."""


class _Reader(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down each operator that reads the input or what was made of it; values are told by their memory."""

    def __init__(self, input_shape: Sequence[int], device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.input = torch.zeros((1, *input_shape), device=device)
        self.shapes: dict[int, tuple[int, ...]] = {0: tuple(input_shape)}
        self.operators: list[Operator] = []
        self.values = {memory_of(self.input): 0}
        self.padded: dict[int, Padded] = {}
        """By their memory, what is a value with zeros around it."""
        self.held: list[Any] = [self.input]
        """So that no address is used twice."""
        self.mean = torch.zeros(input_shape[0], 1, 1)
        self.std = torch.ones(input_shape[0], 1, 1)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Before the operator runs, for one that writes in place changes what its input is.
        sources = [self._value(a) if isinstance(a, Tensor) else None for a in args]
        reads = any(self._value(t) is not None or memory_of(t) in self.padded for t in tensors_in(args))
        outputs = func(*args, **kwargs)
        self.held.append(outputs)
        if reads:
            name = func._overloadpacket.__name__
            if name in TAKING and sources[0] is not None and memory_of(args[0]) not in self.padded:
                return self._taken(name, func, args, kwargs, sources[0], outputs)
            self._write(name, func, args, kwargs, sources, outputs)
        return outputs

    def _taken(self, name: str, func: Any, args: Any, kwargs: Any, x: int, outputs: Any) -> Any:
        """Parts and orders of channels get memory of their own, so that they are told from the map that they are of."""
        copies = []
        results = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
        for result, channels in zip(results, taken(func, args, kwargs, self.shapes[x]), strict=True):
            if channels is None:
                raise self._refused(name)
            copy = result.clone(memory_format=torch.contiguous_format)
            self.held.append(copy)
            if channels == list(range(self.shapes[x][0])):
                self.values[memory_of(copy)] = x
            else:
                operator = Operator("channels", (x,), len(self.shapes), channels=tuple(channels))
                self._add(operator, copy)
            copies.append(copy)
        return copies if isinstance(outputs, tuple | list) else copies[0]

    def _value(self, t: Tensor) -> int | None:
        return self.values.get(memory_of(t))

    def _write(self, name: str, func: Any, args: Any, kwargs: Any, sources: list[int | None], outputs: Any) -> None:
        result: Tensor = outputs[0] if isinstance(outputs, tuple | list) else outputs
        plain = name.removesuffix("_")
        x, given = sources[0] if sources else None, arguments(func, args, kwargs)
        if any(memory_of(t) in self.padded for t in tensors_in(args)):
            self._of_padded(plain, args, given, result)
            return
        if plain in _IDENTITIES and x is not None and result.numel() == math.prod(self.shapes[x]):
            self.values[memory_of(result)] = x
            return
        operator = self._operator(plain, x, sources, args, given, result)
        if operator is not None:
            self._add(operator, result)

    def _add(self, operator: Operator, result: Tensor) -> None:
        self.operators.append(operator)
        shape, read = tuple(result.shape[1:]), self.shapes[operator.inputs[0]]
        if operator.kind in ("clamp", "add", "multiply", "table"):
            shape = read  # where an elementwise operator sees a flat view, the value is still the map
        elif operator.kind == "mean" or (operator.kind == "max_pool" and len(shape) == 1):
            shape = (shape[0], 1, 1)
        elif operator.kind == "channels":
            shape = (len(operator.channels), *read[1:])
        self.shapes[operator.output] = shape
        self.values[memory_of(result)] = operator.output

    def _of_padded(self, name: str, args: Any, given: dict[str, Any], result: Tensor) -> None:
        """What reads a value with zeros around it is a part of it, or a convolution, whose padding they are."""
        source = self.padded.get(memory_of(args[0])) if isinstance(args[0], Tensor) else None
        if source is None or (name != "convolution" and memory_of(result) not in self.padded):
            raise self._refused("constant_pad_nd")
        if name != "convolution":
            return
        padding = source.padding(args[0], pair(given["padding"]))
        operator = self._convolution(source.value, args, given)
        if padding is None or operator is None:
            raise self._refused("constant_pad_nd")
        before, after = padding
        self._add(replace(operator, padding=before, after=None if after == before else after), result)

    def _convolution(self, x: int, args: Any, given: dict[str, Any]) -> Operator | None:
        """None for what is no plain convolution of a value with constant weights."""
        if given["transposed"] or args[1].dim() != 4 or self._value(args[1]) is not None:
            return None
        weight, bias = args[1].detach(), args[2]
        bias = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach()
        return Operator(
            "conv", (x,), len(self.shapes), weight, bias, tuple(weight.shape[2:]), pair(given["stride"]),
            pair(given["padding"]), None, pair(given["dilation"]), given["groups"],
        )  # fmt: skip

    def _operator(
        self, name: str, x: int | None, sources: list[int | None], args: Any, given: dict[str, Any], result: Tensor
    ) -> Operator | None:
        """The operator, or None where nothing is to be written: the normalisation of inputs, adding zero."""
        output = len(self.shapes)
        if name == "cat":
            tensors = [self._value(t) for t in args[0]]
            if given["dim"] in (1, 1 - result.dim()) and all(t is not None for t in tensors):
                return Operator("concat", tuple(t for t in tensors if t is not None), output)
            raise self._refused("cat", "join maps along their channels")
        if name == "addmm" and sources[1] is not None and sources[0] is None and sources[2] is None:
            return self._linear(sources[1], output, args[2], args[0])
        if name == "mul" and len(sources) > 1 and sources[1] is not None:
            return self._product(x, sources[1], output, args[0])
        if x is None:
            raise self._refused(name)
        match name:
            case _ if name in _FUNCTIONS:
                function = getattr(torch.ops.aten, name).default
                return Operator(
                    "table",
                    (x,),
                    output,
                    function=partial(applied, function, {k: v for k, v in given.items() if k != "self"}),
                )
            case "convolution" if (operator := self._convolution(x, args, given)) is not None:
                return operator
            case "constant_pad_nd" if (zeros := padded(x, args[0], given["pad"], given["value"], result)) is not None:
                self.padded[memory_of(result)] = zeros
                return None
            case "mm" if sources[1] is None:
                return self._linear(x, output, args[1], args[1].new_zeros(args[1].shape[1]))
            case "native_batch_norm" | "_native_batch_norm_legit_no_training" | "cudnn_batch_norm":
                return self._norm(x, output, args)
            case "relu":
                return Operator("clamp", (x,), output, clamp=(0.0, math.inf))
            case "hardtanh" | "clamp" | "clamp_min" | "relu6":
                low = given.get("min_val", given.get("min"))
                high = given.get("max_val", given.get("max"))
                return Operator("clamp", (x,), output, clamp=(-math.inf if low is None else float(low),
                                                             math.inf if high is None else float(high)))  # fmt: skip
            case "convolution":
                raise self._refused("transposed convolution" if given["transposed"] else name)
            case "glu" if given["dim"] in (1, 1 - args[0].dim()):
                return self._gated(x, args[0], given["dim"])
            case "amax" if sorted(d % 4 for d in given["dim"]) == [2, 3] and len(self.shapes[x]) == 3:
                return self._largest(x, output, (1, 1))
            case "adaptive_max_pool2d":
                return self._largest(x, output, tuple(result.shape[2:]))
            case "mean" if sorted(d % 4 for d in given.get("dim") or ()) == [2, 3] and len(self.shapes[x]) == 3:
                return Operator("mean", (x,), output)
            case "adaptive_avg_pool2d" | "_adaptive_avg_pool2d":
                return self._adaptive(x, output, result)
            case "max_pool2d_with_indices" | "avg_pool2d":
                return self._pool(name, x, output, given, result)
            case "add" if given.get("alpha", 1) == 1:
                other = sources[1]
                if other is not None and self.shapes[x] == self.shapes[other]:
                    return Operator("add", (x, other), output)
                if not isinstance(args[1], Tensor) and args[1] == 0:
                    self.values[memory_of(result)] = x
                    return None
            case "sub" if x == 0 and self._constant(args[1]) and given.get("alpha", 1) == 1 and self._untouched():
                self.mean = self._normalising(args[1])
                self.values[memory_of(result)] = 0
                return None
            case "div" if x == 0 and self._constant(args[1]) and self._untouched():
                self.std = self._normalising(args[1])
                self.values[memory_of(result)] = 0
                return None
        if name in ("mul", "div", "add", "sub") and len(args) > 1 and sources[1] is None:
            return self._affine(name, x, output, args[1], given.get("alpha", 1))
        raise self._refused(name)

    def _product(self, x: int | None, other: int, output: int, first: Any) -> Operator:
        """Of two values, the second of which may be one pixel; or of a value and a constant in front of it."""
        if x is None:
            return self._affine("mul", other, output, first, 1)
        if self.shapes[x] == (self.shapes[other][0], 1, 1):
            x, other = other, x
        if self.shapes[other] not in (self.shapes[x], (self.shapes[x][0], 1, 1)):
            raise self._refused("mul")
        return Operator("multiply", (x, other), output)

    def _affine(self, name: str, x: int, output: int, constant: Any, alpha: float) -> Operator:
        """What each channel is multiplied by, or gets added: a depthwise convolution."""
        channels = self.shapes[x][0]
        number = constant.detach() if isinstance(constant, Tensor) else torch.tensor(float(constant))
        if number.numel() not in (1, channels) or (number.numel() > 1 and number.dim() not in (3, 4)):
            raise self._refused(name, "use one constant, or one for each channel")
        number = number.to(device=self.input.device, dtype=torch.float32).flatten().expand(channels)
        scale, shift = torch.ones_like(number), torch.zeros_like(number)
        if name in ("mul", "div"):
            scale = number if name == "mul" else 1 / number
        else:
            shift = alpha * number if name == "add" else -alpha * number
        return Operator("conv", (x,), output, scale.reshape(channels, 1, 1, 1).clone(), shift.clone(), groups=channels)

    def _refused(self, name: str, advice: str = "") -> UsageError:
        return refusal(name, advice)

    def _constant(self, value: Any) -> bool:
        return not isinstance(value, Tensor) or value.numel() in (1, self.shapes[0][0])

    def _untouched(self) -> bool:
        return not any(0 in operator.inputs for operator in self.operators)

    def _normalising(self, value: Any) -> Tensor:
        numbers = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
        return numbers.to(torch.float32).flatten().expand(self.shapes[0][0]).reshape(-1, 1, 1).clone()

    def _linear(self, x: int, output: int, matrix: Tensor, bias: Tensor) -> Operator:
        if math.prod(self.shapes[x]) != matrix.shape[0]:
            raise self._refused("linear", "flatten whole maps in front of linear layers, or use 1 x 1 convolutions")
        return Operator("linear", (x,), output, matrix.detach().t(), bias.detach().expand(matrix.shape[1]))

    def _norm(self, x: int, output: int, args: Any) -> Operator:
        gain, bias, mean, variance = args[1:5]
        eps = args[-1]
        channels = self.shapes[x][0]
        scale = (torch.ones_like(variance) if gain is None else gain) / (variance + eps).sqrt()
        shift = (0 if bias is None else bias) - mean * scale
        return Operator("conv", (x,), output, scale.view(channels, 1, 1, 1), shift, groups=channels)

    def _adaptive(self, x: int, output: int, result: Tensor) -> Operator:
        _, height, width = self.shapes[x]
        if tuple(result.shape[2:]) == (1, 1):
            return Operator("mean", (x,), output)
        if height % result.shape[2] or width % result.shape[3]:
            raise self._refused("adaptive_avg_pool2d")
        kernel = (height // result.shape[2], width // result.shape[3])
        return Operator("average_pool", (x,), output, kernel=kernel, stride=kernel)

    def _largest(self, x: int, output: int, to: tuple[int, ...]) -> Operator:
        """The largest numbers of so many parts of each channel."""
        _, height, width = self.shapes[x]
        if height % to[0] or width % to[1]:
            raise self._refused("adaptive_max_pool2d")
        kernel = (height // to[0], width // to[1])
        return Operator("max_pool", (x,), output, kernel=kernel, stride=kernel)

    def _gated(self, x: int, whole: Tensor, dim: int) -> Operator:
        """The first half of the channels times the sigmoid of the second."""
        halves, many = [], self.shapes[x][0] // 2
        for part, values in enumerate(whole.chunk(2, dim)):
            channels = tuple(range(part * many, (part + 1) * many))
            halves.append(self._kept(Operator("channels", (x,), len(self.shapes), channels=channels), values))
        function = partial(applied, torch.ops.aten.sigmoid.default, {})
        gate = self._kept(Operator("table", (halves[1],), len(self.shapes), function=function), whole.chunk(2, dim)[1])
        return Operator("multiply", (halves[0], gate), len(self.shapes))

    def _kept(self, operator: Operator, like: Tensor) -> int:
        """An operator that stands for a part of another one, and its value."""
        values = torch.empty_like(like, memory_format=torch.contiguous_format)
        self.held.append(values)
        self._add(operator, values)
        return operator.output

    def _pool(self, name: str, x: int, output: int, given: dict[str, Any], result: Tensor) -> Operator:
        kernel = pair(given["kernel_size"])
        stride = pair(given.get("stride") or kernel)
        padding, dilation = pair(given.get("padding", 0)), pair(given.get("dilation", 1))
        _, height, width = self.shapes[x]
        sides = list(zip((height, width), padding, kernel, stride, strict=True))
        if dilation != (1, 1) or given.get("divisor_override") is not None:
            raise self._refused(name, "without dilation and divisor_override")
        # With ceil_mode the last windows reach beyond the map.
        beyond = [
            max(pad, (many - 1) * step + size - side - pad)
            for many, (side, pad, size, step) in zip(result.shape[2:], sides, strict=True)
        ]
        after = None if tuple(beyond) == padding else (beyond[0], beyond[1])
        pool = Operator("max_pool", (x,), output, None, None, kernel, stride, padding, after)
        if name != "avg_pool2d":
            return pool
        counts = bool(given.get("count_include_pad", True))
        if counts and after and padding != (0, 0):
            raise self._refused(name, "with count_include_pad=False, or without ceil_mode")
        return replace(pool, kind="average_pool", count_padding=after is None and (counts or padding == (0, 0)))

    def program(self, answer: Tensor) -> Program:
        value = self._value(answer)
        if value is None:
            raise UsageError(
                "the output of the network does not depend on its input: there is no code to be made of it."
            )
        operators, value = fused(self.operators, value)
        return Program(tuple(operators), self.shapes, value, tuple(answer.shape[1:]), self.mean, self.std)
