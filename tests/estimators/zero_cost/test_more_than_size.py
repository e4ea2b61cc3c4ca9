"""No score is the number of parameters under another name: what returns the largest network fails here."""

import math

import pytest
from scipy.stats import rankdata

from archscout.core.estimator import Setting
from archscout.core.registry import create, factory, names
from archscout.estimators.zero_cost.harness import score
from archscout.testing import tiny_task

pytestmark = pytest.mark.slow  # all scores there are

SIZES = frozenset({"params", "macs", "nonlinear_units"})
"""What counts is allowed to count."""

CELLS = [
    # One convolution of 3 x 3, one of 1 x 1 and skips: the same parameters, otherwise wired.
    "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|skip_connect~1|skip_connect~2|",
    "|nor_conv_1x1~0|+|skip_connect~0|skip_connect~1|+|none~0|nor_conv_3x3~1|skip_connect~2|",
    "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|",
    # Fewer and more.
    "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
]


def zero_cost() -> list[str]:
    """The registered scores of this room."""
    room = "archscout.estimators.zero_cost."
    return [name for name in names("estimator") if factory("estimator", name).__module__.startswith(room)]


@pytest.fixture(scope="module")
def columns() -> dict[str, list[float]]:
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task((3, 8, 8), classes=4)
    wanted = zero_cost()
    found = score([space.parse(cell) for cell in CELLS], wanted, Setting(space, task), batch=16)
    return {name: [estimate.value for estimate in found[name]] for name in wanted}


def depends_on_size_alone(values: list[float], params: list[float]) -> bool:
    """Whether networks of one size have one score, and the larger ones rank as they do by size, or the other way."""
    if not all(math.isfinite(value) for value in values):
        return False
    scale = max(abs(value) for value in values) or 1.0
    ranks = rankdata([round(value / scale, 9) for value in values])
    sizes = rankdata(params)
    return bool((ranks == sizes).all() or (ranks == len(sizes) + 1 - sizes).all())


def test_the_control_itself_is_found(columns: dict[str, list[float]]) -> None:
    params = columns["params"]
    assert params[0] == params[1] == params[2]
    assert depends_on_size_alone([math.log(value) for value in params], params)
    assert depends_on_size_alone([-value for value in params], params)


def test_scores_tell_apart_what_has_one_size(columns: dict[str, list[float]]) -> None:
    assert len(columns) > 30
    alike = {name for name, values in columns.items() if depends_on_size_alone(values, columns["params"])}
    assert alike <= SIZES
