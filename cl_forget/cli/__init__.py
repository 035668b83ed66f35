"""The command line: cl-forget init | run | sweep | report | figures | audit | repair | landscape | list | ..."""

from __future__ import annotations

import errno
import sys

import typer

from cl_forget.cli.app import app
from cl_forget.cli.ending import after_interrupt, fail, misused, show_whole
from cl_forget.ground.errors import UserError
from cl_forget.ground.failures import (
    describe_failure,
    failure_of_machine,
    flush_output,
    nothing_more_printed,
    open_standard_streams,
)

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Entry point: a mistake of the user is one line and exit code 2, an interrupt leaves a resumable run."""
    open_standard_streams()
    sys.excepthook = show_whole
    with nothing_more_printed():
        try:
            code = app(prog_name="cl-forget", standalone_mode=False)
            flush_output()
        except UserError as error:
            fail(str(error))
        except typer.TyperException as error:
            if not (message := misused(error)):  # a bare `cl-forget` has shown its help
                sys.exit(2)
            fail(message)
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except SystemExit:  # how the command line's library answers a broken pipe
            fail(describe_failure(errno.EPIPE))
        except Exception as error:
            if (line := failure_of_machine(error)) is None:
                raise
            fail(line)
        if code == _INTERRUPTED:  # typer turns an interrupt inside a command into this code
            typer.echo(after_interrupt(sys.argv[1:]), err=True)
    sys.exit(code if isinstance(code, int) else 0)
