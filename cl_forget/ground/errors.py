"""The one exception that reaches a user as a single line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """Something the user can mend: the message is one line that says what is wrong and names the cure.

    The command line prints it without a traceback and exits with code 2; a script can catch it.

    Attributes:
        entry: what a file asks for that it is about, as the file has it; None where it is about no such thing.
    """

    entry: Any = None


class TrainingDiverged(UserError):
    """A loss or gradient became NaN or infinite; what was saved before stays on disk.

    As all randomness is seeded, the same settings come to the same step again.
    """


@contextmanager
def about(entry: Any) -> Iterator[None]:
    """Mistakes are about what a file asks for with this entry; of several that lie in one another, the outermost."""
    try:
        yield
    except UserError as error:
        error.entry = entry
        raise


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
