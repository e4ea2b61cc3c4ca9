"""Splits that are drawn: disjoint, stratified, complete, and the same every time."""

import numpy as np
import pytest

from archscout.core.errors import DataError
from archscout.core.task import Split
from archscout.tasks import splits

NAMES = ("common", "seldom", "rare")


def numbered(counts: tuple[int, ...]) -> Split:
    """Examples whose single pixel is their number."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return Split(np.arange(len(y), dtype=np.float32).reshape(-1, 1, 1, 1), y)


def numbers(split: Split) -> list[int]:
    return split.x.astype(int).ravel().tolist()


def test_missing_splits_are_drawn_from_train_by_class() -> None:
    whole = numbered((100, 50, 10))
    parts = splits.complete({"train": whole}, "made", NAMES)
    assert sorted(number for part in parts.values() for number in numbers(part)) == list(range(160))
    for part in parts.values():
        np.testing.assert_array_equal(part.y, whole.y[numbers(part)])
    assert {name: np.bincount(part.y).tolist() for name, part in parts.items()} == {
        "train": [60, 30, 6],
        "valid": [20, 10, 2],
        "test": [20, 10, 2],
    }


def test_splits_that_exist_are_kept() -> None:
    whole, valid, test = numbered((50, 50)), numbered((5, 5)), numbered((6, 6))
    assert splits.complete({"train": whole, "valid": valid, "test": test}, "made", NAMES[:2])["train"] is whole
    parts = splits.complete({"train": whole, "test": test}, "made", NAMES[:2])
    assert parts["test"] is test
    assert (len(parts["train"]), len(parts["valid"])) == (80, 20)


def test_the_same_examples_are_drawn_every_time() -> None:
    first, second = (splits.complete({"train": numbered((30, 30))}, "made", NAMES[:2]) for _ in range(2))
    assert {name: numbers(part) for name, part in first.items()} == {
        name: numbers(part) for name, part in second.items()
    }


def test_no_drawn_split_is_larger_than_the_most() -> None:
    parts = splits.complete({"train": numbered((30_000, 30_000))}, "made", NAMES[:2])
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [50_000, 5_000, 5_000]


@pytest.mark.parametrize("rare", range(1, 12))
def test_a_class_is_in_every_split_or_refused(rare: int) -> None:
    whole = numbered((60, 60, rare))
    if rare >= 5:
        parts = splits.complete({"train": whole}, "made", NAMES)
        assert all(np.bincount(part.y, minlength=3).min() > 0 for part in parts.values())
    else:
        with pytest.raises(
            DataError, match=f"class 'rare' has {rare} examples to split in made, too few: give at least 5"
        ):
            splits.complete({"train": whole}, "made", NAMES)


def test_a_limited_split_keeps_the_proportions_of_the_classes() -> None:
    limited = splits.limit(numbered((600, 300, 100)), 100)
    assert np.bincount(limited.y).tolist() == [60, 30, 10]
    assert numbers(limited) == sorted(set(numbers(limited)))
