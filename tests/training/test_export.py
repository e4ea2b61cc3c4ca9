"""ONNX files against the PyTorch networks that they came from."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.choices import Conv2d, Kernel, Linear, OneOf, Width
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.testing.tasks import tiny_task
from archscout.training import export
from archscout.training.export import export_onnx, session, to_int8, to_onnx

pytestmark = pytest.mark.usefixtures("maintained_exporter")


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = Width(4, 6)
        self.body = nn.Sequential(Conv2d(3, width, Kernel(3, 5)), nn.BatchNorm2d(4), nn.Hardswish(), nn.Dropout(0.5))
        self.body[1] = OneOf({"gelu": nn.GELU(), "silu": nn.SiLU()})
        self.head = Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x.flatten(2).mean(-1).view(x.shape[0], -1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.rnn = nn.GRU(16, 8, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.rnn(x)[0][:, -1])


def trained(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """With statistics and scales of batch normalisation that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                low = 0.5 if "var" in name else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network


def check(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Without the help of the module under test: any batch size, one file, the same answers."""
    difference = export_onnx(network, shape, path)
    assert 0 <= difference <= 1e-4
    assert list(path.parent.iterdir()) == [path], "the network must be one file"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == ["input"]
    assert [y.name for y in session.get_outputs()] == ["output"]
    network.eval()
    rng = np.random.default_rng(5)
    for batch in (1, 3, 10):
        x = rng.normal(0, 1, (batch, *shape)).astype(np.float32)
        found = session.run(None, {"input": x})[0]
        with torch.no_grad():
            np.testing.assert_allclose(found, network(torch.from_numpy(x)).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param("nasbench201", (1, 8, 8), marks=pytest.mark.slow),
        ("nasbench201:width=4,cells=2", (3, 9, 15)),
        pytest.param("mobile", (3, 11, 8), marks=pytest.mark.slow),
    ],
)
def test_spaces(name: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    space, task = create("space", name), tiny_task(shape)
    network = trained(build(space, space.sample(stream(2)), task), shape)
    check(task.deploy(network), shape, tmp_path / "network.onnx")


def test_a_module_of_ones_own(tmp_path: Path) -> None:
    space, task = ModelSpace(Own()), tiny_task((3, 7, 10))
    check(build(space, space.sample(stream(0)), task).train(), (3, 7, 10), tmp_path / "network.onnx")


def test_attention_and_recurrence(tmp_path: Path) -> None:
    torch.manual_seed(0)  # some weights answer inputs of 255 with a softmax that magnifies rounding
    check(Attention(), (3, 8, 8), tmp_path / "network.onnx")


def test_both_exporters_give_the_same_answers() -> None:
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task()
    network = trained(build(space, space.sample(stream(1)), task), task.input_shape)
    x = {"input": np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)}
    slow, quick = (export.session(to_onnx(network, (1, 8, 8), quick=quick)).run(None, x)[0] for quick in (False, True))
    np.testing.assert_allclose(slow, quick, atol=1e-5)


def test_where_one_exporter_fails_the_other_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(module: nn.Module, example: Tensor, any_batch: bool) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(export, "_by_graph", fails)
    check(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2), tmp_path / "network.onnx")
    monkeypatch.setattr(export, "_by_script", fails)
    with pytest.raises(ArchscoutError, match=r"as ONNX \(ValueError: not today\)"):
        export_onnx(nn.Linear(4, 2), (4,), tmp_path / "other.onnx")


def test_it_is_quiet_and_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 2))
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.random.get_rng_state()
    export_onnx(network, (1, 8, 8), tmp_path / "network.onnx")
    to_onnx(network, (1, 8, 8), quick=True)
    assert capfd.readouterr() == ("", "")
    assert [part.training for part in network.modules()] == [True, True, False, True, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)


class Asserting(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        assert torch.isfinite(x).all()
        return super().forward(x)


@pytest.mark.parametrize(
    "module", [Asserting(4, 2), nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.AdaptiveMaxPool2d(3))]
)
def test_it_is_quiet_about_what_an_exporter_cannot_write(
    module: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        export_onnx(module.eval(), (4,), tmp_path / "network.onnx")
    except ArchscoutError as error:
        assert len(str(error).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_the_file_tells_nothing_of_this_machine(tmp_path: Path) -> None:
    export_onnx(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (1, 8, 8), tmp_path / "network.onnx")
    content = (tmp_path / "network.onnx").read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in content
    assert b"stack_trace" not in content
    assert onnx.load_from_string(content).opset_import[0].version == 18


class Wrong(nn.Module):
    """Answers of its own where it is exported."""

    def __init__(self, by: float = 1.0) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True) + (self.by if torch.onnx.is_in_onnx_export() or x.is_meta else 0.0)


class Undefined(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(-x.abs() - 1)


@pytest.mark.parametrize(("module", "words"), [(Wrong(), "differs from"), (Undefined(), "not finite")])
def test_an_answer_that_is_not_pytorchs(module: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(ArchscoutError, match=words):
        export_onnx(module, (4,), tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


class Waves(nn.Module):
    """Rounds as much as its waves are short."""

    def __init__(self, often: float) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layer, self.often = nn.Linear(300, 8), often

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.often * self.layer(x))


def test_the_tolerance_follows_what_the_network_rounds(tmp_path: Path) -> None:
    network, file = Waves(10.0).eval(), tmp_path / "network.onnx"
    pairs = export._answers(network, (300,), (1, 2, 7))
    with torch.no_grad():
        own = max(float((network.double()(x.double()) - y["output"]).abs().max()) for x, y in pairs)
    assert own > 1e-4, "single precision alone is off by more than networks may be that round little"
    assert export_onnx(network.float(), (300,), file) < 32 * own
    with pytest.raises(ArchscoutError, match=r"differs from the PyTorch network by .*, above 0\.01"):
        export_onnx(Waves(10_000.0).eval(), (300,), file)


def test_a_network_that_rounds_little_may_not_be_off_by_a_thousandth(tmp_path: Path) -> None:
    with pytest.raises(ArchscoutError, match=r"differs from .*, above 0\.0001"):
        export_onnx(Wrong(1e-3), (4,), tmp_path / "network.onnx")


def test_what_cannot_be_asked_in_double_precision_keeps_the_usual_tolerance() -> None:
    def single_alone(x: Tensor) -> Tensor:
        if x.dtype == torch.float64:
            raise TypeError("single precision alone")
        return torch.sin(1e3 * x)

    def undefined_at_last(x: Tensor) -> Tensor:
        return x if x.dtype == torch.float32 else x * (math.nan if len(x) > 1 else 1.1)

    for function in (single_alone, undefined_at_last):
        network = Called(function)
        assert export._allowed(network, export._answers(network, (4,), (1, 2, 7))) == export.TOLERANCE


class Called(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


BY_BATCH = {
    "len": lambda x: x.view(len(x), -1),
    "int": lambda x: x.reshape(int(x.shape[0]), -1),
    "loop": lambda x: torch.stack([row.flatten() for row in x]),
    "range": lambda x: torch.cat([x[i : i + 1].flatten(1) for i in range(x.shape[0])]),
    "value": lambda x: (x / max(float(x.abs().max().item()), 1e9)).flatten(1),
}


@pytest.mark.parametrize(
    "name", [name if name in ("loop", "value") else pytest.param(name, marks=pytest.mark.slow) for name in BY_BATCH]
)
def test_code_that_takes_the_batch_as_a_number_is_right_for_any_batch(name: str, tmp_path: Path) -> None:
    layers = nn.Conv2d(3, 4, 3, padding=1), Called(BY_BATCH[name]), nn.Linear(256, 10)
    network = nn.Sequential(*layers).eval()
    export_onnx(network, (3, 8, 8), tmp_path / "network.onnx")
    runtime = export.session((tmp_path / "network.onnx").read_bytes())
    for batch in (1, 3, 64):
        x = torch.rand(batch, 3, 8, 8)
        (found,) = runtime.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(found, network(x).detach().numpy(), atol=1e-5)


def test_a_failed_write_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(nn.Linear(4, 2), (4,), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["nasbench201", "mobile"])
def test_int8_answers_nearly_as_float32(name: str) -> None:
    space, task = create("space", name), tiny_task()
    network = trained(build(space, space.sample(stream(1)), task), task.input_shape).eval()
    content = to_onnx(network, task.input_shape, quick=True)
    examples = np.random.default_rng(0).random((16, *task.input_shape), dtype=np.float32)
    small = to_int8(content, examples)
    weights = [t for t in onnx.load_from_string(small).graph.initializer if len(t.dims) > 1]
    assert weights
    assert all(t.data_type == onnx.TensorProto.INT8 for t in weights)
    exact, near = (session(c).run(None, {"input": examples})[0] for c in (content, small))
    assert 0 < np.abs(exact - near).max() < 0.1 * np.abs(exact).max()


def test_what_is_no_network_cannot_be_quantised() -> None:
    with pytest.raises(ArchscoutError, match="cannot quantise"):
        to_int8(onnx.ModelProto().SerializeToString(), np.zeros((1, 1), dtype=np.float32))
