"""What a backbone's weights may be, and what is said of those that cannot be used."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from archscout.backbones.base import Backbone, available, fill, read_weights
from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create, names


class Missing(Backbone):
    name = "missing"
    package = "a_package_that_nobody_has"
    head, mean, std = "0", (0.0,), (1.0,)

    def structure(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 3))


def test_weights_that_are_not_installed() -> None:
    with pytest.raises(UsageError, match="'missing' are not installed: pip install a-package-that-nobody-has"):
        Missing().network()
    assert set(available()) <= set(names("backbone"))
    with pytest.raises(UsageError, match="there is no backbone 'efficientnet_lite9'"):
        create("backbone", "efficientnet_lite9")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_tensors_in_files(suffix: str, tmp_path: Path) -> None:
    weights, file = nn.Linear(2, 3).state_dict(), tmp_path / f"w{suffix}"
    save_file(weights, file) if suffix == ".safetensors" else torch.save(weights, file)
    filled = fill(nn.Linear(2, 3), read_weights(file), "it")
    assert torch.equal(filled.state_dict()["weight"], weights["weight"])


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(DataError, match="never loaded, for they can run code"):
        read_weights(tmp_path / "module.pth")
    (tmp_path / "damaged.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(tmp_path / "damaged.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match="no table of named tensors"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(UsageError, match="there is no file of weights"):
        read_weights(tmp_path / "none.pth")


def test_weights_of_another_network() -> None:
    with pytest.raises(DataError, match="'bias' of the network is not in it"):
        fill(nn.Linear(2, 3), {"weight": torch.zeros(3, 2)}, "it")
    with pytest.raises(DataError, match=r"'weight' has shape \(2, 3\), not \(3, 2\)"):
        fill(nn.Linear(2, 3), {"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, "it")
    with pytest.raises(DataError, match="'more' of the file is not in the network"):
        fill(nn.Linear(2, 3, bias=False), {"weight": torch.zeros(3, 2), "more": torch.zeros(1)}, "it")
