"""How a command ends that did not do what was asked: one line, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
import traceback
from typing import Any, NoReturn

import typer

from cl_forget.ground.environment import json_line
from cl_forget.ground.failures import describe_failure, one_line
from cl_forget.ground.progress import in_json
from cl_forget.ground.redact import redact


def complain(line: str) -> None:
    """A line about what went wrong, as `--log` asks for; without secrets already."""
    if in_json():
        typer.echo(json_line("error", line.strip(), time.time(), {"event": "error"}), err=True)
    else:
        typer.secho(line, fg="red", err=True)


def show_whole(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What is no mistake of the user's is shown whole, but for secrets."""
    typer.echo(redact("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)


def fail(message: str) -> NoReturn:
    """End with one line and exit code 2."""
    try:
        line = one_line(redact(message))
    except OSError as error:  # no file can be opened any more, those of the redaction included
        line = describe_failure(error.errno or errno.EIO)
    with contextlib.suppress(OSError):  # nobody may be left to read it
        complain(line if in_json() else f"error: {line}")
    sys.exit(2)


def misused(error: typer.TyperException) -> str:
    """A mistake in the command itself as one line that says where help is."""
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).rstrip(".?")
    if context is None or not message:
        return message
    return f"{message}{'?' if 'Did you mean' in message else '.'} See `{context.command_path} --help`."


def after_interrupt(arguments: list[str]) -> str:
    """What to do after Ctrl-C, by the command that was under way."""
    if arguments[:1] == ["claims"]:
        return "interrupted; the same command goes on from here."
    lasting = arguments[:1] in (["run"], ["sweep"], ["pretrain"])
    if not lasting or "--dry-run" in arguments or arguments[:2] == ["sweep", "status"]:
        return "interrupted; run the same command again."
    return "interrupted; the same command with --resume goes on from here."
