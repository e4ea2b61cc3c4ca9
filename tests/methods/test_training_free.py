"""Whole training-free systems: their shared parts against brute force, each of them end to end, limits and resuming."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import rankdata

from archscout import api
from archscout.core import seeds
from archscout.core.choice import Choice
from archscout.core.cost import Constraint
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.trial import Trial
from archscout.estimators.zero_cost.freedarts import saliency
from archscout.estimators.zero_cost.harness import draw, prepared
from archscout.estimators.zero_cost.kernel import eigenvalues, gram
from archscout.estimators.zero_cost.teg_mse import regression_error
from archscout.methods import pruning, teg_nas, training_free
from archscout.methods.te_nas import Indicators
from archscout.methods.training_free import BestOf, Scored, evolve, first, log_ranks, rank_sum
from archscout.search import run as search_run
from archscout.study.simulated import simulate
from archscout.supernets.supernet import Supernet
from archscout.tables.metric import Metric
from archscout.tables.table import write
from archscout.testing import tiny_task

SPACE = "nasbench201:width=4,cells=1"
NAMES = {
    "naswot": "samples=8", "epsilon": "samples=8", "nasgraph": "samples=8", "knas": "samples=8,keep=2",
    "eigen_nas": "samples=6", "az_nas": "samples=8,batch=4", "zen_nas": "samples=14", "ran": "samples=20",
    "das": "samples=6,keep=2,steps=1,batch=8", "te_nas": "batch=8,repeats=1,number=3", "freedarts": "finalists=1",
    "largest": "rounds=10", "teg_nas": "steps=4,batch=8,repeats=1",
}  # fmt: skip


class Toy(Space):
    """Four choices of four options, and nothing to build."""

    name = "toy"
    choices = tuple(Choice(name, (0, 1, 2, 3)) for name in "abcd")

    def network(self, task, pick):
        raise AssertionError("nothing is built")


class Larger(Toy):
    """Six of them: 4,096 architectures."""

    choices = tuple(Choice(name, (0, 1, 2, 3)) for name in "abcdef")


WEIGHTS = {name: seeds.stream(5, name).permutation([0.0, 1.0, 2.5, 4.5]).tolist() for name in "abcdef"}


def separable(architecture):
    return sum(WEIGHTS[name][value] for name, value in architecture.items())


class Stand:
    """As much of a run as these methods ask for; scores and trainings are functions of the architecture."""

    objectives, workers, estimator, epochs, device, task = (), 2, "trained", 20, "cpu", None
    trains = True

    def __init__(self, scores=None, trained=separable, space=None, seed=0, limit=None, seconds=math.inf, trials=1):
        self.scores, self.trained = scores or {"score": separable}, trained
        self.space, self.seed, self.seconds, self.trials = space or Toy(), seed, seconds, trials
        self.constraints = () if limit is None else (Constraint("sum", "sum", limit),)
        self.limit, self.share = math.inf if limit is None else limit, 1.0
        self.scored, self.evaluated, self.decisions, self.notes = [], [], {}, {}

    def rng(self, *keys):
        return seeds.stream(self.seed, *keys)

    def cost(self, architecture):
        return sum(int(value) for value in architecture.values())

    def admit(self, architectures, count):
        return list(itertools.islice((a for a in architectures if self.cost(a) <= self.limit), count))

    def _trial(self, architecture, name, value, fidelity=None):
        return Trial(0, architecture, self.space.canonical(architecture), name, fidelity, "completed", value)

    def score(self, architectures, names, **_):
        self.scored += [architecture.text for architecture in architectures]
        self.seconds -= len(architectures) * 1.0
        return [[self._trial(a, n, self.scores[n](a)) for a in architectures] for n in names]

    def evaluate(self, architectures, estimator, *, fidelity, phase):
        self.evaluated.append((phase, fidelity, [a.text for a in architectures]))
        return [self._trial(a, estimator, self.trained(a), fidelity) for a in architectures]

    def expected_seconds(self, estimator, fidelity, count=1):
        return 1.0 if self.scored and fidelity is None else 0.0

    def fidelity(self, epochs):
        return epochs

    def seconds_left(self):
        return self.seconds

    def trials_left(self):
        return self.trials

    def decide(self, key, make):
        if key not in self.decisions:
            self.decisions[key] = make()
        return self.decisions[key]

    def note(self, key, value):
        self.notes[key] = value

    def show(self, *_):
        pass


def best(space, value, allowed=lambda a: True):
    return max((a for a in space if allowed(a)), key=value).text


# -- the best of a sample ---------------------------------------------------------------------------------------------


def test_the_best_of_all_is_picked_and_trained_and_none_is_scored_twice():
    run = Stand()
    trials = BestOf(["score"], samples=1000).search(run)
    assert trials[0].architecture.text == best(run.space, separable)
    assert len(run.scored) == len(set(run.scored)) == 256
    assert run.evaluated == [("final training", 20, [trials[0].architecture.text])]


def test_what_has_no_score_is_never_picked():
    run = Stand({"score": lambda a: math.nan if a["a"] == WEIGHTS["a"].index(4.5) else separable(a)})
    found = BestOf(["score"], samples=1000).find(run)
    assert found[0].text == best(run.space, separable, lambda a: a["a"] != WEIGHTS["a"].index(4.5))
    assert len(found) == 192
    assert run.notes["training_free"]["undefined"] == {"score": 64}
    with pytest.raises(ArchscoutError, match="none of 8 architectures has a value of score"):
        BestOf(["score"], samples=8).find(Stand({"score": lambda a: math.nan}))


def test_a_limit_is_kept():
    run = Stand(limit=4)
    assert BestOf(["score"], samples=1000).find(run)[0].text == best(run.space, separable, lambda a: run.cost(a) <= 4)


def test_where_few_keep_the_limit_they_are_found_all_the_same():
    run = Stand(limit=1)
    run.share = 5 / 256
    assert len(BestOf(["score"], samples=5).find(run)) == 5


def test_a_network_that_cannot_be_trained_is_followed_by_the_next():
    failing = best(Toy(), separable)
    run = Stand(trained=lambda a: math.nan if a.text == failing else separable(a), trials=9)
    trials = BestOf(["score"], samples=1000).search(run)
    assert [len(texts) for _, _, texts in run.evaluated] == [1, 1]
    assert len(trials) == 1
    assert separable(trials[0].architecture) == sorted(map(separable, run.space))[-2]


def test_short_trainings_choose_among_the_best_by_score():
    run = Stand(trained=lambda a: -separable(a), trials=11)
    trials = BestOf(["score"], samples=1000, keep=10).search(run)
    ordered = sorted(run.space, key=separable, reverse=True)
    (_, brief, kept), (_, full, _) = run.evaluated
    assert (brief, full) == (2, 20)
    assert sorted(map(separable, map(run.space.parse, kept))) == sorted(map(separable, ordered[:10]))
    assert separable(trials[0].architecture) == separable(ordered[9])


def test_short_trainings_leave_the_budget_one_full_training():
    run = Stand(trials=4)
    BestOf(["score"], samples=1000, keep=10).search(run)
    assert [len(texts) for _, _, texts in run.evaluated] == [3, 1]
    run = Stand(trials=1)
    BestOf(["score"], samples=1000, keep=10).search(run)
    assert [len(texts) for _, _, texts in run.evaluated] == [1]


def test_scoring_ends_where_its_share_of_the_time_does():
    run = Stand(seconds=100)
    BestOf(["score"], samples=256).search(run)
    assert 55 <= len(run.scored) <= 100
    assert run.seconds >= 0
    # A resumed search repeats what was decided, whatever the time is then.
    again = Stand(seconds=3)
    again.decisions = run.decisions
    BestOf(["score"], samples=256).search(again)
    assert again.scored == run.scored


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"keep": 0}, {"finalists": 0}, {"samples": 2.5}])
def test_counts_are_whole_numbers(wrong):
    with pytest.raises(UsageError, match=r"whole number (of 1 or more|above zero)"):
        BestOf(["score"], **{"samples": 5, **wrong})


# -- rules ------------------------------------------------------------------------------------------------------------


def test_log_ranks_are_those_among_the_candidates():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, (40, 3)).astype(float)
    values[rng.random(values.shape) < 0.1] = math.nan
    values[7] = math.nan
    expected, ordinary = np.zeros(40), np.zeros(40)
    for column in values.T:
        ranks = rankdata(np.where(np.isnan(column), -1e9, column))
        expected += np.log(ranks / 40)
        ordinary += ranks / 40
    expected[7] = ordinary[7] = math.nan
    np.testing.assert_allclose(log_ranks(values), expected)
    np.testing.assert_allclose(rank_sum(values), ordinary)


# -- evolution --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_evolution_finds_the_best_of_a_small_space(seed):
    run = Stand(space=Larger(), seed=seed)
    scored = Scored(run, ["score"])
    evolve(scored, first, 600, population=20)
    assert len(run.scored) == len(set(run.scored)) == 600
    assert scored.best_first(first(scored.values))[0].text == best(run.space, separable)


def test_evolution_ends_where_the_space_does():
    run = Stand()
    scored = Scored(run, ["score"])
    evolve(scored, first, 1000, population=20)
    assert 240 < len(scored) <= 256


@pytest.mark.parametrize(("name", "limit"), [("zen_nas:samples=150,population=20,score=score", None),
                                             ("zen_nas:samples=150,population=20,score=score", 5)])  # fmt: skip
def test_zen_nas_finds_the_best_within_the_limits(name, limit):
    run = Stand(limit=limit)
    found = create("method", name).find(run)
    assert found[0].text == best(run.space, separable, lambda a: run.cost(a) <= run.limit)


def test_az_nas_sums_its_four_log_ranks_and_may_evolve():
    names = ["az_expressivity:batch=64", "az_progressivity:batch=64", "az_trainability:batch=64", "macs"]
    views = {name: (lambda a, n=number: separable(a) + (n - 1.5) * a["a"]) for number, name in enumerate(names)}
    values = np.array([[views[name](a) for name in names] for a in Toy()])
    top = [a.text for a in Toy()][int(np.log(rankdata(values, axis=0) / 256).sum(axis=1).argmax())]
    assert create("method", "az_nas").find(Stand(views))[0].text == top
    assert create("method", "az_nas:samples=150,population=20").find(Stand(views))[0].text == top


def test_ran_takes_the_fewest_multiply_adds_of_those_with_the_mass():
    scores = {"nn_mass": separable, "macs": lambda a: 1.0 + sum(int(v) ** 2 for v in a.values())}
    run = Stand(scores)
    found = create("method", "ran:mass=10,samples=256").find(run)
    assert separable(found[0]) >= 10
    assert scores["macs"](found[0]) == min(scores["macs"](a) for a in run.space if separable(a) >= 10)
    # Where nothing has so much, what has most comes first.
    assert create("method", "ran:mass=99,samples=256").find(Stand(scores))[0].text == best(run.space, separable)


def test_das_scores_the_best_again_after_the_fast_training():
    scores = {"das:batch=128": separable, "das:batch=128,steps=20": lambda a: -separable(a)}
    run = Stand(scores)
    found = create("method", "das:samples=256,keep=5").find(run)
    ordered = sorted(map(separable, run.space), reverse=True)
    assert [separable(a) for a in found[:5]] == ordered[4::-1]
    assert [separable(a) for a in found[5:]] == ordered[5:]


# -- pruning ----------------------------------------------------------------------------------------------------------


def live():
    return {choice.name: list(choice.options) for choice in Toy.choices}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_pruning_finds_the_optimum_of_a_separable_measure(number):
    asked = []

    def measure(left):
        asked.append(left)
        return [[-100 - sum(np.mean([WEIGHTS[c][o] for o in options]) for c, options in left.items())]]

    left, went = pruning.prune(live(), measure, number=number)
    assert Toy().architecture({choice: options[0] for choice, options in left.items()}).text == best(Toy(), separable)
    assert len(went) == 12
    assert len(asked) == {1: 3 + 16 + 12 + 8, 2: 2 + 16 + 8, 3: 1 + 16}[number]
    if number == 1:
        assert all([went[name, WEIGHTS[name].index(w)] for w in (0.0, 1.0, 2.5)] == [1, 2, 3] for name in "abcd")


def test_losses_are_ranked_by_indicator_and_the_ranks_added_up():
    changes = {"p": (-0.5, 0.1), "q": (-0.5, 0.3), "r": (0.2, -0.1), "s": (0.4, 0.4)}

    def measure(left):
        (missing,) = set(changes) - set(left["a"]) or {None}
        first, second = changes.get(missing, (0.0, 0.0))
        return [[10 * (1 + first + noise) for noise in (-0.05, 0.05)], [-100 * (1 - second)] * 2]

    found = pruning.by_loss({"a": list(changes)}, [("a", option) for option in changes], measure)
    # Ranks by the first 1 1 2 3, by the second 2 3 1 4: sums 3, 4, 3, 7.
    assert [option for _, option in found] == ["p", "r", "q", "s"]


def test_what_is_preferred_keeps_the_limits():
    run = Stand(limit=4)
    preference = {(name, option): weight for name in "abcd" for option, weight in enumerate(WEIGHTS[name])}
    pick = run.space.parse(best(run.space, separable))
    found = pruning.preferred(run, preference, pick)
    assert separable(found[0]) == max(separable(a) for a in run.space if run.cost(a) <= 4)
    free = pruning.preferred(Stand(), preference, pick)
    assert [separable(a) for a in free] == sorted(map(separable, run.space), reverse=True)[: len(free)]


def cells():
    return Setting(create("space", SPACE), tiny_task(examples=96))


def looking(setting):
    run = Stand(space=setting.space)
    run.task, run.cost = setting.task, lambda architecture: 0
    return run


def test_a_supernet_with_one_option_left_measures_as_the_network_that_it_is():
    setting = cells()
    indicators = Indicators(looking(setting), "te_nas", batch=12, repeats=2, generalisation=True)
    architecture = setting.space.parse(
        "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|"
    )
    conditions, fewer, errors = indicators({name: [option] for name, option in architecture.items()})
    for number in range(2):
        thin = create("space", "nasbench201:width=3,cells=1")
        supernet = Supernet(thin, setting.task, seed=seeds.derive(0, "te_nas", number))
        network = prepared(supernet.extract(architecture))
        found = eigenvalues(gram(network, draw(setting, 12, number)[0]))
        assert conditions[number] == pytest.approx(float(found[-1] / found[0]), rel=1e-3)
        batches = (draw(setting, 12, 2 * number), draw(setting, 12, 2 * number + 1))
        assert errors[number] == pytest.approx(regression_error(network, *batches, setting.task.outputs), rel=1e-3)
    assert all(-3000 <= value < -1 for value in fewer)


@pytest.mark.slow
def test_te_nas_measures_54_candidates_of_a_cell_and_resumes_without_measuring():
    run = looking(cells())
    create("method", "te_nas:batch=6,repeats=1").find(run)
    assert run.notes["pruning"] == {"rounds": 3, "measured": 3 + 24 + 18 + 12}
    again = looking(cells())
    again.decisions = run.decisions
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Indicators, "_measure", lambda *_: pytest.fail("measured again"))
        create("method", "te_nas:batch=6,repeats=1").find(again)


@pytest.mark.parametrize(("seconds", "plan"), [(1000, (2, 1)), (150, (1, 1)), (90, (1, 2)), (50, (1, 3)), (20, None)])
def test_te_nas_does_as_much_as_the_time_pays_for(monkeypatch, seconds, plan):
    run = looking(cells())
    run.seconds = seconds

    def takes_a_second(self, live):
        run.seconds -= 1.0

    asked = []
    monkeypatch.setattr(Indicators, "once", takes_a_second)
    monkeypatch.setattr(Indicators, "_measure", lambda self, live: (asked.append(self.repeats), [[1.0], [1.0]])[1])
    method = create("method", "te_nas:batch=6,repeats=2")
    if plan is None:
        with pytest.raises(UsageError, match="25 measurements at least"):
            method.find(run)
    else:
        method.find(run)
        assert set(asked) == {plan[0]}
        assert len(asked) == {1: 57, 2: 25 + 13, 3: 25}[plan[1]]
        assert sum(asked) <= 0.6 * seconds


def test_te_nas_says_which_spaces_it_cannot_prune():
    setting = Setting(create("space", "nasbench101"), tiny_task())
    with pytest.raises(UsageError, match="take teg_nas"):
        create("method", "te_nas:batch=6,repeats=1").find(looking(setting))


def test_teg_nas_prunes_a_supernet_by_three_indicators(monkeypatch):
    """Each of them is worse for what is left of one kind of operation: all are skips where they agree on that."""

    def worse(live, _):
        return 1.0 + sum(option != "skip_connect" for options in live.values() for option in options)

    for name, sign in (("_condition", 1), ("_regions", -1), ("_error", 1)):
        monkeypatch.setattr(Indicators, name, lambda self, live, number, sign=sign: sign * worse(live, number))
    run = looking(cells())
    (found, *_) = create("method", "teg_nas:search=supernet,batch=6,repeats=1").find(run)
    assert run.notes["pruning"] == {"rounds": 3, "measured": 3 + 24 + 18 + 12}
    assert {len(value) for key, value in run.decisions.items() if key.startswith("indicators")} == {3}
    assert found.text.count("skip_connect") == 6


@pytest.mark.slow
def test_te_nas_leaves_two_edges_into_each_node_of_darts():
    setting = Setting(create("space", "darts:width=4,layers=3"), tiny_task(examples=96))
    run = looking(setting)
    (found, *_) = create("method", "te_nas:batch=4,repeats=1,number=6").find(run)
    assert found in setting.space


# -- FreeDARTS --------------------------------------------------------------------------------------------------------


def test_freedarts_takes_the_product_of_saliencies_to_its_maximum():
    setting = cells()
    run = looking(setting)
    (found, *_) = create("method", "freedarts").find(run)
    table = saliency(setting)
    value = {a.text: math.prod(table[pair] for pair in a.items()) for a in setting.space}
    assert value[found.text] == pytest.approx(max(value.values()))
    assert "none" not in found.text


def test_without_drawn_alphas_freedarts_is_the_largest_network():
    """Its pick then is what counting parameters finds, whatever the seed; the drawn alphas are what varies cells."""
    setting = cells()
    counted = looking(setting)
    counted.scores = {"params": lambda architecture: create("cost", "params").measure(architecture, setting).value}
    largest = create("method", "largest").find(counted)[0].text
    assert largest.count("nor_conv_3x3") == 6

    def picked(text, seed):
        run = looking(setting)
        run.seed = seed
        return create("method", text).find(run)[0].text

    assert {picked("freedarts:alphas=one,norm=false", seed) for seed in range(2)} == {largest}
    assert len({picked("freedarts", seed) for seed in range(3)}) > 1


def test_the_largest_keeps_a_limit():
    run = Stand({"params": separable}, limit=4)
    assert create("method", "largest").find(run)[0].text == best(run.space, separable, lambda a: run.cost(a) <= 4)


def test_freedarts_keeps_the_best_two_edges_of_each_node_of_darts():
    setting = Setting(create("space", "darts:width=4,layers=3"), tiny_task())
    run = looking(setting)
    (found, *_) = create("method", "freedarts").find(run)
    table = saliency(setting)

    def value(architecture):
        return math.fsum(math.log(table[pair]) for pair in architecture.items() if pair[1] != "none")

    for node, cell in itertools.product((2, 3, 4, 5), ("normal", "reduce")):
        edges = [f"{cell} {source}->{node}" for source in range(node)]
        options = [max(table[e, o] for o in setting.space.choices[0].options if o != "none") for e in edges]
        kept = [e for e in edges if found[e] != "none"]
        assert sorted(table[e, found[e]] for e in kept) == pytest.approx(sorted(options)[-2:])
    assert all(value(setting.space.mutate(found, seeds.stream(n))) <= value(found) + 1e-9 for n in range(20))


# -- TEG-NAS ----------------------------------------------------------------------------------------------------------


def test_the_reward_is_the_change_over_the_range_of_the_last_ten():
    values = np.random.default_rng(0).normal(size=(14, 3))
    expected = 0.0
    for column in values.T:
        window = column[-10:]
        expected += (column[-1] - column[-2]) / (max(window) - min(window) + 1e-6)
    assert teg_nas.reward(values) == pytest.approx(expected)
    assert teg_nas.reward(values[:1]) == 0.0


def test_the_parent_is_best_by_the_indicator_that_tells_the_best_apart():
    # In the first column the two best are one apart of ten, in the second eight of ten.
    values = np.array([[10.0, 2.0], [9.0, 10.0], [0.0, 0.0]])
    assert teg_nas.parent(values) == 1
    assert teg_nas.parent(values * [1.0, 0.0]) == 0


def test_undefined_indicators_count_as_the_worst():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    assert teg_nas.worst_filled(values).tolist() == [[1.0, 0.0], [1.0, 0.0], [3.0, 0.0]]


TEG = {"te_nas_ntk:batch=64,repeats=3,shared=true": separable,
       "te_nas_regions:repeats=3,shared=true": lambda a: 2 * separable(a) + 1,
       "teg_mse:batch=64,repeats=3,shared=true": lambda a: separable(a) ** 3}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["teg_nas:rate=0.3,steps=120", "teg_nas:search=evolution,steps=80,population=20,sample=8"]
)
def test_teg_nas_finds_the_best_where_its_indicators_agree(name):
    found = [create("method", name).find(Stand(TEG, seed=seed)) for seed in range(2)]
    assert all(separable(each[0]) >= 16 for each in found)
    assert all(len(each) <= 150 for each in found)


def test_a_policy_draws_what_is_rewarded_more_often():
    run = Stand(TEG)
    create("method", "teg_nas:rate=0.3,steps=200").find(run)
    early, late = (
        np.mean([separable(run.space.parse(t)) for t in part]) for part in (run.scored[:20], run.scored[-20:])
    )
    assert late > early


# -- end to end -------------------------------------------------------------------------------------------------------


def search(folder, method, **named):
    named = {"budget": "1trials", "maximum": {"macs": "150k"}, **named}
    return api.search(
        SPACE, tiny_task(examples=96), method=method, epochs=1, workers=0, out=folder, name="run", **named
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing interrupted."""
    return search(tmp_path_factory.mktemp("whole"), "naswot:samples=24")


