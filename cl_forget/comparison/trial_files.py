"""The records of a sweep's trials, however many: what has not been written since is not opened again.

The file of each trial is the only truth about it, and 100,000 of them take a while to open and check. So whoever had
to open many leaves two files beside them, in Parquet,

    .trials.index    of each record that is over for good its name, `Stamp` and `Standing`, which a look needs
    .trials.texts    of each record its name, stamp and text, which tables and reports need

and the next reader opens only what was written since. Both are made of the records and may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from cl_forget.comparison.overview import Overview, Standing, combined, overview, standing
from cl_forget.comparison.trials import FOR_GOOD, Status, Trial, load_trial
from cl_forget.ground.collection import uncollected
from cl_forget.ground.documents import MAX_BYTES
from cl_forget.ground.files import whole

if TYPE_CHECKING:
    import pyarrow

INDEX = ".trials.index"
TEXTS = ".trials.texts"
SCHEMA = "2"
"""1: one file. 2: two, with the trials' folders and an overview."""
WORTH = 1000
"""Records that have to be opened one by one before the index is written."""
SHARE = 0.1
"""Of the texts, which are large, also that part of all records: a growing sweep does not write them each time."""
CHUNK = 10_000
"""Texts held at a time."""
SETTLED = 2 * 10**9
"""Nanoseconds after which a record may be indexed: a clock may show two writings that are nearer as one."""


COLUMNS = ("name", "folder", "written", "length", "method", "status", "seed", "speciality", "generality")
TEXT_COLUMNS = {"name": "string", "written": "int64", "length": "int64", "text": "string"}


class Stamp(NamedTuple):
    """What tells one writing of a record from another.

    Attributes:
        folder: the number that the file system gave the trial's folder.
        written: when the record was written, in nanoseconds since 1970.
        length: in bytes.
    """

    folder: int
    written: int
    length: int

    def same(self, other: Stamp) -> bool:
        """Whether both are of one writing; a copy of the sweep lies in other folders."""
        return self[1:] == other[1:]


