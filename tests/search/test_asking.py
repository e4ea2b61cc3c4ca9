"""Ask and tell: proposals follow from what was told, and what is wrong is refused whole."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from archscout.cli.main import run
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.registry import create
from archscout.search import asking
from archscout.search.asking import ask, parse_answers, tell
from archscout.store.lock import run_lock

STRATEGY = "evolution:population=4,sample=2"


def convolutions(text):
    return text.count("conv_3x3") + 0.5 * text.count("skip")


def searched(folder, rounds, seed=0, strategy=STRATEGY):
    asked = []
    for _ in range(rounds):
        for one in ask(folder, space="nasbench201", strategy=strategy, seed=seed, count=2):
            asked.append(one["architecture"])
            told = tell(folder, {"trial": one["trial"], "value": convolutions(one["architecture"])})
    return asked, told


def test_it_searches_and_one_seed_gives_one_search(tmp_path):
    asked, told = searched(tmp_path / "a", 20)
    again, _ = searched(tmp_path / "b", 20)
    other, _ = searched(tmp_path / "c", 3, seed=1)
    assert again == asked
    assert other[:2] != asked[:2]
    assert told["trials"] == told["completed"] == 40
    assert told["best"]["value"] == max(map(convolutions, asked)) > convolutions(asked[0])
    late, early = asked[30:], asked[:8]
    assert sum(map(convolutions, late)) / 10 > sum(map(convolutions, early)) / 8


def test_what_is_under_way_is_not_proposed_twice(tmp_path):
    space = create("space", "nasbench201")
    proposals = ask(tmp_path / "a", space="nasbench201", strategy="random", count=30)
    proposals += ask(tmp_path / "a", count=30)
    assert len({space.canonical(space.parse(one["architecture"])) for one in proposals}) == 60
    assert [one["trial"] for one in proposals] == list(range(60))


def test_several_programs_ask_and_tell_at_once(tmp_path):
    """Each waits its turn: no answer is lost, no trial given out twice."""

    def program(_):
        for _ in range(6):
            (one,) = ask(tmp_path / "a", space="nasbench201", strategy="random")
            tell(tmp_path / "a", {"trial": one["trial"], "value": 0.5})

    with ThreadPoolExecutor(3) as programs:
        list(programs.map(program, range(3)))
    (last,) = ask(tmp_path / "a")
    assert last["trial"] == 18
    assert tell(tmp_path / "a", {"trial": 18, "value": 1})["completed"] == 19


def test_a_run_that_another_holds_for_long_is_said_to_be_held(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    ask(tmp_path / "a", space="nasbench201", strategy="random")
    with run_lock(tmp_path / "a"), pytest.raises(UsageError, match=r"another search .* is writing to"):
        tell(tmp_path / "a", {"trial": 0, "value": 0.5})


def test_somebody_elses_proposal_teaches_too(tmp_path):
    folder, space = tmp_path / "a", create("space", "nasbench201")
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    ask(folder, space="nasbench201", strategy="local_search")
    tell(folder, [{"architecture": best, "value": 6}, {"trial": 0, "failed": "out of memory"}])
    proposal = ask(folder)[0]["architecture"]
    assert space.canonical(space.parse(proposal)) in {
        space.canonical(one) for one in space.neighbours(space.parse(best))
    }


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"trial": 5, "value": 1}, "has no trial 5; its trials are 0 to 1"),
        ({"trial": -1, "value": 1}, "has no trial -1"),
        ({"trial": True, "value": 1}, "has no trial"),
        ({"trial": 0, "value": float("nan")}, "the value of a trial"),
        ({"trial": 0, "value": "much"}, "the value of a trial"),
        ({"trial": 0}, "does not say which trial came to what"),
        ({"value": 1}, "does not say which trial came to what"),
        ({"trial": 0, "value": 1, "cost": {}}, "an answer has no 'cost'"),
        ({"trial": 0, "value": 1, "costs": {"params": "many"}}, "the cost 'params'"),
        ({"architecture": "nonsense", "value": 1}, "nonsense"),
        ([{"trial": 0, "value": 1}, {"trial": 0, "value": 1}], "trial 0 of run 'a' has been told before"),
        (7, "is no answer"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_of_it_kept(tmp_path, answer, sentence):
    folder = tmp_path / "a"
    ask(folder, space="nasbench201", strategy="random", count=2)
    before = (folder / "trials.json").read_bytes()
    with pytest.raises(UsageError, match=sentence):
        tell(folder, answer)
    assert (folder / "trials.json").read_bytes() == before


def test_other_runs_and_questions_are_refused(tmp_path):
    with pytest.raises(UsageError, match="begin one by naming a space"):
        ask(tmp_path / "a")
    with pytest.raises(UsageError, match="ask first"):
        tell(tmp_path / "a", {"trial": 0, "value": 1})
    with pytest.raises(UsageError, match="no strategy 'evolutoin'"):
        ask(tmp_path / "a", space="nasbench201", strategy="evolutoin")
    assert not (tmp_path / "a").exists()
    ask(tmp_path / "a", space="nasbench201", strategy="random")
    with pytest.raises(UsageError, match="started with"):
        ask(tmp_path / "a", space="nasbench101")
    with pytest.raises(UsageError, match="is not JSON"):
        parse_answers("{trial: 0}")


def test_an_exhausted_space_is_said_to_be_so(tmp_path):
    space = create("space", "nasbench_macro")
    folder = tmp_path / "a"
    ask(folder, space="nasbench_macro", strategy="random")
    forms = {space.canonical(one): one for one in space}
    proposed = json.loads((folder / "trials.json").read_text())[0]["architecture"]
    forms.pop(space.canonical(space.parse(proposed)))
    tell(folder, [{"architecture": one.text, "value": 0.0} for one in forms.values()])
    with pytest.raises(ArchscoutError, match="nothing new to ask for"):
        ask(folder)


def test_from_the_command_line(tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    assert run(["ask", "mine", "--space", "nasbench201", "--strategy", "random", "--json", *out]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert asked[0]["trial"] == 0
    assert run(["tell", "mine", '{"trial": 0, "value": 0.5, "costs": {"params": 10}}', "--json", *out]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["best"] == {"architecture": asked[0]["architecture"], "value": 0.5, "costs": {"params": 10.0}}
    assert run(["tell", "mine", '{"trial": 0, "value": 0.5}', *out]) == 2
    assert "has been told before" in capsys.readouterr().err


def test_another_space_is_refused_with_advice_that_can_be_followed(tmp_path):
    ask(tmp_path / "a", space="nasbench201", strategy="random")
    with pytest.raises(UsageError, match=r"was started with .*: give another name of a run") as refused:
        ask(tmp_path / "a", space="darts")
    assert "--fresh" not in str(refused.value), "which `archscout ask` does not have"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("trials.json", '[{"architecture": "|none~0|"}]'),
        ("trials.json", '[{"architecture": 5, "status": "asked"}]'),
        ("trials.json", '[{"architecture": "|none~0|", "status": "completed", "value": "high"}]'),
        ("trials.json", '[{"architecture": "|none~0|", "status": "completed", "value": 1, "costs": {"params": null}}]'),
        ("run.json", '{"kind": "a search whose evaluations are made elsewhere"}'),
        ("run.json", '{"kind": "a search whose evaluations are made elsewhere", "identity": {"seed": 0}}'),
    ],
)
def test_damaged_files_are_told_in_a_sentence(tmp_path, file, content):
    ask(tmp_path / "r", space="nasbench201", strategy="random")
    (tmp_path / "r" / file).write_text(content)
    for again in (lambda: ask(tmp_path / "r"), lambda: tell(tmp_path / "r", {"trial": 0, "value": 0.5})):
        with pytest.raises(DataError, match=r"is damaged .*: restore it from a backup"):
            again()


def test_natural_forms_of_what_is_asked_for(tmp_path):
    space, strategy = create("space", "nasbench201"), create("strategy", "random")
    given = {"space": space, "strategy": strategy, "seed": np.int64(3), "count": np.int32(2)}
    proposals = ask(str(tmp_path / "a"), **given)
    assert ask(tmp_path / "b", space="nasbench201", strategy="random", seed=3, count=2) == proposals
    told = tell(str(tmp_path / "a"), {"trial": np.int64(1), "value": np.float32(0.5), "costs": {"params": np.int64(7)}})
    assert told["best"] == {"architecture": proposals[1]["architecture"], "value": 0.5, "costs": {"params": 7.0}}
    ask(tmp_path / "c", space="nasbench201", strategy="nsga2", objectives="params")
    assert json.loads((tmp_path / "c" / "run.json").read_text())["identity"]["objectives"] == ["params"], "no letters"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"space": 3}, "the space must be a text"),
        ({"space": ["nasbench201"]}, "the space must be a text"),
        ({"strategy": max}, "the strategy must be a text"),
        ({"seed": 1.5}, "the seed must be a whole number"),
        ({"seed": True}, "the seed must be a whole number"),
        ({"objectives": 3}, "the objectives must be names"),
        ({"objectives": [3]}, "the objectives must be a text"),
        ({"count": 0}, "the number of proposals must be"),
        ({"count": "2"}, "the number of proposals must be"),
        ({"folder": 3}, "the run must be a path"),
        ({"folder": None}, "the run must be a path"),
    ],
)
def test_odd_questions_are_refused_and_nothing_is_written(tmp_path, given, said):
    asked = {"folder": tmp_path / "a", "space": "nasbench201", "strategy": "random"} | given
    with pytest.raises(UsageError, match=said):
        ask(**asked)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("answer", [{"trial": np.array([0]), "value": 1}, {"trial": 0.0, "value": 1}, 3, "x", [None]])
def test_odd_answers_are_refused(tmp_path, answer):
    ask(tmp_path / "a", space="nasbench201", strategy="random")
    with pytest.raises(UsageError, match=r"has no trial|is no answer"):
        tell(tmp_path / "a", answer)
