"""Random changes of batches, against plain loops over every image and every possible draw."""

import numpy as np
import pytest
import torch

from archscout.tasks import augmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(400, 3, 6, 5)).astype(np.float32))


def test_shift_gives_a_window_of_the_padded_image_and_every_window_comes_up(batch: torch.Tensor) -> None:
    fill = torch.tensor([1.0, 2.0, 3.0])
    shifted = augmentation.shift(batch, 2, fill, generator())
    seen = set()
    for before, after in zip(batch.numpy(), shifted.numpy(), strict=True):
        padded = np.stack([np.pad(c, 2, constant_values=value) for c, value in zip(before, fill.tolist(), strict=True)])
        windows = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(padded[:, down : down + 6, right : right + 5], after)
        ]
        assert len(windows) == 1
        seen.add(windows[0])
    assert len(seen) == 25


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others(batch: torch.Tensor) -> None:
    flipped = augmentation.flip(batch, generator())
    mirrored = [np.array_equal(a[:, :, ::-1], b) for a, b in zip(batch.numpy(), flipped.numpy(), strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(batch.numpy(), flipped.numpy(), strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


def test_cutout_paints_one_square_that_may_reach_over_the_border(batch: torch.Tensor) -> None:
    fill = torch.tensor([7.0, 8.0, 9.0])
    painted = augmentation.cutout(batch, 3, fill, generator())
    sizes = set()
    for before, after in zip(batch.numpy(), painted.numpy(), strict=True):
        changed = (before != after).all(0)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert changed.sum() == len(rows) * len(columns)
        np.testing.assert_array_equal(after[:, changed], np.repeat(fill.numpy()[:, None], changed.sum(), 1))
        sizes.add((len(rows), len(columns)))
    assert sizes == {(height, width) for height in (1, 2, 3) for width in (1, 2, 3)}


def test_draws_come_from_the_generator_alone_and_the_input_is_left_as_it_was(batch: torch.Tensor) -> None:
    before = batch.clone()
    fill = torch.zeros(3)
    changes = (
        lambda g: augmentation.shift(batch, 1, fill, g),
        lambda g: augmentation.flip(batch, g),
        lambda g: augmentation.cutout(batch, 2, fill, g),
        lambda g: augmentation.colour_jitter(batch, 0.3, g),
    )
    for change in changes:
        torch.manual_seed(1)
        first = change(generator(5))
        torch.manual_seed(2)
        assert torch.equal(first, change(generator(5)))
        assert not torch.equal(first, change(generator(6)))
    assert torch.equal(batch, before)


def test_colour_jitter_goes_as_far_as_was_said() -> None:
    x = torch.randn(500, 3, 4, 4, generator=generator(1), dtype=torch.float64)
    y = augmentation.colour_jitter(x, 0.3, generator(2))
    mean = lambda z: z.mean((1, 2, 3))  # noqa: E731
    moved = mean(y) - mean(x)
    assert moved.abs().max() <= 0.3 and moved.max() > 0.28 and moved.min() < -0.28
    grey = lambda z: z.mean(1)  # noqa: E731
    spread = grey(y).flatten(1).std(1) / grey(x).flatten(1).std(1)
    assert 0.7 <= spread.min() < 0.72 and 1.28 < spread.max() <= 1.3
    chroma = (y - y.mean(1, keepdim=True)) / (x - x.mean(1, keepdim=True))
    each = chroma.flatten(1)
    torch.testing.assert_close(each, each[:, :1].expand_as(each), rtol=1e-6, atol=1e-8)
    saturation = each[:, 0] / spread
    assert 0.7 <= saturation.min() < 0.72 and 1.28 < saturation.max() <= 1.3
    same = augmentation.colour_jitter(x[:, :1], 0.3, generator(2))
    contrast = same.flatten(1).std(1) / x[:, :1].flatten(1).std(1)
    assert 0.7 <= contrast.min() < 0.72 and 1.28 < contrast.max() <= 1.3, "one channel has no saturation"


def test_several_generators_draw_for_their_own_parts(batch: torch.Tensor) -> None:
    x = batch.float()
    both = augmentation.colour_jitter(x, 0.3, generator(1), generator(2))
    half = len(x) // 2
    parts = [
        augmentation.colour_jitter(part, 0.3, generator(k)) for k, part in enumerate((x[:half], x[half:]), start=1)
    ]
    torch.testing.assert_close(both, torch.cat(parts))
