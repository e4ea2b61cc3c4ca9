"""Integer arithmetic against exact fractions, brute force, ONNX Runtime, and what quantisation is known to do."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import DataError, UsageError
from archscout.core.task import Split
from archscout.deploy.observers import OBSERVERS, MeanSquare, Quantile
from archscout.deploy.quantise import Quantisation, Quantised, factor_of, factors_of_sum, quantise
from archscout.deploy.quantised_onnx import FORMS, steps_apart, to_onnx
from archscout.deploy.reading import read
from archscout.deploy.schemes import PRESETS, Scheme
from archscout.finished.examples import calibration_split
from archscout.testing.tasks import tiny_task
from archscout.training.export import session


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Add(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.conv(x))


class Join(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([nn.functional.relu6(4 * 0 + x), nn.functional.avg_pool2d(x, 1)], 1)


class Shifted(nn.Module):
    """Every second pixel, from the second one on, with zeros where the map has ended; and a map with uneven zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.shifted, self.uneven = nn.Conv2d(3, 4, 1, 2), nn.Conv2d(3, 2, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return torch.cat([self.shifted(shifted), self.uneven(nn.functional.pad(x, (0, 2, 0, 2)))], 1)


class Squeezed(nn.Module):
    """The product of a map and of a number for each channel, and that of a map with itself."""

    def forward(self, x: Tensor) -> Tensor:
        return x * nn.functional.hardsigmoid(x.mean((2, 3), keepdim=True)) * x


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(3, 5, 3, stride=2, padding=1),
    "dilated": lambda: nn.Conv2d(3, 4, 3, padding=2, dilation=2, bias=False),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(3, 3, 5, padding=2, groups=3), nn.ReLU6()),
    "grouped": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU()),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 49, 7)),
    "max": lambda: nn.MaxPool2d(3, 2, 1),
    "average": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "padded": lambda: nn.AvgPool2d(2, 2, 1),
    "max, beyond the map": lambda: nn.MaxPool2d(2, ceil_mode=True),
    "average, beyond the map": lambda: nn.AvgPool2d(3, 2, ceil_mode=True),
    "uneven": Shifted,
    "mean": lambda: nn.AdaptiveAvgPool2d(1),
    "clamp": nn.ReLU,
    "add": Add,
    "concat": Join,
    "product": Squeezed,
    "hardswish": nn.Hardswish,
    "leaky": lambda: nn.LeakyReLU(0.2, inplace=True),
    "shuffle": lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.ChannelShuffle(3)),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def layer_of(name: str, how: Quantisation) -> tuple[Quantised, Tensor]:
    """Inputs on the grid of the input, so that nothing but the operator itself rounds."""
    x = draw(16, 3, 7, 7)
    quantised = quantise(read(LAYERS[name](), (3, 7, 7)), x, how)
    return quantised, quantised.grids[0].dequantise(quantised.entry(x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYERS)
def test_each_operator_is_within_a_step_of_onnx_runtime(name: str, form: str) -> None:
    for scheme in ("microcontroller", "vitis-like"):
        quantised, x = layer_of(name, Quantisation(scheme))
        answers = session(to_onnx(quantised, form)).run(None, {"input": x.numpy()})[0]
        assert int(steps_apart(quantised, x, answers).max()) <= 1


@pytest.mark.parametrize("scheme", PRESETS)
def test_each_scheme_is_within_a_step_of_onnx_runtime(scheme: str) -> None:
    network = nn.Sequential(LAYERS["conv"](), nn.ReLU(), nn.Conv2d(5, 5, 3, groups=5), nn.Flatten(), nn.Linear(20, 4))
    x = draw(16, 3, 7, 7)
    for bits in (8, 5):
        quantised = quantise(read(network, (3, 7, 7)), x, Quantisation(scheme, bits, bits))
        for form in FORMS:
            answers = session(to_onnx(quantised, form)).run(None, {"input": x.numpy()})[0]
            assert int(steps_apart(quantised, x, answers).max()) <= 1


def test_a_convolution_is_the_sum_of_products_of_integers() -> None:
    quantised, x = layer_of("conv", Quantisation("ppl-cuda-like"))
    operator, q = quantised.program.operators[0], quantised.entry(x).numpy()
    layer, out = quantised.layers[operator.output], quantised.grids[operator.output]
    w, ratio = layer.centred.numpy(), (quantised.unit(operator, 0) / out.scale).tolist()
    padded = np.pad(q - int(quantised.grids[0].zero), ((0, 0), (0, 0), (1, 1), (1, 1)))
    answer = quantised.integers(x).numpy()
    for place in [(0, 0, 0, 0), (3, 4, 2, 1), (15, 2, 3, 3), (7, 1, 0, 3)]:
        n, o, i, j = place
        total = int((padded[n, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * w[o]).sum()) + int(layer.bias[o])
        exact = Fraction(total) * Fraction(ratio[o]) + int(out.zero)
        assert abs(int(answer[place]) - min(max(exact, -128), 127)) <= Fraction(1, 2) + Fraction(1, 10**6)


def test_fixed_point_is_the_nearest_integer() -> None:
    rng = np.random.default_rng(0)
    ratios = torch.tensor([1.0, 0.5, 1 - 1e-12, 3.7e-7, 1e-30, *np.exp(rng.uniform(-18, 3, 50))])
    sums = torch.from_numpy(rng.integers(-(2**31) + 1, 2**31, (200, len(ratios))))
    answers = factor_of(ratios).times(sums)
    for row, column in rng.integers(0, (200, len(ratios)), (300, 2)):
        exact = Fraction(int(sums[row, column])) * Fraction(float(ratios[column]))
        # The factor has 31 bits.
        assert abs(int(answers[row, column]) - exact) <= Fraction(1, 2) + abs(exact) / 2**30


def test_factors_of_a_sum_fit_into_32_bits() -> None:
    for ratios in ([1.0, 1.0], [1e-6, 3.0], [0.999999, 2e-9], [17.0, 4.0]):
        factors, shift = factors_of_sum(ratios)
        assert 2 * 255 * max(factors) + (1 << (shift - 1)) < 2**31
        assert factors[ratios.index(max(ratios))] / 2**shift == pytest.approx(max(ratios), rel=1e-6)


@pytest.mark.parametrize(
    "scheme", [Scheme(), Scheme(4, symmetric=False), Scheme(narrow=True), Scheme(power_of_two=True)]
)
def test_grids_hold_zero_and_all_of_the_range(scheme: Scheme) -> None:
    low, high = torch.tensor([-1.0, 0.2, -3.0, 0.0]), torch.tensor([2.0, 0.9, -1.0, 0.0])
    grid = scheme.grid(low, high)
    assert not grid.rounded(torch.zeros(4, 1)).any()
    for end in (low, high):
        assert ((grid.rounded(end[:, None]) - end[:, None]).abs() <= grid.scale[:, None] * 1.001).all()
    if scheme.power_of_two:
        assert (torch.log2(grid.scale) % 1 == 0).all()
    if scheme.symmetric:
        assert not grid.zero.any()


@pytest.mark.parametrize("name", OBSERVERS)
def test_observers_see_the_range_of_what_has_no_outliers(name: str) -> None:
    observer = OBSERVERS[name](Scheme(symmetric=False))
    for seed in range(3):
        observer.update(torch.rand(1, 5000, generator=torch.Generator().manual_seed(seed)) * 4 - 1)
    low, high = observer.range()
    assert (float(low), float(high)) == (pytest.approx(-1, abs=0.1), pytest.approx(3, abs=0.1))


def test_an_outlier_moves_the_ends_of_the_range_only_of_who_looks_at_the_ends() -> None:
    rows = draw(1, 20000)
    rows[0, 7] = 300.0
    ends = {}
    for name, kind in OBSERVERS.items():
        observer = kind(Scheme(4))
        observer.update(rows)
        ends[name] = float(observer.range()[1])
    assert ends["min_max"] == ends["moving"] == 300
    assert ends["quantile"] < 6
    assert ends["deviations"] < 10
    grid = {name: Scheme(4).grid(torch.tensor([-ends[name]]), torch.tensor([ends[name]])) for name in ends}
    errors = {name: float((grid[name].rounded(rows) - rows).pow(2).mean()) for name in ends}
    assert errors["mse"] == min(errors.values()), "it minimises just that"


def test_numbers_are_drawn_from_all_of_a_map() -> None:
    """Borders of maps are not like the rest of them: evenly spaced numbers would be of a few columns alone."""
    maps = draw(32, 16, 16, 16)
    maps[..., 1:-1] *= 20
    observer = MeanSquare(Scheme())
    for part in maps.split(8):
        observer.update(part.reshape(1, -1))
    assert float(observer.range()[1]) > 0.7 * float(maps.max())
    assert float(observer.sample().std()) == pytest.approx(float(maps.std()), rel=0.03)


def test_early_and_late_batches_count_alike() -> None:
    observer = Quantile(Scheme())
    for number in range(10):
        observer.update(torch.full((1, 30000), float(number)))
    counts = observer.sample().round().long().flatten().bincount()
    assert counts.sum() <= 2**16
    assert (counts / counts.sum()).numpy() == pytest.approx([0.1] * 10, abs=0.02)


def network_of_unequal_channels() -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(),
        nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 5),
    )  # fmt: skip
    with torch.no_grad():
        network[2].weight.mul_(torch.logspace(-0.5, 1, 16).view(-1, 1, 1, 1))
        network[4].weight.mul_(torch.logspace(0.5, -1, 16).view(1, -1, 1, 1))
        for layer in (network[0], network[2], network[4]):
            layer.bias.zero_()
    return network


