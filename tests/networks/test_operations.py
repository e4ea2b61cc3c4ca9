import torch
import torch.nn.functional as F
from torch import nn

from archscout.networks.operations import ClassifierHead, ConvBNActivation, ReLUConvBN, Zero


def test_zero_yields_nothing():
    assert Zero()(torch.ones(1)) is None


def test_relu_comes_before_the_convolution():
    torch.manual_seed(0)
    operation = ReLUConvBN(3, 5, 3, stride=2)
    x = torch.randn(2, 3, 8, 8)
    expected = F.conv2d(F.relu(x), operation[1].weight, None, 2, 1)
    mean, std = expected.mean((0, 2, 3), keepdim=True), expected.var((0, 2, 3), unbiased=False, keepdim=True)
    assert torch.allclose(operation(x), (expected - mean) / (std + 1e-5).sqrt(), atol=1e-5)


def test_the_activation_comes_last():
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5, 5)
    with_activation = ConvBNActivation(6, 6, 3, depthwise=True, activation=nn.ReLU())
    assert with_activation[0].groups == 6
    assert float(with_activation(x).min().detach()) == 0.0
    assert len(ConvBNActivation(6, 4, 1)) == 2
    assert float(ConvBNActivation(6, 4, 1)(x).min().detach()) < 0.0


def test_the_head_averages_over_pixels():
    head = ClassifierHead(4, 3)
    x = torch.randn(2, 4, 5, 6)
    expected = F.linear(x.flatten(2).mean(2), head.classifier.weight, head.classifier.bias)
    assert torch.allclose(head(x), expected, atol=1e-6)
