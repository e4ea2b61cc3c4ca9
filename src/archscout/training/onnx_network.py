"""A network that lies in an ONNX file, as a module that answers: where the code that built it is not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core.errors import DataError
from archscout.training.export import session


class OnnxNetwork(nn.Module):
    """Answers as the network does that was written to the file, on the CPU; it has no weights to train.

    Raises `DataError` where the file is no network that ONNX Runtime can run.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        try:
            self._session = session(file.read_bytes(), threads=torch.get_num_threads())
        except Exception as error:  # ONNX Runtime has errors of its own, of many classes
            reason = str(error).strip().partition("\n")[0]
            raise DataError(f"'{file}' cannot be run by ONNX Runtime ({reason}): train the network again.") from error

    def forward(self, x: Tensor) -> Any:
        """The output, or the outputs by name where there are several."""
        names = [output.name for output in self._session.get_outputs()]
        answers = self._session.run(None, {"input": x.float().contiguous().numpy()})
        tensors = {name: torch.from_numpy(answer) for name, answer in zip(names, answers, strict=True)}
        return tensors if len(tensors) > 1 else tensors[names[0]]
