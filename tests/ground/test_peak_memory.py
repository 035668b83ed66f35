"""What a process held before enters no estimate of what a new one will need."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from cl_forget.ground.environment import forget_peak_memory, peak_memory_mb


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_the_peak_counts_from_then_on() -> None:
    cpu = torch.device("cpu")
    held = np.ones(2**26)  # 512 MiB
    before = peak_memory_mb(cpu)
    del held
    assert peak_memory_mb(cpu) >= before > 512
    forget_peak_memory()
    assert peak_memory_mb(cpu) < before - 400
