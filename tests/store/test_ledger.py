"""What a budget in trials counts."""

from archscout.store.ledger import Ledger


def test_evaluations_count_once_and_paused_trainings_by_epochs():
    ledger = Ledger()
    ledger.pay(["a", "b", "a"])
    assert ledger.spent(10) == 2
    assert ledger.missing("c", 5) == 5
    ledger.train("c", 5)
    assert ledger.missing("c", 8) == 3
    ledger.train("c", 3)  # asked for again: answered from what is known
    assert ledger.missing("c", 4) == 0
    assert ledger.spent(10) == 2.5
