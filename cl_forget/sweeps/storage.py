"""Where a sweep's folder lies: a local path, or any address that fsspec takes, mirrored from a local folder.

At an address every process works in a folder of its own machine and meets the others only there: the driver writes
the sweep's own files and tables, a worker the folders of the trials that it works on. A checkpoint after a stage is
kept there once, however many trials take it over (`checkpoints/<sha256>.safetensors`); of those inside a stage each
run has one, the latest.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground import clock
from cl_forget.ground.environment import cache_folder
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import inside, whole
from cl_forget.ground.progress import FOLDER as SIGNS

if TYPE_CHECKING:
    from cl_forget.training.checkpoints import Checkpoint

LAST = ("state.json", "result.json", "trial.json", "sweep.json")
"""Files that speak of others: they arrive after them."""

SHARED = "checkpoints"
"""Where below the address the checkpoints after stages lie, by their checksums."""

_TRIED = ".tried-"
"""What the name of a file begins with that is there for an instant, to see whether it can be."""

SECONDS = 5.0
"""How often a copy is brought up to date."""
PAUSE = 10
"""It takes a tenth of the time at most: after a long round the next one waits so many times as long."""
TOGETHER = 256
"""Small files that are asked for at once."""

_TOLD = ("ETag", "etag", "md5Hash", "size", "mtime", "created", "generation")
"""What file systems say of a file that is another one after it has changed, by name."""


_SLIP = re.compile(r"([a-z0-9_]{2,}):(?!//)(.*)")
"""An address that lacks a slash or two; one letter alone is a drive of Windows."""


def is_local(address: str) -> bool:
    """Whether an address is a path of this machine's file system.

    Raises:
        UserError: it is an address that lacks a slash or two, which would be a path, too.
    """
    slip = _SLIP.match(address)
    if slip and _is_protocol(slip[1]):
        meant = slip[2] if slip[1] in ("file", "local") else f"{slip[1]}://{slip[2].lstrip('/')}"
        raise UserError(
            f"'{address}' looks like an address and is none; write {meant}, or ./{address} for a folder of that name."
        )
    return "://" not in address or address.startswith(("file://", "local://"))


def _is_protocol(name: str) -> bool:
    from fsspec.registry import available_protocols

    return name in available_protocols()


def _package_of(address: str) -> str | None:
    """What pip has to install for an address; None for a file system that comes with fsspec."""
    from fsspec.registry import known_implementations

    package = (
        known_implementations.get(address.partition("://")[0], {}).get("class", "fsspec").partition(".")[0]
    )
    return None if package == "fsspec" else str(package).replace("_", "-")


def is_remote(address: str) -> bool:
    """Whether an address is storage that other processes reach, too; what lies in memory is this one's own."""
    return not is_local(address) and not address.startswith("memory://")


def local_folder(address: str) -> Path:
    """The folder that is worked in: the path itself, or for other addresses one in the user's cache."""
    if is_local(address):
        return Path(address.partition("://")[2] or address).expanduser().absolute()
    return cache_folder().parent / "sweeps" / hashlib.sha256(address.encode()).hexdigest()[:16]


def workers_folder(address: str) -> Path:
    """The folder of this machine's workers, where they mirror to an address; the driver has another one."""
    folder = local_folder(address)
    return folder.with_name(f"{folder.name}-workers")


