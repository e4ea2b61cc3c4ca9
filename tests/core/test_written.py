"""Numbers as people read them."""

import math

import pytest

from archscout.core.written import counted, significant


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [
        (50_820, 3, "50,820"), (2.831e6, 4, "2,831,000"), (0.000012345, 3, "0.0000123"), (0.99996, 4, "1"),
        (-1234.5678, 6, "-1,234.57"), (0, 3, "0"), (math.inf, 3, "inf"), (math.nan, 3, "nan"),
    ],
)  # fmt: skip
def test_no_number_is_written_in_powers_of_ten(value: float, digits: int, written: str) -> None:
    assert significant(value, digits) == written


def test_one_is_one() -> None:
    written = [counted(count, "epoch") for count in (0, 1, 2, 12_345)]
    assert written == ["0 epochs", "1 epoch", "2 epochs", "12,345 epochs"]
