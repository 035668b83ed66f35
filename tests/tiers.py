"""Which tests `make check` leaves out; `conftest.py` marks them `whole`."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
WHOLE = (
    "avalanche_bridge/", "claims/test_running.py", "experiments/", "fuzzing/", "sweeps/test_before_any_trial.py",
    "sweeps/test_cluster", "sweeps/test_durability.py", "sweeps/test_fairness.py", "sweeps/test_runner.py",
    "test_notebooks.py", "test_site.py", "test_typing.py", "tracking/", "training/test_sharded.py",
)  # fmt: skip
"""What only `make test` runs: Ray, several processes, notebooks, the site, W&B, Avalanche, long fuzzing."""
WHOLE_FIXTURES = {"browser", "server"}
"""So are tests that ask for one of these."""


def is_whole(path: Path) -> bool:
    """Whether a file of tests, or a folder, is left out by `make check`."""
    return path.is_relative_to(HERE) and path.relative_to(HERE).as_posix().startswith(WHOLE)
