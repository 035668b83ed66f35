"""Drawn pictures, kept in the cache folder: a process that finds them there need not draw them again."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.streams import _choose

if TYPE_CHECKING:
    import numpy as np

Source = Path | str
WAIT = 30.0
"""Seconds, more than any drawing takes: whoever holds the lock that long is not drawing."""


def kept(make: Callable[[], np.ndarray], *key: object, sources: tuple[Source, ...]) -> np.ndarray:
    """What `make` gives, or gave before.

    A file that is damaged or that cannot be read is made anew; a folder that cannot be written to is passed over.

    Args:
        make: gives the pictures, uint8; they depend on `key`, on `sources` and on the libraries that draw alone.
        key: what is drawn.
        sources: files that say how, beside those that every picture depends on: where one changes, so does the name
            that the pictures are kept under.
    """
    from cl_forget.ground.environment import cache_folder
    from cl_forget.ground.files import write_bytes

    file = cache_folder().parent / "pictures" / f"{_name(key, sources)}.bin"
    with contextlib.suppress(OSError):
        found = _unpack(file.read_bytes())
        if found is not None:
            return found
    with _alone(file.with_suffix(".lock")):
        with contextlib.suppress(OSError):
            found = _unpack(file.read_bytes())  # another process may have drawn them meanwhile
            if found is not None:
                return found
        pages = make()
        with contextlib.suppress(OSError):
            write_bytes(file, _pack(pages))
        return pages


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Others that want the same pictures wait for them; where no lock can be had, each draws its own."""
    from cl_forget.ground.files import acquire, release

    held = None
    with contextlib.suppress(OSError):
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = acquire(lock, WAIT)
    try:
        yield
    finally:
        if held is not None:
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
            release(held)


def _name(key: tuple[object, ...], sources: tuple[Source, ...]) -> str:
    import matplotlib
    import numpy
    import PIL

    versions = (PIL.__version__, matplotlib.__version__, numpy.__version__)
    digest = hashlib.sha256(repr((key, versions)).encode())
    for source in (__file__, _choose.__file__, *sources):
        digest.update(hashlib.sha256(Path(source).read_bytes()).digest())
    return digest.hexdigest()[:32]


def _pack(pages: np.ndarray) -> bytes:
    """The sha256 sum of the rest, then the shape as text, a line's end and the pixels."""
    content = f"{','.join(map(str, pages.shape))}\n".encode() + pages.tobytes()
    return hashlib.sha256(content).digest() + content


def _unpack(packed: bytes) -> np.ndarray | None:
    """The pictures; None where the file is not whole."""
    import numpy as np

    digest, content = packed[:32], packed[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    shape, _, pixels = content.partition(b"\n")
    return np.frombuffer(bytearray(pixels), dtype=np.uint8).reshape([int(side) for side in shape.split(b",")])
