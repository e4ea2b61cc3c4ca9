"""Networks for recordings: integers begin at the spectrogram, and the code gives the bytes of the reference."""

from pathlib import Path

import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.deploy import toolchain
from archscout.deploy.c import emit
from archscout.deploy.quantise import Quantisation
from archscout.finished.algorithms import program_of, to_integers
from archscout.finished.deployed import spectrogram_of
from archscout.finished.examples import stored
from archscout.finished.quantised import quantise_run
from archscout.networks.pick import build
from archscout.spaces.classic import Classic
from archscout.tasks.audio import AudioTask
from archscout.testing import tiny_audio, tiny_task


@pytest.fixture(scope="module")
def task() -> AudioTask:
    return tiny_audio()


@pytest.fixture(scope="module")
def deployed(task: AudioTask) -> nn.Module:
    space = Classic()
    network = build(space, space.parse("stem8k3s1_plain16x1k3-stride_residual16x1k3-stride"), task, seed=0)
    listener: nn.Module = task.deploy(network).eval()
    return listener


def test_the_program_behind_the_spectrogram_answers_as_the_network_does(task: AudioTask, deployed: nn.Module) -> None:
    assert task.test is not None
    with torch.no_grad():
        expected = deployed(torch.tensor(task.test.x[:8]))
    answers = program_of(deployed, task).run(stored(task, task.test)[:8])
    torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(bool(toolchain.missing(toolchain.HOST)), reason="no make and cc")
def test_the_code_gives_the_bytes_of_the_reference(task: AudioTask, deployed: nn.Module) -> None:
    assert task.test is not None
    quantised = to_integers(deployed, task, Quantisation(), count=16, seed=0)
    code = emit(quantised, stored(task, task.test)[:8], pixels=False)
    assert "MODEL_INPUT_SCALE * (q - MODEL_INPUT_ZERO)" in code.files["model.h"]
    toolchain.check_on_host({**code.files, "Makefile": code.files["Makefile"].replace("-O3", "-O1", 1)})


def test_what_the_program_around_the_network_computes_is_told(task: AudioTask) -> None:
    told = spectrogram_of(task)
    assert told is not None
    assert (told["mels"], told["frames"]) == task.input_shape[1:]
    assert told["frames"] == 1 + (task.samples - told["window"]) // told["hop"]
    assert spectrogram_of(tiny_task()) is None


def test_int8_files_of_recordings_are_refused_before_anything_is_written(
    task: AudioTask, deployed: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archscout.search.result.Result.read", lambda folder: None)
    with pytest.raises(UsageError, match="int8 ONNX files are made of networks for images"):
        quantise_run(tmp_path, deployed, task, Quantisation())
    assert not list(tmp_path.iterdir())
