"""A network run on one batch again and again, a little changed each time: what runs before the change is run once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.networks.memory import memory_of, tensors_in


@dataclass
class _Call:
    """A module's first run: when it began and ended, in modules that had ended; how many there were in all."""

    start: int
    end: int = 0
    runs: int = 0
    replaceable: bool = False
    """Whether its output can stand for running it."""


class Rerun:
    """Answers of a network to one batch of inputs, to the bit those of running all of it.

    The first run notes when each tensor is first read, and when each module ends. What ended before anything that
    changes is read gives the output that it had. Left to run are modules that run more than once, give no single
    tensor, give or change what they take; and all of them where the network does not answer as before without them
    (one that leaves values for another in its attributes, say).

    Args:
        network: in evaluation mode; it must not be changed otherwise than between `goes_from` and `outputs`.
        x: the inputs.
    """

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        self.network, self.x = network, x
        self._calls: dict[str, _Call] = {}
        self._reads = _Reads(network, lambda: len(self._marks) - 1)
        self._marks = [time.perf_counter()]
        self._outputs: dict[str, Tensor] = {}
        with torch.no_grad():
            self.original = self._first_run()
            self._alike = self._answers_alike()

    def place(self, tensors: Iterable[Tensor] = (), modules: Iterable[str] = ()) -> int:
        """When the first of these is needed: parameters by being read, modules by name; 0 where that is not known."""
        places = [self._reads.first.get(memory_of(tensor), 0) for tensor in tensors]
        places += [self._calls[name].start if name in self._calls else 0 for name in modules]
        return min(places, default=0)

    def share(self, place: int) -> float:
        """Of the time of a run, what comes after a place."""
        return 1 - (self._marks[place] - self._marks[0]) / max(self._marks[-1] - self._marks[0], 1e-9)

    def goes_from(self, place: int) -> None:
        """What ends before a place is not run again until the next call of this; the network is as it was at first."""
        names = list(self._front(place)) if self._alike else []
        missing = [name for name in names if name not in self._outputs]
        outputs = {name: tensor for name, tensor in self._outputs.items() if name in names}
        if missing:
            with torch.no_grad(), _standing_in(self.network, outputs):
                outputs |= _recorded(self.network, self.x, missing)
        self._outputs = outputs

    def outputs(self) -> Any:
        """What the network answers as it is now."""
        with torch.no_grad():
            try:
                with _standing_in(self.network, self._outputs):
                    return self.network(self.x)
            except Exception:  # the change may read what was left out: run whole, it answers or says what is wrong
                if not self._outputs:
                    raise
                self._outputs, self._alike = {}, False
                return self.network(self.x)

    def _first_run(self) -> Any:
        handles = []
        for name, module in self.network.named_modules():
            if name:
                before, after = self._watch(name)
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(module.register_forward_hook(after, with_kwargs=True))
        try:
            with self._reads:
                outputs = self.network(self.x)
        finally:
            for handle in handles:
                handle.remove()
        self._marks.append(time.perf_counter())
        return outputs

    def _watch(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        versions: list[int] = []

        def before(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            self._calls.setdefault(name, _Call(len(self._marks) - 1))
            versions[:] = _versions((args, kwargs))

        def after(module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            call, inputs = self._calls[name], {memory_of(tensor) for tensor in tensors_in((args, kwargs))}
            self._marks.append(time.perf_counter())
            plain = type(module).__call__ is nn.Module.__call__ and not isinstance(module, torch.jit.ScriptModule)
            new = isinstance(output, Tensor) and memory_of(output) not in inputs
            call.runs, call.end = call.runs + 1, len(self._marks) - 1
            call.replaceable = call.runs == 1 and plain and new and versions == _versions((args, kwargs))

        return before, after

    def _answers_alike(self) -> bool:
        """Whether the unchanged network answers as before without all that can be left out."""
        self._alike = True
        try:
            self.goes_from(max(self._reads.first.values(), default=0))
            with _standing_in(self.network, self._outputs):
                again = list(tensors_in((self.network(self.x),)))
        except Exception:  # whatever a module of the user's own raises
            again = []
        self._outputs = {}
        original = list(tensors_in((self.original,)))
        return len(again) == len(original) and all(map(torch.equal, again, original))

    def _front(self, place: int, module: nn.Module | None = None, prefix: str = "") -> Iterator[str]:
        """The largest modules that end before a place."""
        for child, part in (module or self.network).named_children():
            call = self._calls.get(prefix + child)
            if call is not None and call.replaceable and call.end <= place:
                yield prefix + child
            else:
                yield from self._front(place, part, f"{prefix}{child}.")


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """When the memory of each tensor of a network is first read, by a clock."""

    def __init__(self, network: nn.Module, now: Callable[[], int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = now
        self.known = {memory_of(tensor) for tensor in (*network.parameters(), *network.buffers())}
        self.first: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for memory in map(memory_of, tensors_in((args, kwargs or {}))):
            if memory in self.known:
                self.first.setdefault(memory, self.now())
        return func(*args, **(kwargs or {}))


def _versions(values: Any) -> list[int]:
    """How often each tensor was changed in place."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors_in(values)]


class _Recorded(Exception):  # noqa: N818 - nothing is wrong
    """All that was wanted of a run is there."""


def _recorded(network: nn.Module, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Outputs of modules; the run ends with the last of them."""
    missing, outputs = set(names), dict[str, Tensor]()

    def record(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[name] = output.clone()  # what comes after it may change it
            missing.discard(name)
            if not missing:
                raise _Recorded

        return hook

    handles = [network.get_submodule(name).register_forward_hook(record(name)) for name in missing]
    try:
        network(x)
    except _Recorded:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return outputs


class _CopiedOnWrite(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Outputs that operators may change while it is on; a copy takes the place of each that one did change."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs, self.copies = outputs, dict[str, Tensor]()
        self.names = {memory_of(output): name for name, output in outputs.items()}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable:
            for memory in map(memory_of, tensors_in((args, kwargs or {}))):
                name = self.names.get(memory)
                if name is not None and name not in self.copies:
                    self.copies[name] = self.outputs[name].clone()
        return func(*args, **(kwargs or {}))

    def __exit__(self, *about: Any) -> None:
        super().__exit__(*about)  # type: ignore[no-untyped-call]
        self.outputs.update(self.copies)


@contextmanager
def _standing_in(network: nn.Module, outputs: dict[str, Tensor]) -> Iterator[None]:
    """Modules that give an output without running, which is the same each time."""
    modules = [(network.get_submodule(name), output) for name, output in outputs.items()]
    before = [module.__dict__.get("forward") for module, _ in modules]
    try:
        for module, output in modules:
            module.__dict__["forward"] = lambda *_, output=output, **__: output
        with _CopiedOnWrite(outputs):
            yield
    finally:
        for (module, _), forward in zip(modules, before, strict=True):
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward
