"""Splits that are drawn: disjoint, stratified, complete, and the same every time."""

import numpy as np
import pytest

from archscout.core.errors import DataError, UsageError
from archscout.tasks import splits

NAMES = ("common", "seldom", "rare")


def labels(counts: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


def drawn(given: dict[str, np.ndarray], names: tuple[str, ...] = NAMES, **more: object) -> dict[str, list[int]]:
    """The rows of each split that is drawn out of `train`."""
    parts = splits.complete(given, "made", names, **more)  # type: ignore[arg-type]
    assert {name for name, part in parts.items() if part.part == name} >= set(given)
    return {
        name: part.of(np.arange(len(given["train"]))).tolist() for name, part in parts.items() if part.part == "train"
    }


def test_missing_splits_are_drawn_from_train_by_class() -> None:
    y = labels((100, 50, 10))
    parts = drawn({"train": y})
    assert sorted(row for rows in parts.values() for row in rows) == list(range(160))
    assert {name: np.bincount(y[rows]).tolist() for name, rows in parts.items()} == {
        "train": [60, 30, 6],
        "valid": [20, 10, 2],
        "test": [20, 10, 2],
    }


def test_splits_that_exist_are_kept() -> None:
    whole, valid, test = labels((50, 50)), labels((5, 5)), labels((6, 6))
    assert drawn({"train": whole, "valid": valid, "test": test}, NAMES[:2]) == {"train": list(range(100))}
    parts = drawn({"train": whole, "test": test}, NAMES[:2])
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 80, "valid": 20}


def test_the_same_examples_are_drawn_every_time() -> None:
    assert drawn({"train": labels((30, 30))}, NAMES[:2]) == drawn({"train": labels((30, 30))}, NAMES[:2])


def test_no_drawn_split_is_larger_than_the_most() -> None:
    parts = drawn({"train": labels((30_000, 30_000))}, NAMES[:2])
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [50_000, 5_000, 5_000]


@pytest.mark.parametrize("rare", range(1, 12))
def test_a_class_is_in_every_split_or_refused(rare: int) -> None:
    y = labels((60, 60, rare))
    if rare >= 5:
        assert all(np.bincount(y[rows], minlength=3).min() > 0 for rows in drawn({"train": y}).values())
    else:
        with pytest.raises(
            DataError, match=f"class 'rare' has {rare} examples to split in made, too few: give at least 5"
        ):
            drawn({"train": y})


def test_tiny_data_are_refused_without_a_size_that_nobody_asked_for() -> None:
    with pytest.raises(DataError, match=r"made has 5 examples in 3 classes, too few to draw a test split from: give"):
        drawn({"train": np.array([0, 1, 2, 0, 1])})
    with pytest.raises(UsageError, match="test=50 cannot be drawn from the 30 examples"):
        drawn({"train": labels((10, 10, 10))}, sizes={"test": 50})


def test_groups_are_never_divided() -> None:
    y = labels((60, 60))
    groups = np.arange(120) // 4
    parts = drawn({"train": y}, NAMES[:2], groups=groups)
    assert sorted(row for rows in parts.values() for row in rows) == list(range(120))
    owners = [set(groups[rows]) for rows in parts.values()]
    assert sum(map(len, owners)) == 30
    assert all(15 <= len(parts[name]) <= 36 and len(set(y[parts[name]])) == 2 for name in ("valid", "test"))
    with pytest.raises(DataError, match="made has 3 groups, too few to draw splits that divide none"):
        drawn({"train": y}, NAMES[:2], groups=groups // 10)


def test_splits_have_many_names_and_one_meaning() -> None:
    assert [splits.split_of(name) for name in ("Train", "VALID", "dev", "testing", "cat")] == [
        "train", "valid", "valid", "test", None,
    ]  # fmt: skip
    assert splits.by_split(["Training", "Val", "cats"], "it", "folders") == {"train": "Training", "valid": "Val"}
    with pytest.raises(DataError, match="it has the folders 'val' and 'valid', which both name the valid split"):
        splits.by_split(["val", "valid"], "it", "folders")


def test_a_limited_split_keeps_the_proportions_of_the_classes() -> None:
    y = labels((600, 300, 100))
    rows = splits.limit(y, 100)
    assert np.bincount(y[rows]).tolist() == [60, 30, 10]
    assert rows.tolist() == sorted(set(rows))
