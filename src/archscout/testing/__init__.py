"""Conformance suites: inherit one and your class is tested against the whole contract of its kind.

    from archscout.testing import SpaceConformance

    class TestMine(SpaceConformance):
        def space(self):
            return MySpace()

Install the extra `dev` (pytest and Hypothesis) to use them.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

_HOMES = {
    "SpaceConformance": "space",
    "architectures": "space",
    "EstimatorConformance": "estimator",
    "CostConformance": "cost",
    "StrategyConformance": "strategy",
    "StoreConformance": "store",
    "TaskConformance": "task",
    "MethodConformance": "method",
    "TableConformance": "table",
    "tiny_task": "tasks",
    "tiny_multilabel": "tasks",
    "tiny_regression": "tasks",
    "tiny_segmentation": "tasks",
    "tiny_heads": "tasks",
    "tiny_ordinal": "tasks",
    "tiny_audio": "tasks",
    "tiny_series": "tasks",
    "tiny_rows": "tasks",
    "tiny_lines": "tasks",
    "tiny_speakers": "tasks",
}

__all__ = sorted(_HOMES)

# Plain asserts in the suites then report the values that they compared.
pytest.register_assert_rewrite(*sorted({f"{__name__}.{home}" for home in _HOMES.values()} | {f"{__name__}.check"}))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