class Mirror:
    """Keeps a copy of a local folder at an fsspec address, and brings what others have put there.

    A file that names others (`state.json` its checkpoints) is copied after them and only if they all are there,
    so the copy is at every instant one that a sweep can be resumed from.

    Args:
        address: "s3://bucket/sweeps/a", "memory://a", ...
        folder: the local folder.
        records: whether workers copy the folders of their trials themselves: then only the records in them are
            copied, and no checkpoint is brought.
        dry: whether nothing will be written there; then it is tried only whether it can be read.

    Raises:
        UserError: nobody knows such an address, or it cannot be reached, read or written to.
    """

    def __init__(self, address: str, folder: Path, records: bool = False, dry: bool = False) -> None:
        import fsspec

        self.address, self.folder, self._records = address, folder, records
        try:
            # What others do there must be seen at once.
            self._files, self._root = fsspec.core.url_to_fs(address, use_listings_cache=False)
            if dry:
                with contextlib.suppress(FileNotFoundError):
                    self._files.ls(self._root)
            else:
                self._files.makedirs(self._root, exist_ok=True)
                self._try()
        except Exception as error:  # every file system has its own
            said = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            package = _package_of(address) if isinstance(error, ImportError) else None
            cure = f"pip install {package}" if package else "check the address, and that it may be written to"
            raise UserError(
                f"the storage at {address} cannot be used ({said}); {cure}, or choose a local --output."
            ) from None
        self._seen: dict[str, tuple[int, int]] = {}  # local file -> its size and time when both were the same
        self._keys: dict[str, str] = {}  # and what told the remote one from other contents
        self._there: set[str] = set()  # checkpoints that are known to be there
        self._steps: dict[Path, set[str]] = {}  # run folder -> its checkpoints inside a stage that are there
        self._lock = threading.Lock()

    def _try(self) -> None:
        """Write, find and remove a file, so that storage that refuses one of these does so before any trial."""
        place = f"{self._root}/{_TRIED}{secrets.token_hex(4)}"
        self._files.pipe_file(place, b"")
        try:
            if not self._files.find(place):
                raise OSError("what was written is not there")
        finally:
            self._files.rm_file(place)

    # -- from there ------------------------------------------------------------------------------------
    def pull(self, below: Iterable[str] = ("",), theirs: bool = False) -> None:
        """Bring what the folder lacks, and what others have changed since and nobody has changed here.

        Args:
            below: only these parts of it.
            theirs: also what was changed here; so begins who goes on with what others may have worked on since.
        """
        with self._lock:
            for part in below:
                self._pull_part(part, theirs)

    def _pull_part(self, part: str, theirs: bool) -> None:
        found = self._files.find(f"{self._root}/{part}" if part else self._root, detail=True)
        news: list[tuple[str, Path, str]] = []
        for remote, about in found.items():
            name = remote[len(self._root) :].lstrip("/")
            if name.split("/")[0] == SHARED or name.startswith(_TRIED):
                continue
            local, key = inside(self.folder, name, self.address), _key(about)
            if local.parent.name == "checkpoints":
                self._steps.setdefault(local.parent.parent, set()).add(local.name)
            elif self._is_news(local, key, theirs and not name.startswith(SIGNS)):
                news.append((remote, local, key))
        states = [one for one in news if one[1].name == "state.json" and not self._records]
        before = self._files.cat([remote for remote, *_ in states], on_error="omit") if states else {}
        # The record is what others look at first.
        self._bring(
            sorted((one for one in news if one not in states), key=lambda one: one[1].name == "trial.json")
        )
        for remote, local, key in states:
            if remote in before:
                self._bring_state(remote, local, key, before[remote])

    def _is_news(self, local: Path, key: str, theirs: bool) -> bool:
        stamp = _stamp(local)
        if stamp is None:
            return True
        untouched = self._seen.get(str(local)) == stamp
        return (theirs or untouched) and self._keys.get(str(local)) != key

    def _bring(self, news: list[tuple[str, Path, str]]) -> None:
        for start in range(0, len(news), TOGETHER):
            some = news[start : start + TOGETHER]
            found = self._files.cat([remote for remote, *_ in some], on_error="omit")
            for remote, local, key in some:
                if remote in found:  # what is gone by now was replaced
                    self._put(local, found[remote], key)

    def _put(self, local: Path, content: bytes, key: str) -> None:
        local.parent.mkdir(parents=True, exist_ok=True)
        with whole(local) as temporary:
            temporary.write_bytes(content)
        self._remember(local, _stamp(local), key)

    def _bring_state(self, remote: str, local: Path, key: str, content: bytes) -> None:
        """A state, after the checkpoints that it names; without these it is left: its training is done again."""
        while not all(self._bring_checkpoint(local.parent, *one) for one in _named(content)):
            before, content = content, self._files.cat_file(remote)
            if content == before:
                return
        self._put(local, content, key)

    def _bring_checkpoint(self, run: Path, entry: Checkpoint, shared: bool) -> bool:
        local, place = run / "checkpoints" / entry.file, self._place(run, entry, shared)
        if not _is(local, entry.sha256):
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                with whole(local) as temporary:
                    self._files.get_file(place, str(temporary))
            except FileNotFoundError:
                return False
        self._there.add(place)
        return True

    def _remember(self, local: Path, stamp: tuple[int, int] | None, key: str) -> None:
        if stamp is not None:
            self._seen[str(local)] = stamp
            self._keys[str(local)] = key

    # -- to there --------------------------------------------------------------------------------------
    def push(self, below: Iterable[str] | None = None) -> None:
        """Copy what changed since the last time; all of it, or only these folders without those in them."""
        with self._lock:
            for folder in self._folders() if below is None else map(self.folder.joinpath, below):
                self._push_folder(folder)

    def _folders(self) -> Iterator[Path]:
        """The folder itself, what it notes of models and data, and the run folders."""
        yield self.folder
        yield self.folder / "world"
        yield from sorted(path for path in self.folder.glob("trials/*") if path.is_dir())

    def _push_folder(self, folder: Path) -> None:
        # Who speaks of other files is read before these are looked for, so that what it speaks of is among them.
        speaking = {name: self._changed(folder / name) for name in reversed(LAST)}
        only_record = self._records and folder.parent == self.folder / "trials"
        others = [] if only_record else [f for f in folder.glob("*") if f.name[0] != "." and f.is_file()]
        for file in sorted(others):
            if file.name not in LAST:
                self._push_file(file, self._changed(file))
        for name in ("trial.json",) if only_record else LAST:
            changed = speaking[name]
            if name != "state.json":
                self._push_file(folder / name, changed)
            elif changed and self._push_checkpoints(folder, changed[1]):
                self._push_file(folder / name, changed)
                self._drop_steps(folder, changed[1])

    def _changed(self, file: Path) -> tuple[tuple[int, int], bytes] | None:
        """The stamp and the content of a file that is not there as it is here."""
        stamp = _stamp(file)
        content = None if stamp is None or self._seen.get(str(file)) == stamp else _read(file)
        return None if stamp is None or content is None else (stamp, content)

    def _push_file(self, file: Path, changed: tuple[tuple[int, int], bytes] | None) -> None:
        if changed is not None:
            remote = self._remote(file)
            self._files.pipe_file(remote, changed[1])
            self._remember(file, changed[0], _key(self._files.info(remote)))

    def _push_checkpoints(self, run: Path, state: bytes) -> bool:
        """Whether all that a state names is there, now at the latest."""
        for entry, shared in _named(state):
            place = self._place(run, entry, shared)
            if place in self._there:
                continue
            try:
                file = run / "checkpoints" / entry.file
                # Of the same size it is the same: a file system that is interrupted may keep a part.
                if not self._files.exists(place) or self._files.info(place)["size"] != file.stat().st_size:
                    self._files.put_file(str(file), place)
            except FileNotFoundError:  # there is a newer state by now
                return False
            self._there.add(place)
            if not shared:
                self._steps.setdefault(run, set()).add(entry.file)
        return True

    def _drop_steps(self, run: Path, state: bytes) -> None:
        """Remove the checkpoints inside a stage that the state, which has arrived, names no longer."""
        kept = {entry.file for entry, shared in _named(state) if not shared}
        for name in self._steps.pop(run, set()) - kept:
            place = f"{self._remote(run)}/checkpoints/{name}"
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(place)
            self._there.discard(place)
        self._steps[run] = kept

    def _place(self, run: Path, entry: Checkpoint, shared: bool) -> str:
        if shared:
            return f"{self._root}/{SHARED}/{entry.sha256}.safetensors"
        return f"{self._remote(run)}/checkpoints/{entry.file}"

    def _remote(self, file: Path) -> str:
        return f"{self._root}/{file.relative_to(self.folder).as_posix()}"

    def follow_clock(self) -> None:
        """From now on this process tells the time by the storage's clock (`ground.clock`), where it shows one."""
        place = f"{self._root}/.clock-{secrets.token_hex(4)}"

        def written() -> float:
            self._files.pipe_file(place, b"")
            return float(self._files.modified(place).timestamp())

        with contextlib.suppress(Exception):  # every file system has its own
            clock.compare(written)
        with contextlib.suppress(Exception):
            self._files.rm_file(place)

    # -- in the background -----------------------------------------------------------------------------
    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Meanwhile, and at the end, the copy and the folder are brought up to date: the driver's part."""

        def both() -> None:
            self.push()
            self.pull()

        with _again_and_again(both):
            yield
        self.push()

    @contextlib.contextmanager
    def pushing(self, below: Iterable[str], signs: Path | None = None) -> Iterator[None]:
        """Meanwhile these folders are copied as they change: a worker's part.

        What was not copied when it ends is left to a `push`.

        Args:
            below: the folders.
            signs: a file of lines, the last of which is copied, too: this process's sign of life.
        """
        parts = list(below)
        place = None if signs is None else f"{self._root}/{SIGNS}/{signs.name}"

        def copy() -> None:
            line = None if signs is None else _last_line(signs)
            if place is not None and line:
                self._files.pipe_file(place, line)
            self.push(parts)

        try:
            with _again_and_again(copy):
                yield
        finally:
            if place is not None:
                with contextlib.suppress(Exception):  # it is stale soon, if it stays
                    self._files.rm_file(place)


