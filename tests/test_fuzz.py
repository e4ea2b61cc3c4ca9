"""A thousand odd inputs through each door, with a fixed seed: none ends raw, hangs, or is taken for something else.

Whatever an input is, a command ends with exit code 0, or with 1 or 2 and one sentence that is not "unexpected".
"""

import contextlib
import io
import json
import random
import shutil
import sqlite3
import tarfile
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.api import deploy, quantise
from archscout.cli.main import run
from archscout.core import options
from archscout.core.budget import Budget
from archscout.core.cost import Cost
from archscout.core.errors import ArchscoutError
from archscout.core.files import read_json
from archscout.core.registry import create, parse_name
from archscout.search.asking import parse_answers
from archscout.search.search import train
from archscout.shrink.limits import limit_of
from archscout.store.folder import check_name
from archscout.store.store import Store
from archscout.study.record import Record
from archscout.tasks.load import load
from archscout.testing import tiny_task
from archscout.testing.store import plain_trial
from archscout.workers.device import check_device

pytestmark = pytest.mark.slow

INPUTS = 1_000
SECONDS = 5.0

PIECES = [
    "", "0", "-1", "1", "1e999", "nan", "inf", "5m", "200trials", "params", "latency", "=", ",", ":", "|", "~", "(",
    "[", "]", "{", '"', "'", "\\", "/", "..", "\0", "\n", " ", "é", "٣", "\ud800", "😀", "none", "conv", "range(2, 6)",
    "@", "-", "+", "nasbench201", "width", "digits", "9" * 30, "true", "None", "%s", "{}", "$(x)", "--", "\x1b[31m",
]  # fmt: skip


def text(rng: random.Random) -> str:
    """Pieces of what is typed, at times very many of them."""
    pieces = "".join(rng.choice(PIECES) for _ in range(rng.randrange(8)))
    return pieces * rng.choice([1, 1, 1, 1, 2, 50, 3_000])


