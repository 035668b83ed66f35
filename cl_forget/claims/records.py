"""The records that verdicts read: those in the runs' folder, and those that are kept beside the claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import whole

RECORDS = "records.parquet"
"""One line per trial: its id, and its record as JSON. Small enough to be kept with the claims."""


def load_records(runs: Path | None, kept: Iterable[Path]) -> dict[str, Trial]:
    """Every record by id; what the runs' folder says goes before what was kept, number by number.

    Args:
        runs: the folder of the runs; None or a folder that is not there has none.
        kept: files of kept records, those that exist.

    Raises:
        UserError: a file holds no records of this version.
    """
    found: dict[str, Trial] = {}
    for file in kept:
        if file.is_file():
            found |= {trial.id: trial for trial in _read(file)}
    for trial in load_trials(runs) if runs is not None and runs.is_dir() else []:
        before = found.get(trial.id)
        if before is not None and before.status == trial.status == "finished":
            # What was measured after the run, its flatness, may stand in the kept record alone.
            trial = trial.model_copy(update={"test": {**before.test, **trial.test}})
        found[trial.id] = trial
    return found


def keep_records(trials: Sequence[Trial], file: Path) -> None:
    """Write the records of the trials that are over, in order of id, without secrets; whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    lines = {trial.id: trial.shown().model_dump_json() for trial in trials if trial.over}
    names = sorted(lines)
    table = pyarrow.table({"id": names, "record": [lines[name] for name in names]})
    with whole(file) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def _read(file: Path) -> list[Trial]:
    import pyarrow
    import pyarrow.parquet

    try:
        column = pyarrow.parquet.read_table(file, columns=["record"])["record"].to_pylist()
        return [Trial.model_validate_json(text) for text in column]
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} holds no records of this version ({str(error).splitlines()[0]}); restore it from a copy, or "
            "run the claims again."
        ) from None
