"""Tables whose rows are the examples: what is read of them, what is told, and the way to a network and back."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import archscout
from archscout.cli.main import run
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.networks.pick import build
from archscout.tasks.load import undescribe
from archscout.tasks.rows import OrdinalRows, RowsClassification, RowsRegression
from archscout.training.export import to_onnx


def table(folder: Path, empty: dict[str, tuple[int, ...]] | None = None, **columns: list[object]) -> Path:
    """A table of ages, colours and heights; the class is whether age and colour say so."""
    rng, count = np.random.default_rng(0), 80
    age, colour = rng.uniform(20, 60, count).round(1), rng.choice(["red", "green", "blue"], count)
    given: dict[str, list[object]] = {
        "age": age.tolist(), "colour": colour.tolist(), "height": rng.normal(170, 10, count).round(1).tolist(),
        "label": np.where((age > 40) ^ (colour == "red"), "yes", "no").tolist(),
    } | columns  # fmt: skip
    for name, rows_of in (empty or {}).items():
        given[name] = ["" if row in rows_of else value for row, value in enumerate(given[name])]
    rows = [",".join(str(cell) for cell in row) for row in zip(*given.values(), strict=True)]
    (folder / "people.csv").write_text("\n".join([",".join(given), *rows]) + "\n")
    return folder / "people.csv"


@pytest.fixture
def gaps(tmp_path: Path) -> Path:
    return table(tmp_path, {"height": (3, 4, 5, 30, 31, 50, 70), "colour": (7, 8)})


def test_numbers_categories_and_what_is_missing(gaps: Path) -> None:
    with pytest.warns(DataNotice, match="9 cells of .* are empty"):
        task = archscout.task(gaps)
    assert isinstance(task, RowsClassification)
    assert [(column.name, column.width) for column in task.columns] == [("age", 1), ("colour", 3), ("height", 1)]
    assert task.class_names == ("no", "yes")
    assert task.gaps == (4,)
    assert (task.input_shape, task.deployed_shape) == ((6,), (5,))
    stored = np.concatenate([split.x for split in (task.train, task.valid, task.test)])
    assert int(np.isnan(stored).sum()) == 7
    assert sorted(stored[:, 1:4].sum(1).tolist()) == [0.0] * 2 + [1.0] * 78
    x, _ = task.tensors(task.train)
    known = task.train.x[:, 4][~np.isnan(task.train.x[:, 4])]
    expected = (task.train.x[:, 4] - known.mean()) / known.std()
    np.testing.assert_allclose(x[:, 4], np.nan_to_num(expected), atol=1e-5)
    np.testing.assert_array_equal(x[:, 5], np.isnan(task.train.x[:, 4]))


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_a_deployed_network_takes_rows_with_gaps(gaps: Path, tmp_path: Path) -> None:
    task = archscout.task(gaps)
    space = archscout.space("rows")
    for name in ("mlp_small", "resnet_small"):
        network = build(space, space.references()[name], task).eval()
        deployed = task.deploy(network).eval()
        session = onnxruntime.InferenceSession(to_onnx(deployed, task.deployed_shape, quick=True))
        answered = session.run(None, {session.get_inputs()[0].name: task.test.x})[0]
        with torch.no_grad():
            np.testing.assert_allclose(answered, network(task.tensors(task.test)[0]), atol=1e-4)
    again = undescribe(json.loads(json.dumps(task.describe())))
    assert (again.columns, again.gaps, again.normalisation) == (task.columns, task.gaps, task.normalisation)


@pytest.mark.parametrize(
    ("columns", "asked", "told"),
    [
        ({"id": list(range(80))}, "", "left out, for they are a name of each row: 'id'"),
        ({"note": [f"text {n}" for n in range(80)]}, "", "are a text of its own in most rows: 'note'"),
        ({"always": [1] * 80}, "", "are the same in every row: 'always'"),
        ({"town": [f"t{n % 40}" for n in range(80)]}, "", "has 40 different texts: all but the 31 most frequent"),
    ],
)
def test_columns_that_cannot_be_learned_from_are_told(
    tmp_path: Path, columns: dict[str, list[object]], asked: str, told: str
) -> None:
    with pytest.warns(DataNotice, match=told):
        archscout.task(f"{table(tmp_path, **columns)}{asked}")


@pytest.mark.parametrize(
    ("columns", "asked", "said"),
    [
        ({"height": [170.0] * 40 + ["tall"] + [160.0] * 39}, "", "line 42 of .* has 'tall' in column 'height', which"),
        ({"height": [170.0] * 40 + ["inf"] + [160.0] * 39}, "", "line 42 of .* has 'inf' in column 'height'"),
        ({"label": ["yes", "no"] * 39 + ["yes", ""]}, "", "line 81 of .* has no label"),
        ({"label": ["yes", "no"] * 40}, ":label=lable", "has no column 'lable'"),
        ({"label": ["yes", "no"] * 40}, ":kind=regression", "has a target that is no number"),
        ({"split": ["train"] * 40 + ["bogus"] + ["test"] * 39}, "", "line 42 of .* has the split 'bogus'"),
        ({"label": ["yes", "no"] * 40}, ":size=32", "holds rows, and the parameter size is about"),
    ],
)
def test_bad_tables_are_refused_in_a_sentence(
    tmp_path: Path, columns: dict[str, list[object]], asked: str, said: str
) -> None:
    with pytest.raises((DataError, UsageError), match=said):
        archscout.task(f"{table(tmp_path, **columns)}{asked}")


def test_a_table_without_labels_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["age,size", *(f"{n},{n * n}" for n in range(50))]))
    with pytest.raises(DataError, match=r"has no column of labels \(it has: age, size\): say which with label=COLUMN"):
        archscout.task(tmp_path / "a.csv")
    task = archscout.task(tmp_path / "a.csv", target="size")
    assert isinstance(task, RowsRegression)
    (tmp_path / "b.csv").write_text("\n".join(["file,label", *(f"{n}.png,{n % 2}" for n in range(50))]))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        archscout.task(tmp_path / "b.csv")


def test_a_heading_that_a_mishap_made_very_long_is_told_in_few_words(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"n,{'9' * 50_000}\n" + "1,2\n" * 30)
    with pytest.raises(DataError, match="has no column of labels") as caught:
        archscout.task(tmp_path / "rows.csv")
    assert len(str(caught.value)) < 600 + len(str(tmp_path))


def test_numbers_in_a_column_called_target_and_arrays(tmp_path: Path) -> None:
    frame = {"a": np.random.default_rng(0).normal(size=90), "target": np.arange(90) % 3}
    text = "\n".join(["a,target", *(f"{a},{t}" for a, t in zip(*frame.values(), strict=True))])
    (tmp_path / "t.csv").write_text(text)
    with pytest.warns(DataNotice, match=r"'target' .* is read as classes \(kind=regression for numbers\)"):
        assert archscout.task(tmp_path / "t.csv").kind == "rows classification"
    assert archscout.task(tmp_path / "t.csv", kind="regression").kind == "rows regression"
    assert isinstance(archscout.task(tmp_path / "t.csv", kind="ordinal"), OrdinalRows)
    x = np.random.default_rng(0).normal(size=(90, 4))
    x[3, 2] = np.nan
    task = archscout.task((x, frame["target"]), medium="rows")
    assert task.deployed_shape == (4,)
    with pytest.raises(DataError, match="no finite number in row 5"):
        archscout.task((np.where(np.arange(90)[:, None] == 5, np.inf, x), frame["target"]), medium="rows")


def test_tables_of_splits_have_the_same_categories() -> None:
    import pandas as pd

    train = pd.DataFrame({"size": np.arange(60.0), "colour": ["red", "green", "blue"] * 20, "label": np.arange(60) % 2})
    test = pd.DataFrame({"colour": ["green", "blue"] * 10, "size": np.arange(20.0), "label": np.arange(20) % 2})
    task = archscout.task({"train": train, "test": test})
    colours = list(task.columns[1].categories)
    assert sorted(colours) == ["blue", "green", "red"]
    assert [colours[place] for place in task.test.x[:2, 1:].argmax(1)] == ["green", "blue"]
    numbers = archscout.task(train.assign(double=2 * train["size"]), target="size+double")
    assert numbers.class_names == ("size", "double")
    np.testing.assert_allclose(numbers.train.y[:, 1], 2 * numbers.train.y[:, 0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_a_whole_run_answers_for_a_table(gaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = archscout.train("rows", "mlp1x32_relu", archscout.task(gaps), epochs=40, out=tmp_path, name="run")
    assert result.metrics["test_accuracy"] >= 0.75
    network = archscout.load(tmp_path / "run")
    capsys.readouterr()
    new = tmp_path / "new.csv"
    new.write_text("height,colour,age\n,red,55\n150.5,green,\n150.5,violet,30\n")
    assert run(["predict", str(tmp_path / "run"), str(new), "--json"]) == 0
    output = capsys.readouterr()
    assert "taken to be the mean" in output.err
    said = json.loads(output.out)
    mean = network.task.normalisation[0][0]
    colour = [list(network.task.columns[1].categories).index(name) for name in ("red", "green")]
    rows = np.zeros((3, 5), np.float32)
    rows[:, 0], rows[:, 4] = [55, mean, 30], [np.nan, 150.5, 150.5]
    rows[[0, 1], [1 + colour[0], 1 + colour[1]]] = 1
    with torch.no_grad():
        told = network.task.tell(network(torch.from_numpy(rows)))
    assert [row["label"] for row in said] == [row["label"] for row in told]
    assert [row["probability"] for row in said] == pytest.approx([row["probability"] for row in told], abs=1e-5)
    new.write_text("height,age\n1,2\n")
    assert run(["predict", str(tmp_path / "run"), str(new)]) == 2
    assert "has no column 'colour', which the network was trained on" in capsys.readouterr().err