class Records:
    """The trials of a sweep, looked at again and again.

    Args:
        folder: of the sweep; it may be read-only, and then neither file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Stamp, Standing]] = {}
        self._trials: dict[str, tuple[Stamp, Trial]] = {}  # that were asked for whole
        self._indexed: dict[str, int] = {}  # name -> number of its folder
        self._total: Overview | None = None  # what the indexed ones come to
        self._read = False  # whether what is known of them, too
        self._writable = True

    def overview(self) -> Overview:
        """What all trials come to, in a moment; errors as `load_trial`.

        The record of a trial that is over for good is not looked at again while its folder is the one it was in:
        nobody changes there what counts here.
        """
        if self._total is None:
            self._indexed, self._total = self._read_total()
        folders = self._folders()
        if self._total is None or not self._indexed.items() <= folders.items():
            return overview(self.standings())
        now, stamps = time.time_ns(), self._stamps(folders, without=self._indexed)
        found = self._look(stamps)
        if self._worth_writing(self._for_good(now, stamps)):
            return overview(self.standings())
        return combined(self._total, overview(found))

    @uncollected()
    def standings(self) -> list[Standing]:
        """How every trial stands, in order of id; errors as `load_trial`."""
        if not self._read:
            known = self._read_index()
            self._indexed = {name: stamp.folder for name, (stamp, _) in known.items()}
            self._known, self._read = {**known, **self._known}, True
        now, stamps = time.time_ns(), self._stamps(self._folders())
        found = self._look(stamps)
        good = self._for_good(now, stamps)
        stale = not self._indexed.items() <= good.items()
        if self._worth_writing(good) or (stale and self._writable):
            self._write_index(good)
        return found

    @uncollected()
    def load(self) -> list[Trial]:
        """Every record, in order of id; errors as `load_trial`."""
        now, stamps = time.time_ns(), self._stamps(self._folders())
        known = {n: (s, t) for n, (s, t) in self._trials.items() if n in stamps and s.same(stamps[n])}
        known.update(self._from_texts({n: stamp for n, stamp in stamps.items() if n not in known}))
        opened = [name for name in stamps if name not in known]
        for name in opened:
            trial = load_trial(self._folder, name)
            if trial is not None:  # folders come and go
                known[name] = stamps[name], trial
        self._trials = {name: known[name] for name in stamps if name in known}
        settled = sum(now - stamps[name].written > SETTLED for name in opened)
        if settled >= max(WORTH, SHARE * len(stamps)):
            self._write_texts(now)
        return [trial for _, trial in self._trials.values()]

    # -- the records -----------------------------------------------------------------------------------
    def _folders(self) -> dict[str, int]:
        """Name -> the number of its folder, in no order."""
        with suppress(FileNotFoundError), os.scandir(self._folder / "trials") as entries:
            return {entry.name: entry.inode() for entry in entries}
        return {}

    def _stamps(self, folders: Mapping[str, int], without: Collection[str] = ()) -> dict[str, Stamp]:
        """The stamp of every record that is there, in order of name."""
        found, trials = {}, f"{self._folder}/trials"
        for name in sorted(folders.keys() - without):
            with suppress(OSError):  # no record yet, or no folder
                status = os.stat(f"{trials}/{name}/trial.json")
                found[name] = Stamp(folders[name], status.st_mtime_ns, status.st_size)
        return found

    def _look(self, stamps: Mapping[str, Stamp]) -> list[Standing]:
        """How these records stand; those that have been written since are opened."""
        found = []
        for name, stamp in stamps.items():
            known = self._known.get(name)
            if known is None or not known[0].same(stamp):
                seen = _glimpse(self._folder, name, stamp.length)
                if seen is None:  # folders come and go
                    continue
                self._known[name] = known = stamp, seen._replace(id=name)
            elif known[0].folder != stamp.folder:
                self._known[name] = known = stamp, known[1]
            found.append(known[1])
        return found

    # -- the index -------------------------------------------------------------------------------------
    def _for_good(self, now: int, stamps: Mapping[str, Stamp]) -> dict[str, int]:
        """Those of which nobody changes what a look shows, and that are not of this moment, with their folders."""
        return {
            name: stamp.folder
            for name, stamp in stamps.items()
            if name in self._known
            and self._known[name][1].status in FOR_GOOD
            and now - stamp.written > SETTLED
        }

    def _worth_writing(self, good: Mapping[str, int]) -> bool:
        return self._writable and len(good.keys() - self._indexed.keys()) >= WORTH

    def _read_index(self) -> dict[str, tuple[Stamp, Standing]]:
        table = _table(self._folder / INDEX)
        if table is None:
            return {}
        names, folders, written, lengths, *fields = (column.to_pylist() for column in table.columns)
        stamps, standings = map(Stamp, folders, written, lengths), map(Standing, names, *fields)
        return dict(zip(names, zip(stamps, standings, strict=True), strict=True))

    def _read_total(self) -> tuple[dict[str, int], Overview | None]:
        """The indexed trials with the numbers of their folders, and what they come to."""
        table = _table(self._folder / INDEX, ["name", "folder"])
        if table is None:
            return {}, None
        counts, front, broken = json.loads(table.schema.metadata[b"overview"])
        total = Overview(counts, [Standing(*one) for one in front], frozenset(), broken)
        return dict(zip(*(column.to_pylist() for column in table.columns), strict=True)), total

    def _write_index(self, folders: dict[str, int]) -> None:
        """A new index of these trials."""
        import pyarrow
        from pyarrow import parquet

        known = [self._known[name] for name in folders]
        standings = [seen for _, seen in known]
        total = overview(standings)
        rows = [(seen.id, *stamp, *seen[1:]) for stamp, seen in known]
        columns = zip(*rows, strict=True) if rows else ([] for _ in COLUMNS)
        try:
            table = pyarrow.table(dict(zip(COLUMNS, columns, strict=True)))
            said = json.dumps([total.counts, total.front, total.broken])
            table = table.replace_schema_metadata({"schema": SCHEMA, "overview": said})
            with whole(self._folder / INDEX) as temporary:
                parquet.write_table(table, temporary, compression="zstd")
        except (OSError, OverflowError, pyarrow.ArrowException):  # it is of use, and no more than that
            self._writable = False
            return
        self._indexed, self._total = folders, total

    # -- the texts -------------------------------------------------------------------------------------
    def _from_texts(self, stamps: Mapping[str, Stamp]) -> dict[str, tuple[Stamp, Trial]]:
        """The records of these stamps that need not be opened."""
        found: dict[str, tuple[Stamp, Trial]] = {}
        table = _table(self._folder / TEXTS) if len(stamps) >= WORTH else None
        for batch in () if table is None else table.to_batches(CHUNK):
            for name, written, length, text in zip(*(column.to_pylist() for column in batch), strict=True):
                stamp = stamps.get(name)
                if stamp is not None and stamp[1:] == (written, length):
                    with suppress(ValueError):  # no record
                        found[name] = stamp, Trial.model_validate_json(text)
        return found

    def _write_texts(self, now: int) -> None:
        """The texts of all records that are not of this moment."""
        import pyarrow
        from pyarrow import parquet

        kept = [
            (name, stamp.written, stamp.length, trial)
            for name, (stamp, trial) in self._trials.items()
            if now - stamp.written > SETTLED
        ]
        schema = pyarrow.schema(TEXT_COLUMNS, metadata={"schema": SCHEMA})
        with (
            suppress(OSError),  # they are of use, and no more than that
            whole(self._folder / TEXTS) as temporary,
            parquet.ParquetWriter(temporary, schema, compression="zstd") as file,
        ):
            for first in range(0, len(kept), CHUNK):
                names, written, lengths, trials = zip(*kept[first : first + CHUNK], strict=True)
                texts = [trial.model_dump_json() for trial in trials]
                file.write_table(pyarrow.table([names, written, lengths, texts], schema=schema))


class _Measured(BaseModel):
    speciality: float | None = Field(default=None, allow_inf_nan=False)
    generality: float | None = Field(default=None, allow_inf_nan=False)


class _Seen(BaseModel):
    """The part of a record that a look reads."""

    sweep: str
    id: str
    method: str
    status: Status = "planned"
    seed: int = 0
    validation: _Measured = _Measured()


def _glimpse(folder: Path, name: str, length: int) -> Standing | None:
    """How a trial stands; None where there is no record; errors as `load_trial`, of what is read."""
    with suppress(OSError, ValidationError):
        opened = os.open(f"{folder}/trials/{name}/trial.json", os.O_RDONLY | os.O_NONBLOCK)
        try:
            seen = _Seen.model_validate_json(os.read(opened, min(length, MAX_BYTES)))
        finally:
            os.close(opened)
        measured = seen.validation
        return Standing(
            seen.id, seen.method, seen.status, seen.seed, measured.speciality, measured.generality
        )
    trial = load_trial(folder, name)
    return None if trial is None else standing(trial)


def _table(path: Path, columns: list[str] | None = None) -> pyarrow.Table | None:
    """What a file holds; None where there is none of this version."""
    if not path.exists():
        return None
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            known = file.schema_arrow.metadata or {}
            return file.read(columns) if known.get(b"schema") == SCHEMA.encode() else None
    except (OSError, pyarrow.ArrowException):
        return None