def value(rng: random.Random, depth: int = 0):
    """Any plain value of Python, as a caller may pass or a file may hold."""
    plain = [None, True, False, 0, -1, 3, 2**63, 10**400, 0.5, float("nan"), float("inf"), b"x", text(rng)]
    if depth > 3 or rng.random() < 0.7:
        return rng.choice(plain)
    if rng.random() < 0.5:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {text(rng)[:20]: value(rng, depth + 1) for _ in range(rng.randrange(4))}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file after a mishap: cut off, bytes changed, a part repeated, or another file altogether."""
    place = rng.randrange(len(content) + 1)
    match rng.randrange(6):
        case 0:
            return content[:place]
        case 1:
            changed = bytearray(content)
            for _ in range(rng.randrange(1, 10)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            return bytes(changed)
        case 2:
            return content[:place] + content[rng.randrange(len(content)) :]
        case 3:
            return content[:place] + rng.choice([b"[", b'{"a":', b"9"]) * 50_000 + content[place:]
        case 4:
            return b""
    return json.dumps(value(rng), default=str).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    "door",
    [
        lambda given: options.seed(given),
        lambda given: options.epochs(given),
        lambda given: options.workers(given),
        lambda given: options.several(given, "objectives"),
        lambda given: options.wholes(given, "sizes"),
        lambda given: options.path(given, "the folder"),
        lambda given: Budget.read(given),
        lambda given: Cost.quantity(given, "params"),
        lambda given: check_device(given),
        lambda given: check_name(given),
        lambda given: options.switch(given, "fresh"),
        lambda given: options.watch(given),
        lambda given: limit_of(create("cost", "params"), "params", str(given)[:2_000], 1.0),
        lambda given: parse_answers(given if isinstance(given, str) else json.dumps(str(given)[:2_000])),
    ],
    ids=[
        "seed",
        "epochs",
        "workers",
        "names",
        "sizes",
        "path",
        "budget",
        "limit",
        "device",
        "run",
        "switch",
        "progress",
        "share",
        "answers",
    ],
)
def test_options(door) -> None:
    rng = random.Random(1)
    for _ in range(INPUTS):
        given, began = value(rng), time.process_time()
        try:
            door(given)
        except ArchscoutError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 400
        assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    "name", ["nasbench201", "nasbench101", "nasbench_macro", "darts", "enas", "mobile", "fbnet", "nasbench_nlp"]
)
def test_architectures(name: str) -> None:
    rng = random.Random(2)
    space = create("space", name)
    for number in range(INPUTS):
        if rng.random() < 0.5:
            given = text(rng)
        else:
            whole = space.sample(np.random.default_rng(number)).text
            given = damaged(whole.encode(), rng).decode("utf-8", "replace")
        began = time.process_time()
        try:
            architecture = space.parse(given)
        except ArchscoutError:
            pass
        else:
            assert space.parse(architecture.text) == architecture, "it was taken for another one"
        assert time.process_time() - began < SECONDS


def test_names_with_parameters() -> None:
    rng = random.Random(3)
    for _ in range(INPUTS):
        given = rng.choice(["", "nasbench201:", "nasbench201:width="]) + text(rng)[:2_000]
        for read in (parse_name, lambda given: create("space", given)):
            with contextlib.suppress(ArchscoutError):
                read(given)


COMMANDS = [
    ["search", "--table", "nasbench201-digits", "--budget", "2trials", "--method", "random"],
    ["study", "strategies", "--with", "random", "--budget", "2trials", "--repeats", "1", "--workers", "1"],
    ["score", "nasbench201", "--with", "params", "--sample", "1"],
    ["measure", "nasbench201", "|none~0|", "--data", "digits", "--cost", "params"],
    ["train", "nasbench201", "|none~0|", "--data", "digits"],
    ["report", "r"],
    ["predict", "r", "x.png"],
    ["list", "spaces"],
    ["table", "show", "nasbench201-digits"],
    ["ask", "r", "--space", "nasbench201", "--strategy", "random"],
    ["tell", "r", '{"trial": 0, "value": 0.5}'],
    ["quantise", "r", "--scheme", "academic", "--weight-bits", "4"],
    ["deploy", "r", "--device", "cortex-m4", "--out", "c"],
    ["shrink", "nobody", "--data", "digits", "--limits", "5ms,10ms"],
    ["device", "fit", "board", "--space", "nasbench201", "--data", "nowhere"],
    ["data", "check", "digits"],
]


@pytest.mark.parametrize("part", range(5))
def test_commands(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is typed: a command with one word of it replaced, left out or added. None may begin real work by mistake."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(f"commands {part}")
    for _ in range(INPUTS // 5):
        arguments = list(rng.choice(COMMANDS))
        place = rng.randrange(1, len(arguments) + 1)
        odd = text(rng)[:3_000].replace("\0", "").encode("utf-8", "replace").decode()  # as a terminal gives it
        match rng.randrange(3):
            case 0:
                arguments[place - 1] = odd
            case 1:
                arguments.insert(place, odd)
            case 2:
                del arguments[place - 1]
        began = time.process_time()
        code = run(arguments)
        said = capsys.readouterr().err
        assert code in (0, 1, 2), (arguments, said)
        assert "report what it prints" not in said, (arguments, said)
        assert code == 0 or len(said) < 3_000, arguments
        assert time.process_time() - began < 60, arguments


def test_cells_of_a_store(tmp_path: Path) -> None:
    whole = tmp_path / "whole.sqlite"
    with Store.open(whole) as store:
        store.begin("run", {"seed": 0})
        store.add("run", [plain_trial(0, costs={"params": 1.0}, extra={"a": [1]}, curve=({"loss": 1.0},), std=0.5)])
        store.decide("run", "epochs", {"a": 3})
        store.note("run", "finished", True)
    rng = random.Random(5)
    columns = [("trials", c) for c in ("costs", "std", "curve", "extra", "status", "value", "number")]
    columns += [("decisions", "value"), ("notes", "value"), ("runs", "config")]
    for number in range(INPUTS // 5):
        file = tmp_path / f"{number}.sqlite"
        shutil.copy(whole, file)
        table, column = rng.choice(columns)
        connection = sqlite3.connect(file)
        odd = text(rng).encode("utf-8", "replace").decode()
        cell = rng.choice([odd, '{"$float": []}', "[" * 50_000, 7, 1.5, b"\xff"])
        connection.execute(f"UPDATE archscout_{table} SET {column} = ?", (cell,))
        connection.commit()
        connection.close()
        with Store.open(file) as store:
            for read in (store.trials, store.decisions, store.notes, store.config, store.costs, store.spent):
                try:
                    read("run")
                except ArchscoutError as error:
                    assert "\n" not in str(error)
        file.unlink()


def test_rows_of_a_study(tmp_path: Path) -> None:
    setting = {"study": "strategies", "seed": 0}
    with Record.open(tmp_path / "whole", setting) as record:
        for repeat in range(3):
            record.add("random", repeat, [{"regret": repeat / 8}])
    rng = random.Random(6)
    whole = {name: (tmp_path / "whole" / name).read_bytes() for name in ("study.json", "rows.jsonl")}
    for number in range(INPUTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in whole.items():
            (folder / name).write_bytes(damaged(content, rng) if rng.random() < 0.6 else content)
        before = (folder / "rows.jsonl").read_bytes()
        try:
            with Record.open(folder, setting) as record:
                assert len(record.done) <= 4
        except ArchscoutError as error:
            assert "\n" not in str(error)
        assert (folder / "rows.jsonl").read_bytes() == before, "what was finished was rewritten"
        shutil.rmtree(folder)


def changed(content: bytes, rng: random.Random) -> bytes:
    """JSON in which some values are others, or gone."""
    whole = json.loads(content)
    for _ in range(rng.randrange(1, 4)):
        inside = whole
        while isinstance(inside, dict | list) and inside:
            place = rng.choice(list(inside)) if isinstance(inside, dict) else rng.randrange(len(inside))
            if not isinstance(inside[place], dict | list) or not inside[place] or rng.random() < 0.3:
                if rng.random() < 0.3:
                    del inside[place]
                else:
                    inside[place] = value(rng)
                break
            inside = inside[place]
    return json.dumps(whole, default=str).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("runs")
    cell = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    return train(
        "nasbench201:width=4,cells=1", cell, tiny_task(), epochs=2, out=folder, name="whole", seed=0
    ).folder  # fmt: skip


@pytest.mark.parametrize("part", range(5))
def test_files_of_a_run(
    part: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file of a run is damaged, then the run is used."""
    monkeypatch.chdir(tmp_path)
    np.save("image.npy", tiny_task().test.x[:1])
    rng = random.Random(f"runs {part}")
    described = [file.name for file in finished.glob("*.json")]
    for _ in range(INPUTS // 5):
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree(finished, "run")
        file = Path("run", rng.choice([*described, *described, "network.onnx", "network.safetensors"]))
        mend = changed if file.name in described and rng.random() < 0.7 else damaged
        file.write_bytes(mend(file.read_bytes(), rng))
        began = time.process_time()
        code = run(["report", "run"] if rng.random() < 0.3 else ["predict", "run", "image.npy"])
        said = capsys.readouterr().err
        assert code in (0, 1, 2), (file, said)
        assert "report what it prints" not in said, (file, said)
        assert code == 0 or len(said) < 3_000, file
        assert time.process_time() - began < 20, file


@pytest.mark.parametrize("part", range(4))
def test_integers_of_a_damaged_run(part: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file of a run is damaged, then its network is made integers, or code; half of the runs have no checksums."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(f"integers {part}")
    described = [file.name for file in finished.glob("*.json")]
    for _ in range(INPUTS // 20):
        for left in ("run", "code"):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(finished, "run")
        about = Path("run", "architecture.json")
        if rng.random() < 0.5:
            about.write_text(json.dumps({k: v for k, v in json.loads(about.read_text()).items() if k != "sha256"}))
        file = Path("run", rng.choice([*described, "architecture.json", "network.onnx", "network.safetensors"]))
        mend = changed if file.name in described and rng.random() < 0.7 else damaged
        file.write_bytes(mend(file.read_bytes(), rng))
        began = time.process_time()
        try:
            if rng.random() < 0.5:
                quantise("run", tiny_task(), weight_bits=rng.choice([4, 8]))
            else:
                deploy("run", "cortex-m4", "code", tiny_task())
        except ArchscoutError as error:
            assert "\n" not in str(error), file
            assert len(str(error)) < 1_500, file
        assert not list(Path.cwd().rglob("*.partial")), file
        assert time.process_time() - began < 20, file


def data_files(folder: Path) -> None:
    """Small data of several forms."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (60, 8, 8, 1), dtype=np.uint8), np.arange(60) % 3
    np.savez(folder / "arrays.npz", x=images, y=labels)
    np.savez_compressed(
        folder / "splits.npz", train_x=images, train_y=labels, test_x=images[:9] // 2, test_y=labels[:9]
    )
    rows = [{"n": i, "v": (i * 37) % 101 / 7, "c": "ab"[i % 2], "label": i % 3} for i in range(60)]
    lines = [",".join(map(str, row.values())) for row in rows]
    (folder / "rows.csv").write_text("\n".join(["n,v,c,label", *lines]) + "\n")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    series = [",".join(f"{i * j * 7 % 11 / 3:.2f}" for j in range(1, 9)) + ":" + "ab"[i % 2] for i in range(60)]
    heading = ["@problemName W", "@timeStamps false", "@univariate true", "@classLabel true a b", "@data"]
    (folder / "series.ts").write_text("\n".join([*heading, *series]) + "\n")
    for i in range(12):
        for kind in ("pictures", "sounds"):
            (folder / kind / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        picture = folder / "pictures" / "ab"[i % 2] / f"{i}.{('png', 'jpg', 'bmp')[i % 3]}"
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(picture)
        with wave.open(str(folder / "sounds" / "ab"[i % 2] / f"{i}.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(rng.integers(-9000, 9000, 800).astype("<i2").tobytes())
    with tarfile.open(folder / "shards.tar", "w") as shards:
        for i in range(12):
            picture = folder / "pictures" / "ab"[i % 2] / f"{i}.{('png', 'jpg', 'bmp')[i % 3]}"
            shards.add(picture, f"{i:03}{picture.suffix}")
            label = tarfile.TarInfo(f"{i:03}.cls")
            label.size = 1
            shards.addfile(label, io.BytesIO(str(i % 2).encode()))


@pytest.mark.parametrize("part", range(5))
@pytest.mark.filterwarnings("ignore")
def test_data_files(part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the user's own data is damaged."""
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "cache"))
    whole, place = tmp_path / "whole", tmp_path / "place"
    whole.mkdir()
    data_files(whole)
    rng = random.Random(f"data {part}")
    doors = sorted(file.name for file in whole.iterdir())
    for _ in range(INPUTS // 5):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        door = place / rng.choice(doors)
        file = rng.choice(sorted(f for f in door.rglob("*") if f.is_file())) if door.is_dir() else door
        file.write_bytes(damaged(file.read_bytes(), rng))
        began = time.process_time()
        try:
            load(door)
        except ArchscoutError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 1_500, str(error)[:1_500]
        assert time.process_time() - began < 15, file


def test_json_files(tmp_path: Path) -> None:
    rng = random.Random(7)
    file = tmp_path / "metrics.json"
    content = json.dumps({"architecture": "x", "costs": {"params": 1}, "curve": [0.5] * 20}).encode()
    for _ in range(INPUTS):
        file.write_bytes(damaged(content, rng))
        try:
            read_json(file, "search again.")
        except ArchscoutError as error:
            assert "damaged" in str(error)
            assert "\n" not in str(error)
