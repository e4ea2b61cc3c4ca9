import subprocess
import sys

import numpy as np

from archscout.core.seeds import derive, stream


def test_a_stream_depends_on_seed_and_keys_alone():
    first = stream(7, "sample", 3).random(5)
    stream(7, "other").random(100)
    assert np.array_equal(stream(7, "sample", 3).random(5), first)


def test_other_seeds_and_keys_give_other_streams():
    drawn = {
        stream(*arguments).integers(2**63)
        for arguments in ((0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (0, "b", "a"), (0, 1), (0, "1"))
    }
    assert len(drawn) == 9


def test_streams_do_not_overlap():
    a, b = stream(0, "a").random(100_000), stream(0, "b").random(100_000)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.015
    assert len(np.intersect1d(a, b)) == 0


def test_the_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    stream(0, "a").random(10)
    assert np.array_equal(np.random.get_state()[1], before)


def test_derived_seeds_fit_63_bits():
    seeds = {derive(0, "train", number) for number in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**60


def test_another_process_draws_the_same():
    """Python's own hash of a text differs from process to process."""
    code = (
        "from archscout.core.seeds import *; print(derive(3, 'propose', 'random', 12), stream(3, 'x').integers(2**40))"
    )
    printed = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert printed == {f"{derive(3, 'propose', 'random', 12)} {stream(3, 'x').integers(2**40)}\n"}
