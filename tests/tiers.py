"""Which tests `make check` leaves out; `conftest.py` marks them `whole`."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
WHOLE = (
    "auditing/test_classifier_pairs.py", "auditing/test_command.py", "auditing/test_merges.py",
    "auditing/test_repair.py", "avalanche_bridge/", "claims/test_ledger.py",
    "claims/test_on_a_cluster.py", "claims/test_running.py", "config/test_arms.py",
    "config/test_named_imports.py", "experiments/", "fuzzing/", "ground/test_processes.py",
    "mitigations/test_classifiers.py", "mitigations/test_derpp.py",
    "mitigations/test_early_stopping.py", "mitigations/test_entry_point.py", "mitigations/test_er.py",
    "mitigations/test_flyp.py", "mitigations/test_hma.py", "mitigations/test_kd.py",
    "mitigations/test_language_shapes.py", "mitigations/test_lines.py", "mitigations/test_merging.py",
    "mitigations/test_methods.py", "mitigations/test_micro_batches.py", "mitigations/test_task_arithmetic.py",
    "models/test_emoji_clip.py", "models/test_exporting.py", "models/test_towers.py",
    "reporting/test_figures.py", "reporting/test_sweep_report.py", "run/test_experiment.py",
    "run/test_flatness.py", "run/test_protocol_runs.py", "streams/test_embedded.py",
    "sweeps/test_before_any_trial.py", "sweeps/test_budget.py", "sweeps/test_cluster",
    "sweeps/test_durability.py", "sweeps/test_fairness.py", "sweeps/test_hanging.py", "sweeps/test_limits.py",
    "sweeps/test_object_storage.py", "sweeps/test_pieces_run.py", "sweeps/test_planning.py",
    "sweeps/test_pool.py", "sweeps/test_runner.py", "sweeps/test_sharded_trials.py", "sweeps/test_tournaments.py",
    "test_notebooks.py", "test_site.py", "test_typing.py", "testing/test_checks.py", "tracking/",
    "training/test_frozen.py", "training/test_frozen_batch_norm.py", "training/test_head_start.py",
    "training/test_sharded.py",
)  # fmt: skip
"""What only `make test` runs: Ray, several processes, notebooks, the site, W&B, Avalanche, and what takes longest."""
WHOLE_FIXTURES = {"browser", "server"}
"""So are tests that ask for one of these."""


def is_whole(path: Path) -> bool:
    """Whether a file of tests, or a folder, is left out by `make check`."""
    return path.is_relative_to(HERE) and path.relative_to(HERE).as_posix().startswith(WHOLE)
