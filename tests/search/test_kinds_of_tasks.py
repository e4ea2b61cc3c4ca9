"""Each kind of task goes the whole way: trained, exported, reported, loaded, asked from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import archscout
from archscout.cli.main import run
from archscout.core.task import Task
from archscout.networks.outputs import named
from archscout.search.search import search
from archscout.store.store import Store
from archscout.testing import (
    tiny_audio,
    tiny_heads,
    tiny_lines,
    tiny_multilabel,
    tiny_ordinal,
    tiny_regression,
    tiny_rows,
    tiny_segmentation,
    tiny_series,
    tiny_speakers,
)

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
IMAGES = "nasbench201:width=8", CELL
OTHERS = [
    (tiny_multilabel, *IMAGES),
    (tiny_regression, *IMAGES),
    (tiny_segmentation, *IMAGES),
    (tiny_ordinal, *IMAGES),
    (tiny_audio, *IMAGES),
    (tiny_speakers, *IMAGES),
    (tiny_series, "series", "in1_plain16x1k3d1_plain16x1k3d1"),
    (tiny_lines, "lines", "plain16x1k3s22_plain16x1k3s21_conv"),
    (tiny_rows, "rows", "mlp1x16_relu"),
]
KINDS = [(tiny_heads, *IMAGES), *(pytest.param(*kind, marks=pytest.mark.slow) for kind in OTHERS)]


@pytest.mark.parametrize(("make", "space", "architecture"), KINDS)
def test_each_kind_of_task_goes_the_whole_way(
    make: Callable[[], Task], space: str, architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make()
    result = archscout.train(space, architecture, task, epochs=8, out=tmp_path, name="run")
    folder = tmp_path / "run"
    # The metric is the one that the loaded network has on the test split.
    loaded = archscout.load(folder)
    assert task.test is not None
    stored = torch.from_numpy(task.test.x).float()
    stored = stored.permute(0, 3, 1, 2) if stored.ndim == 4 else stored
    with torch.no_grad():
        outputs = named(loaded(stored))
    tested = result.metrics[f"test_{task.metric}"]
    assert task.metric.text(tested) in result.summary()
    page = (folder / "report.html").read_text(encoding="utf-8")
    # An accuracy is told as shares of right answers.
    assert (
        "right on data it had never seen" in page
        if str(task.metric) == "accuracy"
        else f"A {task.metric.title} of" in page
    )
    panels = json.loads((folder / "report.json").read_text())["panels"]
    assert panels
    assert all(f"<h3>{panel['title']}</h3>" in page for panel in panels)
    # ONNX answers as the loaded network, output by output.
    session = onnxruntime.InferenceSession(folder / "network.onnx")
    assert [output.name for output in session.get_outputs()] == list(outputs)
    for answer, expected in zip(session.run(None, {"input": stored.numpy()}), outputs.values(), strict=True):
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    np.save(tmp_path / "some.npy", task.test.x[:5])
    capsys.readouterr()
    assert run(["predict", str(folder), str(tmp_path / "some.npy"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [dict(list(row.items())[1:]) for row in said] == json.loads(
        json.dumps(loaded.task.tell(loaded(stored[:5].contiguous())))
    )
    assert run(["predict", str(folder), str(tmp_path / "some.npy")]) == 0


def test_a_search_for_a_lower_error_ends_in_the_lowest(tmp_path: Path) -> None:
    task = tiny_regression()
    result = search("nasbench201:width=4", task, method="random", budget="3trials", epochs=2, workers=0, out=tmp_path)
    name = f"valid_{task.metric}"
    assert name == "valid_root_mean_squared_error"
    values = [row["value"] for row in result.metrics["finalists"]]
    assert result.metrics[name] == min(values) > 0
    with Store.open(result.folder / "search.sqlite") as store:
        told = [trial.value for trial in store.trials(result.folder.name) if trial.status == "completed"]
    assert max(told) == -result.metrics[name]
    assert "root mean squared error" in result.summary()
    assert "%" not in result.summary()


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_heads, tiny_segmentation])
def test_stages_of_which_some_may_be_missing_are_searched_by_shared_weights(tmp_path, make):
    method = "spos:steps=2,batch=8,finalists=1,evaluations=4"
    result = search("classic:width=64", make(), method=method, budget="1trials", epochs=1, workers=0, out=tmp_path)
    assert result.metrics["trials"] == 1
    assert (result.folder / "network.onnx").is_file()
