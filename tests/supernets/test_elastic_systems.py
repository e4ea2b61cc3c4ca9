"""What BigNAS and OFA are made of: ends, kernel transforms, sorted channels, opened kinds, the resting teacher."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.choices import Conv2d as ChoiceConv2d
from archscout.networks.choices import Depth, Kernel, OneOf, Width
from archscout.networks.choices import Linear as ChoiceLinear
from archscout.networks.elastic import ElasticConv2d, conv2d
from archscout.networks.pick import SupernetPick
from archscout.spaces.model import ModelSpace
from archscout.supernets.distributions import Distribution
from archscout.supernets.extent import by_size, ends, kinds
from archscout.supernets.plans import Progressive, Sandwich
from archscout.supernets.resolution import AtSizes
from archscout.supernets.sorting import sort_channels
from archscout.supernets.step import Job
from archscout.supernets.supernet import Supernet
from archscout.supernets.taught import Taught, TaughtSupernet
from archscout.supernets.terms import Labels, Mean, RegularisedTeacher
from archscout.testing import tiny_task

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

MOBILE = create("space", "mobile:stages=2,depth=2")


def mobile(kind=Supernet):
    """A supernet whose weights are far from their beginning, so that outputs differ between networks."""
    supernet = kind(MOBILE, tiny_task())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in supernet.network.parameters():
            if parameter.ndim != 2 or parameter.shape[0] != parameter.shape[1]:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return supernet


def mobile_step(supernet, **named):
    return toy.make_step(supernet=supernet, distribution=Distribution(MOBILE), **named)


class Own(nn.Module):
    """A user's module whose options are not in the order of their size."""

    def __init__(self):
        super().__init__()
        width = Width(8, 4, 6)
        self.stem = ChoiceConv2d(1, width, Kernel(5, 3))
        self.act = OneOf({"conv": nn.Conv2d(8, 8, 1), "none": nn.Identity()})
        self.body = Depth([nn.ReLU() for _ in range(2)])
        self.head = ChoiceLinear(width, 3)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def test_ends_go_by_size_and_kinds_by_the_modules():
    supernet = Supernet(ModelSpace(Own()), tiny_task())
    kind = kinds(supernet)
    assert sorted(kind.values()) == ["depth", "kernel", "operation", "width"]
    name = {value: key for key, value in kind.items()}
    assert by_size(supernet)[name["width"]] == [4, 6, 8]
    small, large = ends(supernet)
    assert (small[name["width"]], small[name["kernel"]], small[name["operation"]]) == (4, 3, "none")
    assert (large[name["width"]], large[name["kernel"]], large[name["operation"]]) == (8, 5, "conv")
    counts = [sum(p.numel() for p in supernet.extract(end).parameters()) for end in (small, large)]
    assert counts[0] < counts[1]


def test_smaller_kernels_are_centres_until_their_matrices_are_trained():
    pick = SupernetPick(MOBILE.choices)
    layer = conv2d(4, 4, pick.number("stage1.block1.kernel"), depthwise=True)
    assert isinstance(layer, ElasticConv2d)
    x = torch.randn(2, 4, 8, 8)
    plain = {}
    for size in (3, 5, 7):
        pick.selection.values = {"stage1.block1.kernel": size}
        plain[size] = layer(x)
    layer.learn_kernels()
    assert {name: tuple(p.shape) for name, p in layer.transforms.items()} == {"3": (9, 9), "5": (25, 25)}
    for size in (3, 5, 7):
        pick.selection.values = {"stage1.block1.kernel": size}
        torch.testing.assert_close(layer(x), plain[size])
    with torch.no_grad():
        layer.transforms["5"].add_(0.1 * torch.randn(25, 25))
        layer.transforms["3"].add_(0.1 * torch.randn(9, 9))
    five = torch.einsum("oik,kl->oil", layer.weight[:, :, 1:6, 1:6].reshape(4, 1, 25), layer.transforms["5"])
    three = five.reshape(4, 1, 5, 5)[:, :, 1:4, 1:4].reshape(4, 1, 9) @ layer.transforms["3"]
    pick.selection.values = {"stage1.block1.kernel": 3}
    torch.testing.assert_close(layer(x), F.conv2d(x, three.reshape(4, 1, 3, 3), padding=1, groups=4))
    pick.selection.values = {"stage1.block1.kernel": 5}
    torch.testing.assert_close(layer(x), F.conv2d(x, five.reshape(4, 1, 5, 5), padding=2, groups=4))
    layer(x).sum().backward()
    assert layer.transforms["5"].grad is not None and layer.transforms["3"].grad is None
    pick.selection.values = {"stage1.block1.kernel": 7}
    torch.testing.assert_close(layer(x), plain[7])