def ends_in_a_trained_network_within_the_limits(result):
    assert result.metrics["costs"]["macs"] <= 150_000
    assert result.metrics["trials"] == 1
    assert (result.folder / "network.onnx").is_file()


def test_scores_of_a_sample_end_in_a_trained_network_within_the_limits(whole):
    ends_in_a_trained_network_within_the_limits(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_system_ends_in_a_trained_network_within_the_limits(tmp_path, name):
    ends_in_a_trained_network_within_the_limits(search(tmp_path, f"{name}:{NAMES[name]}"))


class Stop(Exception):  # noqa: N818
    pass


def test_an_interrupted_search_pays_no_score_twice(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(training_free, "CHUNK", 8)
    job, score, asked = search_run.score_job, search_run.SearchRun.score, []

    def counting(payload, names, architectures, seed):
        asked.extend(architecture.text for architecture in architectures)
        return job(payload, names, architectures, seed)

    def stopping(self, *args, **named):
        if len(asked) >= 16:
            raise Stop
        return score(self, *args, **named)

    monkeypatch.setattr(search_run, "score_job", counting)
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(search_run.SearchRun, "score", stopping)
        search(tmp_path, "naswot:samples=24")
    assert len(asked) == 16
    resumed = search(tmp_path, "naswot:samples=24")
    assert len(asked) == len(set(asked)) == 24
    assert whole.metrics["architecture"] == resumed.metrics["architecture"]


# -- on a table -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Networks of NAS-Bench-201 with few convolutions: the more, the higher the score and the lower the accuracy."""
    space = create("space", SPACE)
    texts = [a.text for a in space if a.text.count("nor_conv") <= 2]
    convolutions = np.array([text.count("nor_conv") for text in texts], dtype=float)
    pools = np.array([text.count("pool") for text in texts], dtype=float)
    columns = {"architecture": texts, "valid": 0.9 - 0.1 * convolutions - 0.01 * pools, "naswot": convolutions - pools}
    metrics = [Metric("valid", dataset="d", split="valid", epochs=9), Metric("naswot", kind="score")]
    return write(tmp_path_factory.mktemp("table") / "t.parquet", SPACE, columns, metrics, default="valid")


def test_a_table_answers_scores_and_trainings(table):
    trajectory = simulate(table, "naswot:samples=1500", "3trials")
    assert len(trajectory.trials) == 1
    assert trajectory.winner.text.count("nor_conv") == 2
    assert "pool" not in trajectory.winner.text
    assert trajectory.values[-1] == pytest.approx(0.7)
    assert (
        simulate(table, "naswot:samples=20", "3trials", seed=1).winner
        == simulate(table, "naswot:samples=20", "3trials", seed=1).winner
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("te_nas:batch=6,repeats=1,number=3", marks=pytest.mark.slow),
        pytest.param("teg_nas:steps=3,batch=6,repeats=1", marks=pytest.mark.slow),
        "freedarts",
    ],
)
def test_what_a_table_does_not_have_is_computed_on_data(table, name):
    limit = [Constraint("naswot", "naswot", 99.0)]
    trajectory = simulate(table, name, "3trials", task=tiny_task(examples=96), constraints=limit)
    assert len(trajectory.trials) == 1


def test_without_data_a_table_without_the_score_says_so(table):
    with pytest.raises(ArchscoutError, match="has no score 'epsilon'"):
        simulate(table, "epsilon:samples=5", "3trials")
    for name in ("te_nas", "freedarts"):
        with pytest.raises(UsageError, match="with --data"):
            simulate(table, name, "3trials")
