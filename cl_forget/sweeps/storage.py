"""Where a sweep's folder lies: a local path, or any address that fsspec takes, mirrored from a local folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cl_forget.ground.environment import cache_folder
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import inside, whole

LAST = ("state.json", "result.json", "trial.json", "sweep.json")
"""Files that speak of others: they arrive after them."""

SECONDS = 5.0
"""How often a mirror brings its copy up to date."""


def is_local(address: str) -> bool:
    """Whether an address is a path of this machine's file system."""
    return "://" not in address or address.startswith(("file://", "local://"))


def local_folder(address: str) -> Path:
    """The folder that is worked in: the path itself, or for other addresses one in the user's cache."""
    if is_local(address):
        return Path(address.partition("://")[2] or address).expanduser().absolute()
    return cache_folder().parent / "sweeps" / hashlib.sha256(address.encode()).hexdigest()[:16]


class Mirror:
    """Keeps a copy of a local folder at an fsspec address.

    A file that names others (`state.json` its checkpoints) is copied after them and only if they all are there,
    so the copy is at every instant one that a sweep can be resumed from.

    Args:
        address: "s3://bucket/sweeps/a", "memory://a", ...
        folder: the local folder.

    Raises:
        UserError: nobody knows such an address, or it cannot be reached.
    """

    def __init__(self, address: str, folder: Path) -> None:
        import fsspec

        self.address, self.folder = address, folder
        try:
            self._files, self._root = fsspec.core.url_to_fs(address)
            self._files.makedirs(self._root, exist_ok=True)
        except Exception as error:  # every file system has its own
            raise UserError(
                f"the storage at {address} cannot be used ({type(error).__name__}: {error}); check the address, or "
                "choose a local --output."
            ) from None
        self._seen: dict[str, tuple[int, int]] = {}  # local file -> its size and time when both were the same
        self._keys: dict[str, str] = {}  # and what told the remote one from other contents
        self._lock = threading.Lock()
        self._over = threading.Event()

    def pull(self, below: Iterable[str] = ("",)) -> None:
        """Bring what the folder lacks, and what others have changed since and nobody has changed here.

        Args:
            below: only these parts of it.
        """
        with self._lock:
            for part in below:
                for remote in self._files.find(f"{self._root}/{part}" if part else self._root):
                    name = remote[len(self._root) :].lstrip("/")
                    self._pull_file(remote, inside(self.folder, name, self.address))

    def _pull_file(self, remote: str, local: Path) -> None:
        stamp, key = _stamp(local), self._files.ukey(remote)
        untouched = stamp is not None and self._seen.get(str(local)) == stamp
        if stamp is None or (untouched and self._keys.get(str(local)) != key):
            local.parent.mkdir(parents=True, exist_ok=True)
            with whole(local) as temporary:
                temporary.write_bytes(self._files.cat_file(remote))
            self._remember(local, _stamp(local), key)

    def _remember(self, local: Path, stamp: tuple[int, int] | None, key: str) -> None:
        if stamp is not None:
            self._seen[str(local)] = stamp
            self._keys[str(local)] = key

    def push(self, below: str = "") -> None:
        """Copy what changed since the last time."""
        with self._lock:
            for folder in self._folders(below):
                self._push_folder(folder)

    def _folders(self, below: str) -> Iterator[Path]:
        """The folder itself and the run folders in it; checkpoints belong to theirs."""
        top = self.folder / below
        yield top
        yield from sorted(path for path in top.glob("trials/*") if path.is_dir())

    def _push_folder(self, folder: Path) -> None:
        state = _read(folder / "state.json")
        files = [
            f for f in [*folder.glob("*"), *folder.glob("checkpoints/*")] if f.is_file() and f.name[0] != "."
        ]
        for file in sorted(files, key=lambda f: LAST.index(f.name) if f.name in LAST else -1):
            stamp = _stamp(file)
            if stamp is None or self._seen.get(str(file)) == stamp:
                continue
            content = state if file.name == "state.json" else _read(file)
            if content is None or (file.name == "state.json" and not self._all_there(folder, content)):
                continue
            self._files.pipe_file(self._remote(file), content)
            self._remember(file, stamp, self._files.ukey(self._remote(file)))

    def _all_there(self, folder: Path, state: bytes) -> bool:
        found: dict[str, Any] = json.loads(state)
        named = [entry["file"] for entry in [*found.get("stages", []), found.get("step")] if entry]
        return all(self._files.exists(self._remote(folder / "checkpoints" / name)) for name in named)

    def _remote(self, file: Path) -> str:
        return f"{self._root}/{file.relative_to(self.folder).as_posix()}"

    # -- in the background -----------------------------------------------------------------------------
    def __enter__(self) -> Mirror:
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.push()

    def _follow(self) -> None:
        while not self._over.wait(SECONDS):
            self.push()
            self.pull()


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:  # checkpoints come and go
        return None
    return found.st_size, found.st_mtime_ns


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
