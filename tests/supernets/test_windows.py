"""Windows over widths against exhaustive search, and what runs of a window."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from archscout.core.choice import Choice
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.supernets.extent import by_size, kinds
from archscout.supernets.shrinking import alive
from archscout.supernets.supernet import Supernet
from archscout.supernets.windows import CostedPathwise, Windows, bipath
from archscout.testing import tiny_task

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

WIDTHS = tuple(range(8, 8 * 17, 8))
MOBILE = create("space", "mobile:stages=2,depth=2")


class Widths(Space):
    """Two widths of 16 options, and an operation."""

    name = "widths"
    choices = (Choice("a.width", WIDTHS), Choice("b.width", WIDTHS[::-1]), Choice("op", ("x", "y", "z")))

    def network(self, task, pick):
        return nn.Identity()


@pytest.mark.parametrize("seed", range(8))
def test_a_window_ends_at_the_width_that_exhaustive_search_finds(seed):
    """The expected loss over two candidates at a time, for losses with one minimum anywhere."""
    rng = stream(seed)
    best = [int(rng.integers(len(WIDTHS))) for _ in range(2)]
    losses = {
        name: {w: abs(place - least) ** power for place, w in enumerate(WIDTHS)}
        for name, least, power in zip(("a.width", "b.width"), best, rng.uniform(0.7, 2, 2).tolist(), strict=True)
    }
    windows = Windows(Widths(), dict.fromkeys(losses, WIDTHS))
    for _ in range(14):
        optimizer = torch.optim.Adam(windows.parameters(), lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            marginals = windows.marginals()
            loss = sum(
                (marginals[c.name] * torch.tensor([losses[c.name][o] for o in c.options])).sum()
                for c in windows.space.choices if c.name in losses
            )  # fmt: skip
            loss.backward()
            optimizer.step()
        picked = windows.mode()
        windows.move()
    for name in losses:
        assert picked[name] == min(WIDTHS, key=losses[name].__getitem__)


def test_two_candidates_are_alive_and_the_state_is_kept():
    windows = Windows(Widths(), {"a.width": WIDTHS, "b.width": WIDTHS})
    assert {name: len(options) for name, options in alive(windows).items()} == {"a.width": 2, "b.width": 2, "op": 3}
    with torch.no_grad():
        windows.logits[0][WIDTHS.index(windows.window("a.width")[1])] = 1.0
        windows.logits[2][1] = -3.0
    before = windows.window("a.width")
    windows.move()
    assert windows.window("a.width")[0] == before[1]
    windows.prune(0.1)
    assert alive(windows)["op"] == ("x", "z")
    again = Windows(Widths(), {"a.width": WIDTHS, "b.width": WIDTHS})
    again.load_state_dict(windows.state_dict())
    assert again.window("a.width") == windows.window("a.width")
    assert alive(again) == alive(windows)


def test_a_block_runs_once_at_the_larger_candidate():
    supernet = Supernet(MOBILE, tiny_task())
    kind = kinds(supernet)
    windows = Windows(MOBILE, {n: row for n, row in by_size(supernet).items() if kind[n] == "width"})
    step = toy.make_step(supernet=supernet, distribution=windows)
    (job,) = bipath(step)
    assert {len(gate.run) for name, gate in job.gates.items() if kind[name] == "width"} == {2}
    assert {len(gate.run) for name, gate in job.gates.items() if kind[name] != "width"} == {1}
    seen = []
    for module in supernet.network.modules():
        if type(module).__name__ == "ElasticConv2d":
            module.register_forward_hook(lambda module, inputs, output: seen.append((module, output.shape[1])))
    loss = step.loss(job.path, step.train)
    loss.backward()
    assert seen
    assert len({id(module) for module, _ in seen}) == len(seen)
    gradients = {c.name: g.grad for c, g in zip(MOBILE.choices, windows.logits, strict=True)}
    assert all(float(gradients[f"stage{n}.width"].abs().max()) > 0 for n in (1, 2))


def test_the_gradient_of_the_cost_is_that_of_its_excess():
    space = toy.Toy()
    step = toy.make_step(space)
    table = {"first": [1.0, 2.0, 4.0], "second": [1.0, 3.0]}
    plain = CostedPathwise(table, 0.5, 100.0, 2.0, 0.1)
    costly = CostedPathwise(table, 0.5, 1.0, 2.0, 0.1)

    def gradient(update):
        for logits in step.distribution.logits:
            logits.grad = None
        update.gradients(step)
        return [logits.grad.clone() for logits in step.distribution.logits]

    below, above = gradient(plain), gradient(costly)
    logits = [each.detach().clone().requires_grad_() for each in step.distribution.logits]
    expected = 0.5 + sum(
        (torch.softmax(own, 0) * torch.tensor(c)).sum() for own, c in zip(logits, table.values(), strict=True)
    )
    (2.0 * (expected / 1.0 - 1)).backward()
    for one, other, own in zip(below, above, logits, strict=True):
        torch.testing.assert_close(other - one, own.grad)
