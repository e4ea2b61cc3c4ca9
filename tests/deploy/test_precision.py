"""The numbers and the layout of a deployed network: cast, laid out, and answering as it did."""

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError, UsageError
from archscout.deploy.precision import Form


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    return nn.Sequential(*layers).eval()


X = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


class Views(nn.Module):
    """Refuses feature maps whose channels lie last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1)


def test_bytes_and_words() -> None:
    assert [Form(name).bytes for name in ("float32", "bfloat16", "int8")] == [4, 2, 1]  # type: ignore[arg-type]
    assert Form("bfloat16", "channels_last").as_json() == {
        "precision": "bfloat16", "layout": "channels_last", "bytes_per_number": 2,
    }  # fmt: skip


@torch.no_grad()
def test_a_layout_changes_no_answer(network: nn.Module) -> None:
    other = Form(layout="channels_last").applied(network)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in other.parameters() if p.ndim == 4)
    torch.testing.assert_close(other(X), network(X), rtol=1e-5, atol=1e-6)
    assert network[0].weight.is_contiguous(), "the network itself stays as it was"


@torch.no_grad()
def test_half_the_bytes_and_nearly_the_same_answers(network: nn.Module) -> None:
    other = Form("bfloat16").applied(network)
    assert {p.dtype for p in other.parameters()} == {torch.bfloat16}
    answers = other(X)
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, network(X), rtol=0.05, atol=0.02)
    assert not torch.equal(answers, network(X))
    assert network[0].weight.dtype == torch.float32


@torch.no_grad()
def test_the_plain_form_is_a_copy(network: nn.Module) -> None:
    other = Form().applied(network)
    assert other is not network
    assert torch.equal(other(X), network(X))


def test_a_form_that_a_network_refuses_is_told() -> None:
    views = nn.Sequential(nn.Conv2d(3, 4, 3), Views())
    with pytest.raises(ArchscoutError, match="does not run in float32 with layout channels_last"):
        Form(layout="channels_last").applied(views)(X)
    with pytest.raises(UsageError, match="quantised"):
        Form("int8").applied(views)
