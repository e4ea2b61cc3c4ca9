"""What `archscout data check` says of examples that stand twice is said in the words of their medium."""

import numpy as np
import pytest

from archscout.tasks.survey import look

COUNT = 60


def series():
    return np.random.default_rng(0).normal(size=(COUNT, 2, 64)).astype(np.float32), np.arange(COUNT) % 2


def recordings():
    return np.random.default_rng(0).uniform(-1, 1, (COUNT, 4000)).astype(np.float32), np.arange(COUNT) % 2


def pictures():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8), np.arange(COUNT) % 2


@pytest.mark.parametrize(
    ("make", "options", "noun"),
    [(series, {}, "series"), (recordings, {"medium": "audio", "rate": 8000}, "recording"), (pictures, {}, "image")],
)
def test_duplicates_of_arrays(make, options, noun):
    x, y = make()
    held = {"x_test": x[-4:] / 2 if x.dtype != np.uint8 else 255 - x[-4:], "y_test": y[-4:]}
    data = {"x_train": x, "y_train": y, "x_valid": x[:3], "y_valid": y[:3], **held}
    plural = noun if noun == "series" else f"{noun}s"
    oddities = " ".join(look(data, **options).oddities)
    assert f"3 {plural} are in more than one split" in oddities


def test_duplicates_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{a:.6f},{b:.6f},{'yes' if a > 0 else 'no'}" for a, b in rng.normal(size=(COUNT, 2))]
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(["a,b,label", *rows, *rows]) + "\n")
    oddities = " ".join(look(file).oddities)
    assert "rows are in" in oddities
    assert "image" not in oddities
