"""Names to things, as strings: nothing is imported before it is asked for."""

import importlib
from typing import Any


def load(name: str) -> Any:
    """Import what ``"module:attribute"`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