@contextlib.contextmanager
def _again_and_again(action: Callable[[], None]) -> Iterator[None]:
    """Meanwhile a thread does this every few seconds; storage that fails is tried again the next time."""
    over = threading.Event()

    def follow() -> None:
        wait = SECONDS
        while not over.wait(wait):
            began = time.monotonic()
            # Every file system has errors of its own; the last `push` does not hide them.
            with contextlib.suppress(Exception):
                action()
            wait = max(SECONDS, PAUSE * (time.monotonic() - began))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _named(state: bytes) -> list[tuple[Checkpoint, bool]]:
    """The checkpoints that a state names, and whether each is one after a stage, which others may share.

    What is no state names none: whoever reads it says so.
    """
    from cl_forget.training.checkpoints import State

    try:
        found = State.model_validate_json(state)
    except ValueError:
        return []
    return [*((stage, True) for stage in found.stages), *([(found.step, False)] if found.step else [])]


def _key(about: dict[str, Any]) -> str:
    return repr([(name, about[name]) for name in _TOLD if name in about])


def _is(file: Path, checksum: str) -> bool:
    """Whether a file is there and has this SHA-256."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == checksum
    except FileNotFoundError:
        return False


def _last_line(file: Path) -> bytes | None:
    """The last line of a file that grows; None where there is none yet."""
    lines = (_read(file) or b"").splitlines(keepends=True)[-1:]
    return lines[0] if lines else None


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
