"""Libraries say at length what they do; we say once what went wrong."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from cl_forget.ground.errors import UserError, first_line


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No log lines and no progress bars of transformers."""
    from transformers.utils import logging as theirs

    bars = theirs.is_progress_bar_enabled()
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            theirs.enable_progress_bar()


@contextlib.contextmanager
def panics_are_errors() -> Iterator[None]:
    """What a library written in Rust calls a panic is an error like any other, and prints nothing.

    Such a panic is no `Exception` in Python, and its report goes to the process's standard error by itself.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(str(error)) from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def tokenized(tokenizer: Callable[..., Any], texts: str | list[str], **options: Any) -> Any:
    """What the tokenizer makes of the texts.

    Raises:
        UserError: it fails on them, as one whose files are damaged may on some texts only.
    """
    try:
        with panics_are_errors():
            return tokenizer(texts, **options)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        text = texts if isinstance(texts, str) else next(iter(texts), "")
        raise UserError(
            f"the model's tokenizer fails on {text[:40]!r} ({type(error).__name__}: {first_line(error)}); "
            "its files may be damaged: save it again with the model, or use those that belong to the model."
        ) from error
