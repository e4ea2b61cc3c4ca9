"""A metric stands for its name, knows which way is better, and writes its values."""

import math

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.metric import ACCURACY, Metric

ERROR = Metric("root_mean_squared_error", "lower", "mm")


def test_in_text_it_is_its_name() -> None:
    assert f"valid_{ACCURACY}" == "valid_accuracy"
    assert ERROR.title == "root mean squared error"


def test_a_plain_name_is_taken_for_one_of_which_more_is_better() -> None:
    assert Metric.of("dice") == Metric("dice", "higher", "")
    assert Metric.of("accuracy") is not None
    assert Metric.of("accuracy") == ACCURACY
    assert Metric.of(ERROR) is ERROR


def test_oriented_values_are_better_where_they_are_higher_and_turn_back() -> None:
    assert ACCURACY.oriented(0.9) == 0.9
    assert ERROR.oriented(2.0) == -2.0
    assert ERROR.oriented(ERROR.oriented(2.0)) == 2.0
    np.testing.assert_array_equal(ERROR.oriented(np.asarray([1.0, 2.0])), [-1.0, -2.0])
    assert ERROR.better(1.0, 2.0)
    assert not ERROR.better(2.0, 1.0)
    assert ACCURACY.better(0.9, 0.8)
    assert not ACCURACY.better(math.nan, 0.8)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (ACCURACY, 0.98712, "98.71%"),
        (Metric("wrong", "lower", "error rate", 1), 0.0129, "1.3%"),
        (ERROR, 12.3456, "12.3 mm"),
        (Metric("loss", "lower", digits=4), 0.123456, "0.1235"),
        (ERROR, math.nan, "–"),
        (ERROR, None, "–"),
    ],
)
def test_values_are_written_in_their_unit(metric: Metric, value: float | None, text: str) -> None:
    assert metric.text(value) == text


def test_the_error_of_a_share_is_that_of_a_proportion_with_one_more_of_each_kind() -> None:
    """With so many right and wrong answers, and one more of each, it is that of the mean of all of them."""
    for right, wrong in ((8, 0), (3, 5), (0, 40)):
        answers = np.repeat([1.0, 0.0], [right + 1, wrong + 1])
        expected = answers.std() / math.sqrt(len(answers))
        assert ACCURACY.standard_error(right / (right + wrong), right + wrong) == pytest.approx(expected)
    assert ERROR.standard_error(1.0, 8) is None


def test_json_keeps_everything() -> None:
    assert Metric.from_json(ERROR.as_json(), str(ERROR)) == ERROR
    assert Metric.from_json(None, "accuracy") == ACCURACY


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "two words"}, {"name": "f1", "direction": "up"}])
def test_what_is_no_metric_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="metric"):
        Metric(**wrong)  # type: ignore[arg-type]
