"""The literal forms, which lie beside the tests and are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def literal() -> ModuleType:
    spec = importlib.util.spec_from_file_location("literal", Path(__file__).with_name("literal.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
