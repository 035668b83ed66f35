"""Modules that the user names to be imported: what they register is known afterwards, without a package."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from cl_forget.ground.errors import UserError

_brought_in: dict[str, None] = {}


def brought_in() -> list[str]:
    """The places that this process has imported at the user's word, in order."""
    return list(_brought_in)


def bring_in(places: Iterable[str], beside: Path | None = None) -> list[str]:
    """Import each place once; this runs its code.

    A file is imported under its own name, and its folder joins the path of this process and of those it starts, as
    the folder of a script does. So worker processes find it, too.

    Args:
        places: modules ("my_package.methods") or Python files ("methods/mine.py").
        beside: where relative files are looked for first, for instance the folder of the experiment file; then
            in the working directory.

    Returns:
        The places with files as absolute paths.

    Raises:
        UserError: there is no such module or file, its name is taken, or its code fails.
    """
    folders = [folder.absolute() for folder in (beside, Path.cwd()) if folder is not None]
    found = []
    for place in places:
        file = _file(place, folders)
        _import(place, place if file is None else file.stem, file)
        found.append(place if file is None else str(file))
        _brought_in[found[-1]] = None
    return found


def _file(place: str, folders: list[Path]) -> Path | None:
    """The file that a place names; None for a module that Python finds by itself."""
    if place.endswith(".py") or os.sep in place or "/" in place:
        file = next((folder / place for folder in folders if (folder / place).is_file()), None)
        if file is None:
            raise UserError(f"imports: there is no file {place} in {' or '.join(map(str, folders))}.")
        if not file.stem.isidentifier() or file.suffix != ".py":
            raise UserError(
                f"imports: {file.name} cannot be imported: name it like a variable, my_method.py."
            )
        return file.resolve()
    if not all(part.isidentifier() for part in place.split(".")):
        raise UserError(
            f"imports: {place!r} is neither a module (my_package.methods) nor a file (methods.py)."
        )
    if place in sys.modules or _known(place):
        return None
    beside = (folder / f"{place.replace('.', os.sep)}.py" for folder in folders)
    if "." not in place and (file := next((path for path in beside if path.is_file()), None)):
        return file.resolve()
    raise UserError(
        f"imports: there is no module {place}: install its package, or give the path of its file."
    )


def _known(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a package on the way is missing
        return False


def _import(place: str, name: str, file: Path | None) -> None:
    known = sys.modules.get(name)
    if file is not None and known is None:
        _join_path(str(file.parent))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except UserError as error:
        raise UserError(f"imports: {place}: {error}") from None
    except Exception as error:
        said = " ".join(str(error).split())
        raise UserError(f"imports: {place} cannot be imported: {type(error).__name__}: {said}.") from error
    own = getattr(module, "__file__", None)
    if file is not None and (own is None or Path(own).resolve() != file):
        raise UserError(
            f"imports: Python knows another module '{name}' ({own or 'built in'}) already; rename {place}."
        )


def _join_path(folder: str) -> None:
    """Look for modules there, too, in this process and in those that it starts."""
    if folder not in sys.path:
        sys.path.append(folder)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, known), folder])
