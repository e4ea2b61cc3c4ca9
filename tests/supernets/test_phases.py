"""The loop: what it trains, what it records, and that it goes on from a checkpoint to the same bits."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.registry import create
from archscout.supernets import phases as loop
from archscout.supernets import plans, weights
from archscout.supernets.distributions import Distribution, layers
from archscout.supernets.importance import Importance
from archscout.supernets.natural_gradient import NaturalGaussian
from archscout.supernets.phases import Phase, Settings, fit, skipping
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Labels, Mean, PosteriorMean, distillation
from archscout.supernets.updates import BinaryGates, Pathwise, ScoreFunction, Unrolled
from archscout.testing import tiny_task

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

TASK = tiny_task()


def two_phases():
    """Everything that must survive an interruption: two optimizers, a conversion, samples by entropy."""
    return [
        Phase(plan=plans.SamplesByEntropy(0.4), objective=PosteriorMean(48.0), update=Importance(0.05)),
        Phase(
            plan=plans.SamplesByEntropy(0.4),
            objective=PosteriorMean(48.0),
            update=Importance(0.05),
            convert=lambda distribution: distribution.joint(layers(distribution.space)),
            name="joint",
        ),
    ]


class Stop(Exception):  # noqa: N818
    pass


def train(space, phases, *, steps=8, file=None, stop=None, settings=None):
    supernet = Supernet(space, TASK, seed=1)
    seen = []

    def watch(number, row):
        seen.append(number)
        if number == stop:
            raise Stop

    settings = settings or Settings(steps=steps, batch_size=16)
    trained = fit(supernet, Distribution(space), phases, settings, seed=3, file=file, watch=watch)
    return supernet, trained, seen


@pytest.mark.parametrize("stop", [4, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (3, 5))])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, stop, monkeypatch):
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    space = toy.nasbench()
    whole, expected, _ = train(space, two_phases())
    file = tmp_path / "supernet.safetensors"
    with pytest.raises(Stop):
        train(space, two_phases(), file=file, stop=stop)
    supernet, trained, seen = train(space, two_phases(), file=file)
    # `watch` is called before a checkpoint is written, so that the step it stopped in is done again.
    assert seen == list(range(stop, 9))
    for key, value in whole.state_dict().items():
        assert torch.equal(supernet.state_dict()[key], value), key
    for one, other in zip(trained.distribution.logits, expected.distribution.logits, strict=True):
        assert torch.equal(one, other)
    assert [len(logits) for logits in trained.distribution.logits] == [5, 25, 125]
    assert trained.history == expected.history
    # Asked again, a finished training answers from its checkpoint.
    again, _, seen = train(space, two_phases(), file=file)
    assert seen == []
    assert all(torch.equal(again.state_dict()[key], value) for key, value in whole.state_dict().items())


@pytest.mark.parametrize(
    "phase",
    [
        Phase(plan=plans.dense, update=Pathwise(plans.dense)),
        Phase(plan=plans.dense, update=Unrolled(plans.dense)),
        Phase(plan=plans.relaxed, update=Pathwise(plans.relaxed), temperature=(10.0, 0.1)),
        Phase(update=BinaryGates(), every=2),
        Phase(plan=plans.Samples(3), update=ScoreFunction()),
        Phase(plan=plans.dense, update=NaturalGaussian(plans.dense)),
        Phase(plan=plans.fair),
        Phase(plan=plans.Sandwich(1), objective=Mean([Labels(teacher_only=True), distillation])),
        Phase(weights=weights.norms_only),
    ],
    ids=["darts", "darts2", "gdas", "binary", "score", "gaussian", "fair", "sandwich", "norms"],
)
@pytest.mark.parametrize("name", ["nasbench201:width=2,cells=1", "mobile:width=8,stages=2,depth=2"])
def test_every_kind_of_phase_runs_on_every_kind_of_choice_and_resumes(tmp_path, name, phase, monkeypatch):
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    space = create("space", name)
    supernet, trained, _ = train(space, [phase], steps=2)
    assert [row["step"] for row in trained.history] == [1, 2]
    assert all(math.isfinite(row["loss"]) for row in trained.history)
    moved = any(bool(logits.abs().max() > 0) for logits in trained.distribution.logits)
    assert moved == (phase.update is not None)
    file = tmp_path / "s.safetensors"
    with pytest.raises(Stop):
        train(space, [phase], steps=2, file=file, stop=1)
    resumed, again, _ = train(space, [phase], steps=2, file=file)
    assert all(torch.equal(resumed.state_dict()[key], value) for key, value in supernet.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(trained.distribution.logits, again.distribution.logits, strict=True))


def test_a_phase_trains_its_weights_and_no_others():
    space = toy.nasbench()
    supernet, _, _ = train(space, [Phase(weights=weights.norms_only, plan=plans.dense)], steps=2)
    before = dict(Supernet(space, TASK, seed=1).named_parameters())
    norms = {id(p) for p in weights.norms_only(supernet)}
    for name, parameter in supernet.named_parameters():
        if id(parameter) not in norms:
            assert torch.equal(parameter, before[name]), name
    assert any(not torch.equal(p, before[n]) for n, p in supernet.named_parameters() if id(p) in norms)


def test_single_paths_learn():
    """The mean loss over all architectures of a small space falls."""
    space = toy.Toy()
    supernet = Supernet(space, TASK, seed=1)
    data = TASK.tensors(TASK.valid)

    def mean():
        with torch.no_grad():
            return sum(TASK.loss(supernet.select(a)(data[0]), data[1]).item() for a in space) / 6

    before = mean()
    settings = Settings(steps=150, batch_size=16, augment=False)
    fit(supernet, Distribution(space), [Phase(rate=(0.1, 0.001))], settings, seed=0)
    assert mean() < 0.5 * before


def test_the_distribution_finds_the_option_that_alone_can_work():
    """One of three options destroys the signal, one passes it on noisily, one is right: importance weights see it."""

    class Broken(nn.Module):
        def forward(self, x):
            return 0 * x

    class OneGood(toy.Toy):
        choices = toy.Toy.choices

        def network(self, task, pick):
            return nn.Sequential(
                nn.Flatten(),
                nn.Linear(64, 6),
                pick("first", {"skip": Broken, "tanh": nn.Tanh, "linear": Broken}),
                pick("second", {"tanh": Broken, "linear": nn.Identity}),
                nn.Linear(6, task.outputs),
            )

    space = OneGood()
    settings = Settings(steps=120, batch_size=16)
    plan = plans.SamplesByEntropy(8 / math.log(6))
    for update in (Importance(0.1, temperature=4.0), ScoreFunction(0.1)):
        phase = Phase(plan=plan, update=update, rate=(0.1, 0.01))
        trained = fit(Supernet(space, TASK), Distribution(space), [phase], settings, seed=0)
        assert trained.distribution.mode().text == "first=tanh,second=linear"
        assert trained.history[-1]["entropy"] < 0.5 * trained.history[0]["entropy"]
        assert trained.history[-1]["samples"] < trained.history[0]["samples"], "fewer samples as it decides"


def test_a_checkpoint_of_something_else_is_refused_and_kept(tmp_path):
    file = tmp_path / "supernet.safetensors"
    train(toy.nasbench(), [Phase()], steps=2, file=file)
    content = file.read_bytes()
    for other in ("nasbench201:width=8,cells=1", "mobile:stages=2,depth=2"):
        with pytest.raises(UsageError, match="is of another training"):
            train(create("space", other), [Phase()], steps=2, file=file)
    with pytest.raises(UsageError, match="settings"):
        train(toy.nasbench(), [Phase()], steps=3, file=file)
    assert file.read_bytes() == content


def test_a_distribution_gone_wrong_stops_the_training_in_one_sentence(tmp_path):
    file = tmp_path / "supernet.safetensors"
    phase = Phase(plan=plans.Samples(4), update=Importance(cost=lambda batch: [math.inf] * len(batch)))
    with pytest.raises(ArchscoutError, match=r"no longer finite after step 1: lower the learning rate"):
        train(toy.nasbench(), [phase], file=file)
    with pytest.raises(ArchscoutError, match="the loss of the shared weights was"):
        train(toy.nasbench(), [Phase(rate=(1e30, 1e30))], settings=Settings(steps=20, batch_size=16, clip=0.0))
    assert not file.exists()


def test_what_cannot_be_trained_is_said():
    with pytest.raises(UsageError, match="has no weights of the kind"):
        train(toy.Toy(), [Phase(weights=weights.last_norms)])
    with pytest.raises(UsageError, match="steps"):
        Settings(steps=0)
    with pytest.raises(UsageError, match="share"):
        train(toy.Toy(), [Phase(share=0.0)])
    with pytest.raises(UsageError, match="at least two"):
        task = tiny_task(examples=1)
        fit(Supernet(toy.Toy(), task), Distribution(toy.Toy()), [Phase()], Settings(), seed=0)


def test_few_examples_make_small_batches():
    task = tiny_task(examples=6)
    fit(Supernet(toy.Toy(), task), Distribution(toy.Toy()), [Phase()], Settings(steps=3, batch_size=64), seed=0)


def test_global_randomness_is_left_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    train(toy.Toy(), [Phase()], steps=2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_skips_that_take_over_are_counted():
    space = toy.nasbench()
    supernet, distribution = Supernet(space, TASK), Distribution(space)
    assert skipping(supernet, distribution) == 0.0
    with torch.no_grad():
        for logits in list(distribution.logits)[:4]:
            logits[1] = 2.0
    assert skipping(supernet, distribution) == pytest.approx(4 / 6)
    mobile = create("space", "mobile:stages=2,depth=2")
    assert skipping(Supernet(mobile, TASK), Distribution(mobile)) is None


def test_batches_are_the_same_whenever_they_are_asked_for():
    from archscout.supernets.batches import Batches

    batches = Batches(TASK, TASK.train, 16, seed=1, name="x", augment=True)
    first = [batches[number] for number in range(7)]
    again = {number: batches[number] for number in (6, 0, 3)}
    assert all(torch.equal(again[number][0], first[number][0]) for number in again)
    x, _ = TASK.tensors(TASK.train)
    plain = Batches(TASK, TASK.train, 16, seed=1, name="x")
    epoch = torch.cat([plain[number][0] for number in range(3)])
    assert torch.equal(epoch.flatten(1).sum(1).sort()[0], x.flatten(1).sum(1).sort()[0])
    assert not torch.equal(plain[0][0], plain[3][0])
