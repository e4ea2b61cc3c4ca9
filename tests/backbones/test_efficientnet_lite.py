"""EfficientNet-Lite against the package that it is published in, where that is installed."""

import pytest
import torch

from archscout.backbones.base import available
from archscout.backbones.efficientnet_lite import Conv2dSame, EfficientNetLite
from archscout.core.registry import create
from archscout.networks.tracing import trace


@pytest.mark.parametrize("number", [0, 1, 2])
def test_structure_and_answers_are_those_of_the_published_package(number: int) -> None:
    published = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(f"efficientnet-lite{number}")
    backbone = create("backbone", f"efficientnet_lite{number}")
    network = backbone.structure().eval()
    network.load_state_dict({backbone.rename(name): tensor for name, tensor in published.state_dict().items()})
    size = (96, 96, 128)[number]
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(x), published.eval()(x), rtol=1e-4, atol=1e-5)


def test_same_padding_at_every_size_and_stride() -> None:
    """The definition: output i begins at i * stride - floor(total / 2), zeros outside."""
    for size in (5, 6, 7, 8):
        for kernel, stride in ((3, 1), (3, 2), (5, 2), (5, 3)):
            layer = Conv2dSame(1, 1, kernel, stride, bias=False)
            x = torch.randn(1, 1, size, size)
            outputs = -(-size // stride)
            total = max((outputs - 1) * stride + kernel - size, 0)
            padded = torch.zeros(1, 1, size + total + kernel, size + total + kernel)
            padded[:, :, total // 2 : total // 2 + size, total // 2 : total // 2 + size] = x
            expected = torch.stack(
                [
                    (
                        padded[0, 0, i * stride : i * stride + kernel, j * stride : j * stride + kernel] * layer.weight
                    ).sum()
                    for i in range(outputs)
                    for j in range(outputs)
                ]
            ).reshape(outputs, outputs)
            torch.testing.assert_close(layer(x)[0, 0], expected, rtol=1e-4, atol=1e-5)


def test_figures_of_the_published_network() -> None:
    network = EfficientNetLite()
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    macs = sum(node.macs for node in trace(network.to("meta"), (3, 224, 224)).nodes)
    assert macs == pytest.approx(390e6, rel=0.02)


@pytest.mark.skipif("efficientnet_lite0" not in available(), reason="its weights are not installed")
def test_trained_weights_load() -> None:
    network = create("backbone", "efficientnet_lite0").network()
    assert not network.training
    assert float(network.state_dict()["stem.1.running_var"].std()) > 0
