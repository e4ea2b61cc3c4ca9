"""A recurrent layer of torch in a module of one's own, from the search to a smaller network."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

import archscout
from archscout.cli.main import run
from archscout.search.search import search
from archscout.shrink.run import shrink
from archscout.testing import tiny_task


class Own(nn.Module):
    """Reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        width = archscout.Width(4, 8, name="width")
        self.first = archscout.Linear(8, width)
        self.middle = archscout.Layer(nn.LSTM, width, width)
        self.head = archscout.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x[:, 0].transpose(0, 1)
        return self.head(self.middle(self.first(rows))[0][-1])


@pytest.mark.slow
def test_a_recurrent_layer_is_searched_written_used_and_shrunk(tmp_path: Path, capsys) -> None:
    task = tiny_task()
    found = search(
        Own(), task, method="random", budget="2trials", workers=0, out=tmp_path, name="own", epochs=12, seed=1
    )
    width = found.architecture.removeprefix("width=")
    n = int(width)
    assert found.metrics["costs"]["params"] == (8 * n + n) + 4 * (2 * n * n + 2 * n) + (3 * n + 3)
    network = archscout.load(found.folder, space=Own())
    images = torch.from_numpy(task.test.x).permute(0, 3, 1, 2).float()
    session = onnxruntime.InferenceSession(found.folder / "network.onnx")
    for count in (1, 3, len(images)):
        with torch.no_grad():
            expected = network(images[:count]).numpy()
        np.testing.assert_allclose(session.run(None, {"input": images[:count].numpy()})[0], expected, atol=1e-5)
    Image.fromarray(task.test.x[0, ..., 0]).save(tmp_path / "row.png")
    assert run(["predict", str(found.folder), str(tmp_path / "row.png")]) == 0
    assert task.class_names[int(expected[0].argmax())] in capsys.readouterr().out
    smaller = shrink(
        network, task, maximum={"params": "70%"}, budget="6s", out=tmp_path, name="small",
        clock=itertools.count(0.0, 0.01).__next__,
    )  # fmt: skip
    assert smaller.metrics["costs"]["params"] <= 0.7 * found.metrics["costs"]["params"]
    assert "network.middle" in smaller.metrics["original"]["whole"], "its width hangs on a state of that size"
    cut = archscout.load(smaller.folder, space=network)
    session = onnxruntime.InferenceSession(smaller.folder / "network.onnx")
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"input": images.numpy()})[0], cut(images).numpy(), atol=1e-5)
