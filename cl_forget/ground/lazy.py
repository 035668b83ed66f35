"""Modules that load on first use, so that `cl-forget --help` and `cl-forget list` answer at once.

`from cl_forget.ground.lazy import torch` reads and type-checks like `import torch`, and costs nothing until the
first attribute is touched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
else:

    class _LazyModule:
        """Stands for a module until its first attribute is read."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(importlib.import_module(self._name), attribute)

    torch = _LazyModule("torch")
