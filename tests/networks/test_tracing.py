"""Traces against graphs written by hand, against PyTorch's flop counter, and against runs with real numbers."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from archscout.core.errors import ArchscoutError
from archscout.core.graph import Graph, Node
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks import tracing
from archscout.networks.pick import build
from archscout.networks.tracing import blueprint, trace, trace_architecture
from archscout.testing.tasks import tiny_task


class Residual(nn.Module):
    def __init__(self, channels: int, *, inplace: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.relu(self.conv(x))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class OwnAttention(nn.Module):
    """Queries, keys and values by hand, in chunks, with a table of positions that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.bias = torch.randn(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(1, 2)[..., :8]).chunk(3, dim=-1)
        weights = (q @ k.transpose(1, 2))[:, :8, :8] + self.bias
        return self.head((weights.softmax(-1) @ v[:, :8]).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(8, 12, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.rnn(x.mean(1))
        return self.head(outputs[:, -1])


class DataDependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 1:
            x = self.first(x)
        return self.second(x)


class ByShape(nn.Module):
    """Control flow on shapes, a list of tensors, a factory on the CPU, dead code, a result that is left unused."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, c, 3, stride=2, padding=1, groups=g) for c, g in ((6, 3), (4, 1))])
        self.up = nn.ConvTranspose2d(4, 3, 2, 2)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> list[Tensor]:
        _, places = F.max_pool2d(x, 2, return_indices=True)
        places + 1
        parts = []
        while x.shape[-1] > 4:
            parts.append(self.convs[0](x))
            x = self.up(self.norm(self.convs[1](x)))
            x = F.max_pool2d(x, 2)
        mask = torch.arange(x.shape[-1]) % 2
        return [torch.cat([p[..., :2, :2] for p in parts], 1), F.silu(x * mask, inplace=True)]


NETWORKS = {
    "residual": (Residual(3), (3, 8, 8)),
    "in place": (Residual(3, inplace=True), (3, 9, 5)),
    "attention": (Attention(), (3, 8, 8)),
    "own attention": (OwnAttention(), (3, 8, 8)),
    "by shape": (ByShape(), (3, 32, 32)),
    "dropout": (nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 2), nn.BatchNorm1d(2)), (3, 2, 2)),
    "instance": (
        nn.Sequential(nn.InstanceNorm2d(3, affine=True), nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(2)),
        (3, 4, 4),
    ),
}


def total_macs(graph: Graph) -> int:
    return sum(node.macs for node in graph.nodes)


def counted(network: nn.Module, shape: tuple[int, ...]) -> int:
    """By PyTorch's own counter, on numbers; it does not know the multiply-adds of fused attention."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            network.eval()(torch.zeros(1, *shape))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def test_a_small_network_gives_the_graph_one_would_draw() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    )
    assert trace(network, (3, 8, 8)) == Graph(
        (
            Node("input", 4 * 192),
            Node("conv 3x3", 4 * 144, 144 * 27, weights=4 * 108),
            Node("batch_norm", 4 * 144, weights=4 * 16),
            Node("relu", 4 * 144),
            Node("linear", 8, 288, weights=4 * 290),
            Node("output"),
        ),
        ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)),
    )


def test_branches_are_edges() -> None:
    graph = trace(Residual(3), (3, 8, 8))
    assert graph.labels == ("input", "conv 3x3", "relu", "add", "output")
    assert graph.edges == ((0, 1), (1, 2), (0, 3), (2, 3), (3, 4))


def test_what_works_in_place_has_no_memory_of_its_own() -> None:
    plain, inplace = trace(Residual(3), (3, 8, 8)), trace(Residual(3, inplace=True), (3, 8, 8))
    assert plain.labels == inplace.labels
    assert plain.edges == inplace.edges
    assert [node.size for node in plain.nodes] == [768, 768, 768, 768, 0]
    assert [node.size for node in inplace.nodes] == [768, 768, 0, 768, 0]


def test_views_are_no_nodes_and_share_their_memory() -> None:
    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            left, right = x.flip(1).chunk(2, dim=1)
            left.mul_(2)
            return left.transpose(1, 2) + right.transpose(1, 2).contiguous()

    graph = trace(Halves(), (4, 3, 3))
    assert graph.labels == ("input", "flip", "mul", "clone", "add", "output")
    assert graph.edges == ((0, 1), (1, 2), (2, 3), (2, 4), (3, 4), (4, 5))
    assert [node.size for node in graph.nodes] == [144, 144, 0, 72, 72, 0]


