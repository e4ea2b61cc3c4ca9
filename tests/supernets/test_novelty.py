"""The archive of novel paths."""

import importlib.util
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from archscout.core.seeds import stream
from archscout.supernets.novelty import Archive, Novelty, novel

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def moved(archive, space, steps, **named):
    """The paths that were trained, and the share of steps in which a member came to be another architecture."""
    update = Novelty(**named)
    step = toy.make_step(space, distribution=archive)
    jobs, new = [], []
    for number in range(steps):
        update.begin(replace(step, number=number), update.optimizer(archive))
        jobs += novel(step)
        new.append(update.gradients(step)["new"])
    return jobs, sum(new) / steps


def test_members_leave_a_crowd_for_where_nobody_is():
    """An archive in which nearly all are alike: training by novelty makes it as even as a uniform one."""
    space = toy.nasbench()
    archive = Archive(space, 30, stream(0))
    archive.members.fill_(1.0)

    def spread():
        codes = archive.rounded(archive.members.numpy())
        return (codes[:, None] != codes[None]).mean()

    assert spread() == 0.0
    jobs, new = moved(archive, space, 300)
    assert spread() > 0.6  # of 0.8 * 29 / 30 for a uniform one
    assert new > 0.05
    assert len({job.architecture.text for job in jobs}) > 50


def test_with_the_published_rate_members_stay_where_they_are():
    archive = Archive(toy.nasbench(), 30, stream(0))
    before = archive.rounded(archive.members.numpy())
    _, new = moved(archive, toy.nasbench(), 100, rate=0.01)
    assert new < 0.05
    assert (archive.rounded(archive.members.numpy()) == before).mean() > 0.99


def test_a_member_is_trained_as_it_now_is_and_states_are_tensors():
    space = toy.nasbench()
    archive = Archive(space, 5, stream(1))
    update, step = Novelty(), toy.make_step(space, distribution=archive)
    update.begin(step, update.optimizer(archive))
    (job,) = novel(step)
    codes = archive.rounded(archive.members[int(archive.current)].numpy())
    assert [c.index(job.architecture[c.name]) for c in space.choices] == codes.tolist()
    again = Archive(space, 5, stream(2))
    again.load_state_dict(archive.state_dict())
    assert torch.equal(again.members, archive.members)
    assert again.architecture() == archive.architecture()


def test_the_archive_starts_uniform():
    archive = Archive(toy.nasbench(), 2000, stream(3))
    counts = Counter(archive.rounded(archive.members.numpy()).ravel().tolist())
    assert set(counts) == set(range(5))
    assert max(counts.values()) < 1.1 * min(counts.values())
    assert np.isclose(archive.entropy().item(), 6 * np.log(5))
    with pytest.raises(AssertionError):
        novel(toy.make_step())
