"""What people have noted about a run: `notes.md` in its folder, shown on every page that the run is part of."""

from __future__ import annotations

from pathlib import Path

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text

FILE = "notes.md"

LONGEST = 20_000
"""Letters of a note."""


def read_note(folder: Path | None) -> str:
    """The note of a run, without blanks at its ends; "" where there is none, or none that can be read."""
    if folder is None:
        return ""
    try:
        with (folder / FILE).open(encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST).strip()
    except OSError:
        return ""


def write_note(folder: Path, text: str) -> None:
    """Keep a note in a run's folder, in the place of an earlier one; an empty one removes it.

    Raises:
        UserError: it is too long, or the folder cannot be written.
    """
    if len(text) > LONGEST:
        raise UserError(f"a note has up to {LONGEST:,} letters and this one {len(text):,}: shorten it.")
    file = folder / FILE
    try:
        if text.strip():
            write_text(file, text.strip() + "\n")
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}; make it writable.") from None
