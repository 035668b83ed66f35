"""What a finished run no longer needs on disk."""

from __future__ import annotations

from pathlib import Path

from cl_forget.config.run import Run
from cl_forget.training.checkpoints import RunFolder


def drop_stages(folder: Path, run: Run) -> None:
    """Delete the checkpoints after each task of a finished run; nothing happens to one that is not finished.

    What was measured and what was exported stay. The weights as they were tuned stay, too: where the exported
    model is another one (an edit after the task, an adapter alone, nothing at all), so does the last checkpoint.
    Afterwards no other run can take over this one's training; asked to, it trains again.

    Args:
        folder: the run's.
        run: what was asked.
    """
    if run.evaluate.keep_stages:
        return
    place = RunFolder(folder)
    state = place.state
    if state is None or not state.finished or state.dropped or not state.stages:
        return
    merged = run.evaluate.export in (True, "merged", "both")
    kept = [] if merged and not run.chain().using("edit_weights") else state.stages[-1:]
    place.commit(state.model_copy(update={"stages": kept, "dropped": len(state.stages) - len(kept)}))
