import pytest

from archscout.core.choice import Choice, Condition


def test_an_option_has_its_place():
    choice = Choice("kernel", (3, 5, 7), ordinal=True)
    assert [choice.index(option) for option in (3, 5, 7)] == [0, 1, 2]


def test_choices_are_values():
    condition = Condition("depth", (2, 3))
    assert Choice("a", (1, 2), condition=condition) == Choice("a", (1, 2), condition=Condition("depth", (2, 3)))
    assert len({Choice("a", (1, 2)), Choice("a", (1, 2)), Choice("a", (2, 1))}) == 2


@pytest.mark.parametrize(("options", "message"), [((), "has no option"), ((3, 5, 3), "names an option twice")])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"choice 'kernel' {message}"):
        Choice("kernel", options)
