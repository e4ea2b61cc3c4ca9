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


def test_what_is_left_pays_for_trainings_to_its_last_epoch():
    ledger = Ledger()
    ledger.train_all(["paused@3|a", "paused@1|b"])
    asked = ["paused@9|a", "paused@3|b", "paused@2|c"]  # 6, 2 and 2 epochs more
    assert [ledger.affordable(asked, left) for left in (5, 6, 7, 8, 9, 10, 99)] == [0, 1, 1, 2, 2, 3, 3]
    assert ledger.affordable(asked, 0.1 * 3 * 20) == 1  # 6.000000000000001
    assert ledger.affordable(asked, 10 - 1e-9) == 3  # shares of trials are added up in floating point
