"""From folders to a report: what was run there, whatever it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.settings import recorded_settings, what_differs
from cl_forget.ground.collection import uncollected
from cl_forget.ground.documents import parse_yaml, read_text
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath, as_paths
from cl_forget.reporting._understood import find_understood
from cl_forget.reporting.build import specify
from cl_forget.reporting.loading import Loaded, load_runs, refuse_missing
from cl_forget.reporting.numbers import listed
from cl_forget.reporting.specification import Section, Specification, Table
from cl_forget.reporting.sweep import specify_sweep

if TYPE_CHECKING:
    from cl_forget.comparison.trials import Trial
    from cl_forget.config.protocol import Protocol


@uncollected()
def specify_folders(paths: StrPath | Sequence[StrPath], title: str | None = None) -> Specification:
    """The report on what lies in the folders: finished runs, or sweeps, finished or not.

    Args:
        paths: run folders, folders that hold some, or folders of sweeps; several are compared in one report.
        title: of the page.

    Raises:
        UserError: a folder is missing, holds nothing, or what they hold cannot be compared.
    """
    from cl_forget.comparison.analysis import sweep_summary

    paths = as_paths(paths)
    sweeps = [path for path in paths if is_sweep(path)]
    if not sweeps:
        loaded = load_runs(paths)
        specification = specify(loaded.results, title, loaded.folders)
        left_out = tuple(_left_out(loaded))
        findings = (*specification.findings, *left_out)
        sections = tuple(_noted(section, left_out) for section in specification.sections)
        understood = find_understood(paths)
        return replace(specification, findings=findings, sections=sections, understood=understood)
    if len(sweeps) < len(paths):
        other = next(path for path in paths if path not in sweeps)
        refuse_missing(other)
        raise UserError(f"{sweeps[0]} is a sweep and {other} is not: report them separately.")
    trials = load_sweeps(sweeps)
    summary = sweep_summary(trials, _protocol(sweeps)) if trials else None
    specification = specify_sweep(trials, summary, title, sweep_folders(sweeps))
    return replace(specification, understood=find_understood(sweeps))


def _noted(section: Section, notes: Sequence[str]) -> Section:
    """The section with notes below the table of results, which stands on the terminal without the page, too."""
    items = [
        replace(item, notes=(*notes, *item.notes))
        if isinstance(item, Table) and item.name == "results"
        else item
        for item in section.items
    ]
    return replace(section, items=tuple(items))


def _told(folders: Sequence[Path], one: str, several: str, rest: str) -> Iterable[str]:
    """A sentence about folders, where there are any: `one` or `several` is its verb."""
    if folders:
        names = [folder.name for folder in folders]
        yield f"{listed(names)} {one if len(names) == 1 else several} {rest}"


def _left_out(loaded: Loaded) -> Iterable[str]:
    """What lies in the folders, or should, and has no part in the report."""
    open_ = "not finished, and no part in this: resume with --resume."
    yield from _told(loaded.unfinished, "has", "have", open_)
    yield from _told(
        loaded.left_over, "is", "are", "not of the experiment that was last run into the same folder "
        "(experiment.json) and not read: left over from an earlier one, or renamed.",
    )  # fmt: skip
    yield from _told(
        loaded.missing, "belongs", "belong", "to the same experiment and cannot be found: the same command with "
        "--resume runs what is missing.",
    )  # fmt: skip


def _protocol(sweeps: Sequence[Path]) -> Protocol | None:
    """How the sweeps choose and compare; None, for the usual way, where they do not agree.

    Nothing else of them is read: the methods and data that they name may be anybody's code.
    """
    from pydantic import ValidationError

    from cl_forget.config.explaining import explain
    from cl_forget.config.protocol import Protocol

    protocols = []
    for path in sweeps:
        fields = _fields(path)
        given = fields.get("protocol")
        try:
            protocols += [given if given is None else Protocol.model_validate(given)] if fields else []
        except ValidationError as error:
            where, message = explain(error, Protocol)
            place = ".".join(filter(None, ("protocol", where)))
            raise UserError(f"{path / 'sweep.yaml'}: {place}: {message} {_CURE.capitalize()}") from None
    return protocols[0] if protocols and all(other == protocols[0] for other in protocols) else None


def is_sweep(path: StrPath) -> bool:
    """Whether a sweep has been started in the folder."""
    path = Path(path)
    return (path / "sweep.json").exists() or (path / "trials").is_dir()


def load_sweeps(paths: StrPath | Sequence[StrPath]) -> list[Trial]:
    """The trials of every sweep; where a method stands in more than one, its name has the sweep's behind it."""
    from cl_forget.comparison.trial_files import Records

    paths = as_paths(paths)
    trials = {path: Records(path).load() for path in paths}
    places: dict[str, set[Path]] = {}
    for path, of_sweep in trials.items():
        for trial in of_sweep:
            places.setdefault(trial.method, set()).add(path)
    several = {method for method, where in places.items() if len(where) > 1}
    names = _names(paths)
    asked = dict(zip(paths, what_differs([_asked(path) for path in paths]), strict=True))
    return [
        trial.model_copy(
            update={
                "id": trial.id if len(paths) == 1 else f"{names[path]}/{trial.id}",
                "sweep": names[path],
                "method": _arm(trial.method, names[path] if trial.method in several else "", asked[path]),
                "folder": trial.folder or f"trials/{trial.id}",
            }
        )
        for path, of_sweep in trials.items()
        for trial in of_sweep
    ]


def _arm(method: str, *behind: str) -> str:
    said = ", ".join(filter(None, behind))
    return f"{method} ({said})" if said else method


def _asked(path: Path) -> dict[str, Any]:
    """How a sweep trains, measures and reads texts; empty where it does not say."""
    fields = _fields(path)
    if not fields:
        return {}
    sections = {name: fields.get(name) for name in ("train", "evaluate", "text")}
    return recorded_settings(
        {name: value if isinstance(value, dict) else {} for name, value in sections.items()}
    )


_CURE = "restore it from a copy."


def _fields(path: Path) -> dict[str, Any]:
    """What a sweep was asked for, in plain values; empty where it does not say."""
    file = path / "sweep.yaml"
    if not file.exists():
        return {}
    fields = parse_yaml(read_text(file, _CURE), str(file), _CURE).value
    if not isinstance(fields, dict):
        raise UserError(f"{file} holds no sweep; {_CURE}")
    return fields


def sweep_folders(paths: Sequence[Path]) -> dict[str, Path]:
    """Sweep, as `load_sweeps` calls it -> its folder."""
    return {name: path for path, name in _names(paths).items()}


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A short name for each folder: its last part, or its whole path where two end alike."""
    last = [path.resolve().name for path in paths]
    return {
        path: name if last.count(name) == 1 else str(path) for path, name in zip(paths, last, strict=True)
    }
