"""The one exception that reaches a user as a single line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the message is one line that says what is wrong and names the cure.

    The command line prints it without a traceback and exits with code 2; a script can catch it.
    """


class TrainingDiverged(UserError):
    """A loss or gradient became NaN or infinite; the last good state is kept on disk."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
