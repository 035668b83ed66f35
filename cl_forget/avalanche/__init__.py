"""The bridge to Avalanche: our mitigations as its plugins, its strategies as our methods.

Benchmarks as streams are in `cl_forget.avalanche.benchmarks`. Importing Avalanche takes seconds and changes
`torch.utils.data.Dataset`, so nothing here imports it before it is used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ModuleModel", "as_plugin", "from_avalanche"]

_PLACES = {
    "ModuleModel": "cl_forget.avalanche.model",
    "as_plugin": "cl_forget.avalanche.plugin",
    "from_avalanche": "cl_forget.avalanche.benchmarks",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cl_forget.avalanche' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
