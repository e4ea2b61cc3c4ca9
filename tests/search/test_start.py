"""Warm starts: what is evaluated first, what an earlier run teaches, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from archscout.core.cost import Constraint
from archscout.core.errors import DataError, UsageError
from archscout.core.fresh import fresh
from archscout.core.identity import identity
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.estimators.predictors import flan
from archscout.search import start as start_module
from archscout.search.asking import ask, tell
from archscout.search.result import Result
from archscout.search.search import search
from archscout.search.start import BEST, Start, begin, read_start, with_start
from archscout.store.store import Store, StoredTrial
from archscout.study.simulated import SimulatedRun, simulate
from archscout.tables.load import load
from archscout.tables.table import Metric, write
from archscout.testing import tiny_task

pytest.importorskip("pyarrow", reason="tables need pyarrow")

SPACE = "nasbench201:width=4,cells=1"
METHODS = [
    "random", "local_search", "surrogate:predictor=random_forest", "guided:pool=60", "cascade:pool=60",
    "surrogate_evolution", "hyperband",
]  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return load("nasbench201-digits")


@pytest.fixture(scope="module")
def texts(digits):
    """Ten networks from below the middle of the table."""
    order = np.argsort(digits.values(), kind="stable")
    return [digits.architectures[digits.first_rows[place]] for place in order[200:210]]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The store of an earlier search: six trainings of one epoch, and one of four that came to less."""
    folder, space, task = tmp_path_factory.mktemp("runs") / "a", create("space", SPACE), tiny_task(examples=60)
    rng = np.random.default_rng(0)
    some = list(fresh(space, (space.simplify(space.sample(rng)) for _ in range(50)), set()))[:7]
    with Store.open(folder / "search.sqlite") as store:
        store.begin("a", identity(space, task))
        store.add(
            "a",
            [
                StoredTrial(
                    f"k{i}", i, one.text, space.canonical(one), "trained", 1 if i < 6 else 4, "completed", i / 10
                )
                for i, one in enumerate(some)
            ],
        )
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_what_is_listed_is_trained_first_whatever_the_method(digits, texts, method):
    found = simulate(digits, method, "16trials", start=texts)
    space = digits.space
    first = [trial.canonical for trial in found.trials if trial.fidelity == found.trials[0].fidelity]
    assert first[:10] == [space.canonical(space.parse(text)) for text in texts]
    assert found.spent[-1] <= 16 + 1e-9
    assert len({(t.canonical, t.fidelity, t.estimator) for t in found.trials}) == len(found.trials)
    assert len(found.trials) > 10


@pytest.mark.parametrize("method", ["random", "guided:pool=60", "hyperband"])
def test_the_best_network_is_not_lost_where_it_is_listed(digits, method):
    best, value = digits.best("valid_accuracy")
    found = simulate(digits, method, "12trials", start=[best])
    assert found.regret[0] == 0
    assert digits.value(found.winner, "valid_accuracy") == value


def test_a_start_that_takes_the_whole_budget(digits, texts):
    found = simulate(digits, "evolution", "4trials", start=texts)
    assert len(found.trials) == 4


def test_without_a_start_nothing_changes(digits):
    plain, empty = (simulate(digits, "guided:pool=60", "12trials", start=start) for start in (None, Start()))
    assert [t.canonical for t in plain.trials] == [t.canonical for t in empty.trials]


def test_a_strategy_learns_from_what_is_listed(digits):
    """Local search begins beside the best of the list, not at random."""
    best = digits.best()[0]
    found = simulate(digits, "local_search", "4trials", start=[best])
    space = digits.space
    near = {space.canonical(other) for other in space.neighbours(space.parse(best))}
    assert {trial.canonical for trial in found.trials[1:]} <= near


def test_files_tables_and_names_of_reference_designs(digits, texts, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join([*texts, texts[0]]))
    space = digits.space
    listed = read_start(tmp_path / "list.txt", space).architectures
    assert [space.canonical(one) for one in listed] == [space.canonical(space.parse(text)) for text in texts]
    best = read_start("nasbench201-digits", space).architectures
    values = [digits.value(one, "valid_accuracy") for one in best]
    assert values == sorted(digits.values("valid_accuracy"), reverse=True)[:BEST], "test accuracy chooses nothing"
    assert read_start(str(digits.path), space).architectures == best, "a file that is a table is no mere list"
    assert read_start("nasbench201-digits", space).digest != read_start(tmp_path / "list.txt", space).digest


