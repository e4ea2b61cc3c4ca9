"""What is combined along a dimension: branches are cut channel by channel, and nothing else than what works."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.channels import channels
from archscout.networks.cutting import Cut, cut, masked, usable


class Gated(nn.Module):
    """Gated linear units; what is left of places is their log of summed powers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(8, 24, 3, 1, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.logsumexp(F.glu(self.b(F.glu(self.a(x), 1)), 1).flatten(2), 2))


class Normed(nn.Module):
    """Each channel over its norm, over places; and the order of the norm is not its dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 1, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.normalize(F.relu(self.a(x)).flatten(2), dim=2).unflatten(2, (8, 8))))
        return self.fc(x.flatten(2).norm(1, dim=2))


class Branches(nn.Module):
    """Selective kernels: channels of two branches, weighed by a softmax over the branches."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(3, 8, 5, 1, 2)
        self.squeeze, self.weigh, self.fc = nn.Linear(8, 6), nn.Linear(6, 16), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.stack([F.relu(self.a(x)), F.relu(self.b(x))], 1)
        weights = self.weigh(F.relu(self.squeeze(both.sum(1).mean((2, 3))))).view(len(x), 2, -1).softmax(1)
        return self.fc((both * weights[..., None, None]).sum(1).mean((2, 3)))


class Encoder(nn.Module):
    """Layers of `nn.TransformerEncoder`, which hands masks that are none to each of them."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 24, 0.0, batch_first=True, norm_first=True)
        self.a, self.fc = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 5)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.a(x).flatten(2).transpose(1, 2)).mean(1))


class Cosine(nn.Module):
    """The norm is over channels, which therefore stay."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 1, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.normalize(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)), dim=1))


LINEAR = {f"encoder.layers.{place}.linear1" for place in range(3)}


@pytest.mark.parametrize(
    ("kind", "groups", "blocks"),
    [
        (Gated, {"a", "b"}, set()),
        (Normed, {"a", "b"}, set()),
        (Branches, {"a", "squeeze"}, set()),
        (Encoder, LINEAR, {"encoder.layers.1", "encoder.layers.2"}),
        (Cosine, {"a"}, set()),
    ],
)
def test_a_cut_network_is_the_masked_one(kind: type[nn.Module], groups: set[str], blocks: set[str]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, x = kind().eval(), torch.randn(2, 3, 16, 16)
    of = usable(network, channels(network, x[:1]), x)
    assert {group.name for group in of.groups} == groups and set(of.blocks) == blocks
    rng = np.random.default_rng(0)
    for _ in range(3):
        units = {group.name: rng.permutation(len(group))[: rng.integers(1, len(group))].tolist() for group in of.groups}
        what = Cut(units, [block for block in of.blocks if rng.random() < 0.5])
        smaller = cut(network, of.groups, what)
        with torch.no_grad():
            torch.testing.assert_close(smaller(x), masked(network, of.groups, what)(x), rtol=1e-5, atol=1e-5)
        assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in network.parameters())
