"""A script that kills commands at moments of its choice, runs them again, and writes down what their folders hold then.

It is run in a process of its own: children that it forks train, which those of a process that has trained cannot.
"""

import itertools
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import torch

import archscout.workers.preload  # noqa: F401 - so that children need not import it one by one
from archscout.cli.main import run
from archscout.shrink.run import shrink
from archscout.testing.tasks import tiny_task

CLOCKED = {"seconds", "latency_ms", "latency", "search", "panels", "core_hours", "at", "conditions"}
WRITING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}

Act = Callable[[], int]


def command(*arguments: str) -> Act:
    return lambda: run(list(arguments))


def small(folder: Path) -> int:
    """A network of one's own, made smaller; the clock goes on by itself, whatever the machine does."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(16, 3),
    )  # fmt: skip
    clock = itertools.count(0.0, 0.01).__next__
    shrink(network, tiny_task(), maximum={"params": "60%"}, budget="3s", out=folder, name="small", clock=clock)
    return 0


def child(act: Act, folder: Path, step: int = 0, by: signal.Signals = signal.SIGKILL) -> tuple[int, int]:
    """Carry it out in a process; how that ended, and how often it opened, renamed or removed something in the folder.

    With `step`, a signal comes when it does so for the so manieth time.
    """
    readable, writable = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writable)
        with os.fdopen(readable) as stream:
            told = stream.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), int(told or 0)
    code, count, inside = 70, 0, str(folder.resolve())
    try:
        os.chdir(folder)
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)

        def hook(event: str, arguments: tuple) -> None:
            nonlocal count
            opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if (opened or event in WRITING) and str(Path(str(arguments[0])).absolute()).startswith(inside):
                count += 1
                if count == step:
                    os.kill(os.getpid(), by)

        sys.addaudithook(hook)
        code = act()
        os.write(writable, str(count).encode())
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


def content(folder: Path) -> dict[str, object]:
    """What a folder holds, by the names of files: of JSON what hangs on no clock, of others the bytes, as a hash."""
    found: dict[str, object] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            held: object = sha256(file.read_bytes()).hexdigest()
            if file.suffix == ".json":
                held = timeless(json.loads(file.read_bytes()))
            found[str(file.relative_to(folder))] = None if file.suffix == ".html" else held
    return found


def timeless(value: object) -> object:
    """The values of JSON in order, without those that a clock gave, and what stands for them in words."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in CLOCKED}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    # A shell in the background has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    place, data, name, kills = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    cell = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    train = command("train", "nasbench201:width=4,cells=1", cell, "--data", data, "--epochs", "3", "--name", "one")
    before = {"quantise": train, "deploy": train}
    acts = {
        "train": train,
        "quantise": command("quantise", "one", "--data", data),
        "deploy": command("deploy", "one", "--data", data, "--device", "cortex-m4", "--out", "firmware"),
        "shrink": lambda: small(Path("runs")),
    }
    begin, whole = place / "begin", place / "whole"
    begin.mkdir(parents=True)
    if name in before:
        assert child(before[name], begin)[0] == 0, begin.with_suffix(".log").read_text()
    shutil.copytree(begin, whole)
    code, steps = child(acts[name], whole)
    assert code == 0, whole.with_suffix(".log").read_text()
    told: dict[str, object] = {"whole": content(whole), "broken": (broken_ones := [])}
    rng = random.Random(name)
    for number, step in enumerate(sorted(rng.sample(range(1, steps + 1), min(kills, steps)))):
        by = signal.SIGINT if number % 3 == 1 else signal.SIGKILL
        broken = place / f"broken {step}"
        shutil.copytree(begin, broken)
        ended = child(acts[name], broken, step, by)[0]
        left = [str(file.relative_to(broken)) for file in broken.rglob(".*") if file.is_file()]
        code = child(acts[name], broken)[0]
        said = broken.with_suffix(".log").read_text()[-1000:]
        broken_ones.append({"step": step, "of": steps, "by": by.name, "ended": ended, "left": left, "code": code,
                            "said": said, "found": content(broken)})  # fmt: skip
    (place / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
