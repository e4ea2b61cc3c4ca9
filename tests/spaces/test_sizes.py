"""Sizes that nobody trains are refused before anything is built."""

import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks import pick
from archscout.networks.pick import build
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nasbench201:width=99999999", "width of space 'nasbench201' may be 65,536 at most, not 99,999,999"),
        ("nasbench201:cells=100000", "cells of space 'nasbench201' may be 200 at most"),
        ("nasbench101:cells=100000", "cells of space 'nasbench101' may be"),
        ("compressed:of=nasbench201:cells=100000", "may be 200 at most"),
        ("darts:layers=100000", "layers of space 'darts' may be"),
        ("enas:layers=100000", "layers of space 'enas' may be"),
        ("nasbench_nlp:hidden=100000", "hidden of space 'nasbench_nlp' may be"),
        ("mobile:stages=100", "stages of space 'mobile' may be 16 at most"),
        ("mobile:depth=100000", "depth of space 'mobile' may be"),
        ("nago:params=99999999999999", "params of space 'nago' may be"),
        *(
            (f"{space}:width=99999968", f"width of space '{space}' may be")
            for space in (
                "classic", "series", "lines", "rows", "segmentation", "randwire", "nasbench_macro", "tdnn",
                "nasbench_graph", "mobile",
            )
        ),
        ("fbnetv2:unit=99999999", "unit of space 'fbnetv2' may be"),
    ],
)  # fmt: skip
def test_a_size_that_nobody_trains_is_refused(name, words):
    with pytest.raises(UsageError, match=words):
        create("space", name)


@pytest.mark.parametrize("of", [build, lambda space, _, task: Supernet(space, task)], ids=["alone", "shared"])
def test_more_bytes_than_can_be_asked_for_are_refused_in_a_sentence(of):
    space, task = create("space", "nasbench201:width=65536"), tiny_task(examples=10)
    everything = space.named("all_conv3x3")
    with pytest.raises(UsageError, match=r"'nasbench201:width=65536' has .* of weights.* fewer channels or layers"):
        of(space, everything, task)


def test_weights_that_do_not_fit_are_refused_before_they_are_drawn(monkeypatch):
    space, task = create("space", "nasbench201:width=8,cells=1"), tiny_task(examples=10)
    architecture = space.sample(stream(0))
    bytes_held = sum(parameter.nbytes for parameter in build(space, architecture, task).parameters())
    monkeypatch.setattr(pick, "physical_memory", lambda: bytes_held / pick.SHARE)
    build(space, architecture, task)  # what just fits
    monkeypatch.setattr(pick, "physical_memory", lambda: (bytes_held - 4) / pick.SHARE)
    with pytest.raises(UsageError, match="cannot be trained in"):
        build(space, architecture, task)
    counted = build(space, architecture, task, device="meta")  # nothing is held
    assert all(parameter.is_meta for parameter in counted.parameters())
    assert not torch.nn.modules.module._global_parameter_registration_hooks, "the hook is gone, whatever happened"
