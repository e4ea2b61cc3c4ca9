"""Meters that add up batch by batch give what the formula gives for everything at once."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score, root_mean_squared_error
from torch import Tensor

from archscout.tasks import meters
from archscout.testing import tiny_task


def filled(meter: meters.Meter, outputs: Tensor, targets: Tensor, size: int) -> float:
    for some, wanted in zip(torch.split(outputs, size), torch.split(targets, size), strict=True):
        meter.update(some, wanted)
    return meter.value()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_batches_add_up_to_the_whole(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(50, 4, generator=generator), torch.randint(4, (50,), generator=generator)
    answers = outputs.argmax(1)
    assert filled(meters.Hits(), outputs, targets, size) == pytest.approx(accuracy_score(targets, answers))
    wanted = torch.randn(50, 2, generator=generator)
    scale = torch.tensor([2.0, 3.0])
    expected = root_mean_squared_error((wanted * scale).flatten().numpy(), (outputs[:, :2] * scale).flatten().numpy())
    assert filled(meters.MeanSquare(scale), outputs[:, :2], wanted, size) == pytest.approx(expected, rel=1e-6)
    maps, masks = torch.randn(20, 3, 4, 5, generator=generator), torch.randint(3, (20, 4, 5), generator=generator)
    shared = jaccard_score(masks.flatten(), maps.argmax(1).flatten(), average="macro")
    assert filled(meters.Overlap(3), maps, masks, size) == pytest.approx(shared)


@pytest.mark.parametrize("named", [False, True])
def test_batches_that_are_gathered_count_as_they_are_and_no_more_than_a_handful_is_kept(
    named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "GATHERED", 40)
    taken: list[int] = []

    class Watched(meters.Hits):
        def update(self, outputs, targets):  # type: ignore[no-untyped-def]
            taken.append(len(targets))
            super().update(outputs["a"] if named else outputs, targets)

    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(50, 4, generator=generator), torch.randint(4, (50,), generator=generator)
    meter = meters.Gathered(Watched())
    for some, wanted in zip(torch.split(outputs, 4), torch.split(targets, 4), strict=True):
        meter.update({"a": some} if named else some, wanted)
    assert meter.value() == pytest.approx(accuracy_score(targets, outputs.argmax(1)))
    assert meter.value() == meter.value()
    # 16 numbers a batch: the third brings them above 40.
    assert taken == [12, 12, 12, 12, 2]
    assert math.isnan(meters.Gathered(meters.Hits()).value())


def test_what_is_not_labelled_has_no_say_in_overlap() -> None:
    outputs = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    masks = torch.tensor([0, 1, -1])
    meter = meters.Overlap(4)
    meter.update(torch.cat([outputs, torch.full((3, 2), -9.0)], 1), masks)
    assert meter.value() == 1.0
    np.testing.assert_array_equal(meter.each(), [1.0, 1.0, math.nan, math.nan])


def test_nothing_measured_is_undefined() -> None:
    for meter in (meters.Hits(), meters.MeanSquare(), meters.Overlap(2), meters.Whole(lambda *_: 1.0)):
        assert math.isnan(meter.value())


def test_a_metric_of_all_outputs_at_once_is_measured_so() -> None:
    @dataclasses.dataclass(frozen=True)
    class Spread(type(tiny_task())):  # type: ignore[misc]
        metric = "spread"

        def meter(self) -> None:
            return None

        def measure(self, outputs: Tensor, targets: Tensor) -> float:
            return float(outputs.max() - outputs.min())

    tiny = tiny_task()
    task = Spread(**{field.name: getattr(tiny, field.name) for field in dataclasses.fields(tiny)})
    meter = meters.meter_of(task)
    meter.update(torch.tensor([[1.0, 5.0]]), torch.tensor([0]))
    meter.update(torch.tensor([[-2.0, 0.0]]), torch.tensor([0]))
    assert meter.value() == 7.0
