"""The run: engine, store, budget, resume, final training, export.

The package can be called: `archscout.search(...)` is `archscout.search.search.search(...)`. A function of that name in
`archscout` would be replaced by this package as soon as anything imports it.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _CallablePackage(types.ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See `archscout.search.search.search`."""
        from archscout.search.search import search

        return search(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
