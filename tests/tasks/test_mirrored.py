"""Answers averaged over an image and its mirror image: what is deployed, what it costs, and where it is refused."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.errors import DataNotice, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.deploy.form import form
from archscout.deploy.reading import read
from archscout.finished.network import load_for_integers
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.tasks.images import Mirrored
from archscout.tasks.load import load, undescribe
from archscout.testing import tiny_task
from archscout.training.export import export_onnx
from archscout.training.trainer import answers, predict

SPACE = create("space", "nasbench201:width=4,cells=1")
ARCHITECTURE = SPACE.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")


@pytest.fixture(scope="module")
def task():
    return dataclasses.replace(tiny_task((3, 8, 8), classes=3), flip=True, mirrored=True)


@pytest.fixture(scope="module")
def network(task):
    return build(SPACE, ARCHITECTURE, task, seed=1).eval()


@pytest.fixture(scope="module")
def expected(task, network):
    """The mean of the outputs of the network alone."""
    x, _ = task.tensors(task.test)
    with torch.inference_mode():
        return (network(x) + network(x.flip(3))) / 2


def test_what_is_measured_deployed_and_folded_is_the_mean_over_both(task, network, expected):
    assert torch.allclose(predict(network, task, task.test), expected, atol=1e-6)
    assert torch.allclose(torch.cat([o for o, _, _ in answers(network, task, task.test)]), expected, atol=1e-6)
    stored = torch.from_numpy(task.test.x).permute(0, 3, 1, 2).float()
    deployed = task.deploy(network).eval()
    folded = form(deployed, task.deployed_shape)
    with torch.inference_mode():
        assert torch.allclose(deployed(stored), expected, atol=1e-5)
        assert torch.allclose(folded(stored), expected, atol=1e-4)
        assert torch.allclose(folded(stored.flip(3)), expected, atol=1e-4)
    alone = form(dataclasses.replace(task, mirrored=False).deploy(network).eval(), task.deployed_shape)
    assert norms(folded) == norms(alone) < norms(deployed)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.slow
def test_the_file_answers_alike(task, network, tmp_path):
    deployed = form(task.deploy(network).eval(), task.deployed_shape)
    assert export_onnx(deployed, task.deployed_shape, tmp_path / "network.onnx") < 1e-4


def test_both_passes_are_counted(task):
    alone = dataclasses.replace(task, mirrored=False)
    once, twice = (Setting(SPACE, each) for each in (alone, task))
    graphs = [trace_architecture(SPACE, ARCHITECTURE, each) for each in (alone, task)]
    assert graphs[1].macs == 2 * graphs[0].macs
    for name, factor in (("macs", 2), ("params", 1)):
        values = [create("cost", name).measure(ARCHITECTURE, setting).value for setting in (once, twice)]
        assert values[1] == factor * values[0]
    peaks = [create("cost", "peak_memory").measure(ARCHITECTURE, setting).value for setting in (once, twice)]
    assert peaks[1] > 1.5 * peaks[0]


def test_it_is_told_of_the_deployed_network(task):
    described = json.loads(json.dumps(task.describe()))
    assert described["mirrored"] is True
    assert isinstance(undescribe(described).deploy(nn.Identity()), Mirrored)
    del described["mirrored"]  # as of a network from before there was such a thing
    assert not isinstance(undescribe(described).deploy(nn.Identity()), Mirrored)
    assert len({dataclasses.replace(task, mirrored=each).digest for each in (None, False, True)}) == 3


def test_integer_code_answers_once(task):
    once = dataclasses.replace(task, mirrored=False)
    measured = [create("cost", "sram").measure(ARCHITECTURE, Setting(SPACE, each)).value for each in (task, once)]
    assert measured[0] == measured[1] < math.inf


def data(classes: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3 if classes else rng.random(60)
    return {"x_train": rng.integers(0, 256, (60, 8, 8, 3), np.uint8), "y_train": y}


def test_it_is_an_option_of_data_whose_mirror_images_are_alike():
    assert load(data(), mirrored=True).mirrored
    assert load(data()).mirrored is None
    assert load(data(), mirrored=False).mirrored is False
    with pytest.raises(UsageError, match=r"say flip=true as well"):
        load(data(), mirrored=True, flip=False)
    with pytest.raises(UsageError, match=r"mirrored=true is for images of one class each"):
        load(data(classes=False), mirrored=True, kind="regression")
    with pytest.raises(UsageError, match=r"mirrored of a task must be true or false"):
        load(data(), mirrored="perhaps")


def test_integers_are_made_of_one_pass(task, network, tmp_path):
    from safetensors.torch import save_file

    described = {"format": 1, "space": SPACE.name, "architecture": ARCHITECTURE.text, "task": task.describe()}
    (tmp_path / "architecture.json").write_text(json.dumps(described))
    save_file(task.deploy(network).state_dict(), tmp_path / "network.safetensors")
    with pytest.warns(DataNotice, match="without its mirror image"):
        alone = load_for_integers(tmp_path)
    stored = torch.from_numpy(task.test.x).permute(0, 3, 1, 2).float()
    x, _ = task.tensors(task.test)
    with torch.inference_mode():
        assert torch.allclose(alone(stored), network(x), atol=1e-5)
    assert (alone.task.mirrored, alone.classes) == (False, task.class_names)
    read(alone, task.input_shape)  # which refuses the mirror image


@pytest.mark.slow
def test_a_finished_run_loads_as_it_was_delivered(task, tmp_path):
    from archscout import load as load_network
    from archscout.core.progress import Silent
    from archscout.search.finish import train_alone

    result = train_alone(SPACE, ARCHITECTURE, task, tmp_path, "run", 1, 0, "cpu", Silent())
    loaded = load_network(tmp_path)
    assert isinstance(loaded, Mirrored)
    stored = torch.from_numpy(task.test.x).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        outputs = loaded(stored)
        assert torch.allclose(outputs, loaded(stored.flip(3)), atol=1e-5)
    right = float((outputs.argmax(1).numpy() == task.test.y).mean())
    assert right == pytest.approx(result.metrics["test_accuracy"])
    assert result.metrics["onnx_difference"] < 1e-3
