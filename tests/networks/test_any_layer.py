"""`Layer`: layers of torch of any kind with choices among their arguments, alone and with shared weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout import Conv2d, Kernel, Layer, Linear, Value, Width
from archscout.core.errors import UsageError
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task


class Net(nn.Module):
    """A stem, a layer on its maps, on sequences (N x L x C) or on vectors, and a head."""

    def __init__(self, make: Callable[[Any], nn.Module], form: str) -> None:
        super().__init__()
        width = Width(4, 8, name="w")
        self.form, self.stem = form, Conv2d(1, width, 3)
        self.layer, self.head = make(width), Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.form == "maps":
            return self.head(self.layer(x).mean((2, 3)))
        vector = x.mean((2, 3))
        if self.form == "words":
            return self.head(vector + self.layer(torch.zeros(len(x), 2, dtype=torch.long)))
        if self.form == "vectors":
            return self.head(self.layer(vector, vector))
        x = x.flatten(2).transpose(1, 2)
        y = self.layer(x, x, x, need_weights=False) if self.form == "attention" else self.layer(x)
        return self.head((y[0] if isinstance(y, tuple) else y).mean(1))


LAYERS = {
    "LSTM": (lambda w: Layer(nn.LSTM, w, w, batch_first=True), "sequences", lambda w: 4 * (2 * w * w + 2 * w)),
    "GRU": (lambda w: Layer(nn.GRU, w, w, bias=False, batch_first=True), "sequences", lambda w: 6 * w * w),
    "attention": (lambda w: Layer(nn.MultiheadAttention, w, Value(2, 4, name="heads"), batch_first=True), "attention",
                  lambda w: 4 * (w * w + w)),
    "Bilinear": (lambda w: Layer(nn.Bilinear, w, w, w), "vectors", lambda w: w**3 + w),
    "EmbeddingBag": (lambda w: Layer(nn.EmbeddingBag, 5, w), "words", lambda w: 5 * w),
    "PReLU": (lambda w: Layer(nn.PReLU, w), "maps", lambda w: w),
    "RMSNorm": (lambda w: Layer(nn.RMSNorm, w), "sequences", lambda w: w),
    "InstanceNorm": (lambda w: Layer(nn.InstanceNorm2d, w, affine=True), "maps", lambda w: 2 * w),
    "sizes in a tuple": (lambda w: Layer(nn.LayerNorm, [w, 8, 8]), "maps", lambda w: 128 * w),
    "a scale": (lambda w: Layer(nn.Upsample, scale_factor=(Value(1, 2, name="s"), 2)), "maps", lambda w: 0),
    "padding": (lambda w: Conv2d(w, w, Kernel(1, 3), padding_mode=Value("zeros", "reflect", name="p")), "maps", None),
    "stride and bias": (lambda w: Conv2d(w, w, 3, stride=Value(1, 2, name="s"), bias=Value(True, False, name="b")),
                        "maps", None),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_sizes_are_right_and_shared_weights_answer_as_each_network_does(name: str) -> None:
    make, form, count = LAYERS[name]
    space, task = ModelSpace(Net(make, form)), tiny_task()
    assert space.digest == ModelSpace(Net(make, form)).digest
    supernet, x = Supernet(space, task).eval(), torch.randn(2, 1, 8, 8)
    for architecture in space:
        assert space.parse(architecture.text) == architecture
        network = supernet.extract(architecture).eval()
        torch.testing.assert_close(supernet.select(architecture)(x), network(x))
        for device in ("cpu", "meta"):
            alone = build(space, architecture, task, device=device).layer
            assert type(alone).__module__.startswith("torch."), "no trace of the search is left"
            if count is not None:
                assert sum(p.numel() for p in alone.parameters()) == count(architecture["w"])


def test_values_of_convolutions_become_what_is_chosen() -> None:
    space, task = ModelSpace(Net(LAYERS["padding"][0], "maps")), tiny_task()
    modes = {a["p"]: build(space, a, task).layer.padding_mode for a in space}
    assert modes == {"zeros": "zeros", "reflect": "reflect"}
    space = ModelSpace(Net(LAYERS["stride and bias"][0], "maps"))
    for architecture in space:
        layer = build(space, architecture, task).layer
        assert (layer.stride, layer.bias is not None) == ((architecture["s"],) * 2, architecture["b"])


@pytest.mark.parametrize(("name", "gates"), [("LSTM", 4), ("GRU", 3), ("attention", 3)])
def test_gates_are_shared_gate_by_gate(name: str, gates: int) -> None:
    make, form, _ = LAYERS[name]
    space = ModelSpace(Net(make, form))
    supernet = Supernet(space, tiny_task())
    wide, narrow = (
        dict(
            supernet.extract(
                space.architecture({"w": w} | ({"heads": 2} if name == "attention" else {}))
            ).layer.named_parameters()
        )
        for w in (8, 4)
    )
    weight = "in_proj_weight" if name == "attention" else "weight_ih_l0"
    for gate in range(gates):
        torch.testing.assert_close(narrow[weight][4 * gate : 4 * gate + 4], wide[weight][8 * gate : 8 * gate + 4, :4])


def test_weights_begin_as_those_of_the_layer_in_torch() -> None:
    torch.manual_seed(0)
    drawn = Supernet(ModelSpace(Net(LAYERS["Bilinear"][0], "vectors")), tiny_task()).network.layer.weight.detach()
    bound = 8**-0.5
    assert drawn.abs().max() <= bound
    assert drawn.abs().mean() == pytest.approx(bound / 2, rel=0.2)


def test_statistics_of_one_size_are_not_those_of_another() -> None:
    space, task = ModelSpace(Net(lambda w: Layer(nn.BatchNorm2d, w), "maps")), tiny_task()
    assert build(space, space.parse("w=4"), task).layer.num_features == 4
    with pytest.raises(UsageError, match="BatchNorm2d has a running_mean of its own"):
        Supernet(space, task)


W = Width(4, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Layer(nn.PReLU(), W), "a class of torch.nn first"),
        (lambda: Layer("PReLU", W), "a class of torch.nn first"),
        (lambda: Layer(Net, W), "a class of torch.nn first"),
        (lambda: Layer(nn.PReLU, 3), "is given no choice: use nn.PReLU itself"),
        (lambda: Layer(nn.LazyConv2d, W, 1), "learns its sizes when it runs"),
        (lambda: Layer(nn.PReLU, W, W, W, W, W), "cannot be made of these arguments: TypeError"),
        (lambda: Layer(nn.PReLU, wodth=W), "cannot be made of these arguments: TypeError"),
        (lambda: Layer(nn.GroupNorm, 3, W), "must be divisible by num_groups"),
        (lambda: Conv2d(W, W, 3, padding_mode="refl"), "Conv2d cannot be made of these arguments: .*padding_mode"),
        (lambda: Value(0.0, -0.0), "must be given different"),
        (lambda: Value(0, False), "must be given different"),
    ],
)
def test_wrong_use_is_one_clear_error(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("kind", [nn.PReLU, nn.RMSNorm, nn.InstanceNorm1d, nn.BatchNorm3d, nn.GRUCell])
def test_a_layer_of_torch_that_would_keep_a_width_is_refused_and_the_way_said(kind: Any) -> None:
    made = nn.Sequential(Conv2d(1, W, 3), kind(*(W,) * (2 if kind is nn.GRUCell else 1)))
    with pytest.raises(
        UsageError, match=rf"torch's {kind.__name__} \('1'\) .* use archscout\.Layer\(nn\.{kind.__name__}"
    ):
        ModelSpace(made)
