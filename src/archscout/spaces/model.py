"""A space made of a module of your own that contains choice layers (`archscout.networks.choices`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition, Option
from archscout.core.digest import digest
from archscout.core.errors import UsageError
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.body import KeepMap, Staged
from archscout.networks.choice_layer import decided, resolve
from archscout.networks.declared import Use, declare
from archscout.networks.initialisation import adopt, draw, looks_drawn
from archscout.networks.outputs import named
from archscout.networks.outside import read_outside
from archscout.networks.padding import in_row
from archscout.networks.pick import ArchitecturePick
from archscout.networks.structure import structure

_TRIED = 6
"""Architectures that are run before a module is taken for a space of networks for a task."""


class ModelSpace(Space):
    """Every way of deciding the choices of a module.

    Args:
        module: any `nn.Module` with choice layers in it; it is copied. It takes a batch of the task's inputs and
            returns one column an output (tensors by name for a task of several heads): it has a head of its own, unless
            it names its stages.
        name: of the space; the name of the module's class unless given.

    A choice has the name it was given, or the path of its layer (`features.0.outputs`); choices of one name are one.
    A choice inside an option or a block is active only where that option is taken or that block runs. A choice
    of which several places make use has one condition that holds wherever any of them is built, and perhaps elsewhere:
    there its value changes nothing, and `simplify` and `canonical` see to it that such architectures count as one.

    A module with an attribute `stages` is a body: it gets the head of the task, and must return the feature map of its
    last stage. The attribute has the paths of the parts at which stages end, in order, or maps each to the channels of
    its feature map, which is needed where these are choices: `self.stages = {"layer1": width, "layer2": 2 * width}`.

    The network of an architecture is a copy of the module without choice layers. Weights that were given to the module
    (frozen, loaded, initialised by its own code) are kept where the layer has its largest size, as `given` names them;
    all others are drawn anew from the seed (`archscout.networks.initialisation` says how they are told apart).

    Raises:
        UsageError: where the module contains no choice, or two different choices of one name.
    """

    own_module = True

    def __init__(self, module: nn.Module, name: str | None = None) -> None:
        if not isinstance(module, nn.Module):
            hint = "make an object of the class" if isinstance(module, type) else "name a space, or give a module"
            raise UsageError(f"a space is made of a torch.nn.Module, not of {options.shown(module)}: {hint}.")
        self.name = name or type(module).__name__
        for path, part in module.named_modules():
            if type(part).get_extra_state is not nn.Module.get_extra_state:
                raise UsageError(
                    f"part '{path or self.name}' of module '{self.name}' has a state beside its tensors "
                    "(get_extra_state), which cannot be kept safely: keep it in buffers instead."
                )
        for choice, where in read_outside(module):
            raise UsageError(
                f"{choice!r} is read by {where} of module '{self.name}' from outside of it, where it cannot be "
                "decided: keep it in an attribute that __init__ sets (self.x = ...)."
            )
        for path, parameter in module.named_parameters():
            if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
                raise UsageError(
                    f"parameter '{path}' of module '{self.name}' has a hook on its gradient, which copies lose: change "
                    "gradients in register_full_backward_hook of its layer, or mask the weight in the forward pass."
                )
        try:
            self._adopted = adopt(module)
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise UsageError(
                f"module '{self.name}' cannot be copied ({reason}): keep open files, locks and computed tensors "
                "out of it."
            ) from error
        self.module = self._adopted.module
        if self.module.eval() is not self.module:
            raise UsageError(f"train() of module '{self.name}' must return the module itself: end it with return self.")
        self._uses = declare(self.module)
        if not self._uses:
            raise UsageError(
                f"module '{self.name}' contains no choice: put archscout.OneOf, Depth, Width or Kernel in it."
            )
        self._choices = tuple(self._choice(name) for name in dict.fromkeys(use.name for use in self._uses))
        self._stages = _stages(self.module, self.name)
        # Now, for a module may change its attributes when it runs.
        self._structure = structure(self.module)

    def identity(self) -> dict[str, Any]:
        """Name and choices, the module's structure, and the values that every network of the space begins with."""
        # What is drawn at random each time the module is made is the same space with other starting weights.
        tensors = {p: None if looks_drawn(t) else digest(t) for p, t in self._adopted.tensors().items()}
        about = {"class": type(self), "parameters": self.name, "choices": list(self.choices)}
        return about | {"structure": self._structure, "tensors": tensors}

    @property
    def given(self) -> Mapping[str, str]:
        """The tensors of the module that networks begin with, by path, and why: `frozen`, `own` or `set`."""
        return self._adopted.given

    @property
    def choices(self) -> Sequence[Choice]:
        return self._choices

    def _choice(self, name: str) -> Choice:
        uses = [use for use in self._uses if use.name == name]
        first = uses[0]
        for use in uses:
            if (use.kind, use.options) != (first.kind, first.options):
                raise UsageError(
                    f"two choices of module '{self.name}' are named '{name}', {first.kind} of {first.options} and "
                    f"{use.kind} of {use.options}: rename one, or give both the same options."
                )
        written = [str(option) for option in first.options]
        if any(mark in text for text in (name, *written) for mark in ",=\n") or len(set(written)) < len(written):
            raise UsageError(
                f"choice '{name}' of module '{self.name}' has options {written}: names and options must be different "
                "texts without comma, equals sign and line break."
            )
        return Choice(name, first.options, ordinal=first.ordinal, condition=_condition(uses))

    # -- forms ----------------------------------------------------------------------------------------------------

    def simplify(self, architecture: Architecture) -> Architecture:
        """Choices that no place in the network uses take their first option."""
        used = {
            use.name
            for use in self._uses
            if all(name in architecture and architecture[name] in values for name, values in use.context.items())
        }
        values = {c.name: architecture[c.name] if c.name in used else c.options[0] for c in self.choices}
        return self.architecture(values)

    def canonical(self, architecture: Architecture) -> str:
        return self.simplify(architecture).text

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        """Raises `UsageError` where the module does not run, or most of the space does not."""
        self._check_outputs(self._standing(task), task)
        tried = self._spread()
        broken = self.broken(task)
        if len(broken) > len(tried) / 2:
            text, reason = next(iter(broken.items()))
            raise UsageError(
                f"{len(broken)} of {len(tried)} architectures of module '{self.name}' that were tried do not run, the "
                f"first '{text}': {reason.removesuffix('.')}: make every layer follow the choices before it."
            )

    def _standing(self, task: Task) -> nn.Module:
        """The network of first options and largest numbers: what the module is as it stands."""
        kinds = {use.name: use.kind for use in self._uses}
        numbers = ("Width", "Kernel", "Depth")
        values = {c.name: max(c.options, key=float) if kinds[c.name] in numbers else c.options[0] for c in self.choices}
        pick = ArchitecturePick(values)
        network = resolve(self.module, pick)[0].eval()
        with torch.random.fork_rng(devices=[]):
            return self._with_head(network, task, pick).eval()

    def caveats(self, task: Task) -> list[str]:
        """Architectures that do not run, and which weights of the module are kept."""
        broken = [
            f"architecture '{a}' does not run, and will fail: {reason}" for a, reason in self.broken(task).items()
        ]
        return broken + self._about_given()

    def _about_given(self) -> list[str]:
        """Which weights of the module are kept, and which of them only where a layer has its largest size."""
        given = [name for name, reason in self.given.items() if reason != "own"]
        if not given:
            return []
        names = [name.replace(".largest.", ".") for name in given]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        cut = any(".largest." in name for name in given)
        return [
            f"networks begin with the weights that the module was given ({shown}), "
            + ("layers with choices only at their largest size, " if cut else "")
            + "and with new ones for all others."
        ]

    def broken(self, task: Task) -> dict[str, str]:
        """Of a few architectures that differ in every choice, those that do not run, and why."""
        reasons = {}
        for architecture in self._spread():
            try:
                with torch.random.fork_rng(devices=[]):
                    self.network(task, ArchitecturePick(architecture))
            except Exception as error:
                reasons[architecture.text] = str(error).strip().partition("\n")[0] or type(error).__name__
        return reasons

    def _spread(self) -> list[Architecture]:
        """Each option of each choice once, at most in so many architectures: all first options, all second ones, ..."""
        rows = min(_TRIED, max(len(choice.options) for choice in self.choices))
        spread: dict[str, Architecture] = {}
        for row in range(rows):
            values = {c.name: c.options[row * len(c.options) // rows] for c in self.choices}
            architecture = self.simplify(self.architecture(values))
            spread.setdefault(architecture.text, architecture)
        return list(spread.values())

    def network(self, task: Task, pick: Pick) -> nn.Module:
        given = {id(tensor): self._adopted.given[path] for path, tensor in self._adopted.tensors().items()}
        network, kept = resolve(self.module, pick, given)
        if any(map(nn.parameter.is_lazy, network.parameters())):
            if not isinstance(pick, ArchitecturePick):
                raise UsageError(
                    f"module '{self.name}' has lazy layers, whose weights cannot be shared: use archscout's layers."
                )
            self._run(network.eval(), task)  # it learns its sizes
        draw(network)
        with torch.no_grad():
            for tensor, original in kept:
                if not tensor.is_meta:
                    tensor.copy_(original)
        network = self._with_head(network, task, pick)
        if not any(parameter.is_meta for parameter in network.parameters()):
            self._check_outputs(network.eval() if isinstance(pick, ArchitecturePick) else self._standing(task), task)
        return network.train()

    def _with_head(self, body: nn.Module, task: Task, pick: Pick) -> nn.Module:
        """The whole network: a module that names its stages gets the head of the task."""
        if not self._stages:
            return body
        alone = isinstance(pick, ArchitecturePick)
        maps = self._maps(body, task) if alone else self._maps_of_all(task)
        stages: Any = decided(self.module.stages, pick)
        said_by_module: Mapping[str, Any] = stages if isinstance(stages, Mapping) else {}
        channels = [said_by_module.get(stage, tap.shape[1]) for stage, tap in zip(self._stages, maps, strict=True)]
        for stage, said, tap in zip(self._stages, channels, maps, strict=True):
            if alone and said != tap.shape[1]:
                raise UsageError(
                    f"stage '{stage}' of module '{self.name}' gives {tap.shape[1]} channels where its attribute stages "
                    f"says {said}: write the number of channels of its feature map."
                )
        strides = [-(-task.input_shape[-1] // tap.shape[-1]) for tap in maps]
        tapped = task.tapped_head(channels, strides)
        if tapped is None:
            return in_row(body, task.head(channels[-1]))
        return Staged(body, self._stages, tapped)

    def _maps(self, body: nn.Module, task: Task) -> list[torch.Tensor]:
        """The feature maps at the ends of all stages, for zeros."""
        keepers = {stage: KeepMap(body, stage) for stage in self._stages}
        training = body.training
        try:
            last = self._run(body.eval(), task)
        except Exception as error:
            raise self._no_run(task, error) from error
        finally:
            body.train(training)
            for hook in keepers.values():
                hook.handle.remove()
        maps = [*(keepers[stage].take() for stage in self._stages[:-1]), last]
        for stage, tap in zip(self._stages, maps, strict=True):
            if getattr(tap, "ndim", 0) < 3:
                raise UsageError(
                    f"stage '{stage}' of module '{self.name}' gives no feature map (examples x channels x height x "
                    "width): name parts that do; the module itself must return the map of the last one."
                )
        return maps

    def _maps_of_all(self, task: Task) -> list[torch.Tensor]:
        """The maps of the first of a few architectures; their channels are those of all, or are said by the module."""
        every = []
        for architecture in self._spread():
            with torch.device("meta"):
                every.append(self._maps(resolve(self.module, ArchitecturePick(architecture))[0], task))
        if not isinstance(self.module.stages, Mapping):
            for place, stage in enumerate(self._stages):
                counts = sorted({maps[place].shape[1] for maps in every})
                if len(counts) > 1:
                    raise UsageError(
                        f"stage '{stage}' of module '{self.name}' has {' or '.join(map(str, counts))} channels: map "
                        "each stage to its channels in the attribute stages, as in {'layer1': width}."
                    )
        return every[0]

    def _run(self, network: nn.Module, task: Task) -> Any:
        meta = any(parameter.is_meta for parameter in network.parameters())
        with torch.no_grad():
            return network(torch.zeros(2, *task.input_shape, device="meta" if meta else "cpu"))

    def _check_outputs(self, network: nn.Module, task: Task) -> None:
        try:
            outputs = self._run(network, task)
        except Exception as error:
            raise self._no_run(task, error) from error
        if isinstance(outputs, Mapping):
            self._check_named(outputs, task)
            return
        if not isinstance(outputs, torch.Tensor):
            raise UsageError(
                f"module '{self.name}' returns {type(outputs).__name__}: its forward pass must return one tensor of "
                f"shape (2, {task.outputs}) for two examples of task '{task.name}'."
            )
        shape = tuple(outputs.shape)
        if shape[:2] != (2, task.outputs):
            raise UsageError(
                f"module '{self.name}' returns {type(outputs).__name__} of shape {shape} for two examples of task "
                f"'{task.name}', which needs (2, {task.outputs}): give it a last layer with {task.outputs} outputs."
            )

    def _check_named(self, outputs: Mapping[str, Any], task: Task) -> None:
        """Outputs by name must be those of the task's own head."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            wanted = named(task.head(1).eval()(torch.zeros(2, 1, *[4] * (len(task.input_shape) - 1))))
        got, needed = ({n: tuple(t.shape[:2]) for n, t in each.items()} for each in (dict(outputs), wanted))
        if got != needed:
            raise UsageError(
                f"module '{self.name}' returns {got} for two examples of task '{task.name}', which needs {needed}: "
                "return a tensor by each of these names."
            )

    def _no_run(self, task: Task, error: Exception) -> UsageError:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        return UsageError(
            f"module '{self.name}' cannot run on inputs of shape {task.input_shape} (task '{task.name}'): {reason}."
        )


def _stages(module: nn.Module, name: str) -> tuple[str, ...]:
    """The paths of the parts at which stages end, where a module names them.

    Raises `UsageError` for a path that leads to no part.
    """
    stages = getattr(module, "stages", None)
    if not isinstance(stages, tuple | list | dict) or not stages or not all(isinstance(each, str) for each in stages):
        return ()
    for stage in stages:
        try:
            module.get_submodule(stage)
        except AttributeError:
            raise UsageError(
                f"'{stage}', which module '{name}' names in its attribute stages, is no part of it: write the paths of "
                "the parts at which stages end, or call the attribute otherwise."
            ) from None
    return tuple(stages)


def _condition(uses: Sequence[Use]) -> Condition | None:
    """The condition on the innermost choice that all places depend on; it holds wherever one of them is built."""
    for name in reversed(tuple(uses[0].context)):
        if all(name in use.context for use in uses):
            values: set[Option] = set().union(*(use.context[name] for use in uses))
            return Condition(name, tuple(sorted(values, key=str)))
    return None
