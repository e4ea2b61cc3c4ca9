"""Which kinds of tasks a space takes: a task that does not fit is refused in a sentence that names both."""

import pytest

from archscout import testing
from archscout.core.errors import UsageError
from archscout.core.registry import create, names

KINDS = (
    "task",
    "multilabel",
    "regression",
    "segmentation",
    "heads",
    "ordinal",
    "audio",
    "speakers",
    "series",
    "lines",
    "rows",
)
NEEDING_ARGUMENTS = {"trained"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_does_not_fit_a_space_is_refused_in_a_sentence_that_names_both(kind: str) -> None:
    task = getattr(testing, f"tiny_{kind}")()
    taken = []
    for name in sorted(set(names("space")) - NEEDING_ARGUMENTS):
        space = create("space", name)
        try:
            space.check_task(task)
            taken.append(name)
        except UsageError as refused:
            said = str(refused)
            assert f"'{task.name}'" in said
            assert f"'{getattr(space, 'of', space).name}'" in said, "of a space of cuts, the one that is cut"
            assert "\n" not in said
    assert 0 < len(taken) < len(names("space")) - 1, "every kind has a space, and no kind has all of them"
