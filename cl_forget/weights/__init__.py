"""Weight files as streams of tensors: read two checkpoints, compare them, edit, write what came in.

No function here holds a whole checkpoint: a tensor is read, used and let go of before the next one.
"""

from __future__ import annotations

from cl_forget.weights.checkpoint import Checkpoint, open_checkpoint
from cl_forget.weights.layout import Layout
from cl_forget.weights.merge import Distance, check_pair, distances, merge
from cl_forget.weights.reading import InMemory, TensorInfo, TensorSource

__all__ = [
    "Checkpoint",
    "Distance",
    "InMemory",
    "Layout",
    "TensorInfo",
    "TensorSource",
    "check_pair",
    "distances",
    "merge",
    "open_checkpoint",
]
