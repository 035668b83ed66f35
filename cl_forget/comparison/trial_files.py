"""The records of a sweep's trials, however many: what has not been written since is not opened again.

The file of each trial is the only truth about it, and 100,000 of them take half a minute to open and check. So
whoever had to open many leaves an index beside them,

    .trials.index    in Parquet: of each record its name, when it was written, its length, its `Standing`, its text

and the next reader opens only what was written since. It is made of the records and may be deleted at any time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cl_forget.comparison.trials import OVER, Status, Trial, load_trial
from cl_forget.ground.files import whole

if TYPE_CHECKING:
    import pyarrow

INDEX = ".trials.index"
SCHEMA = "1"
WORTH = 1000
"""Records that have to be opened one by one before an index is written."""
SETTLED = 2 * 10**9
"""Nanoseconds after which a record may be indexed: a clock may show two writings that are nearer as one."""

Stamp = tuple[int, int]
"""When a file was written, in nanoseconds since 1970, and its length in bytes: another one has another content."""


class Standing(NamedTuple):
    """What a look at a sweep needs of one trial.

    Attributes:
        id, method, status, seed: as in `Trial`.
        speciality, generality: on validation data; None where they were not measured.
    """

    id: str
    method: str
    status: Status
    seed: int
    speciality: float | None
    generality: float | None

    @property
    def over(self) -> bool:
        """Whether nothing more is done for it."""
        return self.status in OVER


def standing(trial: Trial) -> Standing:
    """What a look needs of a record."""
    measured = trial.validation
    return Standing(
        trial.id,
        trial.method,
        trial.status,
        trial.seed,
        measured.get("speciality"),
        measured.get("generality"),
    )


class Records:
    """The trials of a sweep, looked at again and again.

    Args:
        folder: of the sweep; it may be read-only, and then no index is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = folder / INDEX
        self._known: dict[str, tuple[Stamp, Standing]] = {}
        self._texts: dict[str, str] = {}  # of those that the index lacks
        self._trials: dict[str, tuple[Stamp, Trial]] = {}  # that were asked for whole
        self._opened, self._writable = False, True

    def standings(self) -> list[Standing]:
        """How every trial stands, in order of id; errors as `load_trial`."""
        stamps = self._look()
        return [self._known[name][1] for name in stamps]

    def load(self) -> list[Trial]:
        """Every record, in order of id; errors as `load_trial`."""
        stamps = self._look(keep=True)
        missing = {n: stamp for n, stamp in stamps.items() if self._trials.get(n, (None,))[0] != stamp}
        texts = self._read(missing)
        for name, stamp in missing.items():
            trial = _parsed(texts.get(name)) or load_trial(self._folder, name)
            if trial is not None:
                self._trials[name] = stamp, trial
        self._trials = {name: self._trials[name] for name in stamps if name in self._trials}
        return [trial for _, trial in self._trials.values()]

    # -- what has changed ------------------------------------------------------------------------------
    def _look(self, keep: bool = False) -> dict[str, Stamp]:
        """The stamp of every record that is there, in order of name; how each stands is known afterwards.

        Args:
            keep: whether the records that have to be opened are wanted whole.
        """
        if not self._opened:
            self._known, self._opened = self._indexed(), True
        now, stamps = time.time_ns(), _stamps(self._folder / "trials")
        for name, stamp in list(stamps.items()):
            if name in self._known and self._known[name][0] == stamp:
                continue
            trial = load_trial(self._folder, name)
            if trial is None:  # folders come and go
                del stamps[name]
                continue
            self._known[name] = stamp, standing(trial)._replace(id=name)
            self._texts[name] = trial.model_dump_json()
            if keep:
                self._trials[name] = stamp, trial
        settled = {name for name in self._texts if name in stamps and now - stamps[name][0] > SETTLED}
        if len(settled) >= WORTH and self._writable:
            self._write({name: stamps[name] for name in stamps if name not in self._texts or name in settled})
        return stamps

    # -- the index -------------------------------------------------------------------------------------
    def _indexed(self) -> dict[str, tuple[Stamp, Standing]]:
        """What the index says; nothing, where there is none or it is of another version."""
        table = self._table(["name", "written", "length", *Standing._fields[1:]])
        if table is None:
            return {}
        name, written, length, method, status, seed, *measured = map(_values, table.columns)
        stamps = zip(written, length, strict=True)
        standings = map(Standing, name, method, status, seed, *measured)
        return dict(zip(name, zip(stamps, standings, strict=True), strict=True))

    def _read(self, stamps: Mapping[str, Stamp]) -> dict[str, str]:
        """The texts of records of these stamps, as far as they need not be opened."""
        found = {name: self._texts[name] for name in stamps if name in self._texts}
        table = self._table(["name", "written", "length", "text"]) if len(stamps) > len(found) else None
        if table is not None:  # which somebody else may have written since
            for name, written, length, text in zip(*map(_values, table.columns), strict=True):
                if name not in found and stamps.get(name) == (written, length):
                    found[name] = text
        return found

    def _table(self, columns: list[str]) -> pyarrow.Table | None:
        if not self._index.exists():
            return None
        import pyarrow
        from pyarrow import parquet

        try:
            file = parquet.ParquetFile(self._index)
            if (file.schema_arrow.metadata or {}).get(b"schema") != SCHEMA.encode():
                return None
            return file.read(columns)
        except (OSError, pyarrow.ArrowException):
            return None

    def _write(self, stamps: dict[str, Stamp]) -> None:
        """A new index of these records."""
        import pyarrow
        from pyarrow import parquet

        texts = self._read(stamps)
        names = [name for name in stamps if name in texts]
        standings = [self._known[name][1] for name in names]
        columns = dict(zip(Standing._fields, zip(*standings, strict=True), strict=True))
        del columns["id"]
        try:
            table = pyarrow.table(
                {
                    "name": names,
                    "written": [stamps[name][0] for name in names],
                    "length": [stamps[name][1] for name in names],
                    **columns,
                    "text": [texts[name] for name in names],
                }
            ).replace_schema_metadata({"schema": SCHEMA})
            with whole(self._index) as temporary:
                parquet.write_table(table, temporary, compression="zstd", row_group_size=10_000)
        except (OSError, OverflowError, pyarrow.ArrowException):  # it is of use, and no more than that
            self._writable = False
            return
        self._texts = {name: text for name, text in self._texts.items() if name not in texts}


def _stamps(trials: Path) -> dict[str, Stamp]:
    """Name -> the stamp of its record, in order of name."""
    found: dict[str, Stamp] = {}
    with suppress(FileNotFoundError), os.scandir(trials) as entries:
        for entry in entries:
            with suppress(OSError):  # no record yet, or no folder
                status = os.stat(f"{entry.path}/trial.json")
                found[entry.name] = status.st_mtime_ns, status.st_size
    return dict(sorted(found.items()))


def _parsed(text: str | None) -> Trial | None:
    """The record; None where the index has none that is one."""
    with suppress(ValueError):
        return None if text is None else Trial.model_validate_json(text)
    return None


def _values(column: pyarrow.ChunkedArray) -> list[Any]:
    return column.to_pylist()