def test_what_is_at_hand_in_python(digits, texts, tmp_path):
    space = digits.space
    listed = read_start(texts, space).architectures
    for given in (iter(texts), np.array(texts), [space.parse(text) for text in texts], pd.Series(texts)):
        assert read_start(given, space).architectures == listed
    assert read_start(pd.DataFrame({"value": 1.0, "architecture": texts}), space).architectures == listed
    assert read_start(set(texts), space).architectures == read_start(sorted(texts), space).architectures
    assert read_start(space.parse(texts[0]), space).architectures == listed[:1]
    assert read_start(digits, space) == read_start("nasbench201-digits", space)
    with pytest.raises(UsageError, match="has no trials of a search"):
        read_start(Result(tmp_path, {}), space)


@pytest.mark.slow  # a network is trained
def test_a_table_of_another_space_teaches_by_its_graphs(tmp_path, monkeypatch):
    """Where more convolutions are better, those that are expected most of have many."""
    monkeypatch.setattr(flan, "SCHOOLING", replace(flan.SCHOOLING, epochs=15))
    monkeypatch.setattr(start_module, "SAMPLED", 100)
    source, space = create("space", "nasbench201"), create("space", "nasbench101")
    rng = np.random.default_rng(0)
    cells = [source.sample(rng).text for _ in range(40)]
    columns = {"architecture": cells, "valid": [text.count("conv_3x3") / 6 for text in cells]}
    write(tmp_path / "other.parquet", "nasbench201", columns, [Metric("valid", "accuracy")], default="valid")
    first = read_start(tmp_path / "other.parquet", space).architectures
    assert len(first) == BEST
    rest = [space.sample(rng) for _ in range(100)]
    count = [np.mean([one.text.count("conv3x3") for one in some]) for some in (first, rest)]
    assert count[0] > count[1] + 0.5


def test_the_best_of_an_earlier_run_are_first_and_all_of_it_is_learned_from(earlier):
    space = create("space", SPACE)
    start = read_start(earlier, space, tiny_task(examples=60))
    assert len(start.architectures) == len(start.lessons) == 7
    values = {trial.canonical: trial.value for trial in start.lessons}
    ordered = [values[space.canonical(one)] for one in start.architectures]
    assert ordered == [0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0], "the longest training goes first"
    assert read_start(earlier, space, tiny_task(examples=61)).lessons == (), "of other data"
    with pytest.raises(UsageError, match=r"is of space 'nasbench201:.*whose architectures space 'classic' does not"):
        read_start(earlier, create("space", "classic"))


class Runs:
    """Trains nothing: every evaluation comes to one half."""

    space, objectives, estimator, epochs, trains = create("space", SPACE), (), "trained", 1, True

    def admit(self, architectures, count):
        return list(architectures)[:count]

    def evaluate(self, architectures, estimator, *, fidelity, phase):
        return [
            Trial(i, a, self.space.canonical(a), estimator, fidelity, "completed", 0.5)
            for i, a in enumerate(architectures)
        ]


def test_lessons_are_of_the_same_length_and_not_of_what_is_trained_here(earlier):
    start = read_start(earlier, Runs.space, tiny_task(examples=60))
    few = Start(start.architectures[:2], start.lessons)
    run = Runs()
    trials = begin(run, few)
    assert [trial.value for trial in trials] == [0.5, 0.5]
    assert [trial.value for trial in run.start] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5]


@pytest.mark.slow  # two searches that train
def test_a_real_search_begins_with_the_earlier_one_and_is_resumed(earlier, tmp_path):
    options = {"method": "local_search", "workers": 0, "out": tmp_path, "name": "b", "epochs": 1}
    task = tiny_task(examples=60)
    found = search(SPACE, task, budget="9trials", start=earlier, **options)
    with Store.open(found.folder / "search.sqlite") as store:
        trials = [trial for trial in store.trials("b") if trial.estimator == "trained"]
    with Store.open(earlier / "search.sqlite") as store:
        before = {trial.canonical for trial in store.trials("a")}
    assert [trial.phase for trial in trials] == ["start"] * 7 + ["search"] * 2
    assert {trial.canonical for trial in trials[:7]} == before
    assert not {trial.canonical for trial in trials[7:]} & before
    assert search(SPACE, task, budget="9trials", start=earlier, **options).architecture == found.architecture
    with pytest.raises(UsageError, match="started with start"):
        search(SPACE, task, budget="9trials", **options)


