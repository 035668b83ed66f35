"""`cl-forget init`: experiment files to start from, commented, valid as they are."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text
from cl_forget.ground.registry import closest

KINDS = ("clip", "classifier", "lm")


def write_experiment(kind: str, output: Path | str | None = None) -> Path:
    """Write the experiment file for a kind of model.

    Args:
        kind: "clip", "classifier" or "lm".
        output: the file; `<kind>.yaml` in the working directory by default.

    Returns:
        The file written.

    Raises:
        UserError: another kind, a file that is there already, or a place that cannot be written.
    """
    if kind not in KINDS:
        raise UserError(
            f"there is no '{kind}' to start from.{closest(kind, [*KINDS])} Known: {', '.join(KINDS)}."
        )
    target = Path(output or f"{kind}.yaml")
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} is there already; choose another --output, or remove it.")
    text = files("cl_forget.cli.starting").joinpath(f"{kind}.yaml").read_text(encoding="utf-8")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
    except OSError as error:
        raise UserError(f"cannot write to {target}: {error.strerror}; choose another --output.") from None
    return target
