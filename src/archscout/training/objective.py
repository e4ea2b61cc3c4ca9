"""What the weights of a network are trained for: the loss of the task, and whatever terms are added to it.

A term sees each step of a training, may have weights of its own, and may act after a step. One that needs a teacher
shares it: `Teacher` answers once a step, however many terms ask.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.task import Task


@dataclass(frozen=True)
class Step:
    """What a term sees: the network, its batch of inputs and targets, and what it answered."""

    network: nn.Module
    x: Tensor
    y: Tensor
    outputs: Tensor


class Term(ABC):
    """A number that is added to the loss, `weight` times. What it does not need of this, it leaves as it is."""

    weight: float = 1.0

    @contextmanager
    def attached(self, network: nn.Module, x: Tensor, device: str) -> Iterator[None]:
        """For the length of a training of `network`; `x` has two inputs, laid out and placed as batches will be."""
        yield

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """The loss of a batch: a mean over its examples."""

    def after_step(self) -> None:  # noqa: B027 - few terms care
        """Called when the weights have moved."""

    def modules(self) -> list[nn.Module]:
        """Modules whose weights are trained along with the network's."""
        return []

    def identity(self) -> Any:
        """What it is, as JSON: a training is continued only with the same terms."""
        return [type(self).__name__, self.weight]


class Objective:
    """The loss of the task and further terms.

    Args:
        terms: added to the loss of the task.
        task_weight: how often the loss of the task counts.
    """

    def __init__(self, *terms: Term, task_weight: float = 1.0) -> None:
        self.terms, self.task_weight = terms, task_weight

    @property
    def plain(self) -> bool:
        """Whether it is the loss of the task alone."""
        return not self.terms and self.task_weight == 1

    @contextmanager
    def attached(self, network: nn.Module, x: Tensor, device: str) -> Iterator[None]:
        """Every term attached to the network for a while."""
        with ExitStack() as stack:
            for term in self.terms:
                stack.enter_context(term.attached(network, x, device))
            yield

    def loss(self, task: Task, smoothing: float, step: Step) -> Tensor:
        """The loss of a step; the task's own takes `smoothing`."""
        loss: Tensor = task.loss(step.outputs, step.y, smoothing)
        if not self.plain:
            loss = loss * self.task_weight
            for term in self.terms:
                loss = loss + term.weight * term(step)
        return loss

    def after_step(self) -> None:
        for term in self.terms:
            term.after_step()

    def train(self) -> None:
        """Put the modules of all terms into the mode of training."""
        for module in self._modules():
            module.train()

    def parameters(self) -> list[nn.Parameter]:
        """Of the modules of all terms."""
        return [parameter for module in self._modules() for parameter in module.parameters()]

    def state(self) -> dict[str, Tensor]:
        """The tensors of the modules of all terms, not copied."""
        return {
            f"{i}.{name}": tensor.detach()
            for i, module in enumerate(self._modules())
            for name, tensor in module.state_dict().items()
        }

    def identity(self) -> Any:
        return [self.task_weight, *(term.identity() for term in self.terms)]

    def _modules(self) -> list[nn.Module]:
        return [module for term in self.terms for module in term.modules()]


