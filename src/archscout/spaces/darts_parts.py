"""Which operations the edges of S1 to S4 have, parts of the DARTS space on which DARTS is known to fail (Zela et al.
2020, arXiv 1909.09656; S1 as in the authors' code, automl/RobustDARTS)."""

from __future__ import annotations

NOISE = "noise"
_SKIP, _SEP3 = "skip_connect", "sep_conv_3x3"
_DIL3, _DIL5 = "dil_conv_3x3", "dil_conv_5x5"
_MAX, _AVG = "max_pool_3x3", "avg_pool_3x3"

_S1_NORMAL = (
    (_SKIP, _DIL3), (_SKIP, _DIL5),
    (_SKIP, _DIL5), (_SKIP, _SEP3), (_SKIP, _DIL3),
    (_MAX, _SKIP), (_SKIP, _SEP3), (_SKIP, _SEP3), (_SKIP, _DIL3),
    (_SKIP, _SEP3), (_MAX, _SKIP), (_SKIP, _DIL3), (_DIL3, _DIL5), (_DIL3, _DIL5),
)  # fmt: skip
_S1_REDUCE = (
    (_MAX, _AVG), (_MAX, _DIL3),
    (_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5),
    (_MAX, _AVG), (_MAX, _SEP3), (_SKIP, _DIL3), (_SKIP, _DIL5),
    (_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5), (_SKIP, _DIL5), (_SKIP, _DIL5),
)  # fmt: skip


def _alike(*operations: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    return {cell: (operations,) * len(_S1_NORMAL) for cell in ("normal", "reduce")}


PARTS: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = {
    "s1": {"normal": _S1_NORMAL, "reduce": _S1_REDUCE},
    "s2": _alike(_SKIP, _SEP3),
    "s3": _alike(_SKIP, _SEP3),
    "s4": _alike(_SEP3, NOISE),
}
"""By part and cell, the operations of each edge: of node 2 from nodes 0 and 1, of node 3 from 0, 1 and 2, and so on."""

ZERO = ("s3",)
"""Parts whose mixtures have the operation `none` as well."""
