"""The trained network as one ONNX file that is known to answer as PyTorch does."""

from __future__ import annotations

import copy
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from archscout.core.errors import ArchscoutError
from archscout.core.files import write_bytes
from archscout.networks.outputs import named
from archscout.networks.parametrized import settle

TOLERANCE = 1e-4
_ROUNDINGS = 32.0
"""How many times its own rounding the answers of a network may differ by. ONNX Runtime adds in a row what PyTorch adds
in blocks: sums of 300 products are off by up to 24 times as much."""
_MOST = 1e-2
"""Answers that differ by more are not called the same, however a network rounds."""
_OPSET = 18  # the lowest that both exporters write, for the sake of older runtimes
_BATCHES = (1, 2, 7)
_LONGEST = 160
"""Characters of what an exporter says that are passed on."""
_SCALES = (1.0, 255.0)  # inputs may be normalised numbers or pixels


def export_onnx(module: nn.Module, input_shape: Sequence[int], path: Path | str, *, quick: bool = False) -> float:
    """Write a network as a single ONNX file (input `input`, output `output`, any batch size) and check it.

    Outputs that have names keep them.

    ONNX Runtime must give PyTorch's outputs for random batches of several sizes, to 1e-4 of the largest output (of 1,
    where that is larger). A network that rounds more than that in single precision, as attention on large numbers does,
    may differ by 32 times its own rounding, up to one in a hundred. The file appears whole or not at all. `quick` is
    as in `to_onnx`.

    Returns:
        The largest difference found, on that scale.

    Raises:
        ArchscoutError: the network cannot be written as ONNX, or answers differently.
    """
    content, difference = _written(module, input_shape, _exporters(quick), _BATCHES)
    write_bytes(Path(path), content)
    return difference


def to_onnx(module: nn.Module, input_shape: Sequence[int], *, quick: bool = False) -> bytes:
    """A network as the bytes of an ONNX file that answers as PyTorch does.

    PyTorch has two exporters. The one that it maintains takes a second even for the smallest network; `quick` tries
    first the old one, which takes a thirtieth of that and gives a graph of the same speed. Where one fails, the other
    is tried.

    Raises:
        ArchscoutError: neither can write the network.
    """
    return _written(module, input_shape, _exporters(quick), _BATCHES[:2] if quick else _BATCHES)[0]


Exporter = Callable[[nn.Module, Tensor, bool], Any]


def _exporters(quick: bool) -> tuple[Exporter, Exporter]:
    """In the order in which they are tried."""
    return (_by_script, _by_graph) if quick else (_by_graph, _by_script)


def _written(
    module: nn.Module, input_shape: Sequence[int], exporters: Sequence[Exporter], batches: Sequence[int]
) -> tuple[bytes, float]:
    """The bytes of the first form that answers as PyTorch does, and how far its answers are off.

    Code that takes the size of a batch as a Python number (`x.view(len(x), -1)`, a loop over examples) is written by
    exporters for the one size that they have seen. Such a network is written for one example, and a loop of ONNX (Scan)
    runs it for each of a batch.
    """
    import onnx

    expected = _answers(module, input_shape, batches)
    if any(parametrize.is_parametrized(part) for part in module.modules()):
        module = copy.deepcopy(module).eval()
        settle(module)
    failures: list[str] = []
    with _as_deployed(module), _silence():
        for one_by_one in (False, True):
            for exporter in exporters:
                example = torch.ones(1 if one_by_one else 2, *input_shape, device=_device(module))
                try:
                    model = exporter(module, example, not one_by_one)
                    model = _for_each(model, input_shape) if one_by_one else model
                    onnx.checker.check_model(model)
                    content: bytes = _bare(model).SerializeToString()
                    difference = _difference(content, expected)
                except Exception as error:  # exporters and ONNX Runtime fail in countless ways, all of which are told
                    failures.append(_first_line(error))
                    continue
                allowed = TOLERANCE if difference <= TOLERANCE else _allowed(module, expected)
                if difference <= allowed:
                    return content, difference
                failures.append(
                    f"the ONNX network differs from the PyTorch network by {difference:.2g}, above {allowed:.2g}"
                )
    reasons = "; ".join(dict.fromkeys(_short(failure) for failure in failures))
    odd = sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.dtype != torch.float32})
    advice = f"keep its weights in float32, not {' and '.join(odd)}" if odd else (
        "look for code that depends on the values of its inputs"
    )  # fmt: skip
    raise ArchscoutError(f"the network cannot be written as ONNX ({reasons}): {advice}.")


def _for_each(model: Any, input_shape: Sequence[int]) -> Any:
    """A network for one example, run for each example of a batch."""
    from onnx import TensorProto, compose, helper

    inner = compose.add_prefix(model, "each/")
    graph = inner.graph
    if len(graph.output) > 1:
        raise ArchscoutError("a network with several outputs is not run for one example at a time.")
    dimensions = [dimension.dim_value for dimension in graph.output[0].type.tensor_type.shape.dim][1:]
    source, target = graph.input[0].name, graph.output[0].name
    axes = helper.make_tensor("each/axes", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("Unsqueeze", ["each/row", "each/axes"], [source]),
        *graph.node,
        helper.make_node("Squeeze", [target, "each/axes"], ["each/answer"]),
    ]
    row = helper.make_tensor_value_info("each/row", TensorProto.FLOAT, list(input_shape))
    answer = helper.make_tensor_value_info("each/answer", TensorProto.FLOAT, dimensions)
    body = helper.make_graph(nodes, "each", [row], [answer], initializer=[*graph.initializer, axes])
    scan = helper.make_node("Scan", ["input"], ["output"], num_scan_inputs=1, body=body)
    whole = helper.make_graph(
        [scan],
        "batch",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *input_shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", *dimensions])],
    )
    return helper.make_model(
        whole, opset_imports=inner.opset_import, ir_version=inner.ir_version, functions=inner.functions
    )


