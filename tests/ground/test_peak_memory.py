"""What a process held before enters no estimate of what a new one will need."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

# In a process of its own: one that has grown to several GiB before hides these 512 MiB below its peak.
PROGRAM = """
import numpy as np
import torch

from cl_forget.ground.environment import forget_peak_memory, peak_memory_mb

cpu = torch.device("cpu")
held = np.ones(2**26)  # 512 MiB
before = peak_memory_mb(cpu)
del held
assert peak_memory_mb(cpu) > before - 8 and before > 512, before  # the kernel counts in pieces per thread
forget_peak_memory()
assert peak_memory_mb(cpu) < before - 400, (before, peak_memory_mb(cpu))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_the_peak_counts_from_then_on() -> None:
    held = np.ones(2**27)  # 1 GiB: what the process that starts another one holds is none of the other's
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    del held
