"""The space of series, against networks that are written out by hand."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.spaces.load import automatic_space
from archscout.spaces.series import REFERENCES, STAGES, Series
from archscout.testing import SpaceConformance, tiny_series, tiny_task
from archscout.training.export import to_onnx


class TestSeries(SpaceConformance):
    networks = 4
    examples = 15

    def space(self):
        return Series(width=32)

    def task(self):
        return tiny_series()


class TestOneChannelOfOddLength(SpaceConformance):
    networks = 3
    examples = 8

    def space(self):
        return Series(width=32)

    def task(self):
        return tiny_series(1, 21)


def test_the_size_has_a_closed_form():
    """Four kinds, five widths, three depths, five kernels, three dilations, pooled or not, for each stage."""
    each = 4 * 5 * 3 * 5 * 3 * 2
    assert Series().size() == 3 * 2 * sum(each**stages for stages in STAGES)


def test_fcn_is_the_one_that_is_written_out():
    def layer(inputs, outputs, kernel):
        return [nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]

    class FCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(*layer(2, 128, 9), *layer(128, 256, 5), *layer(256, 128, 3))
            self.head = nn.Linear(128, 3)

        def forward(self, x):
            return self.head(self.body(x).mean(-1))

    task, space = tiny_series(), Series()
    ours, theirs = build(space, space.references()["fcn"], task).eval(), FCN().eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x, _ = task.tensors(task.valid)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_the_parameters_of_an_inception_stage_are_counted_by_hand():
    """Two layers of 64 channels: bottleneck, kernels 19, 9 and 3, after pooling; a shortcut; norms."""
    space, task = Series(), tiny_series()
    network = build(space, space.parse("in1_inception64x2k19d1"), task)

    def inception(inputs):
        return inputs * 16 + 16 * 16 * (19 + 9 + 3) + inputs * 16 + 2 * 16 * 5

    expected = inception(2) + inception(64) + 2 * 64 + 2 * 64 + 64 * 3 + 3
    assert sum(p.numel() for p in network.parameters()) == expected


def test_multiply_adds_are_counted_by_hand():
    space, task = Series(), tiny_series()
    graph = trace_architecture(space, space.parse("in2_plain16x1k5d2_separable32x1k9d1-pool"), task)
    assert graph.macs == 16 * 2 * 5 * 16 + 8 * (16 * 9 + 16 * 32 + 16 * 32) + 32 * 3


@pytest.mark.parametrize("name", [*REFERENCES])
def test_references_run_and_are_written_as_onnx(name):
    space, task = Series(), tiny_series(1, 24)
    network = task.deploy(build(space, space.references()[name], task)).eval()
    x = torch.from_numpy(task.valid.x[:3])
    with torch.no_grad():
        expected = network(x)
    session = onnxruntime.InferenceSession(to_onnx(network, task.deployed_shape, quick=True))
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("in3_plain64x1k9d1", r"'3', the input.pool of .* must be one of 1, 2, 4"),
        ("plain64x1k9d1", r"'plain64x1k9d1' in .* is no beginning"),
        ("in1", r"has 0 stages where space 'series' has 1 to 4"),
        ("in1_gru", r"has 0 stages"),
        ("in1_round64x1k9d1", r"'round64x1k9d1', stage 1 of .*, is no stage: .* kinds are plain, residual"),
        ("in1_plain65x1k9d1", r"'65', the stage1.width"),
        ("in1_plain64x1k9", r"is no stage"),
    ],
)
def test_a_text_that_is_none_is_refused_with_the_place(text, said):
    with pytest.raises(UsageError, match=said):
        Series().parse(text)


def test_plain_stages_that_go_on_as_the_one_before_are_one_network():
    space = Series()
    texts = ("in1_plain32x3k9d1-pool_gru", "in1_plain32x1k9d1-pool_plain32x2k9d1_gru")
    assert len({space.canonical(space.parse(text)) for text in texts}) == 1
    # A shortcut goes around the layers of its stage.
    texts = ("in1_residual32x3k9d1", "in1_residual32x1k9d1_residual32x2k9d1")
    assert len({space.canonical(space.parse(text)) for text in texts}) == 2


def test_series_are_searched_by_it_and_images_are_not():
    assert automatic_space(tiny_series()).name == "series"
    assert automatic_space(tiny_task()).name == "classic"
    with pytest.raises(UsageError, match=r"needs series .* inputs of shape \(1, 8, 8\)"):
        Series().check_task(tiny_task())
    assert Series().sample(stream(0)) == Series().sample(stream(0))
