"""The run of a folder that somebody recorded, checked to name data and no code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.config.recorded import check_recorded
from cl_forget.ground.imports import bring_in

if TYPE_CHECKING:
    from cl_forget.config.run import Run


def recorded_run(folder: Path) -> Run:
    """The configuration of a finished run, from its folder.

    Raises:
        UserError: there is no result, it is none of this version, or it names code that nobody has allowed.
    """
    from cl_forget.comparison.records import Result
    from cl_forget.config.run import Run

    recorded = Result.load(folder, whole=False).run  # its configuration is wanted, none of its numbers
    check_recorded(recorded, str(folder))
    bring_in(recorded.get("imports", []), folder)
    return Run.parse({key: value for key, value in recorded.items() if key in Run.model_fields})
