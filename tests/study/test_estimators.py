"""A comparison of estimators: the protocol, resuming, budgets, and what is refused."""

import json
import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create
from archscout.core.seeds import derive
from archscout.study.estimators import Plan, _test, compare, default_sizes
from archscout.study.missing import compute_missing
from archscout.study.problem import comparable, problem
from archscout.study.score_columns import of_others
from archscout.study.summary import summary, winners
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write

NAMES = ("random_forest:encoding=plain", "bayesian_ridge", "score", "valacc", "sotl")


@pytest.fixture(scope="module")
def plan():
    return Plan(NAMES, (10, 60), repeats=3, test=80)


@pytest.fixture(scope="module")
def rows(small_table, plan, tmp_path_factory):
    return compare(small_table, plan, tmp_path_factory.mktemp("study"))


def without_clock(rows):
    return [{k: v for k, v in row.items() if k not in ("fit_seconds", "query_seconds")} for row in rows]


def same(first, second):
    return json.dumps(without_clock(first), sort_keys=True) == json.dumps(without_clock(second), sort_keys=True)


def test_no_network_that_was_learned_from_is_predicted(small_table):
    about = problem(small_table, ["random_forest"])
    plan = Plan(("random_forest",), (50,), test=None)
    texts = small_table.architectures
    for seed in range(5):
        train = about.split(seed, 50)
        test = _test(about, plan, train, seed)
        space = small_table.space
        for form in (space.canonical, space.isomorphism_class):
            learned = {form(space.parse(texts[i])) for i in train}
            rest = {i for i in range(300) if form(space.parse(texts[i])) in learned}
            assert not rest & set(test.tolist())
        left_out = set(range(300)) - set(test.tolist()) - set(train.tolist())
        assert left_out, "the table has twins"
        assert len(_test(about, Plan(("random_forest",), (50,), test=20), train, seed)) == 20
        seen = Plan(("random_forest",), (50,), test=None, clean=False)
        assert len(_test(about, seen, train, seed)) == 300


def test_each_family_varies_its_own_budget(rows):
    by = {}
    for row in rows:
        by.setdefault(row["estimator"], set()).add((row["train"], row["epochs"]))
    for name in NAMES[:2]:
        assert by[name] == {(10, 0), (60, 0)}
    assert by["score"] == {(0, 0)}
    for name in NAMES[3:]:
        assert by[name] == {(0, e) for e in range(1, 8)}


def test_the_four_budgets_are_accounted(rows, small_table):
    about = problem(small_table, NAMES)
    for row in rows:
        assert row["trained"] == row["train"]
        assert row["queries"] == 80
        if row["train"]:
            train = about.split(derive(0, "study", row["repeat"]) % 2**31, row["train"])
            assert row["simulated_seconds"] == pytest.approx(about.seconds[train].sum())
            assert row["fit_seconds"] > 0
            assert row["query_seconds"] > 0
        elif row["epochs"]:
            # Seconds of a training are proportional to its epochs.
            assert row["simulated_seconds"] == 0
            assert 10 * row["epochs"] / 8 <= row["query_seconds"] <= 60 * row["epochs"] / 8


def test_a_score_is_judged_by_its_own_values(small_table, plan, rows):
    about = problem(small_table, NAMES)
    (row,) = [row for row in rows if row["estimator"] == "score" and row["repeat"] == 0]
    seed = derive(0, "study", 0) % 2**31
    test = _test(about, plan, about.split(seed, 60), seed)
    values = about.scores["score"][test]
    assert row["undefined"] == np.isnan(values).sum()
    filled = np.where(np.isnan(values), -1e9, values)
    assert row["kendall"] == pytest.approx(kendalltau(filled, about.truth[test]).statistic)
    assert math.isnan(row["mae"])


def test_longer_trainings_and_more_networks_tell_more(rows):
    entries = {(e["estimator"], e["train"], e["epochs"]): e["kendall"] for e in summary(rows)}
    assert entries["valacc", 0, 7] > entries["valacc", 0, 1]
    assert entries["sotl", 0, 7] > entries["sotl", 0, 1]
    assert entries[NAMES[0], 60, 0] > entries[NAMES[0], 10, 0]


