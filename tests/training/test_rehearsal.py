"""What a module of the user's own cannot do is refused or told before anything is spent, and takes nothing with it."""

import json
import threading
from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout import api
from archscout.core.errors import DataError, UsageError
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.finished.network import load_for_answers
from archscout.networks.choices import Depth, OneOf
from archscout.search.search import search, train
from archscout.spaces.model import ModelSpace
from archscout.testing import tiny_task
from archscout.training.rehearsal import rehearse


@pytest.fixture(scope="module")
def task() -> Any:
    return tiny_task(examples=60)


class Base(nn.Module):
    """A small network with a choice, and a place (`odd`) for what modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.act = OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name="act")
        self.head = nn.Linear(4, 3)
        self.setup()

    def setup(self) -> None:
        pass

    def odd(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.odd(self.act(self.stem(x))).mean((2, 3)))


class Tied(Base):
    """Two layers share a weight, a third has two names, a block runs three times, a buffer views another."""

    def setup(self) -> None:
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.b.weight = self.a.weight
        self.c = self.a
        block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())
        self.deep = Depth([block, block, block], name="deep")
        self.register_buffer("table", torch.linspace(0, 1, 8))
        self.register_buffer("part", self.table[:4].view(4, 1, 1))

    def odd(self, x: Tensor) -> Tensor:
        return self.deep(self.c(self.b(self.a(x)))) * self.part + self.table[0]


class Looks(Base):
    """Looks at numbers: an assertion, `.item()`, an index by truth values."""

    def odd(self, x: Tensor) -> Tensor:
        assert torch.isfinite(x).all()
        x = x / max(float(x.abs().max().item()), 1e9)
        return x[:, torch.ones(4, dtype=torch.bool)]


class Temperature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.1))

    def forward(self) -> Tensor:
        return self.value.exp()


class Scalar(Base):
    def setup(self) -> None:
        self.temperature = Temperature()

    def odd(self, x: Tensor) -> Tensor:
        return x * self.temperature()


class Experts(Base):
    """The second expert gets no example."""

    def setup(self) -> None:
        self.second = nn.Conv2d(4, 4, 1)

    def odd(self, x: Tensor) -> Tensor:
        some = (x.mean((1, 2, 3)) > 1e9).nonzero().flatten()
        return x.index_add(0, some, self.second(x[some]))


class Batch(Base):
    def odd(self, x: Tensor) -> Tensor:
        rows = torch.stack([row * 1 for row in x])
        return rows.view(len(x), int(x.shape[1]), -1, 1)


class Named(Base):
    """No formula for its multiply-adds, and no word of ONNX for its pooling."""

    def odd(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(x + torch.linalg.inv(torch.eye(8, device=x.device) * 2)[0, 0] * 0 + x, 3)


@pytest.mark.parametrize("module", [Base, Tied, Looks, Scalar, Experts, Batch])
def test_what_pytorch_trains_is_rehearsed_without_a_word(module: type[nn.Module], task: Any) -> None:
    assert rehearse(ModelSpace(module()), task, workers=1, costs=[create("cost", "macs")]) == []


@pytest.fixture
def script_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maintained exporter takes seconds to fail, and would fail here too."""
    monkeypatch.setattr("archscout.training.export._by_graph", lambda *_: 1 / 0)


@pytest.mark.usefixtures("script_only")
def test_what_the_result_will_miss_is_told(task: Any) -> None:
    (first, second) = rehearse(ModelSpace(Named()), task)
    assert first.startswith("multiply-adds or the drawing will be missing from the result: the multiply-adds of oper")
    assert "linalg_inv" in first
    assert second.startswith("there will be no network.onnx: ")
    with pytest.raises(UsageError, match=r"cost 'macs' of space 'Named' cannot be told .*linalg_inv.*limit another"):
        rehearse(ModelSpace(Named()), task, costs=[create("cost", "macs")])


class Outside(Base):
    """Draws numbers when it is made that no file has."""

    def setup(self) -> None:
        self.secret: list[Tensor] = []

    def odd(self, x: Tensor) -> Tensor:
        if not self.secret:
            self.secret.append(torch.rand(()))
        return x * self.secret[0]


class Fixed(Base):
    def setup(self) -> None:
        self.requires_grad_(False)


class Unlucky(Base):
    def odd(self, x: Tensor) -> Tensor:
        return torch.relu_(x.exp()) if not self.training else x.exp().mul_(x).relu_() * torch.linalg.cholesky(-x[0, 0])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Outside, "answers differently after its weights were saved and loaded: keep"),
        (Fixed, "cannot be trained a step on task 'tiny8x8' .*does not require grad"),
        (Unlucky, "cannot be trained a step"),
    ],
)
def test_what_a_search_cannot_do_without_is_refused(module: type[nn.Module], message: str, task: Any) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        rehearse(ModelSpace(module()), task)
    assert len(str(caught.value).splitlines()) == 1


