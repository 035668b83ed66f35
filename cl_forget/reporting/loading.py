"""Finding results on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cl_forget.comparison.arms import separate
from cl_forget.comparison.records import Result
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath, as_paths
from cl_forget.ground.outputs import left_over, missing_runs


@dataclass(frozen=True)
class Loaded:
    """Finished runs found on disk.

    Attributes:
        results: one per run, in the order found. Where several folders were given and a method stands in more
            than one, its name has the folder's behind it: "LDIFS (sweep-b)".
        folders: (method, seed) -> the run's folder, below the path that was given.
        unfinished: folders of runs that have begun and hold no result yet.
        left_over: folders of finished runs that are not of the experiment which was last run into the folder
            above them; their results are not read.
        missing: folders of runs of that experiment that are not there.
    """

    results: list[Result]
    folders: dict[tuple[str, int], Path]
    unfinished: list[Path]
    left_over: list[Path] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)


def load_results(paths: StrPath | Sequence[StrPath]) -> list[Result]:
    """The results of `load_runs`, which says what is read and what is refused."""
    return load_runs(paths).results


def load_runs(paths: StrPath | Sequence[StrPath]) -> Loaded:
    """Every `result.json` in the folders and below them, each read once.

    Runs of one method with different settings become arms of their own, named by what differs.

    Args:
        paths: run folders, folders of run folders, or `result.json` files.

    Raises:
        UserError: a path does not exist, holds no result, or a result cannot be read; or two folders below
            one path hold the same method and seed.
    """
    found: dict[Path, tuple[Path, Result]] = {}
    unfinished: list[Path] = []
    old: list[Path] = []
    for path in as_paths(paths):
        refuse_missing(path)
        files = sorted(path.rglob("result.json")) if path.is_dir() else [path]
        begun = [file.parent for file in sorted(path.rglob("state.json"))] if path.is_dir() else []
        open_ = [folder for folder in begun if folder / "result.json" not in files]
        current = [file for file in files if file.parent == path or not left_over(file.parent)]
        old += [file.parent for file in files if file not in current]
        if not current:
            raise UserError(_nothing(path, open_))
        unfinished += [folder for folder in open_ if folder == path or not left_over(folder)]
        for file in current:
            if file.resolve() not in {known.resolve() for known in found}:
                found[file] = path, Result.load(file)
    arms = separate([result for _, result in found.values()])
    named = {file: (path, arm) for (file, (path, _)), arm in zip(found.items(), arms, strict=True)}
    places = {file.parent.parent for file, (path, _) in found.items() if file.parent != path}
    missing = [run for place in sorted(places) for run in missing_runs(place)]
    return replace(_named(named), unfinished=unfinished, left_over=old, missing=missing)


def refuse_missing(path: Path) -> None:
    """Refuse a folder that is not there.

    Raises:
        UserError: says what to give.
    """
    if not path.exists():
        raise UserError(f"no folder {path}: give one that `cl-forget run` or `cl-forget sweep` wrote.")


def _nothing(path: Path, unfinished: list[Path]) -> str:
    if unfinished:
        runs = "run has" if len(unfinished) == 1 else "runs have"
        return (
            f"no result.json in or below {path}: its {len(unfinished)} {runs} not finished; resume with --resume, or "
            "watch with --serve."
        )
    return (
        f"no result.json in or below {path}: give a folder that `cl-forget run` or `cl-forget sweep` wrote."
    )


def _named(found: dict[Path, tuple[Path, Result]]) -> Loaded:
    sources: dict[str, set[Path]] = {}
    for path, result in found.values():
        sources.setdefault(result.method, set()).add(path)
    several = {name for name, of in sources.items() if len(of) > 1 and _twice(name, found)}
    results: list[Result] = []
    folders: dict[tuple[str, int], Path] = {}
    for file, (path, result) in found.items():
        if result.method in several:
            result = result.model_copy(
                update={"method": f"{result.method} ({path.name or path.parent.name})"}
            )
        key = (result.method, result.seed)
        if key in folders:
            raise UserError(
                f"'{result.method}' seed {result.seed} is in both {folders[key]} and {file.parent}: give one of them."
            )
        folders[key] = file.parent
        results.append(result)
    return Loaded(results, folders, [])


def _twice(method: str, found: dict[Path, tuple[Path, Result]]) -> bool:
    """Whether the method has a seed that more than one folder holds a run of."""
    seeds = [result.seed for _, result in found.values() if result.method == method]
    return len(set(seeds)) < len(seeds)
