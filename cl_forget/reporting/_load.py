"""Finding results on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cl_forget.errors import UserError
from cl_forget.result import Result


def load_results(paths: Sequence[Path]) -> list[Result]:
    """Every `result.json` in the folders and below them, each read once.

    Args:
        paths: run folders, folders of run folders, or `result.json` files.

    Raises:
        UserError: a path does not exist, holds no result, or a result cannot be read; or two folders hold
            the same method and seed.
    """
    found: dict[Path, Result] = {}
    for path in paths:
        files = sorted(path.rglob("result.json")) if path.is_dir() else [path]
        if not path.exists():
            raise UserError(f"no folder {path}: give the folder that `cl-forget run` wrote.")
        if not files:
            raise UserError(
                f"no result.json in or below {path}: its runs have not finished; resume them with --resume."
            )
        for file in files:
            if file.resolve() not in found:
                found[file.resolve()] = Result.load(file)
    _refuse_twins(found)
    return list(found.values())


def _refuse_twins(found: dict[Path, Result]) -> None:
    places: dict[tuple[str, int], Path] = {}
    for file, result in found.items():
        other = places.setdefault((result.method, result.seed), file)
        if other != file:
            raise UserError(
                f"'{result.method}' seed {result.seed} is in both {other.parent} and {file.parent}: give "
                "one of them."
            )
