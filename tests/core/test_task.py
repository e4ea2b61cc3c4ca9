"""What every task inherits: metric, transform, description."""

import dataclasses
import json
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from archscout.core.errors import DataError, UsageError
from archscout.core.metric import ACCURACY, Metric
from archscout.core.task import Split, Task


@dataclasses.dataclass(frozen=True)
class Plain(Task):
    kind: ClassVar[str] = "plain"
    cells: tuple[tuple[int, ...], ...] = ((1, 2), (3,))

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Any, Any]:
        return torch.from_numpy(split.x), torch.from_numpy(split.y)

    def head(self, channels: Any) -> Any:
        return torch.nn.Linear(channels, self.outputs)

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Any:
        return (outputs - targets).square().mean()

    def deploy(self, network: Any) -> Any:
        return network


def plain(kind: type[Plain] = Plain) -> Plain:
    split = Split(np.arange(6, dtype=np.float32).reshape(3, 2), np.zeros(3, np.int64))
    return kind("plain", (2,), 1, split, split, split, ("a",))


def test_a_metric_by_its_plain_name_becomes_one() -> None:
    class Named(Plain):
        metric = "dice"  # type: ignore[assignment]

    assert Named.metric == Metric("dice")
    assert Plain.metric is ACCURACY


def test_a_task_without_a_metric_says_what_is_missing() -> None:
    assert plain().meter() is None
    with pytest.raises(UsageError, match="neither a meter nor a measure: write one of them"):
        plain().measure(torch.zeros(3, 1), torch.zeros(3))


def test_merit_is_the_metric_turned_so_that_higher_is_better() -> None:
    class Error(Plain):
        metric = Metric("error", "lower")

        def measure(self, outputs: Any, targets: Any) -> float:
            return 2.0

    assert plain(Error).measure(None, None) == 2.0
    assert plain(Error).merit(None, None) == -2.0


def test_where_only_inputs_change_augment_is_all_there_is_to_write() -> None:
    class Shifted(Plain):
        def augment(self, x: Any, generator: Any) -> Any:
            return x + torch.rand((), generator=generator)

    x, y = plain().tensors(plain().train)
    assert plain().transform(x, y, torch.Generator())[0] is x
    seeds = (3, 4)
    alone = [plain(Shifted).transform(x, y, torch.Generator().manual_seed(seed)) for seed in seeds]
    inputs, targets = plain(Shifted).transform_each([x, x], [y, y], [torch.Generator().manual_seed(s) for s in seeds])
    for (changed, same), together, target in zip(alone, inputs, targets, strict=True):
        assert torch.equal(changed, together)
        assert not torch.equal(changed, x)
        assert same is y
        assert target is y


def test_all_fields_but_the_data_go_through_a_description() -> None:
    task = dataclasses.replace(plain(), cells=((4,), (5, 6)))
    again = Plain.from_description(json.loads(json.dumps(task.describe())))
    assert (again.name, again.input_shape, again.outputs, again.class_names) == ("plain", (2,), 1, ("a",))
    assert again.cells == ((4,), (5, 6))
    assert (again.train.x.shape, again.train.x.dtype, again.test) == ((0, 2), np.float32, None)


@pytest.mark.parametrize("damage", [{"outputs": "many"}, {"input_shape": 3}, {"stored": "nonsense"}])
def test_a_damaged_description_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="description of the task is damaged"):
        Plain.from_description(plain().describe() | damage)
