"""What jobs are expected to take, against what made-up jobs take by a known law."""

import pytest

from archscout.workers.pace import CALLS, Pace, Timing


def law(count: int, epochs: int, calls: float = 0.1, arithmetic: float = 0.1, start: float = 0.2) -> Timing:
    """A job whose epochs take so long for the calls, and so long for each network."""
    epoch = calls + arithmetic * count
    return Timing(epochs, start + epochs * epoch, epoch)


def test_nothing_is_expected_of_what_has_never_been_done():
    pace = Pace()
    pace.learn("trained", 1, law(1, 2))
    assert pace.expected("other", 3, 1) == 0.0


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_the_length_of_a_training_scales_its_epochs_and_not_its_start(epochs):
    pace = Pace()
    pace.learn("trained", 4, law(4, 2))
    assert pace.expected("trained", epochs, 4) == pytest.approx(law(4, epochs).seconds)


def test_between_sizes_that_were_seen_the_law_is_met_and_outside_it_errs_towards_too_long():
    pace = Pace()
    for size in (4, 16):
        pace.learn("trained", size, law(size, 10))
    for size in (4, 7, 12, 16):
        assert pace.expected("trained", 10, size) == pytest.approx(law(size, 10).seconds)
    for size in (1, 2, 3, 17, 32):
        assert pace.expected("trained", 10, size) >= law(size, 10).seconds
    assert pace.expected("trained", 10, 32) == pytest.approx(2 * law(16, 10).seconds)


def test_below_what_was_seen_no_more_is_saved_than_the_smallest_networks_save():
    pace = Pace()
    pace.learn("trained", 8, law(8, 5, calls=CALLS, arithmetic=1.0, start=0.0))
    assert pace.expected("trained", 5, 1) == pytest.approx(law(1, 5, calls=CALLS, arithmetic=1.0, start=0.0).seconds)


def test_jobs_of_the_same_length_tell_more_than_others_and_only_the_last_ones_count():
    pace = Pace()
    pace.learn("trained", 2, Timing(1, 100.0, 100.0))
    for seconds in [50.0] * 3 + [6.0] * 8:
        pace.learn("trained", 2, Timing(3, seconds, 2.0))
    assert pace.expected("trained", 3, 2) == pytest.approx(6.0)


def test_scores_have_no_epochs():
    pace = Pace()
    pace.learn("score", 8, Timing(0, 4.0, 0.0))
    assert pace.expected("score", None, 16) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("workers", "timed", "together", "count", "size"),
    [
        (4, False, 16, 64, 16), (4, False, 16, 10, 5), (4, False, 16, 7, 4), (1, False, 16, 7, 4), (4, False, 1, 7, 1),
        (4, True, 16, 10, 3), (4, True, 16, 64, 16), (4, True, 16, 2, 1), (1, True, 16, 10, 10), (4, True, 16, 0, 1),
    ],
)  # fmt: skip
def test_a_job_is_as_large_as_suits_it_where_each_worker_gets_one_and_apart_from_time_two_are_left(
    workers: int, timed: bool, together: int, count: int, size: int
) -> None:
    assert Pace(workers, timed).job_size("trained", together, count) == size
