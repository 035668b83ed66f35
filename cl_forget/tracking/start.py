"""Starting the tracker that a run asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.tracking.base import NullTracker, Tracker
from cl_forget.tracking.login import mode_of


def start_tracker(
    run: Run,
    folder: Path,
    identity: str,
    tasks: Sequence[str],
    suites: Sequence[str],
    probes: Sequence[str],
    draw: Callable[[Result], bytes | None],
) -> Tracker:
    """Follow a run as its `track` section says; whatever goes wrong there, the run goes on.

    Args:
        run: the run.
        folder: where W&B keeps its own files (in a folder `wandb` below it).
        identity: of the W&B run; the same one continues it.
        tasks, suites, probes: names in order; `probes` without the stream's own tasks.
        draw: the trade-off of a finished run as a PNG; None where it has none.
    """
    mode = mode_of(run.track)
    if mode == "off":
        return NullTracker()
    from cl_forget.tracking.weights_and_biases import WandbTracker

    return WandbTracker(run, mode, folder, identity, tasks, suites, probes, draw)
