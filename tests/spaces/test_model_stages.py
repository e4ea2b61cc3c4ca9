"""A module of the user's own that names its stages is a body: every head is searched on it, one for pixels too."""

from pathlib import Path

import pytest
import torch
from torch import nn

import archscout
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.task import Task
from archscout.networks.body import Staged
from archscout.networks.choices import BatchNorm2d, Conv2d, Depth, Kernel, OneOf, Width
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.supernets.supernet import Supernet
from archscout.tasks.segmentation import Segmentation
from archscout.testing import SpaceConformance, tiny_heads, tiny_segmentation, tiny_task


class Pyramid(nn.Module):
    """Two stages, the second of which halves the map; widths, kernel, activation and depth are choices."""

    def __init__(self) -> None:
        super().__init__()
        width = Width(4, 8, name="width")
        self.fine = nn.Sequential(Conv2d(1, width, Kernel(3, 5)), BatchNorm2d(width), OneOf([nn.ReLU(), nn.GELU()]))
        self.down = nn.MaxPool2d(2)
        self.coarse = Depth([Conv2d(width, 2 * width, 3), Conv2d(2 * width, 2 * width, 3)])
        self.stages = {"fine": width, "coarse": 2 * width}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.coarse(self.down(self.fine(x)))


class Fixed(nn.Module):
    """As many channels in every network: their number need not be said."""

    stages = ("fine", "coarse")

    def __init__(self) -> None:
        super().__init__()
        self.fine = Conv2d(1, 4, Kernel(3, 5))
        self.coarse = nn.Conv2d(4, 6, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.coarse(self.fine(x).relu())


class TestPyramid(SpaceConformance):
    def space(self) -> ModelSpace:
        return ModelSpace(Pyramid())


@pytest.mark.parametrize("module", [Pyramid(), Fixed()], ids=lambda module: type(module).__name__)
def test_a_head_for_pixels_reads_the_maps_of_all_stages(module: nn.Module) -> None:
    told: list[tuple[list[int], list[int]]] = []

    class Watched(Segmentation):
        def tapped_head(self, channels, strides):  # type: ignore[no-untyped-def]
            told.append((list(channels), list(strides)))
            return super().tapped_head(channels, strides)

    tiny = tiny_segmentation()
    task = Watched(tiny.name, tiny.input_shape, tiny.outputs, tiny.train, tiny.valid, None, tiny.class_names)
    space = ModelSpace(module)
    for number in range(3):
        network = build(space, space.sample(stream(number, "stages")), task)
        assert isinstance(network, Staged)
        maps: list[torch.Tensor] = []
        network.head.register_forward_pre_hook(lambda _, inputs, maps=maps: maps.extend(inputs[0]))
        assert network(torch.rand(2, 1, 8, 8)).shape == (2, 2, 8, 8)
        assert [tap.shape[1] for tap in maps] == told[-1][0]
        assert [8 // tap.shape[-1] for tap in maps] == told[-1][1] == [1, 2]
        assert all(tap.requires_grad for tap in maps)


@pytest.mark.parametrize("make", [tiny_task, tiny_heads, tiny_segmentation])
def test_what_is_cut_out_of_the_supernet_answers_as_it_did_there(make) -> None:  # type: ignore[no-untyped-def]
    task: Task = make()
    space = ModelSpace(Pyramid())
    supernet, x = Supernet(space, task).eval(), torch.rand(2, 1, 8, 8)
    for architecture in space.extremes():
        with torch.no_grad():
            inside, alone = supernet.select(architecture)(x), supernet.extract(architecture).eval()(x)
        pairs = [(inside, alone)] if isinstance(alone, torch.Tensor) else [(inside[n], alone[n]) for n in alone]
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in pairs)


@pytest.mark.parametrize("make", [tiny_segmentation, pytest.param(tiny_heads, marks=pytest.mark.slow)])
def test_it_is_searched_exported_and_loaded(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    task = make()
    result = archscout.search(
        Pyramid(), task, method="random", budget="2trials", epochs=1, workers=0, out=tmp_path, name="run"
    )
    assert (result.folder / "network.onnx").is_file()
    again = archscout.load(result.folder, space=Pyramid())
    outputs = again(torch.from_numpy(task.test.x[:2]).permute(0, 3, 1, 2).float())
    if isinstance(task, Segmentation):
        assert outputs.shape == (2, 2, 8, 8)
    else:
        assert set(outputs) == {"side", "marks", "brightness"}


class Misnamed(Fixed):
    stages = ("fine", "corse")


class Miscounted(Pyramid):
    def __init__(self) -> None:
        super().__init__()
        self.stages = {"fine": 3, "coarse": 8}


class Flat(Fixed):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean((2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Misnamed, "'corse', which module 'Misnamed' names"),
        (Miscounted, "stage 'fine' of module 'Miscounted' gives [48] channels where its attribute stages says 3"),
        (Flat, "stage 'coarse' of module 'Flat' gives no feature map"),
    ],
)
def test_stages_that_are_none_are_one_clear_error(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        ModelSpace(make()).check_task(tiny_segmentation())


def test_a_supernet_needs_to_know_channels_that_are_choices() -> None:
    class Unsaid(Pyramid):
        def __init__(self) -> None:
            super().__init__()
            self.stages = tuple(self.stages)  # type: ignore[assignment]

    space, task = ModelSpace(Unsaid()), tiny_segmentation()
    build(space, space.sample(stream(0)), task)
    with pytest.raises(UsageError, match="stage 'fine' of module 'Unsaid' has 4 or 8 channels: map each stage"):
        Supernet(space, task)


def test_outputs_by_name_must_be_those_of_the_task() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = OneOf([nn.ReLU(), nn.GELU()])
            self.heads = nn.ModuleDict({"side": nn.Linear(64, 2), "marks": nn.Linear(64, 2)})

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {name: head(self.act(x.flatten(1))) for name, head in self.heads.items()}

    module = Own()
    with pytest.raises(UsageError, match=r"module 'Own' returns .* needs .*'brightness': \(2, 1\)"):
        ModelSpace(module).check_task(tiny_heads())
    module.heads["brightness"] = nn.Linear(64, 1)
    ModelSpace(module).check_task(tiny_heads())