class Teacher:
    """A trained network that others learn from; it is never trained here.

    Args:
        network: takes the same inputs.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._x: Tensor | None = None
        self._outputs: Tensor

    def outputs(self, x: Tensor) -> Tensor:
        """What it answers to a batch; asked again for the same one, it remembers."""
        if self._x is not x:
            self.network.eval()
            with torch.no_grad():
                self._outputs = self.network(x)
            self._x = x
        return self._outputs

    def prepare(self, device: str) -> None:
        self._x = None
        self.network.to(device)

    def digest(self) -> str:
        sha = hashlib.sha256()
        for name, tensor in self.network.state_dict().items():
            sha.update(name.encode())
            sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return sha.hexdigest()[:16]


class Distillation(Term):
    """The network answers as its teacher does (Hinton, Vinyals, Dean 2015, arXiv 1503.02531).

    Args:
        teacher: whose answers are learned.
        weight: of this term.
        temperature: by which outputs are divided before the softmax (the loss is multiplied by its square); None for
            outputs that are no classes, of which the squared difference is taken.
    """

    def __init__(self, teacher: Teacher, *, weight: float = 1.0, temperature: float | None = 4.0) -> None:
        self.teacher, self.weight, self.temperature = teacher, weight, temperature

    @contextmanager
    def attached(self, network: nn.Module, x: Tensor, device: str) -> Iterator[None]:
        self.teacher.prepare(device)
        yield

    def __call__(self, step: Step) -> Tensor:
        theirs, ours = self.teacher.outputs(step.x).float(), step.outputs.float()
        if self.temperature is None:
            return F.mse_loss(ours, theirs)
        t = self.temperature
        # Over classes, which lie in dimension 1; the mean is over all else (the pixels of a segmentation, too).
        terms = F.kl_div((ours / t).log_softmax(1), (theirs / t).log_softmax(1), reduction="none", log_target=True)
        return t * t * terms.sum(1).mean()

    def identity(self) -> Any:
        return ["Distillation", self.weight, self.temperature, self.teacher.digest()]


class FeatureAlignment(Term):
    """Feature maps inside the network come to resemble those of a teacher (Romero et al. 2015, arXiv 1412.6550).

    A 1 x 1 convolution, trained along, takes the network's map to the teacher's channels; the larger of two maps is
    averaged to the size of the smaller. The loss is the mean squared difference.

    Args:
        teacher: whose maps (N x C x H x W) are learned.
        layers: names of modules of the network, each with the name of the teacher's.
        weight: of this term.

    Raises:
        UsageError: at the start of a training, for a name that is none.
    """

    def __init__(self, teacher: Teacher, layers: Mapping[str, str], *, weight: float = 1.0) -> None:
        self.teacher, self.layers, self.weight = teacher, dict(layers), weight
        self.projections = nn.ModuleList()
        self._maps: dict[str, Tensor] = {}

    @contextmanager
    def attached(self, network: nn.Module, x: Tensor, device: str) -> Iterator[None]:
        self.teacher.prepare(device)
        places = [(network, name, f"ours {name}") for name in self.layers]
        places += [(self.teacher.network, name, f"theirs {name}") for name in self.layers.values()]
        handles = [_module(owner, name).register_forward_hook(self._keep(key)) for owner, name, key in places]
        try:
            modes = [(module, module.training) for module in network.modules()]
            with torch.no_grad():
                network.eval()(x)
                self.teacher.outputs(x)
            for module, training in modes:
                module.training = training
            shapes = [(self._maps[f"ours {a}"], self._maps[f"theirs {b}"]) for a, b in self.layers.items()]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the projections begin alike in every training
                layers = [nn.Conv2d(ours.shape[1], theirs.shape[1], 1, bias=False) for ours, theirs in shapes]
            self.projections = nn.ModuleList(layers).to(device)
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._maps = {}

    def _keep(self, key: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._maps[key] = output

        return keep

    def __call__(self, step: Step) -> Tensor:
        self.teacher.outputs(step.x)
        losses = []
        for projection, (ours, theirs) in zip(self.projections, self.layers.items(), strict=True):
            a, b = projection(self._maps[f"ours {ours}"]), self._maps[f"theirs {theirs}"]
            size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
            a, b = (F.adaptive_avg_pool2d(feature, size).float() for feature in (a, b))
            losses.append(F.mse_loss(a, b))
        return torch.stack(losses).sum()

    def modules(self) -> list[nn.Module]:
        return [self.projections]

    def identity(self) -> Any:
        return ["FeatureAlignment", self.weight, self.layers, self.teacher.digest()]


class Masks(Term):
    """Weights that are zero stay zero.

    Args:
        masks: by the name of a parameter, a tensor of its shape: 1 (or true) where it may be other than zero.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self.masks = dict(masks)
        self._pairs: list[tuple[Tensor, Tensor]] = []

    @contextmanager
    def attached(self, network: nn.Module, x: Tensor, device: str) -> Iterator[None]:
        parameters = dict(network.named_parameters())
        for name, mask in self.masks.items():
            if name not in parameters or parameters[name].shape != mask.shape:
                raise UsageError(f"the network has no parameter '{name}' of shape {tuple(mask.shape)} to be masked.")
        self._pairs = [(parameters[name], mask.to(device, parameters[name].dtype)) for name, mask in self.masks.items()]
        self.after_step()
        yield
        self._pairs = []

    def __call__(self, step: Step) -> Tensor:
        return step.outputs.new_zeros(())

    def after_step(self) -> None:
        with torch.no_grad():
            for parameter, mask in self._pairs:
                parameter.mul_(mask)

    def identity(self) -> Any:
        sha = hashlib.sha256()
        for name, mask in sorted(self.masks.items()):
            sha.update(name.encode() + mask.bool().cpu().contiguous().numpy().tobytes())
        return ["Masks", sha.hexdigest()[:16]]


class Penalty(Term):
    """A price on the weights themselves.

    Args:
        name: what it is, in checkpoints.
        price: of a network, as a scalar tensor with gradients.
        weight: of this term.
    """

    def __init__(self, name: str, price: Callable[[nn.Module], Tensor], *, weight: float) -> None:
        self.name, self.price, self.weight = name, price, weight

    def __call__(self, step: Step) -> Tensor:
        return self.price(step.network)

    def identity(self) -> Any:
        return ["Penalty", self.name, self.weight]


def _module(owner: nn.Module, name: str) -> nn.Module:
    try:
        return owner.get_submodule(name)
    except AttributeError:
        names = [known for known, _ in owner.named_modules() if known]
        raise UsageError(
            f"there is no module '{name}' whose feature maps could be aligned: use one of {', '.join(names[:20])}."
        ) from None
