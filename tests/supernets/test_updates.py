"""Gradient estimators against exact gradients: enumeration of all architectures, and autograd."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from archscout.core.seeds import stream
from archscout.supernets import gates, plans
from archscout.supernets.distributions import Distribution
from archscout.supernets.importance import Importance, PricedImportance, hinge
from archscout.supernets.natural_gradient import GaussianMean, NaturalGaussian
from archscout.supernets.step import Job
from archscout.supernets.terms import posterior
from archscout.supernets.updates import BinaryGates, Pathwise, ScoreFunction, Unrolled, expected_cost, unrolled

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def gradients(distribution):
    return torch.cat([logits.grad for logits in distribution.logits])


def exact(step, value):
    """The gradient of a function of the probabilities and losses of all architectures."""
    architectures = list(step.supernet.space)
    with torch.no_grad():
        losses = torch.stack([step.loss(a, step.valid) for a in architectures])
    logs = torch.stack([step.distribution.log_probability(a) for a in architectures])
    return torch.cat(torch.autograd.grad(value(logs, losses), list(step.distribution.logits)))


def test_importance_weights_of_all_architectures_give_the_exact_gradient():
    """Where every architecture is drawn, weighted by its prior, the estimate is the gradient of -log p(y|X)."""
    step = toy.make_step()
    count = len(step.valid[1])
    wanted = exact(step, lambda logs, losses: -torch.logsumexp(logs - losses * count, 0))
    architectures = list(step.supernet.space)
    logs = torch.stack([step.distribution.log_probability(a) for a in architectures])
    with torch.no_grad():
        losses = torch.stack([step.loss(a, step.valid) for a in architectures])
    weights = posterior(logs.detach() - losses * count)
    found = torch.cat(torch.autograd.grad(-(weights * logs).sum(), list(step.distribution.logits)))
    assert torch.allclose(found, wanted, atol=1e-6)


def test_importance_with_many_samples_approaches_the_exact_gradient():
    step = toy.make_step()
    count = len(step.valid[1])
    wanted = exact(step, lambda logs, losses: -torch.logsumexp(logs - losses * count / 2, 0))
    step.jobs = [Job(a) for a in step.distribution.sample(20_000, stream(0))]
    Importance(temperature=2).gradients(step)
    found = gradients(step.distribution)
    assert torch.linalg.norm(wanted) > 0.1, "else this tests nothing"
    assert torch.linalg.norm(found - wanted) < 0.1 * torch.linalg.norm(wanted)


def test_the_cost_of_importance_is_that_of_log_expected_cost():
    step = toy.make_step()
    count, strength = len(step.valid[1]), 0.7
    prices = {a.text: float(place) for place, a in enumerate(step.supernet.space)}
    costs = torch.tensor([prices[a.text] for a in step.supernet.space])

    def objective(logs, losses):
        return -torch.logsumexp(logs - losses, 0) + strength * torch.log((logs.exp() * costs).sum())

    wanted = exact(step, objective)
    step.jobs = [Job(a) for a in step.distribution.sample(6000, stream(1))]
    update = Importance(temperature=count, cost=lambda batch: [prices[a.text] for a in batch], strength=strength)
    told = update.gradients(step)
    found = gradients(step.distribution)
    assert torch.linalg.norm(found - wanted) < 0.05 * torch.linalg.norm(wanted) + 0.01
    assert told["excess_cost"] == pytest.approx(np.mean([prices[job.architecture.text] for job in step.jobs]))


def test_without_excess_the_cost_changes_nothing():
    step = toy.make_step()
    step.jobs = [Job(a) for a in step.distribution.sample(8, stream(1))]
    Importance().gradients(step)
    plain = gradients(step.distribution)
    step.distribution.zero_grad()
    Importance(cost=lambda batch: [0.0] * len(batch)).gradients(step)
    assert torch.equal(gradients(step.distribution), plain)


def test_the_price_of_cost_is_that_of_the_lagrangian():
    """The gradient is that of -log E[p] + price * E[cost], against enumeration."""
    step = toy.make_step()
    prices = {a.text: 0.5 + place for place, a in enumerate(step.supernet.space)}
    costs = torch.tensor([prices[a.text] for a in step.supernet.space])
    step.distribution.price.fill_(0.4)
    wanted = exact(step, lambda logs, losses: -torch.logsumexp(logs - losses, 0) + 0.4 * (logs.exp() * costs).sum())
    step.jobs = [Job(a) for a in step.distribution.sample(6000, stream(1))]
    told = PricedImportance(
        temperature=len(step.valid[1]), cost=lambda batch: [prices[a.text] for a in batch], aim=0.9, gain=0.5
    ).gradients(step)
    found = gradients(step.distribution)
    assert torch.linalg.norm(found - wanted) < 0.05 * torch.linalg.norm(wanted) + 0.02
    mean = np.mean([prices[job.architecture.text] for job in step.jobs])
    assert told["cost"] == pytest.approx(mean)
    assert told["price"] == pytest.approx(0.4 + 0.5 * (mean - 0.9))


def test_the_price_falls_to_nothing_and_outlives_a_conversion():
    step = toy.make_step()
    step.distribution.price.fill_(0.05)
    assert float(step.distribution.joint([["first", "second"]]).price) == pytest.approx(0.05)
    step.jobs = [Job(a) for a in step.distribution.sample(8, stream(1))]
    PricedImportance(cost=lambda batch: [0.2] * len(batch)).gradients(step)
    assert float(step.distribution.price) == 0.0


def test_the_score_function_is_unbiased():
    """The mean estimate over many draws is the gradient of the expected loss."""
    step = toy.make_step()
    wanted = exact(step, lambda logs, losses: (logs.exp() * losses).sum())
    step.distribution.baseline.fill_(-1.1)
    step.jobs = [Job(a) for a in step.distribution.sample(20_000, stream(2))]
    ScoreFunction().gradients(step)
    found = gradients(step.distribution)
    assert torch.linalg.norm(found - wanted) < 0.1 * torch.linalg.norm(wanted) + 0.003
    assert float(step.distribution.baseline) != pytest.approx(-1.1)


def test_binary_gates_give_the_chain_rule_through_the_softmax():
    """For one draw: dL/da_i = sum_j <dL/dout, out_j> p_j (delta_ij - p_i), each term computed by hand."""
    step = toy.make_step()
    drawn, _ = gates.binary(step.distribution, step.rng("binary"))
    told = BinaryGates().gradients(step)
    values = {c.name: c.options[drawn[c.name].run[0]] for c in step.supernet.space.choices}
    chosen = step.supernet.space.architecture(values)
    assert told["valid_loss"] == pytest.approx(step.loss(chosen, step.valid).item(), rel=1e-6)
    marginals = {name: p.detach() for name, p in step.distribution.marginals().items()}
    for position, choice in enumerate(step.supernet.space.choices):
        module = step.supernet.mixed()[choice.name][0]
        kept = {}
        handle = module.register_forward_hook(lambda _m, i, o, kept=kept: kept.update(x=i[0], out=o))
        loss = step.loss(chosen, step.valid)
        handle.remove()
        slope = torch.autograd.grad(loss, kept["out"])[0]
        per_option = torch.stack([(slope * option(kept["x"])).sum() for option in module.options.values()]).detach()
        p = marginals[choice.name]
        jacobian = torch.diag(p) - torch.outer(p, p)
        assert torch.allclose(step.distribution.logits[position].grad, jacobian @ per_option, atol=1e-6)
    assert all(weight.grad is None for weight in step.weights)


def test_pathwise_is_the_gradient_of_the_mixed_loss():
    step = toy.make_step()
    Pathwise(plans.dense).gradients(step)
    found = gradients(step.distribution)
    numeric = []
    for logits in step.distribution.logits:
        for place in range(len(logits)):
            sides = []
            for shift in (1e-2, -1e-2):
                with torch.no_grad():
                    logits[place] += shift
                    sides.append(step.loss(gates.soft(step.distribution), step.valid).item())
                    logits[place] -= shift
            numeric.append((sides[0] - sides[1]) / 2e-2)
    assert torch.allclose(found, torch.tensor(numeric), atol=1e-4)
    assert all(weight.grad is None for weight in step.weights)


def test_unrolled_is_the_exact_second_order_gradient():
    """Against autograd through the virtual step, on a problem whose second derivatives do not vanish."""
    generator = torch.Generator().manual_seed(0)
    x, y, vx, vy = (torch.randn(20, 3, generator=generator, dtype=torch.float64) for _ in range(4))
    weights = [torch.randn(3, 3, generator=generator, dtype=torch.float64), torch.randn(3, dtype=torch.float64)]
    logits = [torch.randn(2, generator=generator, dtype=torch.float64).requires_grad_()]
    buffers = [torch.randn(3, 3, generator=generator, dtype=torch.float64), None]

    def loss(x, y):
        def of(w):
            p = torch.softmax(logits[0], 0)
            hidden = p[0] * torch.tanh(x @ w[0]) + p[1] * (x @ w[0]) + w[1]
            return ((hidden - y) ** 2).mean()

        return of

    rate, momentum, decay = 0.3, 0.9, 0.01
    found, value = unrolled(
        loss(x, y), loss(vx, vy), weights, logits, rate=rate, momentum=momentum, decay=decay, buffers=buffers
    )
    leaves = [w.clone().requires_grad_() for w in weights]
    slopes = torch.autograd.grad(loss(x, y)(leaves), leaves, create_graph=True)
    ahead = [
        w - rate * (s + decay * w + (0 if b is None else momentum * b))
        for w, s, b in zip(leaves, slopes, buffers, strict=True)
    ]
    exact_loss = loss(vx, vy)(ahead)
    wanted = torch.autograd.grad(exact_loss, logits)[0]
    first_order = torch.autograd.grad(loss(vx, vy)([a.detach() for a in ahead]), logits)[0]
    assert value == pytest.approx(exact_loss.item())
    assert torch.linalg.norm(found[0] - wanted) < 1e-4 * torch.linalg.norm(wanted)
    assert torch.linalg.norm(first_order - wanted) > 0.05 * torch.linalg.norm(wanted), "else this tests nothing"


def test_unrolled_leaves_the_weights_alone_and_differs_from_first_order():
    step = toy.make_step()
    before = [weight.detach().clone() for weight in step.weights]
    Pathwise(plans.dense).gradients(step)
    first = gradients(step.distribution)
    Unrolled(plans.dense).gradients(step)
    second = gradients(step.distribution)
    assert all(torch.equal(weight, was) for weight, was in zip(step.weights, before, strict=True))
    assert not torch.allclose(first, second, atol=1e-5)


def test_the_gaussian_update_without_noise_follows_its_rule():
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = GaussianMean([parameter], rate=0.1, betas=(0.9, 0.99), prior=0.5, count=1e12)
    m = s = torch.zeros(2)
    mean = parameter.detach().clone()
    for number, slope in enumerate(([0.3, 0.4], [-0.2, 0.1]), start=1):
        optimizer.perturb(stream(number))
        g = torch.tensor(slope)
        parameter.grad = g.clone()
        optimizer.step()
        m, s = 0.9 * m + 0.1 * (g + 0.5 * mean), 0.99 * s + 0.01 * g * g
        mean = mean - 0.1 * (m / (1 - 0.9**number)) / (torch.sqrt(s / (1 - 0.99**number)) + 0.5)
        assert torch.allclose(parameter.detach(), mean, atol=1e-5)


def test_the_noise_has_the_posterior_spread_and_goes_away():
    parameter = torch.nn.Parameter(torch.zeros(50_000))
    optimizer = GaussianMean([parameter], rate=0.1, betas=(0.9, 0.99), prior=0.5, count=200.0)
    optimizer.perturb(stream(0))
    assert parameter.detach().std().item() == pytest.approx(0.1, rel=0.02)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.zeros(50_000))
    step = toy.make_step()
    update = NaturalGaussian(plans.dense)
    own = update.optimizer(step.distribution)
    update.begin(step, own)
    assert "valid_loss" in update(step, own)


def test_expected_cost_is_the_mean_over_the_distribution():
    step = toy.make_step()
    table = {"first": (1.0, 5.0, 2.0), "second": (3.0, 4.0)}

    def price(a):
        return sum(table[c.name][c.index(a[c.name])] for c in step.supernet.space.choices)

    mean = sum(step.distribution.log_probability(a).exp().item() * price(a) for a in step.supernet.space)
    assert expected_cost(step.distribution, table).item() == pytest.approx(mean, rel=1e-5)
    update = BinaryGates(cost=table, target=4.0, constant=1.0, strength=1000.0)
    told = update.gradients(step)
    assert told["expected_cost"] == pytest.approx(mean + 1.0, rel=1e-5)
    slope = torch.cat(
        torch.autograd.grad(expected_cost(step.distribution, table) * 250.0, list(step.distribution.logits))
    )
    assert torch.allclose(gradients(step.distribution), slope, rtol=0.02, atol=0.5), "the cost dominates"


def test_hinge():
    assert hinge([50.0, 100.0, 150.0], 100.0) == [0.0, 0.0, 0.5]


def test_straight_through_draws_from_the_distribution_and_is_hard():
    distribution = toy.random_logits(Distribution(toy.Toy()))
    counts = np.zeros(3)
    rng = stream(5)
    for _ in range(4000):
        gate = gates.straight_through(distribution, rng, 0.7)["first"]
        assert len(gate.run) == 1
        assert torch.equal(gate.weights.detach().round(decimals=5), torch.eye(3)[gate.run[0]])
        counts[gate.run[0]] += 1
    assert np.allclose(counts / 4000, distribution.marginals()["first"].detach().numpy(), atol=0.03)


def test_straight_through_gradients_are_the_relaxed_draws():
    distribution = toy.random_logits(Distribution(toy.Toy()))
    gate = gates.straight_through(distribution, stream(6), 0.5)["second"]
    noise = stream(6)
    noise.gumbel(size=3)
    own = torch.as_tensor(noise.gumbel(size=2), dtype=torch.float32)
    relaxed = torch.softmax((torch.log_softmax(distribution.logits[1], 0) + own) / 0.5, 0)
    probe = torch.tensor([1.0, -2.0])
    found = torch.autograd.grad((gate.weights * probe).sum(), distribution.logits[1])[0]
    wanted = torch.autograd.grad((relaxed * probe).sum(), distribution.logits[1])[0]
    assert torch.allclose(found, wanted, atol=1e-5)
