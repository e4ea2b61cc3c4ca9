"""Small networks of every kind that people train, each with what must be cuttable of it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(i: int, o: int, k: int = 3, s: int = 1, g: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class Plain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(conv_norm(3, 8), conv_norm(8, 12), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * 64, 16),
                         nn.ReLU(), nn.Linear(16, 5))  # fmt: skip


class BasicBlock(nn.Module):
    def __init__(self, i: int, o: int, s: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.down = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o)) if s > 1 or i != o else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y += x if self.down is None else self.down(x)
        return F.relu(y)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8)
        self.stage1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.stage2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.stage2(self.stage1(self.stem(x))), 1).flatten(1))


class PaddedShortcut(nn.Module):
    """The ResNet of CIFAR-10 with option A: channels of zeros are added on the short cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.fc = (
            conv_norm(3, 8),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.Conv2d(16, 16, 3, 1, 1),
            None,
        )
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.b(F.relu(self.a(x))) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.fc(y.mean((2, 3)))


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), nn.Conv2d(8 + 4 * i, 4, 3, padding=1)) for i in range(3)
        )
        self.norm, self.fc = nn.BatchNorm2d(20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.fc(F.relu(self.norm(x)).mean((2, 3)))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8)
        self.one, self.three, self.five = (
            conv_norm(8, 4, 1),
            conv_norm(8, 6),
            nn.Sequential(conv_norm(8, 4, 1), conv_norm(4, 5, 5)),
        )
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_norm(8, 3, 1))
        self.fc = nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1).mean((-1, -2)))


class InvertedResidual(nn.Module):
    def __init__(self, c: int, hidden: int) -> None:
        super().__init__()
        self.expand, self.depthwise = conv_norm(c, hidden, 1), conv_norm(hidden, hidden, 5, g=hidden)
        self.squeeze, self.excite = nn.Conv2d(hidden, 4, 1), nn.Conv2d(4, hidden, 1)
        self.project = nn.Sequential(nn.Conv2d(hidden, c, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        y = y * torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + self.project(y)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8, 3, 2)
        self.blocks = nn.Sequential(InvertedResidual(8, 16), InvertedResidual(8, 24))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class ResNeXt(nn.Module):
    """Grouped convolutions and group normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.reduce = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 1)
        self.grouped, self.norm, self.expand = (
            nn.Conv2d(16, 16, 3, padding=1, groups=4),
            nn.GroupNorm(4, 16),
            nn.Conv2d(16, 8, 1),
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.expand(F.relu(self.norm(self.grouped(F.relu(self.reduce(x))))))
        return self.fc(x.mean((2, 3)))


class ShuffleUnit(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        half = c // 2
        self.branch = nn.Sequential(
            conv_norm(half, 12, 1),
            nn.Conv2d(12, 12, 3, padding=1, groups=12),
            nn.BatchNorm2d(12),
            conv_norm(12, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        y = torch.cat([a, self.branch(b)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.units = conv_norm(3, 16), nn.Sequential(ShuffleUnit(16), ShuffleUnit(16))
        self.last, self.fc = conv_norm(16, 12, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.units(self.stem(x))).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = conv_norm(3, 6), conv_norm(6, 10), conv_norm(10, 12)
        self.up2, self.fuse2 = nn.ConvTranspose2d(12, 8, 2, 2), conv_norm(18, 8)
        self.fuse1, self.out = conv_norm(14, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        y = self.fuse2(torch.cat([self.up2(self.middle(F.max_pool2d(b, 2))), b], 1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.fuse1(torch.cat([y, a], 1)))


class Attention(nn.Module):
    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (c // heads) ** -0.5
        self.head_dim = c // heads
        self.qkv, self.project = nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-2, -1)) * self.scale).softmax(-1) @ v
        return self.project(y.transpose(1, 2).reshape(n, tokens, -1))


class TransformerBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(c), Attention(c, 4), nn.LayerNorm(c)
        self.mlp = nn.Sequential(nn.Linear(c, 24), nn.GELU(), nn.Linear(24, c))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.Sequential(TransformerBlock(16), TransformerBlock(16))
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.fc(self.norm(self.blocks(x))[:, 0])


class RecurrentHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv_norm(3, 8), conv_norm(8, 6)
        self.lstm, self.fc = nn.LSTM(6, 10, batch_first=True), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.second(self.first(x)).flatten(2).transpose(1, 2))[0][:, -1])


class Multihead(nn.Module):
    """PyTorch's own encoder layer: its attention stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.layer, self.fc = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class FixedShape(nn.Module):
    """Its code has the width of its first layer written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).view(len(x), 8, 16, 16)
        return self.fc(self.b(x).mean((2, 3)))


class Scaled(nn.Module):
    """Scales of each channel, PReLU, a gate over places, and a layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.scale, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.Parameter(torch.rand(8, 1, 1)), nn.PReLU(8)
        self.twice, self.gate = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 1, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x) * self.scale)
        x = self.twice(self.twice(x))
        return self.fc((x * torch.sigmoid(self.gate(x))).mean((2, 3)))


