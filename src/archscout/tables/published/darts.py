"""A thousand random DARTS genotypes on CIFAR-10 (SWAP-NAS: Peng et al. 2024, arXiv 2403.04161).

The file has the genotype in `genotype` and the validation accuracy in percent. Its cells are drawn more widely than
those of DARTS: a node may take one source twice, or less than two.
"""

from __future__ import annotations

from pathlib import Path

from archscout.tables.draft import Draft, fractions, numbers, read_columns
from archscout.tables.metric import Metric


def read(file: Path) -> Draft:
    """The table in `darts_1000_cifar10.parquet`."""
    columns = read_columns(file, ["genotype", "valid_acc"])
    return Draft(
        space="darts:wide=true",
        columns={
            "architecture": columns["genotype"],
            "valid_acc": fractions(numbers(columns["valid_acc"], file, "valid_acc")),
        },
        metrics=[Metric("valid_acc", dataset="cifar10", split="valid")],
        default="valid_acc",
        name="darts",
        task="image classification (CIFAR-10)",
        source="SWAP (arXiv 2403.04161), 1,000 genotypes; the repository has no licence file",
        origin=(file, "genotype"),
    )
