"""Recordings as people have them: files in folders and lists, arrays; what is wrong with them is said."""

import json
import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.io import wavfile
from scipy.signal import resample

import archscout
from archscout.cli.main import run
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.files import write_json
from archscout.networks.log_mel import LogMel, mel_bands
from archscout.networks.pick import build
from archscout.tasks.audio import AudioClassification
from archscout.testing import tiny_audio
from archscout.training import checkpoint
from archscout.training.export import to_onnx

RATE = 4000
COUNT = 20
CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


def tone(number: int, rate: int = RATE, seconds: float = 0.5) -> np.ndarray:
    """A low tone, or a high one, in turns."""
    time = np.arange(round(rate * seconds)) / rate
    pure = np.sin(2 * np.pi * (300, 900)[number % 2] * time)
    return pure * (0.3 + 0.02 * number)


def write(file: Path, sound: np.ndarray, rate: int = RATE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(file, rate, sound)
    return file


def int16(sound: np.ndarray) -> np.ndarray:
    return (sound * 32767).round().astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        write(tmp_path / "tones" / ("low", "high")[number % 2] / f"{number:02d}.wav", int16(tone(number)))
    return tmp_path / "tones"


def splits(task: Any) -> list[np.ndarray]:
    return [split.x for split in (task.train, task.valid, task.test)]


def test_a_folder_of_class_folders_of_recordings_is_a_task(folder: Path) -> None:
    task = archscout.task(folder)
    assert isinstance(task, AudioClassification)
    assert task.class_names == ("high", "low")
    assert (task.rate, task.samples) == (RATE, 2000)
    assert task.input_shape[:2] == (1, 40)
    found = np.concatenate(splits(task))
    expected = {int16(tone(number)).tobytes() for number in range(COUNT)}
    assert {(sound * 32768).round().astype(np.int16).tobytes() for sound in found} == expected


def test_the_spectrogram_is_that_of_scipy_in_bands() -> None:
    from scipy.signal import ShortTimeFFT

    sound = tone(0) + np.random.default_rng(0).normal(0, 0.1, 2000)
    got = LogMel(RATE, 128, 64, 12)(torch.tensor(sound[None], dtype=torch.float32))[0, 0]
    window = np.hanning(129)[:-1]
    transform = ShortTimeFFT(window / (window.sum() / 2), 64, RATE)
    power = np.abs(transform.stft(sound, 1, 1 + got.shape[1])) ** 2  # slice p is centred at p * hop
    np.testing.assert_allclose(got, np.log(mel_bands(RATE, 128, 12) @ power + 1e-6), rtol=1e-3, atol=1e-3)


def test_a_band_is_loud_where_its_tone_is() -> None:
    bands = LogMel(RATE, 128, 64, 12)(torch.tensor(np.stack([tone(0), tone(1)]), dtype=torch.float32)).mean(-1)
    assert bands[0].argmax() < bands[1].argmax()


@pytest.mark.parametrize("rate", [2000, 8000, 11025])
def test_other_rates_are_resampled_to_the_usual_one(folder: Path, rate: int) -> None:
    write(folder / "low" / "00.wav", int16(tone(0, rate)), rate)
    said = re.escape(f"have {min(rate, RATE)} and {max(rate, RATE)} samples a second: all are resampled to {RATE}")
    with pytest.warns(DataNotice, match=said):
        task = archscout.task(folder)
    assert task.rate == RATE
    # The tone is where it was: the same recording, but for the filter's ends.
    like = min(np.abs(sound - tone(0))[200:-200].max() for sound in np.concatenate(splits(task)))
    assert like < 0.03


@pytest.mark.parametrize(
    ("stored", "exact"),
    [
        (lambda x: np.stack([int16(x), int16(x)], 1), 1e-4),
        (lambda x: (x * 127 + 128).round().astype(np.uint8), 0.01),
        (lambda x: (x * 2**31 * 0.999).astype(np.int32), 1e-2),
        (lambda x: x.astype(np.float32), 1e-6),
        (lambda x: x.astype(np.float64), 1e-6),
    ],
)
def test_whatever_the_depth_and_the_channels_it_is_one_scale(folder: Path, stored: Any, exact: float) -> None:
    for number in range(COUNT):
        write(folder / ("low", "high")[number % 2] / f"{number:02d}.wav", stored(tone(number)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        task = archscout.task(folder)
    found = np.concatenate(splits(task))
    assert min(np.abs(sound - tone(3)).max() for sound in found) < exact
    assert (stored(tone(0)).ndim == 2) == any("mixed down" in str(one.message) for one in told)


def test_lengths_are_brought_to_one_and_that_is_said(folder: Path) -> None:
    write(folder / "low" / "00.wav", int16(tone(0, seconds=0.25)))
    write(folder / "low" / "02.wav", int16(tone(2, seconds=1.0)))
    with pytest.warns(
        DataNotice, match=r"last 0\.25 to 1 s: all are brought to 0\.5 s, 1 by cutting.* and 1 by silence"
    ):
        task = archscout.task(folder)
    found = np.concatenate(splits(task))
    short = [sound for sound in found if not sound[:499].any()]
    assert len(short) == 1
    np.testing.assert_allclose(short[0][500:1500], tone(0, seconds=0.25), atol=1e-4)
    assert any(np.allclose(sound, tone(2, seconds=1.0)[1000:3000], atol=1e-4) for sound in found)
    with pytest.warns(DataNotice, match="brought to 0.2 s"):
        assert archscout.task(folder, seconds=0.2).samples == 800


def test_a_list_of_recordings_with_groups_is_a_task(folder: Path) -> None:
    rows = [f"{('low', 'high')[n % 2]}/{n:02d}.wav,{('low', 'high')[n % 2]},s{n // 2 % 5}" for n in range(COUNT)]
    (folder / "list.csv").write_text("path,label,speaker\n" + "\n".join(rows) + "\n")
    task = archscout.task(folder / "list.csv", group="speaker")
    assert isinstance(task, AudioClassification)
    speaker = {int16(tone(number)).tobytes(): number // 2 % 5 for number in range(COUNT)}
    sets = [{speaker[(s * 32768).round().astype(np.int16).tobytes()] for s in x} for x in splits(task)]
    assert sum(map(len, sets)) == 5 == len(set.union(*sets))


def arrays() -> dict[str, Any]:
    sounds = [int16(tone(number, seconds=0.3 + 0.01 * (number % 3))) for number in range(COUNT)]
    return {
        "audio": np.concatenate(sounds),
        "offsets": np.cumsum([0, *map(len, sounds)]),
        "labels": np.arange(COUNT) % 2,
        "is_test": np.arange(COUNT) >= COUNT - 4,
        "speaker": np.arange(COUNT) // 2 % 5,
        "sample_rate": RATE,
    }


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_recordings_end_to_end_in_an_archive_are_a_task(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    task = archscout.task(tmp_path / "a.npz")
    assert isinstance(task, AudioClassification)
    assert task.drawn == ("valid",)
    assert len(task.test) == 4  # type: ignore[arg-type]
    assert task.rate == RATE
    # By speakers, and not by is_test, which would divide them.
    with pytest.raises(DataError, match=r"group '3' .*in the train and the test split"):
        archscout.task(tmp_path / "a.npz", group="speaker")
    apart = archscout.task(tmp_path / "a.npz", group="speaker", split="none")
    assert apart.drawn == ("test",), "validation examples of other speakers are not learned from"


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_rows_of_an_array_are_recordings_where_a_rate_is_known(tmp_path: Path) -> None:
    x, y = np.stack([tone(number) for number in range(COUNT)]), np.arange(COUNT) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, sample_rate=RATE)
    task = archscout.task(tmp_path / "a.npz")
    again = archscout.task((x, y), medium="audio", rate=RATE)
    assert isinstance(task, AudioClassification)
    np.testing.assert_array_equal(task.train.x, again.train.x)
    with pytest.raises(DataError, match=r"does not say how many samples a second it has: add rate=N"):
        archscout.task((x, y), medium="audio")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offsets": None}, "has no array offsets, where each of audio begins"),
        ({"sample_rate": None}, "has no array sample_rate"),
        ({"sample_rate": np.asarray([1, 2])}, "sample_rate .* must be one number"),
        ({"offsets": np.asarray([0, 5, 10**9])}, "leads outside the .* samples of audio"),
        ({"labels": np.arange(3)}, "has 3 labels for 20 recordings"),
        ({"is_test": np.ones(3, bool)}, "is_test .* has shape .* for 20 examples"),
        ({"is_test": np.ones(COUNT, bool)}, "is_test .* leaves no example for training"),
        ({"split": np.asarray(["train", "moon"] * 10), "is_test": None}, "row 1 of split .* is the split 'moon'"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "a.npz", **{key: value for key, value in (arrays() | change).items() if value is not None})
    with pytest.raises(DataError, match=said):
        archscout.task(tmp_path / "a.npz")


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def tagged(tag: int, extensible: bool = False) -> Any:
    """Eight bits a sample in another form than plain numbers: as telephones write it."""

    def write_it(file: Path) -> None:
        fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, 1, RATE, RATE, 1, 8)
        if extensible:
            fmt += struct.pack("<HHIH", 22, 8, 4, tag) + bytes.fromhex("000000001000800000aa00389b71")
        body = b"WAVE" + b"".join(
            name + struct.pack("<I", len(part)) + part for name, part in ((b"fmt ", fmt), (b"data", bytes(range(250))))
        )
        file.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)

    return write_it


BAD = [
    (tagged(6), r"is compressed \(A-law\), which is not read"),
    (tagged(7, extensible=True), r"is compressed \(mu-law\), .* pcm_s16le"),
    (tagged(0x11), r"is compressed \(IMA ADPCM\)"),
    (tagged(0x674F), r"is compressed \(WAV format 26447\)"),
    (lambda file: file.write_bytes(b""), "is no readable WAV file"),
    (lambda file: file.write_bytes(b"RIFF" + bytes(range(90))), "is no readable WAV file"),
    (cut_off, "(is cut off|is no readable WAV file)"),
    (lambda file: wavfile.write(file, RATE, np.zeros(0, np.int16)), "has no samples"),
    (lambda file: wavfile.write(file, RATE, np.full(2000, np.nan, np.float32)), "has samples that are NaN or infinite"),
    (lambda file: wavfile.write(file, RATE, np.full(2000, 900.0, np.float32)), "has samples up to 900, where"),
    (lambda file: (file.unlink(), file.symlink_to("nowhere.wav")), "is a broken link"),
]


@pytest.mark.parametrize(("damage", "said"), BAD)
def test_a_bad_recording_is_named_or_left_out(folder: Path, damage: Any, said: str) -> None:
    damage(folder / "low" / "04.wav")
    with pytest.raises(DataError, match=rf"04\.wav' {said}.*: repair or remove it, or add skip_bad=true"):
        archscout.task(folder)
    with pytest.warns(DataNotice, match=rf"1 of 20 recordings are left out.*04\.wav' {said}"):
        assert sum(map(len, splits(archscout.task(folder, skip_bad=True)))) == COUNT - 1


def test_what_else_is_wrong_is_one_sentence(folder: Path) -> None:
    for name, value, said in (
        ("size", 8, "holds audio, and the parameter size is about images"),
        ("rate", 0, "parameter rate .* above zero"),
        ("seconds", -1, "parameter seconds .* above zero"),
        ("mels", 3, "parameter mels .* 8 or more"),
        ("hop", "x", "parameter hop .* milliseconds"),
        ("medium", "smell", "parameter medium .*'smell'"),
        ("medium", "images", "holds audio: leave medium=images out"),
        ("kind", "segmentation", "masks|recordings"),
    ):
        with pytest.raises((UsageError, DataError), match=said):
            archscout.task(folder, **{name: value})
    with pytest.raises(DataError, match=r"last 0\.01 s, which are 0 frames .* 8 are needed"), pytest.warns(DataNotice):
        archscout.task(folder, seconds=0.01)
    (folder / "list.csv").write_text("path,label\nlow/00.wav,low\nsome.png,high\n")
    with pytest.raises(DataError, match=r"lists a recording \(line 2\) and something else \(line 3\)"):
        archscout.task(folder / "list.csv")


def test_other_formats_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mp3").write_bytes(b"ID3")
    with pytest.raises(DataError, match=r"has no recordings \(\.wav, \.wave\): convert its recordings to \.wav first"):
        archscout.task(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a network that was not trained."""
    task, space = tiny_audio(), archscout.space("nasbench201:width=4")
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    network = task.deploy(build(space, space.parse(CELL), task)).eval()
    checkpoint.write(folder / "network.safetensors", network.state_dict(), {})
    written = {"format": 1, "space": space.name, "architecture": CELL, "task": task.describe()}
    write_json(folder / "architecture.json", written)
    return folder


def test_the_onnx_file_takes_waveforms(saved: Path) -> None:
    network = archscout.load(saved)
    task = tiny_audio()
    session = onnxruntime.InferenceSession(to_onnx(network, task.deployed_shape, quick=True))
    assert session.get_inputs()[0].shape[1:] == [task.samples]
    sounds = torch.from_numpy(task.valid.x)
    with torch.no_grad():
        expected = network(sounds)
    np.testing.assert_allclose(session.run(None, {"input": sounds.numpy()})[0], expected, atol=1e-4)
    # What training sees and what is deployed are the same.
    with torch.no_grad():
        np.testing.assert_allclose(network.network(task.tensors(task.valid)[0]), expected, atol=1e-4)  # type: ignore[operator]


def test_predict_takes_files_of_another_rate_and_arrays(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tiny_audio()
    sound = task.valid.x[0]
    np.save(tmp_path / "a.npy", task.valid.x[:2])
    write(tmp_path / "b.wav", np.stack([sound, sound], 1), 4000)
    write(tmp_path / "c.wav", resample(sound, 1024), 8000)
    assert run(["predict", str(saved), str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["recording"].rpartition("/")[2] for row in said] == ["a.npy[0]", "a.npy[1]", "b.wav", "c.wav"]
    assert said[2]["probability"] == pytest.approx(said[0]["probability"], abs=1e-4)
    assert said[3]["probability"] == pytest.approx(said[0]["probability"], abs=0.05)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    assert run(["predict", str(saved), str(tmp_path / "bad.wav")]) == 2
    assert "bad.wav' is no readable WAV file" in capsys.readouterr().err
    assert run(["predict", str(saved), str(tmp_path), "--skip-bad"]) == 0
    assert "left out" in capsys.readouterr().err


@pytest.mark.slow
def test_recordings_go_the_whole_way(folder: Path, tmp_path: Path) -> None:
    task = archscout.task(folder, mels=8, hop=32)
    result = archscout.train("nasbench201:width=4", CELL, task, epochs=12, out=tmp_path, name="run")
    assert result.metrics["test_accuracy"] == 1
    assert (tmp_path / "run" / "network.onnx").is_file()
    panels = json.loads((tmp_path / "run" / "report.json").read_text())["panels"]
    assert any(panel["panel"] == "confusion" for panel in panels)


def test_check_tells_what_is_read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(folder), "--sheet", str(tmp_path / "sheet.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "audio classification"
    assert found["classes"] == ["high", "low"]
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"
