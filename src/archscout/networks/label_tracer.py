"""Runs a network with the labels of its activations beside it (`archscout.networks.labels`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.networks.label_rules import apply
from archscout.networks.labels import Labelling
from archscout.networks.memory import memory_of, tensors_in


@dataclass
class Visit:
    """One run of a module: the labels of its input and output, and where they lie."""

    name: str
    source: int
    labels: Tensor | None
    shape: tuple[int, ...]
    result: int = -1
    after: Tensor | None = None


class LabelTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators as they come, and their labels after them; arguments as `Labelling` has them."""

    def __init__(self, network: nn.Module, within: frozenset[str] = frozenset()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labelling = Labelling(network, within)
        self.visits: list[Visit] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        outputs = func(*args, **kwargs)
        operands, results = list(tensors_in((*args, *kwargs.values()))), list(tensors_in((outputs,)))
        self.labelling.held += results
        memories = {memory_of(tensor) for tensor in operands}
        labelled = any(m in self.labelling.by_memory or m in self.labelling.parameters for m in memories)
        # Views carry the labels of their memory.
        view = not func._schema.is_mutable and all(memory_of(tensor) in memories for tensor in results)
        if labelled and results and not view:
            apply(self.labelling, func, args, kwargs, outputs)
        return outputs

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Note what goes into and comes out of every module that has parts."""
        handles = []
        for name, module in network.named_modules():
            if name and any(True for _ in module.children()):
                stack: list[Visit] = []
                handles.append(module.register_forward_pre_hook(self._entered(name, stack), with_kwargs=True))
                handles.append(module.register_forward_hook(self._left(stack)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entered(self, name: str, stack: list[Visit]) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            x = inputs[0] if inputs and next(tensors_in((inputs[1:], named)), None) is None else None
            if isinstance(x, Tensor):
                labels = self.labelling.of(x)
                visit = Visit(name, memory_of(x), None if labels is None else labels.clone(), tuple(x.shape))
            else:
                visit = Visit(name, -1, None, ())
            stack.append(visit)

        return note

    def _left(self, stack: list[Visit]) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            visit = stack.pop()
            if isinstance(output, Tensor) and tuple(output.shape) == visit.shape:
                labels = self.labelling.of(output)
                visit.result, visit.after = memory_of(output), None if labels is None else labels.clone()
            else:
                visit.source = -1
            self.visits.append(visit)

        return note