def test_an_operator_belongs_to_the_innermost_option() -> None:
    outer, inner = nn.Sequential(nn.ReLU(), Residual(3)), nn.Sequential(nn.Sigmoid())
    outer.append(inner)
    outer.picked, inner.picked = "edge=block", "gate=sigmoid"  # type: ignore[assignment]
    graph = trace(nn.Sequential(outer, nn.ReLU()), (3, 4, 4))
    groups = [(node.label, node.group) for node in graph.nodes]
    assert groups[1:-1] == [
        ("relu", "edge=block"), ("conv 3x3", "edge=block"), ("relu", "edge=block"), ("add", "edge=block"),
        ("sigmoid", "gate=sigmoid"), ("relu", ""),
    ]  # fmt: skip
    assert not outer._forward_hooks
    assert not outer._forward_pre_hooks


def test_what_leads_nowhere_is_left_out() -> None:
    graph = trace(NETWORKS["by shape"][0], (3, 32, 32))
    assert "max_pool2d" in graph.labels
    assert graph.labels.count("add") == 0
    needed = {len(graph.nodes) - 1}
    for node in reversed(range(len(graph.nodes))):
        if node in needed:
            needed.update(graph.predecessors(node))
    assert all(node in needed or graph.nodes[node].macs for node in range(1, len(graph.nodes)))