def test_transformed_kernels_are_extracted():
    supernet = mobile()
    for module in supernet.modules():
        if isinstance(module, ElasticConv2d):
            module.learn_kernels()
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if ".transforms." in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    x = torch.randn(4, *supernet.task.input_shape)
    for seed in range(3):
        architecture = MOBILE.sample(stream(seed))
        twin = supernet.extract(architecture)
        torch.testing.assert_close(twin(x), supernet.select(architecture)(x), rtol=1e-4, atol=1e-5)


def test_sorting_leaves_the_largest_network_and_brings_the_important_channels_to_the_front():
    supernet = mobile()
    small, large = ends(supernet)
    x = torch.randn(8, *supernet.task.input_shape)
    before, narrow = supernet.select(large)(x), supernet.select(small)(x)
    assert sort_channels(supernet)
    torch.testing.assert_close(supernet.select(large)(x), before, rtol=1e-3, atol=1e-3)
    assert (supernet.select(small)(x) - narrow).abs().max() > 0.01
    # The inner channels of a block are read by its projection and by what squeezes.
    network = supernet.extract(large)
    blocks = [module for module in network.modules() if type(module).__name__ == "InvertedResidual"]
    assert len(blocks) == 4
    for block in blocks:
        project, reduce = block.project[0].weight, block.squeeze.reduce.weight
        filters = block.filter[0].weight  # a depthwise convolution makes its channels and reads none
        assert filters.shape[1] == 1
        norms = project.abs().sum((0, 2, 3)) + reduce.abs().sum((0, 2, 3))
        assert bool((norms[1:] <= norms[:-1] + 1e-4).all())


def test_channels_that_the_largest_network_does_not_have_are_not_sorted():
    space = create("space", "nasbench201:width=4,cells=1")
    supernet = Supernet(space, tiny_task())
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    assert not sort_channels(supernet)
    assert all(torch.equal(before[key], value) for key, value in supernet.state_dict().items())


def test_kinds_are_opened_one_after_the_other():
    supernet = mobile()
    _, large = ends(supernet)
    kind, first = kinds(supernet), mobile_step(supernet)

    def changed(opened):
        found = set()
        for number in range(40):
            for job in Progressive(2, opened)(replace(first, number=number)):
                assert job.role == "student"
                found |= {(kind[n], o) for n, o in job.architecture.items() if o != large[n]}
        return found

    assert changed({}) == set()
    assert changed({"kernel": None}) == {("kernel", 3), ("kernel", 5)}
    assert changed({"depth": 2}) == {("depth", 1)}
    assert changed({"width": 2}) == {("width", 75), ("width", 4)}


def test_the_teacher_stays_as_the_largest_network_was():
    supernet = mobile(TaughtSupernet)
    supernet.keep()
    _, large = ends(supernet)
    twin = supernet.extract(large).eval()
    supernet.train()
    step = mobile_step(supernet, jobs=[Job(large, "student"), Job(MOBILE.sample(stream(1)), "student")])
    with torch.no_grad():
        expected = twin(step.train[0])
        outputs = [step.outputs(job.path, step.train[0]) for job in step.jobs]
    teacher = F.log_softmax(expected, 1)
    parts = [
        F.cross_entropy(out, step.train[1])
        + F.kl_div(F.log_softmax(out, 1), teacher, log_target=True, reduction="batchmean")
        for out in outputs
    ]
    assert Taught()(step) == pytest.approx(float(sum(parts)) / 2, rel=1e-3)
    assert all(parameter.grad is None for parameter in supernet.teacher.parameters())
    with torch.no_grad():
        for parameter in supernet.network.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(supernet.teacher(step.train[0]), expected)
    assert "teacher.network" in next(key for key in supernet.state_dict() if "teacher" in key)
    with pytest.raises(TypeError, match="needs a supernet with a teacher"):
        Taught()(mobile_step(mobile(), jobs=step.jobs))


def test_dropout_is_the_teachers_alone():
    supernet = mobile()
    step = mobile_step(supernet)
    step.jobs = Sandwich(1)(step)
    seen = []
    linear = [module for module in supernet.network.modules() if isinstance(module, nn.Linear)][-1]
    linear.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    Mean([Labels()])(step)
    RegularisedTeacher([Labels()], dropout=0.5)(step)
    plain, regularised = seen[:3], seen[3:]
    zeros = (regularised[0] == 0).float().mean() - (plain[0] == 0).float().mean()
    assert 0.3 < float(zeros) < 0.7
    kept = regularised[0] != 0
    torch.testing.assert_close(regularised[0][kept], 2 * plain[0][kept])
    for one, other in zip(plain[1:], regularised[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_inputs_are_resized_to_drawn_sizes():
    supernet, sizes = mobile(), []

    def objective(step):
        sizes.append(tuple(step.train[0].shape[2:]))
        return 0.0

    step = mobile_step(supernet)
    for number in range(60):
        AtSizes(objective, [(8, 8), (6, 6)])(replace(step, number=number))
    assert set(sizes) == {(8, 8), (6, 6)} and 15 < sizes.count((6, 6)) < 45
