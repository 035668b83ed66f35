"""A folder of arrays: checksummed, memory-mapped, shared by processes, bounded in size.

    <root>/<entry>/manifest.json                  field -> dtype, shape, sha256 of the array's bytes
    <root>/<entry>/<field>-<sha256>.npy           one array, in numpy's own format
    <root>/<entry>.lock                           held by whoever writes or evicts the entry

A file is written under a temporary name and renamed when whole, and its name holds its checksum, so a
manifest never points at another writer's bytes. A file that does not match its manifest is dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from cl_forget.ground.errors import UserError

try:
    import fcntl
except ImportError:  # no such locks on this system: two writers both compute, and the last manifest wins
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("cl_forget")

VERSION = 1
HEADER = 256  # bytes before the data of every .npy file: room for any shape, and aligned
DTYPES = ("float32", "float64", "int32", "int64", "uint8")


class Writer:
    """One array being written row by row, under a temporary name.

    Args:
        folder: the entry.
        field: what the array holds.
        dtype, row_shape: of what `append` will be given; rows are appended along the first axis.
    """

    def __init__(self, folder: Path, field: str, dtype: np.dtype, row_shape: tuple[int, ...]) -> None:
        self.field = field
        self.dtype = dtype
        self.row_shape = row_shape
        self.rows = 0
        self._folder = folder
        self._digest = hashlib.sha256()
        self._path = folder / f"{secrets.token_hex(8)}.tmp"
        self._file = self._path.open("xb")
        self._file.write(bytes(HEADER))

    def append(self, rows: np.ndarray) -> None:
        """Add (n, *row_shape) rows.

        Raises:
            OSError: the disk is full or gone.
        """
        data = _bytes(np.ascontiguousarray(rows))
        self._file.write(data)
        self._digest.update(data)
        self.rows += len(rows)

    def finish(self) -> dict[str, Any]:
        """Give the file its name; the field's line in the manifest."""
        shape = (self.rows, *self.row_shape)
        about = {"dtype": str(self.dtype), "shape": list(shape), "sha256": self._digest.hexdigest()}
        self._file.seek(0)
        self._file.write(_header(str(self.dtype), shape))
        self._file.close()
        os.replace(self._path, _file(self._folder, self.field, about))
        return about

    def abandon(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


class Store:
    """Entries of arrays under one folder.

    Args:
        root: the folder; made if missing.
        max_bytes: what the entries together may take on disk.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = Path(root)
        self.max_bytes = max_bytes
        # (entry, field, sha256) -> the mapped array, as long as somebody in this process uses it
        self._held: WeakValueDictionary[tuple[str, str, str], np.ndarray] = WeakValueDictionary()
        self._verified: set[tuple[str, int, int, int]] = set()  # path, inode, size, time of change
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the cache folder {root} cannot be made ({error.strerror}); choose another one."
            ) from error

    def entry(self, *parts: str) -> Path:
        """The folder of the entry that `parts` identify."""
        return self.root / hashlib.sha256("\n".join((str(VERSION), *parts)).encode()).hexdigest()[:32]

    # -- reading ---------------------------------------------------------------------------------------
    def read(self, folder: Path, fields: list[str], say: bool = True) -> dict[str, np.ndarray]:
        """Those of `fields` that the entry holds, memory-mapped; each is verified once per process.

        A field whose file is damaged counts as absent, with one log line if `say`.
        """
        manifest = self._manifest(folder, say)
        found = {}
        for field in fields:
            if field in manifest:
                try:
                    found[field] = self._map(folder, field, manifest[field])
                except (OSError, ValueError, KeyError, TypeError) as error:
                    if say:
                        logger.warning(
                            "cached %s in %s is damaged: %s; computing it again", field, folder, error
                        )
        if found:
            with contextlib.suppress(OSError):  # a cache somebody else owns can be read all the same
                os.utime(folder / "manifest.json")  # eviction takes the entry used longest ago
        return found

    def _map(self, folder: Path, field: str, about: dict[str, Any]) -> np.ndarray:
        key = (folder.name, field, about["sha256"])
        held = self._held.get(key)
        if held is not None:
            return held
        if about["dtype"] not in DTYPES:
            raise ValueError(f"type {about['dtype']}")
        path, shape = _file(folder, field, about), tuple(about["shape"])
        with path.open("rb") as file:
            if file.read(HEADER) != _header(about["dtype"], shape):
                raise ValueError("wrong header")
        stat = path.stat()
        if stat.st_size != HEADER + math.prod(shape) * np.dtype(about["dtype"]).itemsize:
            raise ValueError("wrong length")
        # Mode "c" keeps the file read-only while torch, which knows no read-only tensors, sees no difference.
        array = np.memmap(path, about["dtype"], mode="c", offset=HEADER, shape=shape)
        state = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if state not in self._verified:
            if hashlib.sha256(_bytes(array)).hexdigest() != about["sha256"]:
                raise ValueError("wrong checksum")
            self._verified.add(state)
        self._held[key] = array
        return array

    def _manifest(self, folder: Path, say: bool = False) -> dict[str, Any]:
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            return dict(manifest["fields"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            if say:
                logger.warning("the manifest of %s is damaged: %s; computing the entry again", folder, error)
            return {}

    # -- writing ---------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def locked(self, folder: Path) -> Iterator[None]:
        """Alone among all processes in writing this entry; waits for a writer that came first."""
        patience = time.monotonic() + 5  # a shorter wait is not worth a line
        while (lock := _acquire(_lock(folder), wait=False)) is None and time.monotonic() < patience:
            time.sleep(0.02)
        if lock is None:
            logger.info("waiting for another process to finish the cache entry %s", folder.name)
            lock = _acquire(_lock(folder), wait=True)
        try:
            if lock != NO_LOCK:  # then nobody else is writing, and temporary files are of dead processes
                for stale in folder.glob("*.tmp"):
                    stale.unlink(missing_ok=True)
            yield
        finally:
            if lock != NO_LOCK and not folder.exists():  # nothing was kept
                _lock(folder).unlink(missing_ok=True)
            _release(lock)

    def commit(self, folder: Path, writers: list[Writer]) -> None:
        """Finish the writers' files and enter them in the manifest.

        Raises:
            OSError: the disk is full or gone.
        """
        finished = {writer.field: writer.finish() for writer in writers}
        before = self._manifest(folder)
        text = json.dumps({"version": VERSION, "fields": {**before, **finished}}, indent=1)
        temporary = folder / f"{secrets.token_hex(8)}.tmp"
        temporary.write_text(text)
        os.replace(temporary, folder / "manifest.json")
        for field in before.keys() & finished.keys():
            if before[field] != finished[field]:
                with contextlib.suppress(OSError, KeyError, TypeError):
                    _file(folder, field, before[field]).unlink()

    def make_room(self, needed: int, folder: Path) -> str | None:
        """Evict the entries used longest ago until `needed` bytes more can be written to `folder`.

        Entries that this process has mapped, and entries being written, stay.

        Returns:
            None, or the reason why there is no room; then nothing is evicted in vain.
        """
        used = _usage(self.root)
        in_use = {entry for entry, _, _ in list(self._held.keys())} | {folder.name}
        total = sum(size for size, _ in used.values())
        fixed = sum(size for entry, (size, _) in used.items() if entry in in_use)
        if needed > self.max_bytes:
            return f"{_mb(needed)} are more than the cache's limit of {_mb(self.max_bytes)}"
        if fixed + needed > self.max_bytes:
            return f"{_mb(fixed)} of the cache's limit of {_mb(self.max_bytes)} are in use"
        oldest_first = sorted(used.keys() - in_use, key=lambda entry: used[entry][1])
        while total + needed > self.max_bytes or shutil.disk_usage(self.root).free < needed:
            if not oldest_first:
                return f"no room for {_mb(needed)} at {self.root}"
            entry = oldest_first.pop(0)
            if _evict(self.root / entry):
                total -= used[entry][0]
        return None


NO_LOCK = -1


def _acquire(path: Path, wait: bool) -> int | None:
    """A descriptor that holds the lock, None if it is taken, `NO_LOCK` where locks cannot be had."""
    if fcntl is None:
        return NO_LOCK
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return NO_LOCK
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            return NO_LOCK
        os.close(descriptor)  # the entry was evicted, and its lock removed, while this process waited


def _release(descriptor: int | None) -> None:
    if descriptor is not None and descriptor != NO_LOCK:
        os.close(descriptor)


def _evict(folder: Path) -> bool:
    lock = _acquire(_lock(folder), wait=False)
    if lock is None:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    _lock(folder).unlink(missing_ok=True)
    _release(lock)
    return True


def _usage(root: Path) -> dict[str, tuple[int, float]]:
    """Entry -> (bytes, time of last use)."""
    found = {}
    for folder in root.iterdir():
        with contextlib.suppress(OSError):  # evicted by another process meanwhile
            if folder.is_dir():
                sizes = [path.stat().st_size for path in folder.iterdir()]
                manifest = folder / "manifest.json"
                found[folder.name] = (sum(sizes), (manifest if manifest.exists() else folder).stat().st_mtime)
    return found


def _lock(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _file(folder: Path, field: str, about: dict[str, Any]) -> Path:
    return folder / f"{re.sub(r'[^A-Za-z0-9_.]+', '-', field)}-{about['sha256'][:16]}.npy"


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The .npy header of an array, padded to `HEADER` bytes."""
    text = repr({"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10) + text.ljust(HEADER - 11) + b"\n"


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB"
