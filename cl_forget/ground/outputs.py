"""What stands in a folder for results: nothing there is written over unasked, and nothing old is read as new."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import remove_leftovers, write_text

Mode = Literal["new", "resume", "overwrite", "resume or overwrite"]
"""How runs begin whose folders hold something. "new": they are refused. "resume or overwrite": what is there is
gone on with where it is the same run, and replaced where it is not."""

INDEX = "experiment.json"
"""Names the runs that belong to the experiment which was last run into a folder."""

_RUNS = ("result.json", "state.json")
_SWEEP = ("sweep.json", "sweep.yaml", "trials")
_OTHERS = {"audit.json": "an audit", "repair.json": "a repair"}
GENERATOR = b'<meta name="generator" content="cl-forget">'
_REPORT = ("report.html", "table.csv", "table.md", "tradeoff.png")


def mode(resume: bool, overwrite: bool) -> Mode:
    """The mode that two flags ask for."""
    if resume:
        return "resume or overwrite" if overwrite else "resume"
    return "overwrite" if overwrite else "new"


def refuse_taken(folder: Path, how: Mode) -> None:
    """Refuse a folder for an experiment that holds other results.

    Raises:
        UserError: it holds a sweep, an audit or a repair; or runs or a report, and the mode is "new"; or it cannot be
            written to.
    """
    refuse_unwritable(folder)
    kind = "a sweep" if any((folder / name).exists() for name in _SWEEP) else None
    kind = kind or next((what for name, what in _OTHERS.items() if (folder / name).exists()), None)
    if kind:
        raise UserError(f"{folder} holds {kind}: choose another --output.")
    if how != "new" or not folder.is_dir():
        return
    runs = sorted({file.parent for name in _RUNS for file in (*folder.glob(name), *folder.glob(f"*/{name}"))})
    reports = [name for name in _REPORT if (folder / name).exists()]
    if runs or reports:
        what = (
            f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} already" if runs else f"{reports[0]} already"
        )
        raise UserError(
            f"{folder} holds {what}: go on with --resume, replace what is there with --overwrite, or choose another "
            "--output."
        )


def refuse_replacing(folder: Path, names: Iterable[str], overwrite: bool, option: str = "--output") -> None:
    """Refuse to write files over those of an earlier command, or over folders.

    Args:
        folder: where to write.
        names: of the files that would be written.
        overwrite: whether the user wants just that.
        option: what names the place on the command line.

    Raises:
        UserError: one of them is there.
    """
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise UserError(
            f"{folder} holds {there[0]} already: choose another {option}, or replace it with --overwrite."
        )
    for name in there:
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder, and would be a file: choose another {option}.")


def refuse_unwritable(*folders: Path, option: str = "--output") -> None:
    """Refuse folders for results that nothing can be written to, before there are any; nothing is made.

    Args:
        folders: where to write.
        option: what names them on the command line.

    Raises:
        UserError: one cannot be made or written to.
    """
    for folder in folders:
        place = folder.absolute()
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        if not place.is_dir():
            reason = os.strerror(errno.ENOTDIR)
        elif not os.access(place, os.W_OK | os.X_OK):
            reason = os.strerror(errno.EACCES)
        else:
            continue
        where = "" if place == folder.absolute() else f" ({place})"
        raise UserError(f"cannot write to {folder}: {reason}{where}; choose another {option}.")


def make_way(folder: Path, names: Iterable[str], overwrite: bool, delete: bool = False) -> None:
    """Before a command writes files into a folder: refuse what it cannot write or would replace, and clear up what a
    killed one left.

    Args:
        folder, names, overwrite: as for `refuse_replacing`.
        delete: whether what is there is deleted now, because it would be added to.
    """
    names = list(names)
    refuse_unwritable(folder)
    refuse_replacing(folder, names, overwrite)
    remove_leftovers(folder)
    for name in names if delete else ():
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def set_aside(path: Path, wanted: bool) -> Iterator[None]:
    """What is to be replaced is out of the way meanwhile, and comes back where nothing has taken its place."""
    aside = path.with_name(f".{path.name}.before")
    if aside.exists() and not path.exists():  # a killed command had no time to put it back
        os.replace(aside, path)
    if wanted and path.exists():
        os.replace(path, aside)
    try:
        yield
    finally:
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        elif aside.exists():
            os.replace(aside, path)


def refuse_report_over_others(folder: Path, overwrite: bool) -> None:
    """Refuse a report where its files would replace what no report wrote.

    A report is made from results at any time, so it may replace an earlier one.

    Raises:
        UserError: the folder holds an audit or a repair, or a file with a report's name that is somebody else's;
            or it cannot be written to.
    """
    refuse_unwritable(folder)
    for name, what in _OTHERS.items():
        if (folder / name).exists() and not overwrite:
            raise UserError(
                f"{folder} holds {what}, whose page a report would replace: choose another --output."
            )
    page = folder / "report.html"
    if not (page.is_file() and GENERATOR in page.read_bytes()):
        refuse_replacing(folder, _REPORT, overwrite)


# Which runs belong together


def write_index(folder: Path, runs: Sequence[str]) -> None:
    """Note the folders of the runs of one experiment, which stand directly below `folder`."""
    write_text(folder / INDEX, json.dumps({"schema_version": 1, "runs": list(runs)}, indent=1))


def left_over(run: Path) -> bool:
    """Whether a run's folder is left over from an earlier experiment in the folder above it.

    Raises:
        UserError: the index of that folder is not whole.
    """
    known = _indexed(run.parent)
    return known is not None and run.name not in known


def missing_runs(folder: Path) -> list[Path]:
    """The runs of the experiment that was last run into a folder which are not there, not even begun.

    Raises:
        UserError: the index of the folder is not whole.
    """
    return [folder / name for name in _indexed(folder) or () if not (folder / name).is_dir()]


def _indexed(folder: Path) -> list[str] | None:
    """The names of the runs that belong together in a folder; None where it says nothing of them."""
    index = folder / INDEX
    if not index.exists():
        return None
    cure = "delete it to read every run in the folder."
    known: Any = read_object(index, cure).get("runs")
    if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
        raise UserError(f"{index} names no runs; {cure}")
    return known


def drop_empty(*folders: Path) -> None:
    """Remove folders that nothing was written to."""
    for folder in folders:
        with contextlib.suppress(OSError):  # it holds something, or was never made
            folder.rmdir()