class Mixer(nn.Module):
    """Layers over places, then over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.places = nn.Sequential(nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 16))
        self.mix, self.fc = nn.Sequential(nn.Linear(8, 20), nn.GELU(), nn.Linear(20, 8)), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2)
        x = (x + self.places(x)).transpose(1, 2)
        return self.fc((x + self.mix(x)).mean(1))


class SuperResolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.up = conv_norm(3, 8), conv_norm(8, 8), nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.up(self.b(self.a(x))), 2)


class GroupedShuffle(nn.Module):
    """Few wide groups whose channels are shuffled between: no group can go, each can become narrower."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = conv_norm(3, 16), conv_norm(16, 24, 1, g=2)
        self.depth, self.second, self.fc = conv_norm(24, 24, g=24), conv_norm(24, 16, 1, g=2), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.second(self.depth(F.channel_shuffle(self.first(x), 2)))
        return self.fc(x.mean((2, 3)))


class BothWays(nn.Module):
    """A weight that is used both ways, a layer by `einsum`, instance normalisation with scales."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True)
        self.tied, self.mix = nn.Parameter(torch.randn(8, 12)), nn.Parameter(torch.randn(8, 6))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.a(x)))
        x = torch.einsum(
            "bchw,cd->bdhw", x + F.linear(F.relu(x.mean((2, 3)) @ self.tied), self.tied)[..., None, None], self.mix
        )
        return self.fc(F.relu(x).mean((2, 3)))


class GatedHead(nn.Module):
    """A recurrent layer over columns, both ways: its inputs can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_norm(3, 8)
        self.gru, self.fc = nn.GRU(8 * 4, 10, 2, batch_first=True, bidirectional=True), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.first(x), (4, x.shape[3]))
        return self.fc(self.gru(x.permute(0, 3, 1, 2).flatten(2))[0][:, -1])


class Spectrum(nn.Module):
    """One dimension: sound."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(3, 8, 5, padding=2), nn.Conv1d(8, 8, 3, padding=1, groups=8)
        self.norm, self.c, self.fc = nn.BatchNorm1d(8), nn.Conv1d(8, 12, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.c(self.norm(self.b(self.a(x.flatten(2)))))).mean(2))


ZOO: dict[str, tuple[type[nn.Module], set[str]]] = {
    "plain": (Plain, {"0.0", "1.0", "4"}),
    "resnet": (
        ResNet,
        {"stem.0", "stage1.0.conv1", "stage1.1.conv1", "stage2.0.conv1", "stage2.0.conv2", "stage2.1.conv1"},
    ),
    "padded short cut": (PaddedShortcut, {"stem.0", "a"}),
    "densenet": (DenseNet, {"stem", "layers.0.2", "layers.1.2", "layers.2.2"}),
    "inception": (Inception, {"stem.0", "one.0", "three.0", "five.0.0", "five.1.0", "pool.1.0"}),
    "mobilenet": (
        MobileNet,
        {"stem.0", "blocks.0.expand.0", "blocks.0.squeeze", "blocks.1.expand.0", "blocks.1.squeeze"},
    ),
    "resnext": (ResNeXt, {"stem", "reduce"}),
    "shufflenet": (ShuffleNet, {"units.0.branch.0.0", "units.1.branch.0.0", "last.0"}),
    "unet": (UNet, {"down1.0", "down2.0", "middle.0", "up2", "fuse2.0", "fuse1.0"}),
    "vit": (ViT, {"blocks.0.attention.qkv", "blocks.0.mlp.0", "blocks.1.attention.qkv", "blocks.1.mlp.0"}),
    "recurrent head": (RecurrentHead, {"first.0", "second.0"}),
    "multihead": (Multihead, {"layer.linear1"}),
    "fixed shape": (FixedShape, {"b"}),
    "scaled": (Scaled, {"a"}),
    "mixer": (Mixer, {"patches", "mix.0"}),
    "super-resolution": (SuperResolution, {"a.0", "b.0"}),
    "grouped shuffle": (GroupedShuffle, {"stem.0", "first.0"}),
    "both ways": (BothWays, {"a", "network", "network#2"}),
    "gated head": (GatedHead, {"first.0"}),
    "spectrum": (Spectrum, {"a", "c"}),
}
BLOCKS = {
    "resnet": {"stage1.0", "stage1.1", "stage2.1"},
    "mobilenet": {"blocks.0", "blocks.1"},
    "vit": {"blocks.0", "blocks.1"},
}


def zoo_network(name: str) -> nn.Module:
    """With weights, statistics and scales of batch normalisation that are not those of a new network."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = ZOO[name][0]()
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()
