"""The one exception that reaches a user as a single line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the message is one line that says what is wrong and names the cure.

    The command line prints it without a traceback and exits with code 2; a script can catch it.
    """


class TrainingDiverged(UserError):
    """A loss or gradient became NaN or infinite; the last good state is kept on disk."""
