"""What the machine may refuse while a command runs: a full disk, too many open files, a reader that went away.

Bad content is refused where it is read, with a cure of its own. What is left for here are failures of the
environment, which can strike at any line and in any library; the command line asks what to say of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator

_CURES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on file sizes (`ulimit -f`), or choose another --output",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENFILE: "close other programs, the machine has too many files open",
    errno.ENOMEM: "free some memory, or use smaller batches",
    errno.EPIPE: "the program that read the output has ended; read all of it, or send it to a file",
    errno.EACCES: "change its permissions, or choose another --output",
    errno.EPERM: "change its permissions, or choose another --output",
    errno.EROFS: "choose an --output that can be written",
    errno.EIO: "the disk or the network drive fails; choose another --output",
    errno.ENAMETOOLONG: "choose shorter names",
    errno.ELOOP: "its links go round in a circle; mend them",
    errno.EISDIR: "a folder lies where a file should be; move it away",
    errno.ENOTDIR: "a file lies where a folder should be; move it away",
    errno.EAGAIN: "the machine has no process or thread left (`ulimit -u`)",
    errno.ESTALE: "the network drive has lost the file; mount it again",
}
_SAID = re.compile(r"\(os error (\d+)\)")  # how libraries written in Rust report them
_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def failure_of_machine(error: BaseException) -> str | None:
    """One line with the cure if the environment is to blame for an error, else None.

    Looks behind errors of libraries that were raised because of such a failure.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if (line := _failure(link)) is not None:
            return line
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return None


def _failure(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or any(sign in text.lower() for sign in _MEMORY):
        return "out of memory; use a smaller batch_size or micro_batch_size, or a machine with more."
    if isinstance(error, OSError) and error.errno is not None:
        return describe_failure(error.errno, error.filename)
    said = _SAID.search(text)
    if said is not None:
        return describe_failure(int(said[1]))
    if os.strerror(errno.EMFILE) in text:  # of the dynamic linker, while a module is imported
        return describe_failure(errno.EMFILE)
    return None


def describe_failure(number: int, file: object = None) -> str:
    """One line for an error number of the operating system, and the file it is about, with the cure."""
    where = f"{file}: " if file is not None else ""
    cure = _CURES.get(number, "mend that, then run the same command again (a run goes on with --resume)")
    return f"{where}{os.strerror(number)}; {cure}."


def one_line(message: str, limit: int = 2000) -> str:
    """A message as one printable line: control characters are spelled out, the middle of a long one left out."""
    text = " ".join(message.split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"


def open_standard_streams() -> None:
    """Give a process that was started without standard input, output or error empty ones.

    The next file it opened would take the free number, and what is printed would be written into that file.
    """
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that knows few characters still gets the rest of the line
            reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write out what is buffered; raises OSError where nobody reads it or the disk is full."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


@contextlib.contextmanager
def nothing_more_printed() -> Iterator[None]:
    """Afterwards what is still buffered goes nowhere, so that the interpreter does not fail over it at its end."""
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
                continue
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
