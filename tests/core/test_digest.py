"""Digests: equal in every process, different wherever the thing is."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archscout
from archscout.core.choice import Choice, Condition
from archscout.core.digest import digest
from archscout.core.space import Pick, Space
from archscout.core.task import Split, Task

CHOICES = (Choice("a", ("x", "y")), Choice("b", (1, 2, 3), ordinal=True), Choice("c", (True, False)))


class Plain(Space):
    """A space that is its choices."""

    def __init__(self, choices: tuple[Choice, ...] = CHOICES, width: int = 4) -> None:
        self.name, self._choices, self.width = "plain", choices, width

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self._choices

    def network(self, task: Task, pick: Pick) -> Any:
        return pick("a", {"x": lambda: self.width, "y": lambda: 2 * self.width})


class Edited(Plain):
    def network(self, task: Task, pick: Pick) -> Any:
        return pick("a", {"x": lambda: self.width, "y": lambda: 3 * self.width})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES)
def test_different_values_have_different_digests(first: Any, second: Any) -> None:
    assert digest(first) == digest(cloudpickle.loads(cloudpickle.dumps(first)))
    if repr(first) != repr(second):
        assert digest(first) != digest(second)


@pytest.mark.parametrize(
    "changed",
    [
        (Choice("a", ("x", "y", "z")), *CHOICES[1:]),
        (Choice("a", ("y", "x")), *CHOICES[1:]),
        (Choice("A", ("x", "y")), *CHOICES[1:]),
        (CHOICES[0], Choice("b", (1, 2, 3)), CHOICES[2]),
        (CHOICES[0], Choice("b", (1.0, 2, 3), ordinal=True), CHOICES[2]),
        (CHOICES[0], CHOICES[2], CHOICES[1]),
        (*CHOICES[:2], replace(CHOICES[2], condition=Condition("a", ("x",)))),
        CHOICES[:2],
    ],
)
def test_each_change_of_a_choice_changes_the_digest(changed: tuple[Choice, ...]) -> None:
    assert Plain(changed).digest != Plain().digest == Plain().digest
    assert Plain(changed).parts["choices"] != Plain().parts["choices"]


def test_parameters_class_and_code_of_a_space_are_in_its_digest() -> None:
    assert Plain(width=5).digest != Plain().digest
    assert Edited().digest != Plain().digest
    assert archscout.space("nasbench201:width=4").digest != archscout.space("nasbench201:width=8").digest
    assert archscout.space("nasbench201").digest == archscout.space("nasbench201").digest


def test_what_a_space_remembers_is_not_in_its_digest() -> None:
    space = archscout.space("nasbench201:width=4,cells=1")
    before = space.digest
    _ = space.encoding_names, space.encode([next(iter(space))])
    del space.__dict__["digest"], space.__dict__["parts"]
    assert space.digest == before


def test_every_space_and_task_has_the_same_digest_in_another_process() -> None:
    code = (
        "import archscout, archscout.testing.tasks as t\n"
        "for name in archscout.names('space'):\n"
        "    if name != 'trained': print(name, archscout.space(name).digest)\n"  # that one needs a network
        "print(t.tiny_task().digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # in this process, another
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(code, {})
    assert done.stdout == here.getvalue()
    assert len(set(done.stdout.split())) > 20


# -- code -------------------------------------------------------------------------------------------------------------


def _compiled(source: str) -> Any:
    scope: dict[str, Any] = {"__name__": "somebody"}
    exec(compile(source, "somebody.py", "exec"), scope)
    return scope["f"]


BASE = "K = 3\ndef helper(x):\n    return x + K\ndef f(x, y=1):\n    'doc'\n    return helper(x) in {1, 2} and y\n"


def test_comments_lines_and_docstrings_do_not_count() -> None:
    moved = BASE.replace("'doc'", "'another text'").replace("def f", "\n\n# a comment\ndef f")
    assert digest(_compiled(moved)) == digest(_compiled(BASE)) == digest(_compiled(BASE))


@pytest.mark.parametrize(
    ("old", "new"),
    [("x + K", "x - K"), ("K = 3", "K = 4"), ("y=1", "y=2"), ("{1, 2}", "{1, 3}"), ("and y", "or y")],
)
def test_each_edit_counts_also_in_what_the_code_calls(old: str, new: str) -> None:
    edited = (
        BASE.replace(old, new) if old != "f(x" else BASE.replace("def f(x", "def f(z").replace("per(x) in", "per(z) in")
    )
    assert digest(_compiled(edited)) != digest(_compiled(BASE))


def test_a_counter_that_code_keeps_does_not_count() -> None:
    source = "calls = 0\ndef f(x):\n    global calls\n    calls += 1\n    return x\n"
    counted = _compiled(source)
    before = digest(counted)
    counted(1)
    assert digest(counted) == before


def test_what_a_closure_holds_counts() -> None:
    def adder(number: int) -> Any:
        return lambda x: x + number

    assert digest(adder(1)) == digest(adder(1)) != digest(adder(2))
    assert digest(functools.partial(adder(1), 2)) != digest(functools.partial(adder(1), 3))


# -- objects ----------------------------------------------------------------------------------------------------------


class Thing:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


def test_no_address_enters_a_digest() -> None:
    assert digest(Thing(lock=threading.Lock(), a=object())) == digest(Thing(lock=threading.Lock(), a=object()))


def test_sharing_and_circles_are_seen() -> None:
    one, other = Thing(), Thing()
    assert digest([one, one]) != digest([one, other]) == digest([other, one])
    loop, loop_of_two = Thing(), Thing()
    loop.next = loop  # type: ignore[attr-defined]
    loop_of_two.next = Thing(next=loop_of_two)  # type: ignore[attr-defined]
    assert digest(loop) != digest(loop_of_two)


def test_arrays_differ_by_shape_type_and_content() -> None:
    base = np.arange(6, dtype=np.float32)
    others = [base.astype(np.float64), base.reshape(2, 3), base[::-1], base[:5], base.tolist(), base.astype(object)]
    assert len({digest(each) for each in (base, *others)}) == 1 + len(others)
    assert digest(base) == digest(np.arange(12, dtype=np.float32)[:6])


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_a_repaired_label_of_any_split_or_a_class_name_is_another_task() -> None:
    task = archscout.task("digits:train=200")
    assert task.test is not None
    digests = {task.digest, replace(task, class_names=("nought", *task.class_names[1:])).digest}
    for name in ("train", "valid", "test"):
        split: Split = getattr(task, name)
        labels = split.y.copy()
        labels[-1] = (labels[-1] + 1) % 10
        digests.add(replace(task, **{name: Split(split.x, labels)}).digest)
    assert len(digests) == 5


def test_a_repaired_test_label_leaves_what_estimators_made() -> None:
    task = archscout.task("digits:train=200")
    assert task.test is not None
    assert replace(task, test=task.test.head(5)).sealed().digest == task.sealed().digest


def test_the_digest_travels(tmp_path: Path) -> None:
    space = Plain()
    assert cloudpickle.loads(cloudpickle.dumps(space)).digest == space.digest
