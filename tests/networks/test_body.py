"""A body is a network without its head, which may read the ends of its stages."""

import itertools

import pytest
import torch
from torch import nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.body import Body, Tapped
from archscout.networks.pick import build
from archscout.supernets.supernet import Supernet
from archscout.tasks.segmentation import Segmentation
from archscout.testing import tiny_heads, tiny_segmentation, tiny_task
from archscout.training.trainer import Recipe, train

SPACES = [
    "nasbench201:width=4", "mobile:width=8", "fbnetv2", "nasbench_macro:width=4", "darts:width=4,layers=4",
    "classic:width=64",
]  # fmt: skip


def body() -> Body:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)]
    return Body(layers, [1, 2], [4, 6], [1, 2])


def test_most_heads_read_the_last_map_and_the_network_is_a_plain_row() -> None:
    network = body().with_head(tiny_task())
    assert type(network) is nn.Sequential
    assert [name for name, _ in network.named_children()] == ["0", "1", "2", "3"]


def test_several_heads_share_a_body() -> None:
    network = body().with_head(tiny_heads())
    outputs = network(torch.rand(2, 1, 8, 8))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "side": (2, 2), "marks": (2, 2), "brightness": (2, 1),
    }  # fmt: skip
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 3


def test_a_head_for_pixels_reads_the_end_of_every_stage() -> None:
    network = body().with_head(tiny_segmentation())
    assert isinstance(network, Tapped)
    seen = []
    network[-1].register_forward_pre_hook(lambda _, inputs: seen.append([tuple(x.shape) for x in inputs[0]]))
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 2, 8, 8)
    assert seen == [[(2, 4, 8, 8), (2, 6, 4, 4)]]
    loss = network(torch.rand(2, 1, 8, 8)).square().mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("stages", "channels"), [([0, 1], [4, 6]), ([2, 1], [4, 6]), ([1, 2], [4])])
def test_stages_must_end_in_order_and_with_the_last_layer(stages: list[int], channels: list[int]) -> None:
    with pytest.raises(ValueError, match="stages"):
        Body(body().layers, stages, channels, [1, 2])


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("side", [8, 32])
def test_built_in_spaces_say_truly_what_their_stages_give(name: str, side: int) -> None:
    """Channels and strides are those of the maps, of a network and of the supernet."""
    told: list[tuple[list[object], list[int]]] = []

    class Watched(Segmentation):
        def tapped_head(self, channels, strides):  # type: ignore[no-untyped-def]
            told.append((list(channels), list(strides)))
            return super().tapped_head(channels, strides)

    tiny = tiny_segmentation()
    task = Watched(tiny.name, (1, side, side), 2, tiny.train, tiny.valid, None, ("a", "b"), statistics=((0.0,), (1.0,)))
    space = create("space", name)
    architecture = space.sample(stream(0, "taps"))
    network = build(space, architecture, task).eval()
    supernet = Supernet(space, task).select(architecture)
    for model, (channels, strides) in zip((network, supernet), told, strict=True):
        assert len(channels) > 1
        assert all(after >= before for before, after in itertools.pairwise(strides))
        head = next(module for module in model.modules() if type(module).__name__ == "Decoder")
        maps: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs, maps=maps: maps.extend(inputs[0]))  # type: ignore[misc]
        with torch.no_grad():
            assert model(torch.rand(2, 1, side, side)).shape == (2, 2, side, side)
        hook.remove()
        met = [-(-side // tap.shape[2]) for tap in maps]
        if name.startswith("classic") and model is not network:
            # How often the map is halved, and how many stages there are, is a choice: what is told is the most.
            assert all(stride <= most for stride, most in zip(met, strides, strict=False))
        else:
            assert met == strides
        if model is network:
            assert [tap.shape[1] for tap in maps] == channels


def test_a_network_with_fewer_stages_is_cut_out_of_the_supernet_with_its_own_part_of_the_head() -> None:
    space, task = create("space", "classic:width=64"), tiny_segmentation()
    supernet = Supernet(space, task).eval()
    x = torch.rand(2, 1, 8, 8)
    short = "stem8k3s1_plain16x1k3_residual16x1k3-pool"
    for text, stages in ((short, 2), (f"{short}_inverted32x1k3e2-stride_plain32x2", 4)):
        architecture = space.parse(text)
        alone = supernet.extract(architecture).eval()
        assert sum(name.startswith("2.laterals") for name in alone.state_dict()) == stages
        with torch.no_grad():
            assert torch.allclose(alone(x), supernet.select(architecture)(x), atol=1e-5)


def test_taps_make_finer_masks_than_the_last_map_alone() -> None:
    """On squares whose place changes by single pixels, a decoder of all stages finds more than one of the last map."""

    class LastMap(Segmentation):
        def tapped_head(self, channels, strides):  # type: ignore[no-untyped-def]
            return None

    tiny = tiny_segmentation()
    fields = (tiny.name, tiny.input_shape, tiny.outputs, tiny.train, tiny.valid, None, tiny.class_names)
    space = create("space", "nasbench201:width=8")
    architecture = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
    results = []
    for task in (Segmentation(*fields), LastMap(*fields)):
        network = build(space, architecture, task)
        results.append(train(network, task, Recipe(6, 16, learning_rate=0.1), seed=0).valid_metric)
    assert results[0] > results[1]
