"""Elastic layers against the plain torch layers of the same slices."""

import copy

import pytest
import torch
from torch import nn

from archscout.core.choice import Choice
from archscout.networks.elastic import Elastic, Selection, batch_norm, compute, conv2d, linear, maximum, now

WIDTH = Choice("width", (4, 6, 8), ordinal=True)
INPUTS = Choice("inputs", (2, 3), ordinal=True)
KERNEL = Choice("kernel", (3, 5, 7), ordinal=True)


@pytest.fixture
def selection():
    selection = Selection()
    selection.values = {"width": 8, "inputs": 3, "kernel": 7}
    return selection


def number(choice, selection):
    return Elastic.of_choice(choice, selection)


def test_a_number_follows_the_selection(selection):
    width = number(WIDTH, selection)
    assert (width.now, width.maximum, now(width), maximum(width)) == (8, 8, 8, 8)
    selection.values = {"width": 4}
    assert (width.now, width.maximum, int(torch.zeros(9)[: width.__index__()].numel())) == (4, 8, 4)
    assert (now(5), maximum(5)) == (5, 5)


def test_a_computed_number_follows_its_parts(selection):
    width, kernel = number(WIDTH, selection), number(KERNEL, selection)
    area = compute(lambda w, k, extra: w * k * k - extra, width, kernel, 1)
    assert area.maximum == 8 * 49 - 1
    assert area.possible == tuple(sorted({w * k * k - 1 for w in (4, 6, 8) for k in (3, 5, 7)}))
    half = compute(lambda a: a // 2, area)
    for w in WIDTH.options:
        for k in KERNEL.options:
            selection.values = {"width": w, "kernel": k}
            assert area.now == w * k * k - 1
            assert half.now == (w * k * k - 1) // 2
    assert compute(lambda w, e: w * e, 16, 4) == 64


def test_the_maximum_of_a_falling_function_is_its_largest_value(selection):
    assert compute(lambda k: 10 - k, number(KERNEL, selection)).maximum == 7


def test_a_deep_copy_follows_its_own_selection(selection):
    layer = nn.ModuleDict({"conv": conv2d(3, number(WIDTH, selection), 3)})
    layer.selection = selection
    twin = copy.deepcopy(layer)
    twin.selection.values = {"width": 4}
    x = torch.zeros(1, 3, 5, 5)
    assert layer["conv"](x).shape[1] == 8
    assert twin["conv"](x).shape[1] == 4


def test_plain_numbers_make_plain_layers():
    assert type(conv2d(2, 4, 3)) is nn.Conv2d
    assert type(conv2d(4, 4, 3, depthwise=True)) is nn.Conv2d
    assert type(batch_norm(4)) is nn.BatchNorm2d
    assert type(linear(4, 2)) is nn.Linear
    conv = conv2d(4, 4, 5, stride=2, depthwise=True, bias=True)
    assert (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((5, 5), (2, 2), (2, 2), 4)
    assert conv.bias is not None
    assert linear(4, 2, bias=False).bias is None


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("depthwise", [True, False])
def test_a_convolution_is_the_plain_one_of_its_slice(selection, stride, bias, depthwise):
    torch.manual_seed(0)
    inputs = number(WIDTH if depthwise else INPUTS, selection)
    outputs = inputs if depthwise else number(WIDTH, selection)
    elastic = conv2d(inputs, outputs, number(KERNEL, selection), stride=stride, depthwise=depthwise, bias=bias)
    for i in (4, 6, 8) if depthwise else (2, 3):
        for o in (i,) if depthwise else (4, 6, 8):
            for k in (3, 5, 7):
                selection.values = {"width": o, "inputs": i, "kernel": k}
                plain = nn.Conv2d(i, o, k, stride, k // 2, groups=i if depthwise else 1, bias=bias)
                margin = (7 - k) // 2
                with torch.no_grad():
                    weight = elastic.weight[:o, : 1 if depthwise else i, margin : 7 - margin, margin : 7 - margin]
                    plain.weight.copy_(weight)
                    if bias:
                        plain.bias.copy_(elastic.bias[:o])
                x = torch.randn(2, i, 9, 8)
                assert torch.equal(elastic(x), plain(x))
                state = elastic.active_state()
                assert state.keys() == plain.state_dict().keys()
                assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())


def test_batch_normalisation_is_the_plain_one_of_its_first_channels(selection):
    torch.manual_seed(0)
    elastic = batch_norm(number(WIDTH, selection))
    with torch.no_grad():
        elastic.weight.uniform_()
        elastic.bias.uniform_()
    for width in (4, 8, 6):
        selection.values = {"width": width}
        plain = nn.BatchNorm2d(width)
        plain.load_state_dict({name: value.detach().clone() for name, value in elastic.active_state().items()})
        rest = elastic.running_mean[width:].clone()
        for training in (True, False):
            elastic.train(training)
            plain.train(training)
            x = torch.randn(5, width, 3, 3) * 2 + 1
            assert torch.allclose(elastic(x), plain(x), atol=1e-6)
        for name, value in plain.state_dict().items():
            assert torch.allclose(elastic.active_state()[name], value)
        assert torch.equal(elastic.running_mean[width:], rest), "channels that did not run must not move"


def test_a_linear_layer_is_the_plain_one_of_its_slice(selection):
    torch.manual_seed(0)
    inputs, outputs = number(INPUTS, selection), number(WIDTH, selection)
    for layer, bias in ((linear(inputs, outputs), True), (linear(inputs, outputs, bias=False), False)):
        for i in (2, 3):
            for o in (4, 6, 8):
                selection.values = {"inputs": i, "width": o}
                x = torch.randn(5, i)
                expected = x @ layer.weight[:o, :i].T + (layer.bias[:o] if bias else 0)
                assert torch.allclose(layer(x), expected, atol=1e-6)
                assert layer.active_state().keys() == nn.Linear(i, o, bias=bias).state_dict().keys()
    selection.values = {"inputs": 2}
    assert linear(inputs, 3)(torch.zeros(1, 2)).shape == (1, 3)


def test_gradients_reach_the_slice_and_nothing_else(selection):
    layer = conv2d(3, number(WIDTH, selection), number(KERNEL, selection))
    selection.values = {"width": 4, "kernel": 3}
    layer(torch.randn(2, 3, 6, 6)).square().sum().backward()
    touched = layer.weight.grad != 0
    assert bool(touched[:4, :, 2:5, 2:5].all())
    assert int(touched.sum()) == 4 * 3 * 9
