"""The trained network as one ONNX file that is known to answer as PyTorch does."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError
from archscout.deploy.form import form

TOLERANCE = 1e-4
_OPSET = 18  # the lowest that both exporters write, for the sake of older runtimes
_BATCHES = (1, 2, 7)
_SCALES = (1.0, 255.0)  # inputs may be normalised numbers or pixels


def export_onnx(module: nn.Module, input_shape: Sequence[int], path: Path | str) -> float:
    """Write a network as a single ONNX file (input `input`, output `output`, any batch size) and check it.

    ONNX Runtime must give PyTorch's outputs for random batches of several sizes, to 1e-4 of the largest output (of 1,
    where that is larger). The file appears whole or not at all.

    Returns:
        The largest difference found, on that scale.

    Raises:
        ArchscoutError: the network cannot be written as ONNX, or answers differently.
    """
    path = Path(path)
    content = to_onnx(module, input_shape)
    difference = _difference(module, input_shape, content)
    if not difference <= TOLERANCE:
        raise ArchscoutError(
            f"the ONNX network for '{path}' differs from the PyTorch network by {difference:.2g}, above {TOLERANCE:g}: "
            "look for code that depends on the values of its inputs."
        )
    _write(path, content)
    return difference


def to_onnx(module: nn.Module, input_shape: Sequence[int], *, quick: bool = False) -> bytes:
    """The deployed form of a network as the bytes of an ONNX file, checked for form but not yet for its answers.

    PyTorch has two exporters. The one that it maintains takes a second even for the smallest network; `quick` tries
    first the old one, which takes a thirtieth of that and gives a graph of the same speed. Where one fails, the other
    is tried.

    Raises:
        ArchscoutError: neither can write the network.
    """
    import onnx

    failures = []
    network = form(module, input_shape)
    for exporter in (_by_script, _by_graph) if quick else (_by_graph, _by_script):
        try:
            with _silence():
                model = exporter(network, torch.ones(2, *input_shape, device=_device(module)))
                onnx.checker.check_model(model)
            content: bytes = _bare(model).SerializeToString()
            return content
        except Exception as error:  # exporters fail in countless ways, all of which are reported
            failures.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
    raise ArchscoutError(f"the network cannot be written as ONNX ({'; '.join(failures)}).")


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
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _by_graph(module: nn.Module, example: Tensor) -> Any:
    """The maintained exporter."""
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=_OPSET,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None
    return program.model_proto


def _by_script(module: nn.Module, example: Tensor) -> Any:
    """The old exporter, by TorchScript."""
    import onnx

    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (example,),
        buffer,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=_OPSET,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
    )
    return onnx.load_from_string(buffer.getvalue())


def _bare(model: Any) -> Any:
    """Without the notes of the exporter, which hold the paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def _difference(module: nn.Module, input_shape: Sequence[int], content: bytes) -> float:
    runtime = session(content)
    device = _device(module)
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    with _as_deployed(module), torch.inference_mode():
        for batch in _BATCHES:
            for scale in _SCALES:
                x = torch.rand(batch, *input_shape, generator=generator) * scale
                expected = module(x.to(device)).cpu()
                found = torch.from_numpy(runtime.run(None, {"input": x.numpy()})[0])
                if found.shape != expected.shape:
                    raise ArchscoutError(
                        f"the ONNX network gives outputs of shape {tuple(found.shape)} where the PyTorch network gives "
                        f"{tuple(expected.shape)} for a batch of {batch}."
                    )
                if not bool(torch.isfinite(expected).all()):
                    raise ArchscoutError(
                        "the network gives outputs that are not finite, so its ONNX form is not written."
                    )
                difference = (found - expected).abs().max() / expected.abs().max().clamp(min=1.0)
                largest = max(largest, float(difference)) if bool(torch.isfinite(difference)) else float("nan")
    return largest


def _device(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
