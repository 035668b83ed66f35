"""What a process has added to the registries, handed on to the processes that work for it."""

from __future__ import annotations

import importlib

from cl_forget.ground.registry import Registry

REGISTRIES = (
    "cl_forget.models:MODELS",
    "cl_forget.streams:STREAMS",
    "cl_forget.streams:SUITES",
    "cl_forget.mitigations:MITIGATIONS",
)


def registered() -> dict[str, dict[str, str]]:
    """What this process has added to the registries, for processes elsewhere."""
    return {place: _registry(place).additions for place in REGISTRIES if _registry(place).additions}


def register(additions: dict[str, dict[str, str]]) -> None:
    """Add what `registered` of another process gave."""
    for place, entries in additions.items():
        _registry(place).restore(entries)


def _registry(place: str) -> Registry:
    module, _, name = place.partition(":")
    registry: Registry = getattr(importlib.import_module(module), name)
    return registry
