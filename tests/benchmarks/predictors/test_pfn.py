"""The experiment with prediction in context (`benchmarks/predictors/pfn.py`): does it learn to be a posterior?"""

import numpy as np
import pytest
import torch

from archscout.estimators.predictors.training import randomness
from benchmarks.predictors import pfn


@pytest.mark.slow
def test_it_becomes_the_posterior_of_a_conjugate_prior():
    """Linear laws with normal weights and noise: the posterior mean is a ridge regression, known in closed form."""
    noise, rng = 0.3, np.random.default_rng(0)

    def tasks(count):
        x = rng.normal(size=(count, 26, 2))
        y = (x @ rng.normal(size=(count, 2, 1)))[..., 0] + noise * rng.normal(size=(count, 26))
        return x[:, :10], y[:, :10], x[:, 10:], y[:, 10:]

    with randomness(0, "test"):
        network = pfn.InContext(2, width=32, layers=2, heads=2)
    steps = 1200
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = pfn.loss_of(network, *(torch.from_numpy(part.astype(np.float32)) for part in tasks(32)))
        torch.autograd.backward(loss)
        optimizer.step()
        falling.step()
    known, values, asked, _ = tasks(200)
    with torch.no_grad():
        logits = network(*(torch.from_numpy(part.astype(np.float32)) for part in (known, values, asked)))
        mean = (torch.softmax(logits, dim=2) @ pfn.CENTRES).numpy()
    gram = known.transpose(0, 2, 1) @ known + noise**2 * np.eye(2)
    exact = (asked @ np.linalg.solve(gram, known.transpose(0, 2, 1) @ values[..., None]))[..., 0]
    assert exact.std() > 1
    inside = np.abs(exact) < 3  # the outermost bins begin at 3.2
    assert inside.mean() > 0.9
    assert np.sqrt(((mean - exact)[inside] ** 2).mean()) < 0.15 * exact.std()


def test_what_is_said_of_one_depends_on_the_known_as_a_set():
    with randomness(1, "test"):
        network = pfn.InContext(3, width=16, layers=2, heads=2).eval()
        torch.nn.init.normal_(network.asked)
    torch.manual_seed(0)
    known, values, asked = torch.randn(2, 6, 3), torch.randn(2, 6), torch.randn(2, 5, 3)
    with torch.no_grad():
        said = network(known, values, asked)
        order = torch.tensor([3, 1, 5, 0, 2, 4])
        torch.testing.assert_close(network(known[:, order], values[:, order], asked), said, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(known, values, asked[:, 2:3]), said[:, 2:3], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(network(known, values[:, order], asked), said, rtol=1e-3)


def test_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pfn, "CHECKPOINT", -1.0)
    pfn.train(tmp_path / "whole.safetensors", 3)
    save, calls = pfn.save, []

    def stopping(*given):
        save(*given)
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(pfn, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        pfn.train(tmp_path / "parts.safetensors", 3)
    monkeypatch.setattr(pfn, "save", save)
    pfn.train(tmp_path / "parts.safetensors", 3)
    width = pfn.features_in(tmp_path / "whole.safetensors")
    networks = [pfn.InContext(width) for _ in range(2)]
    about = [
        pfn.restore(tmp_path / f"{n}.safetensors", net) for n, net in zip(("whole", "parts"), networks, strict=True)
    ]
    assert about[0]["step"] == about[1]["step"] == 3
    for one, other in zip(*(net.state_dict().values() for net in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_tasks_are_those_of_their_step_and_values_are_ranks_of_the_known():
    pool, standard, blocks, _, _ = pfn.cells()
    one, again = (pfn.tasks_of_step(pool, standard, blocks, 7) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[2], pfn.tasks_of_step(pool, standard, blocks, 8)[2])
    known, values, asked, truth = one
    assert known.shape[0] == asked.shape[0] == pfn.TASKS
    assert pfn.KNOWN[0] <= known.shape[1] <= pfn.KNOWN[1]
    assert torch.isfinite(torch.cat([values, truth], dim=1)).all()
    assert values.mean().abs() < 0.3
    for step in range(40):
        assert all(torch.isfinite(part).all() for part in pfn.tasks_of_step(pool, standard, blocks, step)), step
    flat = pfn.law(np.zeros((30, standard.shape[1])), blocks, np.random.default_rng(0))
    assert np.isfinite(flat).all()
    assert flat.std() > 0, "where a law says the same of all there is noise"