def error_of(how: Quantisation) -> float:
    program, x = read(network_of_unequal_channels(), (3, 7, 7)), draw(64, 3, 7, 7)
    exact = program.run(x)
    return float(((quantise(program, x, how).run(x) - exact).pow(2).mean(0) / exact.var(0)).mean())


def test_channels_of_unequal_size_need_scales_of_their_own() -> None:
    by_tensor, by_channel = (error_of(Quantisation(s, weight_bits=4)) for s in ("academic", "microcontroller"))
    assert by_channel < 0.7 * by_tensor


def test_more_bits_are_nearer() -> None:
    errors = [error_of(Quantisation(weight_bits=bits, activation_bits=8)) for bits in (3, 5, 8)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_bias_correction_takes_away_the_mean_error() -> None:
    program, x = read(network_of_unequal_channels(), (3, 7, 7)), draw(64, 3, 7, 7)
    exact = program.run(x)
    plain, corrected = (
        (quantise(program, x, Quantisation(weight_bits=3, bias_correction=on)).run(x) - exact).mean(0).abs().max()
        for on in (False, True)
    )
    assert corrected < 0.2 * plain


def test_layers_may_have_schemes_of_their_own() -> None:
    program, x = read(network_of_unequal_channels(), (3, 7, 7)), draw(32, 3, 7, 7)
    coarse = Quantisation().preset.with_bits(2, None)
    last = program.operators[-1]
    quantised = quantise(program, x, Quantisation(layers={last.output: coarse}))
    assert len(quantised.layers[last.output].weight.unique()) <= 4
    assert quantised.weight_bytes == quantise(program, x).weight_bytes - last.weight.numel() * 6 // 8


def test_the_pixel_range_is_whole_where_it_is_known() -> None:
    program = read(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (3, 2, 2))
    quantised = quantise(program, torch.full((4, 3, 2, 2), 100.0), span=(0.0, 255.0))
    ends = quantised.entry(torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2))
    assert (ends[0].unique().tolist(), ends[1].unique().tolist()) == ([-128], [127])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scheme": "tensorrt"}, "'tensorrt': did you mean 'tensorrt-like'"),
        ({"weight_bits": 1}, "weight_bits must be a whole number of 2 or more, not 1"),
        ({"weight_bits": -3}, "weight_bits must be a whole number of 2 or more, not -3"),
        ({"activation_bits": 16}, "no scheme has 16 bits"),
        ({"observer": "max"}, "no observer 'max'"),
    ],
)
def test_wrong_choices_are_named(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Quantisation(**wrong)


def test_examples_must_be_finite() -> None:
    program = read(nn.Conv2d(3, 2, 1), (3, 4, 4))
    for x in (torch.full((2, 3, 4, 4), torch.nan), torch.empty(0, 3, 4, 4)):
        with pytest.raises(DataError, match="finite"):
            quantise(program, x)


def test_the_form_of_the_file_is_named() -> None:
    quantised, _ = layer_of("conv", Quantisation())
    with pytest.raises(UsageError, match="qdq or qoperator, not as 'qop'"):
        to_onnx(replace(quantised), "qop")


def test_no_ranges_are_taken_from_images_that_are_all_the_same() -> None:
    task = tiny_task((3, 8, 8))
    assert len(calibration_split(task)) > 1
    blank = replace(task, train=Split(np.zeros_like(task.train.x), task.train.y))
    with pytest.raises(UsageError, match="calibration examples are the same: no ranges can be taken"):
        calibration_split(blank)