def test_a_constant_output_has_no_path_from_the_input() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.ones(1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.value

    assert trace(Constant(), (1, 4, 4)) == Graph((Node("input", 64), Node("output")), ())


@pytest.mark.parametrize("name", NETWORKS)
def test_no_number_is_needed(name: str) -> None:
    """The graph without data is the graph of a run with data, and its multiply-adds are those PyTorch counts."""
    network, shape = NETWORKS[name]
    tracing._signatures.clear()
    graph = trace(network, shape)
    assert graph == tracing._run(network.eval(), torch.randn(1, *shape))
    assert trace(network, shape) == graph, "known signatures give another graph"
    assert total_macs(graph) == counted(network, shape)
    assert total_macs(graph) > 0


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_networks(kind: type[nn.RNNBase]) -> None:
    """Eight steps of gates: inputs times weights for all steps at once or one by one, states times weights."""
    gates = {nn.GRU: 3, nn.LSTM: 4, nn.RNN: 1}[kind] * 12
    with torch.device("meta"):
        graph = trace(Recurrent(kind), (3, 8, 8))
    assert total_macs(graph) == 8 * gates * (8 + 12) + 12 * 5
    assert graph.labels[-2] == "linear"
    trace(Recurrent(kind), (3, 8, 8))


class Looking(nn.Module):
    """A layer whose caller looks at numbers first, which a run without data cannot."""

    def __init__(self, layer: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.run = layer, run

    def forward(self, x: Tensor) -> Tensor:
        assert torch.isfinite(x).all()
        scale = max(float(x.abs().max().item()), 1.0)
        return self.run(self.layer, x[x >= 0].view_as(x) / scale)


PRODUCTS = {
    "LSTM": (nn.LSTM(8, 64, batch_first=True), lambda m, x: m(x)[0], (3, 8), 3 * 4 * 64 * 72),
    "GRU": (nn.GRU(8, 64, batch_first=True), lambda m, x: m(x)[0], (3, 8), 3 * 3 * 64 * 72),
    "matrix by vector": (nn.Linear(8, 5), lambda m, x: torch.mv(m.weight, x[0]), (8,), 40),
    "matrix by vector plus bias": (nn.Linear(8, 5), lambda m, x: torch.addmv(m.bias, m.weight, x[0]), (8,), 40),
    "vector by vector": (nn.Linear(8, 5), lambda m, x: torch.dot(m.weight[0], x[0]), (8,), 8),
    "bilinear": (nn.Bilinear(8, 4, 5), lambda m, x: m(x, x[:, :4]), (8,), 160),
    "einsum": (nn.Linear(8, 5), lambda m, x: torch.einsum("ij,bj->bi", m.weight, x), (8,), 40),
    "spectral norm": (nn.utils.parametrizations.spectral_norm(nn.Linear(8, 5)), lambda m, x: m(x), (8,), 40),
    "orthogonal": (nn.utils.parametrizations.orthogonal(nn.Linear(8, 5)), lambda m, x: m(x), (8,), 40),
    "attention": (nn.MultiheadAttention(8, 2, batch_first=True), lambda m, x: m(x, x, x)[0], (4, 8), 4 * 256 + 256),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_multiply_adds_do_not_depend_on_how_the_code_is_written(name: str) -> None:
    layer, run, shape, macs = PRODUCTS[name]
    assert trace(Looking(layer, run), shape).macs == macs

    class Plain(Looking):
        def forward(self, x: Tensor) -> Tensor:
            return self.run(self.layer, x)

    assert trace(Plain(layer, run), shape).macs == macs


def test_what_runs_in_inference_mode_counts_too() -> None:
    """There, operators come whole that otherwise come as their parts."""

    def run(layer: nn.Module, x: Tensor) -> Tensor:
        with torch.inference_mode():
            y = layer(x)
            return y @ torch.ones(5, 2) + F.conv1d(x[:, None], torch.ones(1, 1, 3)).flatten(1)[:, :2]

    assert trace(Looking(nn.Linear(8, 5), run), (8,)).macs == 40 + 10 + 18


def test_a_module_that_refuses_zeros_is_traced_on_other_numbers() -> None:
    class Varied(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            assert x.std() > 0
            return super().forward(x)

    assert trace(Varied(4, 2), (4,)).macs == 8


def test_products_without_a_formula_are_named_and_not_counted_as_nothing() -> None:
    def spectrum(layer: nn.Module, x: Tensor) -> Tensor:
        return layer(torch.fft.rfft(x).abs())

    graph = trace(Looking(nn.Linear(5, 3), spectrum), (8,))
    with pytest.raises(ArchscoutError, match="of operator fft_r2c are not known"):
        _ = graph.macs
    # What multiplies no matrices is free by definition.
    assert trace(nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Softmax(1)), (3, 4, 4)).macs == 0

    def of_length_one(layer: nn.Module, x: Tensor) -> Tensor:
        return layer(torch.nn.functional.normalize(x) * (x.var(1, keepdim=True) + 1).sqrt() * (x.square() + 1).rsqrt())

    assert trace(Looking(nn.Linear(8, 3), of_length_one), (8,)).macs == 24


def test_control_flow_on_numbers_runs_with_numbers() -> None:
    network = DataDependent()
    assert trace(network, (4,)).labels[-2:] == ("linear", "output")
    with pytest.raises(ArchscoutError, match="without weights"):
        trace(DataDependent().to("meta"), (4,))


def test_a_wrong_shape_is_an_error_that_says_so() -> None:
    with pytest.raises(ArchscoutError, match=r"does not run on an input of shape \(2, 8, 8\)"):
        trace(Residual(3), (2, 8, 8))


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    network[2].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trace(network, (1, 4, 4))
    with pytest.raises(ArchscoutError):
        trace(network, (5, 4, 4))
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("name", ["nasbench201", "nasbench201:width=3,cells=2", "mobile"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 47)])
def test_spaces(name: str, shape: tuple[int, int, int]) -> None:
    space, task = create("space", name), tiny_task(shape)
    for number in range(6):
        architecture = space.sample(stream(number, "tracing"))
        graph = trace_architecture(space, architecture, task)
        network = build(space, architecture, task)
        assert graph == trace(network, shape)
        assert graph == tracing._run(network.eval(), torch.randn(1, *shape))
        assert total_macs(graph) == counted(network, shape)
        assert all(parameter.is_meta for parameter in blueprint(space, architecture, task).parameters())


def test_options_of_a_space_are_groups() -> None:
    space = create("space", "nasbench201")
    architecture = space.parse("|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    groups = {node.group for node in trace_architecture(space, architecture, tiny_task()).nodes}
    assert groups == {"", "edge 0->1=nor_conv_3x3", "edge 1->2=avg_pool_3x3", "edge 2->3=nor_conv_1x1"}