@pytest.mark.slow  # a search in seconds
def test_with_a_planned_budget_the_listed_design_goes_before_hand_made_ones(tmp_path):
    text = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_1x1~2|"
    found = search(SPACE, tiny_task(examples=60), budget="12s", start=[text], workers=0, out=tmp_path, name="p")
    with Store.open(found.folder / "search.sqlite") as store:
        candidates = store.decisions("p")["plan"]["candidates"]
    assert candidates[0]["architecture"] == text


def test_what_breaks_a_limit_is_left_out_and_said(digits, texts, monkeypatch):
    said = []
    monkeypatch.setattr(SimulatedRun, "say", lambda self, sentence: said.append(sentence))
    sizes = sorted(digits.value(text, "params") for text in texts)
    limits = [Constraint("params", "params", sizes[4])]
    found = simulate(digits, "random", "12trials", constraints=limits, start=texts)
    meeting = sum(size <= sizes[4] for size in sizes)
    assert said == [f"{10 - meeting} of the 10 architectures to start from break a limit, and are left out."]
    assert all(digits.value(trial.architecture, "params") <= sizes[4] for trial in found.trials)
    assert found.trials[meeting - 1].phase == "start" != found.trials[meeting].phase


def test_asking_begins_with_the_list(texts, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(texts[:3]))
    proposals = ask(tmp_path / "r", space="nasbench201", start=tmp_path / "list.txt", count=2)
    tell(tmp_path / "r", {"trial": 0, "value": 0.5})
    proposals += ask(tmp_path / "r", count=2)
    space = create("space", "nasbench201")
    forms = [space.canonical(space.parse(one["architecture"])) for one in proposals]
    assert forms[:3] == [space.canonical(space.parse(text)) for text in texts[:3]]
    assert forms[3] not in forms[:3]
    with pytest.raises(UsageError, match="started with start"):
        ask(tmp_path / "r", start=texts[:1])


def trial(number, value, fidelity=4, estimator="trained"):
    space = create("space", "nasbench201")
    one = space.sample(np.random.default_rng(number))
    return Trial(number, one, space.canonical(one), estimator, fidelity, "completed", value)


class Plain:
    objectives, estimator, epochs, trains = (), "trained", 4, True


def test_candidates_are_ordered_by_value_only_where_values_compare():
    known, better, other = trial(0, 0.9), trial(1, 0.5), trial(2, 0.95, fidelity=2)
    assert with_start(Plain(), [known], [better]) == [known, better]
    assert with_start(Plain(), [better], [known]) == [known, better]
    assert with_start(Plain(), [known], [other]) == [other, known]
    assert with_start(Plain(), [trial(3, math.nan)], [better]) == [better]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "has no architecture in it"),
        ("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|\nrubbish", "row 2 of"),
    ],
)
def test_a_bad_list_is_refused_with_the_row(tmp_path, content, sentence):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(DataError, match=sentence):
        read_start(tmp_path / "list.txt", create("space", "nasbench201"))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere.txt", "nothing 'nowhere.txt' to start from: name a file"),
        ([3], r"place 1 of the start is no architecture \(3\)"),
        (["|none~0|", 4], "place 1 of the start: "),
        (3, "cannot start from 3: give architectures"),
        (True, "cannot start from True"),
        ({"architecture": "|none~0|"}, "cannot start from"),
        (np.array("|none~0|"), "cannot start from"),
        (object(), "cannot start from"),
    ],
)
def test_what_is_no_start_is_refused(source, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_start(source, create("space", "nasbench201"))


def test_a_folder_without_trials_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"has no trials of a search \('search.sqlite'\)"):
        read_start(tmp_path, create("space", "nasbench201"))
    with Store.open(tmp_path / "search.sqlite") as store:
        store.begin("x", {})
    with pytest.raises(UsageError, match="has trained no network yet"):
        read_start(tmp_path, create("space", "nasbench201"))