def test_a_stopped_comparison_goes_on_and_ends_the_same(small_table, plan, rows, tmp_path):
    short = Plan(NAMES, plan.sizes, repeats=1, test=80)
    compare(small_table, short, tmp_path)
    file = tmp_path / "rows.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][: len(lines[3]) // 2])  # killed while it wrote
    told = []
    again = compare(small_table, plan, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (3, 15)
    assert told[-1] == (15, 15)
    assert same(again, rows)


def test_workers_change_nothing(small_table, plan, rows, tmp_path):
    assert same(compare(small_table, plan, tmp_path, workers=2), rows)


def test_scores_beside_the_features_and_from_a_file(small_table, tmp_path):
    lines = [f'"{text}",{number % 7},0.5' for number, text in enumerate(small_table.architectures)]
    file = tmp_path / "scores.csv"
    file.write_text("\n".join(["architecture,odd,odd_seconds", *lines[:-3], f'"{small_table.architectures[-3]}",,0.5']))
    about = problem(small_table, ["random_forest:encoding=plain,scores=score+odd", "odd"], scores=file)
    (name,) = about.features
    assert about.features[name].shape == (300, 32)
    assert about.widths[name] == (30, 1, 1)
    assert 0 <= about.features[name][:, 30:].min() < about.features[name][:, 30:].max() <= 1
    forms = small_table.canonical
    for row in range(0, 290, 7):  # a score is of a network: the mean over its rows, as in tables
        alike = [other for other in range(297) if forms[other] == forms[row]]
        assert about.scores["odd"][row] == pytest.approx(np.mean([other % 7 for other in alike]))
    assert about.score_seconds["odd"] == 0.5
    assert about.score_seconds[name] != about.score_seconds[name], "what the table's own score takes is not known"


def test_lower_is_better_where_the_table_says_so(small_table, tmp_path):
    about = problem(small_table, ["bayesian_ridge"], metric="seconds")
    assert (about.truth < 0).all()
    assert not about.higher


def test_what_cannot_be_compared_is_refused_in_a_sentence(small_table, tmp_path):
    def refuse(error, match, plan, **more):
        with pytest.raises(error, match=match):
            compare(small_table, plan, tmp_path / "refused", **more)

    refuse(UsageError, "fewer than 3 networks", Plan(("bayesian_ridge",), (2, 10)))
    refuse(UsageError, "more than half of the 300", Plan(("bayesian_ridge",), (151,)))
    refuse(UsageError, "nothing is compared", Plan((), (10,)))
    refuse(UsageError, "did you mean 'score'", Plan(("scor",), (10,)))
    refuse(UsageError, "'evolution' is a search, no estimator", Plan(("evolution",), (10,)))
    refuse(UsageError, "no metric 'vald'", Plan(("score",), (10,)), metric="vald")
    refuse(DataError, "has 5 architectures with a value of 'none'", Plan(("score",), (10,)), metric="none")
    refuse(UsageError, "the number of repeats must be", Plan(("score",), (10,), repeats=0))
    refuse(UsageError, "there is no file", Plan(("score",), (10,)), scores=tmp_path / "no.csv")
    assert not (tmp_path / "refused").exists(), "nothing half-written"
    done = Plan(("score",), (10,), repeats=1)
    compare(small_table, done, tmp_path / "one")
    with pytest.raises(UsageError, match="begun with sizes "):
        compare(small_table, Plan(("score",), (20,), repeats=1), tmp_path / "one")
    (tmp_path / "one" / "study.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        compare(small_table, done, tmp_path / "one")


def test_the_usual_sizes_are_those_of_the_study_of_2021():
    assert default_sizes(15625) == (5, 8, 14, 24, 42, 71, 121, 205, 347, 589, 1000)
    assert default_sizes(300) == (5, 8, 14, 24, 42, 71, 121)


def test_winners_are_the_best_that_a_budget_can_pay(rows):
    won = {(w["train"], w["epochs"]): w for w in winners(rows)}
    assert set(won) == {(t, e) for t in (0, 10, 60) for e in range(8)}
    means = {(e["estimator"], e["train"], e["epochs"]): e["kendall"] for e in summary(rows)}
    for (train, epochs), w in won.items():
        able = {k: v for k, v in means.items() if k[1] in (0, train) and k[2] in (0, epochs)}
        best = max(able, key=able.get)
        assert w["winner"] == best[0]
        assert w["kendall"] == pytest.approx(able[best])
    assert won[0, 0]["winner"] == "score"
    assert won[0, 0]["p"] is None


def test_mutants_are_near_the_best_and_none_is_learned_from(tmp_path):
    """On the table that comes with the package, against the neighbours of what is predicted."""
    pytest.importorskip("pyarrow", reason="tables need pyarrow")
    from archscout.tables.load import load

    table = load("nasbench201-digits")
    about = problem(table, ["bayesian_ridge"])
    train, test = about.mutants(3, 40, 30)
    assert (len(set(train.tolist())), len(set(test.tolist()))) == (40, 30)
    for numbers in about.alike:
        assert not set(numbers[train].tolist()) & set(numbers[test].tolist())
    near = {table.space.canonical(n) for place in test for n in table.space.neighbours(about.architectures[place])}
    assert {about.canonical[place] for place in train} <= near
    assert about.truth[test].mean() > about.truth.mean()
    plan = Plan(("bayesian_ridge",), (10, 40), repeats=2, test=30, mutants=True)
    found = compare(table, plan, tmp_path / "mutants")
    assert [(row["train"], row["queries"]) for row in found] == [(10, 30), (40, 30)] * 2
    with pytest.raises(UsageError, match="begun with mutants true"):
        compare(table, Plan(("bayesian_ridge",), (10, 40), repeats=2, test=30), tmp_path / "mutants")


def test_a_table_with_too_few_mutants_says_so(small_table, tmp_path):
    with pytest.raises(UsageError, match="mutants of good architectures: ask for fewer"):
        problem(small_table, ["bayesian_ridge"]).mutants(0, 100, 100)
    with pytest.raises(UsageError, match="predicted in a number"):
        compare(small_table, Plan(("bayesian_ridge",), (10,), test=None, mutants=True), tmp_path)


def sparse_file(table, folder, name, count, value, first=0):
    """Scores of some architectures, as `archscout score` leaves them."""
    rows = [f'"{text}",{value(number)},0.5' for number, text in enumerate(table.architectures)][first : first + count]
    file = folder / f"{name}.csv"
    file.write_text("\n".join([f"architecture,{name},{name}_seconds", *rows]))
    return file


def test_where_a_score_is_sparse_all_are_judged_on_the_networks_that_have_one(small_table, tmp_path):
    truth = problem(small_table, ["score"]).truth
    file = sparse_file(small_table, tmp_path, "oracle", 140, lambda number: truth[number])
    about = problem(small_table, ["oracle", "bayesian_ridge"], scores=file)
    known = {small_table.canonical[row] for row in range(140)}
    assert about.asked.tolist() == [form in known for form in about.canonical]
    told = []
    plan = Plan(("oracle", "score", "bayesian_ridge"), (20,), repeats=3, test=None)
    rows = compare(small_table, plan, tmp_path / "study", scores=file, say=told.append)
    # Ranking the others as its worst, a perfect score came to .03 on NAS-Bench-201.
    assert all(row["kendall"] > 0.8 and row["undefined"] == 0 for row in rows if row["estimator"] == "oracle")
    for repeat in range(3):  # the same networks for all, of which none was learned from
        queries = {row["queries"] for row in rows if row["repeat"] == repeat}
        assert len(queries) == 1
        assert 50 < queries.pop() < about.asked.sum()
    assert told == [
        f"predicted are {about.asked.sum()} of 300 architectures, by all alike: those of which every score has a value "
        f"(oracle: {about.asked.sum()})."
    ]
    # What was measured on these networks is never set beside what was measured on all.
    with pytest.raises(UsageError, match="begun with"):
        compare(small_table, Plan(("score",), (20,), repeats=3, test=None), tmp_path / "study")


def test_an_undefined_score_counts_as_the_worst_where_it_was_computed(small_table, tmp_path):
    rows = [f'"{text}",{"" if number % 2 else number}' for number, text in enumerate(small_table.architectures)]
    file = tmp_path / "half.csv"
    file.write_text("\n".join(["architecture,half", *rows]))
    about = problem(small_table, ["half"], scores=file)
    assert about.asked.all()
    assert not about.sparse
    row, *_ = compare(small_table, Plan(("half",), (10,), repeats=1, test=None), tmp_path / "study", scores=file)
    assert row["undefined"] > 50


def test_a_study_does_not_go_on_with_other_scores_under_one_name(small_table, tmp_path):
    files = []
    for sign in (1, -1):
        rows = [f'"{text}",{sign * number}' for number, text in enumerate(small_table.architectures)]
        files.append(tmp_path / f"{sign}.csv")
        files[-1].write_text("\n".join(["architecture,mine", *rows]))
    plan, study = Plan(("mine",), (10,), repeats=1, test=None), tmp_path / "study"
    (first,) = compare(small_table, plan, study, scores=files[0])
    with pytest.raises(UsageError, match=r"holds measurements of 'mine' from other values .* --fresh"):
        compare(small_table, plan, study, scores=files[1])
    # Others may be added, under whatever file; what is there stays.
    more = Plan(("mine", "score"), (10,), repeats=1, test=None)
    assert compare(small_table, more, study, scores=files[0])[0]["kendall"] == first["kendall"]
    (other,) = compare(small_table, plan, study, scores=files[1], fresh=True)
    assert other["kendall"] == pytest.approx(-first["kendall"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1 nothing", "is no readable Parquet file"),
        (b"architecture,mine\n02122201,1\n", "has scores of another space than table 'made'"),
        (b"architecture;mine\n{0};n/a\n{1};0,5\n", "holds 'n/a', which is no number"),
        (b"architecture,mine\n{0},\n{1},NaN\n", "'mine' has no finite value"),
        (b"architecture,mine\n", "'mine' has no finite value"),
    ],
)
def test_a_file_of_scores_that_cannot_be_read_is_refused_in_a_sentence(small_table, tmp_path, content, said):
    file = tmp_path / f"scores.{'PARQUET' if content.startswith(b'PAR1') else 'csv'}"
    for place in range(2):
        content = content.replace(b"{%d}" % place, small_table.architectures[place].encode())
    file.write_bytes(content)
    with pytest.raises(DataError, match=said):
        problem(small_table, ["mine"], scores=file)


def test_a_table_without_rows_is_refused_in_a_sentence(tmp_path):
    empty = write(tmp_path / "t.parquet", "nasbench201", {"architecture": [], "valid": []}, [Metric("valid")],
                  default="valid")  # fmt: skip
    with pytest.raises(DataError, match="has 0 architectures with a value of 'valid'"):
        problem(empty, ["params"])


def test_scores_with_decimal_commas_are_read_as_a_spreadsheet_writes_them(small_table, tmp_path):
    file = tmp_path / "scores.csv"
    rows = [f"{text};{number},5" for number, text in enumerate(small_table.architectures)]
    file.write_text("\n".join(["architecture;mine", *rows]))
    place = next(p for p, form in enumerate(small_table.canonical) if small_table.canonical.count(form) == 1)
    assert problem(small_table, ["mine"], scores=file).scores["mine"][place] == place + 0.5


def test_scores_of_too_few_networks_are_refused_and_left_out_of_all(small_table, tmp_path):
    few = sparse_file(small_table, tmp_path, "few", 8, float)
    with pytest.raises(UsageError, match=r"only \d\d have a value of each of few .*and 50 are needed: score more"):
        problem(small_table, ["few", "score"], scores=few)
    apart = [
        sparse_file(small_table, tmp_path, "a", 8, float),
        sparse_file(small_table, tmp_path, "b", 8, float, 150),
    ]
    with pytest.raises(UsageError, match="have a value of each of a, b"):
        problem(small_table, ["a", "b"], scores=apart)
    able, unable = comparable(small_table, scores=few)
    assert "few" not in able
    assert "score" in able, "four missing values are ranked last"
    assert any(line.startswith("few ('few' has values for ") for line in unable)


def test_published_scores_of_724_networks_do_not_lose_to_chance(small_table, tmp_path):
    """As imported, NAS-Bench-201 has synflow for 724 of 15,625 networks: among all it came to -.019."""
    share = 724 / 15_625 * 5  # made small, with as many of the cells as a test set needs
    rng = np.random.default_rng(0)
    truth = problem(small_table, ["score"]).truth
    there = rng.random(300) < share
    rows = [
        f'"{t}",{v + 0.02 * rng.normal()}' for t, v, k in zip(small_table.architectures, truth, there, strict=True) if k
    ]
    file = tmp_path / "synflow.csv"
    file.write_text("\n".join(["architecture,synflow", *rows]))
    entries = summary(
        compare(small_table, Plan(("synflow", "score"), (10,), repeats=5, test=None), tmp_path / "study", scores=file)
    )
    by_name = {entry["estimator"]: entry for entry in entries}
    assert by_name["synflow"]["kendall"] > 0.4
    assert by_name["synflow"]["queries"] == by_name["score"]["queries"]


def test_missing_scores_are_computed_where_the_table_names_its_task(tmp_path):
    space = create("space", "nasbench201:width=4,cells=1")
    rng = np.random.default_rng(1)
    cells = list(dict.fromkeys(space.sample(rng) for _ in range(60)))
    columns = {
        "architecture": [str(cell) for cell in cells],
        "valid": rng.random(len(cells)),
        "params": [math.nan] * len(cells),
    }
    metrics = [Metric("valid", split="valid"), Metric("params", kind="cost")]
    file = tmp_path / "own.parquet"
    write(file, space, columns, metrics, default="valid", name="own", task="digits", source="made up")
    table = Table.open(file)
    names = ["params", "random_forest:scores=params+macs"]
    with pytest.raises(UsageError, match="no estimator is called so"):
        compute_missing(table, [*names, "parms"], tmp_path)
    assert not list(tmp_path.glob("scores-*")), "names are checked before anything is computed"
    files = compute_missing(table, names, tmp_path)
    about = problem(table, names, scores=files)
    task = archscout_task("digits")
    assert about.scores["params"].tolist() == [count(space, cell, task) for cell in cells]
    assert not about.sparse
    before = files[0].stat().st_mtime_ns
    assert compute_missing(table, names, tmp_path) == files
    assert files[0].stat().st_mtime_ns == before
    # Of a table that does not say what it was trained on nothing is computed, and the refusal says what to do.
    write(file, space, columns, metrics, default="valid", name="own", task="some images", source="made up")
    other = Table.open(file)
    assert compute_missing(other, names, tmp_path) == []
    with pytest.raises(UsageError, match=r"has 'naswot': compute it with 'archscout score'"):
        problem(other, ["naswot"])


def count(space, cell, task):
    from archscout.networks.pick import build

    return sum(parameter.numel() for parameter in build(space, cell, task).parameters())


def archscout_task(name):
    return create("task", name)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"space": "nasbench201:width=4"}, ["networks of 'nasbench201:width=4' (the table's are of 'nasbench201')"]),
        ({"space_parts": {"class": "0"}}, ["an earlier form of space 'nasbench201'"]),
    ],
)
def test_scores_of_other_networks_are_told(small_table, tmp_path, changed, said):
    file = sparse_file(small_table, tmp_path, "oracle", 300, float)
    assert of_others(small_table, file) == [], "of a file without settings nothing is known"
    made_by = {"space": "nasbench201", "space_parts": dict(small_table.space.parts), "task": "digits"} | changed
    (tmp_path / "oracle.csv.json").write_text(json.dumps(made_by))
    assert of_others(small_table, [file]) == [f"the scores of '{file}' are of {each}." for each in said]