def _short(failure: str) -> str:
    return failure if len(failure) <= _LONGEST else failure[: _LONGEST - 4] + " ..."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, ArchscoutError) and lines:
        return lines[0].rstrip(".")
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")


def to_int8(content: bytes, examples: np.ndarray) -> bytes:
    """A network of `to_onnx` with weights and activations of 8 bits, quantised after training (static, by channel).

    Args:
        content: the ONNX file.
        examples: inputs (N, ...) from which the ranges of activations are taken.

    Raises:
        ArchscoutError: ONNX Runtime cannot quantise the network.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Examples(CalibrationDataReader):  # type: ignore[misc]
        """The examples, one at a time."""

        def __init__(self) -> None:
            self.left = iter(examples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            example = next(self.left, None)
            return None if example is None else {"input": example[None]}

    with tempfile.TemporaryDirectory() as folder, _silence():
        file = Path(folder) / "int8.onnx"
        try:
            quantize_static(onnx.load_from_string(content), file, Examples(), per_channel=True)
            return file.read_bytes()
        except Exception as error:  # it fails in countless ways, all of which are reported
            raise ArchscoutError(
                f"ONNX Runtime cannot quantise the network ({type(error).__name__}: {error})."
            ) from error


def session(content: bytes, *, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU with so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _by_graph(module: nn.Module, example: Tensor, any_batch: bool) -> Any:
    """The maintained exporter."""
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=_OPSET,
        input_names=["input"],
        output_names=_output_names(module, example),
        dynamic_shapes=({0: torch.export.Dim("batch")},) if any_batch else None,
    )
    assert program is not None
    return program.model_proto


def _output_names(module: nn.Module, example: Tensor) -> list[str]:
    with torch.no_grad():
        return list(named(module(example)))


def _by_script(module: nn.Module, example: Tensor, any_batch: bool) -> Any:
    """The old exporter, by TorchScript."""
    import onnx

    buffer = io.BytesIO()
    names = _output_names(module, example)
    torch.onnx.export(
        module,
        (example,),
        buffer,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=_OPSET,
        input_names=["input"],
        output_names=names,
        dynamic_axes={name: {0: "batch"} for name in ("input", *names)} if any_batch else None,
    )
    return onnx.load_from_string(buffer.getvalue())


def _bare(model: Any) -> Any:
    """Without the notes of the exporter, which hold the paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


Answer = tuple[Tensor, dict[str, Tensor]]
"""Inputs, and the outputs for them by name."""


def _answers(module: nn.Module, input_shape: Sequence[int], batches: Sequence[int]) -> list[Answer]:
    """Random inputs of several sizes, and what PyTorch answers. Raises `ArchscoutError` where that is not finite."""
    generator = torch.Generator().manual_seed(0)
    pairs = []
    with _as_deployed(module), torch.inference_mode():
        for batch in batches:
            for scale in _SCALES:
                x = torch.rand(batch, *input_shape, generator=generator) * scale
                answers = {name: output.cpu() for name, output in named(module(x.to(_device(module)))).items()}
                if not all(bool(torch.isfinite(answer).all()) for answer in answers.values()):
                    raise ArchscoutError(
                        "the network gives outputs that are not finite, so its ONNX form is not written."
                    )
                pairs.append((x, answers))
    return pairs


def _difference(content: bytes, expected: Sequence[Answer]) -> float:
    """The largest difference of ONNX Runtime's answers, as a share of the largest answer (of 1, where larger)."""
    runtime = session(content)
    largest = 0.0
    for x, answers in expected:
        written = runtime.run(list(answers), {"input": x.numpy()})
        for output, answer in zip(map(torch.from_numpy, written), answers.values(), strict=True):
            if output.shape != answer.shape:
                raise ArchscoutError(
                    f"the ONNX network gives outputs of shape {tuple(output.shape)} where the PyTorch network gives "
                    f"{tuple(answer.shape)} for a batch of {len(x)}."
                )
            difference = _apart(output, answer)
            largest = math.nan if math.isnan(difference) else max(largest, difference)
    return largest


def _allowed(module: nn.Module, expected: Sequence[Answer]) -> float:
    """How far answers may differ: see `export_onnx`. The rounding is what double precision changes."""
    try:
        exact = copy.deepcopy(module).cpu().double().eval()
        with torch.inference_mode():
            changes = [
                _apart(answers[name], answer)
                for x, answers in expected
                for name, answer in named(exact(x.double())).items()
            ]
    except Exception:  # code of the user's own may take single precision alone, or not be copied
        return TOLERANCE
    if not all(map(math.isfinite, changes)):  # `max` passes over what is undefined
        return TOLERANCE
    return min(max(TOLERANCE, _ROUNDINGS * max(changes, default=0.0)), _MOST)


def _apart(written: Tensor, answer: Tensor) -> float:
    """The largest difference, as a share of the largest answer (of 1, where larger)."""
    difference = (written - answer).abs().max() / answer.abs().max().clamp(min=1.0)
    return float(difference) if bool(torch.isfinite(difference)) else math.nan


def _device(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


@contextmanager
def _as_deployed(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, undone afterwards."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def _silence() -> Iterator[None]:
    """The exporters tell of themselves by warnings and by log records; neither is news to who exports."""
    before = logging.root.manager.disable
    log = torch._C._jit_onnx_log  # prints the graph that the old exporter stumbled over
    torch._C._jit_onnx_log = lambda *_: None
    logging.disable(logging.WARNING)
    try:
        # Of a module that looks at numbers, PyTorch prints the whole program up to there.
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        torch._C._jit_onnx_log = log
