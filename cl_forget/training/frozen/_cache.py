"""Outputs of frozen models on whole data sets, computed once and kept in a `Store`."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cl_forget.models.base import Batch, Prepared
from cl_forget.training.frozen._model import PER_UNIT, FrozenModel
from cl_forget.training.frozen._store import HEADER, Store, Writer

logger = logging.getLogger("cl_forget")

Progress = Callable[[int, int], None]  # (samples done, samples in all)
OFFSETS = "offsets"  # (samples + 1,) int64: sample i owns the units offsets[i] to offsets[i + 1]
TENSOR = "tensor"
BATCH_SIZE = 256


class FrozenCache:
    """Outputs of frozen models, computed once per (weights, preprocessing, data) and shared by processes.

    Args:
        root: the folder to keep them in; None for a temporary one that is deleted at exit.
        max_bytes: what the folder may grow to; the entries used longest ago make room for new ones.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, root: Path | None, max_bytes: int = 8 * 2**30) -> None:
        if root is None:
            root = Path(tempfile.mkdtemp(prefix="cl_forget_"))
            self._cleanup = weakref.finalize(self, _remove, root, os.getpid())
        self._store = Store(root, max_bytes)
        self._refused: dict[tuple[str, str], str] = {}  # (entry, field) -> why it cannot be kept

    def __deepcopy__(self, memo: object) -> FrozenCache:
        """The same one: whoever has it, copies of a model too, looks into one folder."""
        return self

    def kept(self, words: Sequence[str], make: Callable[[], Tensor]) -> Tensor:
        """A tensor that some words identify: read from the cache, or else made and kept where there is room.

        Args:
            words: all that decides it; the device's type, too, because another one rounds differently.
            make: gives it, in single or double precision; another one is made each time.

        Returns:
            It on the CPU, the caller's own; where it was made just now, where that was.
        """
        folder = self._store.entry("tensor", *words)
        found = self._store.read(folder, [TENSOR], say=False)
        if TENSOR not in found:
            with self._store.locked(folder):
                found = self._store.read(folder, [TENSOR])  # another process may have made it meanwhile
                if TENSOR not in found:
                    value = make()
                    self._keep(folder, value)
                    return value
        return torch.from_numpy(found[TENSOR]).clone()

    def _keep(self, folder: Path, value: Tensor) -> None:
        if value.dtype not in (torch.float32, torch.float64) or value.ndim == 0:
            return
        rows = value.detach().cpu().contiguous().numpy()
        with contextlib.suppress(OSError):  # no room: then it is made again
            if self._store.make_room(HEADER + rows.nbytes, folder) is None:
                folder.mkdir(exist_ok=True)
                writer = Writer(folder, TENSOR, rows.dtype, rows.shape[1:])
                try:
                    writer.append(rows)
                    self._store.commit(folder, [writer])
                finally:
                    writer.abandon()

    def outputs(
        self,
        frozen: FrozenModel,
        samples: Prepared,
        fields: Sequence[str],
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """Outputs on every sample, in order.

        Fields that are not there yet are computed together, in one pass. What cannot be kept (random
        augmentation, no room) is computed and returned in memory, which a log line says.

        Args:
            frozen: the model.
            samples: the data.
            fields: names from `FIELDS`.
            batch_size: samples per forward pass where a pass is needed.
            progress: called with (samples done, samples in all).

        Returns:
            Field -> (samples, ...) tensor on the CPU, memory-mapped: treat it as read-only. Per-unit fields
            are (units, ...) in the order of the samples; where the units per sample vary, the key
            "offsets" (samples + 1,) says that sample i owns the rows offsets[i] to offsets[i + 1].
        """
        found, refused = self.stored(frozen, samples, fields, batch_size, progress)
        if refused:
            found.update(_in_memory(frozen, samples, list(refused), batch_size, progress))
        return found

    def stored(
        self,
        frozen: FrozenModel,
        samples: Prepared,
        fields: Sequence[str],
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Like `outputs`, but what cannot be kept is not computed.

        Returns:
            The tensors, and field -> reason for those that have to be computed online.
        """
        fields = list(dict.fromkeys(fields))
        if not samples.deterministic:
            return {}, dict.fromkeys(fields, "random augmentation")
        folder = self._entry(frozen, samples)
        found = self._read(folder, fields, say=False)
        if self._missing(folder, fields, found):
            with self._store.locked(folder):
                found = self._read(folder, fields)  # another process may have computed them meanwhile
                missing = self._missing(folder, fields, found)
                if missing:
                    _Fill(self._store, folder, frozen, samples, missing, self._refuse).run(
                        batch_size, progress
                    )
                    found = self._read(folder, fields)
        lost = "the cache lost it"  # evicted or damaged between writing and reading
        refused = {f: self._refused.get((folder.name, f), lost) for f in fields if f not in found}
        return found, refused

    def _entry(self, frozen: FrozenModel, samples: Prepared) -> Path:
        experience = samples.experience
        # The class names count, because a zero-shot head may be made from them on the fly; the device,
        # because another one rounds differently.
        return self._store.entry(
            frozen.fingerprint(experience), samples.key, repr(experience.labels), frozen.device.type
        )

    def _read(self, folder: Path, fields: list[str], say: bool = True) -> dict[str, Tensor]:
        per_unit = PER_UNIT.intersection(fields)
        arrays = self._store.read(folder, [*fields, OFFSETS] if per_unit else fields, say)
        if OFFSETS not in arrays:  # without them nobody knows whose units they are
            arrays = {field: array for field, array in arrays.items() if field not in per_unit}
        elif per_unit.isdisjoint(arrays) or np.array_equal(arrays[OFFSETS], np.arange(len(arrays[OFFSETS]))):
            del arrays[OFFSETS]  # unit = sample
        return {field: torch.from_numpy(array) for field, array in arrays.items()}

    def _missing(self, folder: Path, fields: list[str], found: dict[str, Tensor]) -> list[str]:
        return [f for f in fields if f not in found and (folder.name, f) not in self._refused]

    def _refuse(self, folder: Path, fields: Sequence[str], reason: str) -> None:
        if fields:
            logger.warning("frozen %s are computed online, not cached: %s", ", ".join(fields), reason)
        for field in fields:
            self._refused[folder.name, field] = reason


class _Fill:
    """One pass of a frozen model over a data set, into the files of an entry.

    Args:
        store, folder: where to.
        frozen, samples, fields: what to compute.
        refuse: told the entry, the fields and the reason when there is no room for them.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        frozen: FrozenModel,
        samples: Prepared,
        fields: list[str],
        refuse: Callable[[Path, Sequence[str], str], None],
    ) -> None:
        self._store = store
        self._folder = folder
        self._frozen = frozen
        self._samples = samples
        self._fields = fields
        self._refuse = refuse
        self._writers: dict[str, Writer] = {}

    def run(self, batch_size: int, progress: Progress | None) -> None:
        """Compute and commit every field there is room for; refuse the others with their reason."""
        counts: list[np.ndarray] = []
        try:
            for batch in self._samples.batches(batch_size):
                rows = _rows(self._frozen, batch, list(self._writers) or self._fields)
                if not counts:
                    self._admit(rows, len(batch))
                counts.append(_units(batch).numpy())
                self._append(rows)
                if not self._writers:
                    return
                if progress is not None:
                    progress(sum(map(len, counts)), len(self._samples))
            self._commit(np.concatenate(counts))
        finally:
            for writer in self._writers.values():
                writer.abandon()

    def _admit(self, rows: dict[str, np.ndarray], batch: int) -> None:
        """Open a writer for each field that fits, small ones first, judged by the first batch."""
        needed = 0
        for field in sorted(rows, key=lambda field: rows[field].nbytes):
            size = HEADER + rows[field].nbytes * len(self._samples) // batch
            try:
                reason = self._store.make_room(needed + size, self._folder)
                if reason is None:
                    self._folder.mkdir(exist_ok=True)
                    self._writers[field] = Writer(
                        self._folder, field, rows[field].dtype, rows[field].shape[1:]
                    )
                    needed += size
            except OSError as error:
                reason = str(error)
            if reason is not None:
                self._refuse(self._folder, [field], reason)

    def _append(self, rows: dict[str, np.ndarray]) -> None:
        for field, writer in list(self._writers.items()):
            try:
                if rows[field].shape[1:] != writer.row_shape:
                    raise OSError("its shape changes from batch to batch")
                writer.append(rows[field])
            except OSError as error:
                self._writers.pop(field).abandon()
                self._refuse(self._folder, [field], str(error))

    def _commit(self, counts: np.ndarray) -> None:
        try:
            if not PER_UNIT.isdisjoint(self._writers):
                self._writers[OFFSETS] = Writer(self._folder, OFFSETS, np.dtype("int64"), ())
                self._writers[OFFSETS].append(np.concatenate([[0], np.cumsum(counts)]))
            self._store.commit(self._folder, list(self._writers.values()))
            self._store.make_room(0, self._folder)  # ragged sizes were an estimate
        except OSError as error:
            self._refuse(self._folder, [f for f in self._writers if f != OFFSETS], str(error))


def _units(batch: Batch) -> Tensor:
    """(batch,) how many units each sample has."""
    if batch.sample_of_unit is None:
        return torch.ones(len(batch), dtype=torch.int64)
    return torch.bincount(batch.sample_of_unit.cpu(), minlength=len(batch))


def _rows(frozen: FrozenModel, batch: Batch, fields: list[str]) -> dict[str, np.ndarray]:
    """One online pass; per-unit fields sorted by sample."""
    values = {field: value.cpu() for field, value in frozen.run(batch, fields).items()}
    if batch.sample_of_unit is not None:
        order = torch.argsort(batch.sample_of_unit.cpu(), stable=True)
        values = {f: value[order] if f in PER_UNIT else value for f, value in values.items()}
    return {field: value.numpy() for field, value in values.items()}


def _in_memory(
    frozen: FrozenModel, samples: Prepared, fields: list[str], batch_size: int, progress: Progress | None
) -> dict[str, Tensor]:
    """One online pass over all samples, kept by the caller only."""
    logger.info("frozen %s are computed online and held in memory", ", ".join(fields))
    parts: dict[str, list[Tensor]] = {field: [] for field in fields}
    counts: list[Tensor] = [torch.zeros(1, dtype=torch.int64)]
    for batch in samples.batches(batch_size):
        for field, value in _rows(frozen, batch, fields).items():
            parts[field].append(torch.from_numpy(value))
        counts.append(_units(batch))
        if progress is not None:
            progress(sum(map(len, counts)) - 1, len(samples))
    found = {field: torch.cat(part) for field, part in parts.items()}
    offsets = torch.cat(counts).cumsum(0)
    if not PER_UNIT.isdisjoint(fields) and not torch.equal(offsets, torch.arange(len(offsets))):
        found[OFFSETS] = offsets
    return found


def _remove(root: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child must not take its parent's cache away
        shutil.rmtree(root, ignore_errors=True)