def test_scores_of_other_data_are_told_and_damaged_settings_refused(small_table, tmp_path, monkeypatch):
    file = sparse_file(small_table, tmp_path, "oracle", 300, float)
    made_by = {"space": "nasbench201", "space_parts": dict(small_table.space.parts), "task": "digits"}
    (tmp_path / "oracle.csv.json").write_text(json.dumps(made_by))
    monkeypatch.setattr(small_table, "task", "fashion")
    told = []
    compare(small_table, Plan(("oracle",), (10,), repeats=1, test=None), tmp_path / "s", scores=file, say=told.append)
    assert told == [f"the scores of '{file}' are of data 'digits' (the table is about 'fashion')."]
    for damaged in ("{}", "[1]", "{", '{"space": "nasbench201", "space_parts": 2, "task": 3}'):
        (tmp_path / "oracle.csv.json").write_text(damaged)
        with pytest.raises(DataError, match="damaged"):
            of_others(small_table, file)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clean": "no"}, "clean must be True or False"),
        ({"mutants": None}, "mutants must be True or False"),
        ({"scores": 3}, "a file of scores must be a path"),
        ({"scores": [None]}, "a file of scores must be a path"),
        ({"folder": None}, "the folder of the study must be a path"),
        ({"fresh": "no"}, "fresh must be True or False"),
        ({"metric": ["valid"]}, "the metric must be a text"),
    ],
)
def test_odd_options_are_refused_in_a_sentence(small_table, tmp_path, given, said):
    plan = Plan(
        ("score",), (10,), repeats=1, test=None, **{k: v for k, v in given.items() if k in ("clean", "mutants")}
    )
    others = {key: value for key, value in given.items() if key not in ("clean", "mutants")}
    with pytest.raises(UsageError, match=said):
        compare(small_table, plan, **({"folder": tmp_path / "s"} | others))
    assert not (tmp_path / "s" / "rows.jsonl").exists()
