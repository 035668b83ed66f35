"""Random generators: one of its own for each name; the global ones, as Avalanche and dropout draw from them."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def generator(*names: object) -> torch.Generator:
    """A random generator that belongs to these names, wherever it is asked for.

    Args:
        names: what is drawn, the seed first; their texts tell them apart.
    """
    import torch

    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's, NumPy's and Python's global generators at `seed`, and as they were afterwards.

    Args:
        seed: any non-negative integer.
    """
    import numpy as np
    import torch

    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def seed_dropout(seed: int, device: torch.device) -> None:
    """Torch's global generators of the device that a forward pass runs on; `torch.manual_seed` sets those of all.

    A device that is not in use yet makes it write a traceback down each time, milliseconds that a step of a small
    model does not have.

    Args:
        seed: any integer that `torch.manual_seed` takes.
        device: where the model lies.
    """
    import torch

    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