def test_a_module_that_cannot_be_sent_is_refused_where_there_are_workers(task: Any) -> None:
    class Here:
        def __deepcopy__(self, memo: object) -> "Here":
            return self

        def __reduce__(self) -> str:
            raise TypeError("belongs to this process")

    class Holding(Base):
        def setup(self) -> None:
            self.file = Here()

    space = ModelSpace(Holding())
    assert rehearse(space, task) == []
    with pytest.raises(UsageError, match=r"cannot be sent to worker processes .*workers=0"):
        rehearse(space, task, workers=2)


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    net = Base()
    net.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"module 'Base' cannot be copied .*lock.*keep open files"):
        ModelSpace(net)


def test_state_beside_tensors_is_refused() -> None:
    class Extra(Base):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

    with pytest.raises(UsageError, match=r"part 'Extra' .*get_extra_state.*buffers"):
        ModelSpace(Extra())


@pytest.mark.usefixtures("script_only")
def test_answers_that_differ_each_time_are_told(task: Any) -> None:
    class Noisy(Base):
        def odd(self, x: Tensor) -> Tensor:
            return F.dropout(x, 0.5)  # forgot to pass self.training

    assert "answer differently each time" in rehearse(ModelSpace(Noisy()), task)[0]


def test_kept_weights_and_architectures_that_do_not_run_are_told(task: Any) -> None:
    class Some(Base):
        def setup(self) -> None:
            nn.init.dirac_(self.stem.weight)
            self.head = OneOf({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3), "c": nn.Linear(5, 3)}, name="head")

    sentences = rehearse(ModelSpace(Some()), task)
    assert "architecture 'act=tanh,head=c' does not run, and will fail: module 'Some' cannot run" in sentences[0]
    assert "begin with the weights that the module was given (stem.weight), and with new ones" in sentences[1]


def test_spaces_of_archscout_need_no_rehearsal(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.training.rehearsal.build", lambda *_: 1 / 0)
    assert rehearse(create("space", "nasbench201"), task, workers=2) == []


class Said(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, text: str) -> None:
        self.sentences.append(text)


def test_a_search_of_odd_modules_ends_with_all_files(task: Any, tmp_path: Any) -> None:
    class Odd(Tied, Scalar, Looks):
        def setup(self) -> None:
            Tied.setup(self)
            Scalar.setup(self)

        def odd(self, x: Tensor) -> Tensor:
            return Looks.odd(self, Scalar.odd(self, Tied.odd(self, x)))

    result = search(Odd(), task, budget="2trials", method="random", epochs=1, workers=0, out=tmp_path, name="odd")
    assert result.metrics["missing"] == {}
    network = api.load(result.folder, space=Odd())
    x = torch.rand(3, 1, 8, 8)
    (answers,) = onnxruntime.InferenceSession(result.folder / "network.onnx").run(None, {"input": x.numpy()})
    assert torch.allclose(network(x), torch.from_numpy(answers), atol=1e-5)
    alone = load_for_answers(result.folder)  # as `archscout predict` does, without the module
    assert torch.allclose(network(x), alone(x), atol=1e-5)
    assert alone.classes == network.classes
    (result.folder / "network.onnx").write_bytes(b"no network")
    with pytest.raises(DataError, match="is damaged"):
        load_for_answers(result.folder)
    about = result.folder / "architecture.json"  # of runs of earlier versions no checksum is known
    notes = {name: value for name, value in json.loads(about.read_text()).items() if name != "sha256"}
    about.write_text(json.dumps(notes))
    with pytest.raises(DataError, match="cannot be run by ONNX Runtime"):
        load_for_answers(result.folder)


@pytest.mark.usefixtures("script_only")
@pytest.mark.parametrize("run", [search, train])
def test_a_file_that_cannot_be_written_takes_nothing_with_it(run: Callable[..., Any], task: Any, tmp_path: Any) -> None:
    said = Said()
    options = {"out": tmp_path, "name": "named", "epochs": 1, "progress": said}
    if run is search:
        options |= {"budget": "1trials", "method": "random", "workers": 0}
        result = search(Named(), task, **options)
        assert any("there will be no network.onnx" in sentence for sentence in said.sentences)
    else:
        result = train(Named(), "act=tanh", task, **options)
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert set(metrics["missing"]) == {"macs", "network.onnx"}
    assert {"params", "latency_ms", "peak_memory_bytes"} == set(metrics["costs"])
    assert metrics["onnx_difference"] is None
    assert not (result.folder / "network.onnx").exists()
    assert "no network.onnx: the network cannot be written as ONNX" in result.summary()
    api._with_page(result)
    page = (result.folder / "report.html").read_text()
    assert "network.onnx cannot be had: the network cannot be written as ONNX" in page
    assert "InferenceSession" not in page
    assert 'named", space=Named())' in page
    assert "archscout predict" not in page, "it would need the file"
    with pytest.raises(UsageError, match=r"no network.onnx: load it in Python, with archscout.load\(run, space"):
        load_for_answers(result.folder)
    assert torch.isfinite(api.load(result.folder, space=Named())(torch.rand(2, 1, 8, 8))).all()
