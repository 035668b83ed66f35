"""What the hooks of a task read the outputs of frozen models from."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl_forget.ground.progress import bar
from cl_forget.models.base import Batch, Prepared
from cl_forget.training.frozen._cache import OFFSETS, FrozenCache, Progress
from cl_forget.training.frozen._model import PER_UNIT, FrozenModel, needs_head
from cl_forget.training.frozen._teacher import Teacher, teacher, teacher_fields

logger = logging.getLogger("cl_forget")


@dataclass
class _Table:
    """The cached fields of one model on one data set, and the fields that must be computed online."""

    values: dict[str, Tensor] = field(default_factory=dict)
    online: set[str] = field(default_factory=set)

    def lacks(self, fields: Sequence[str]) -> bool:
        return any(name not in self.values and name not in self.online for name in fields)


def unit_rows(batch: Batch, offsets: Tensor | None) -> Tensor:
    """(units,) row of each unit of the batch in an array that holds the units of all samples in order.

    Args:
        batch: all units of some samples, in any order of the samples.
        offsets: (samples + 1,) int64, sample i owns the rows offsets[i] to offsets[i + 1]; None for one each.

    Raises:
        ValueError: the batch does not hold all units of its samples.
    """
    indices = batch.indices.cpu()
    if batch.sample_of_unit is None:
        return indices if offsets is None else offsets[indices]
    rows = batch.sample_of_unit.cpu()
    first = indices if offsets is None else offsets[indices]  # (batch,)
    counts = torch.ones_like(indices) if offsets is None else offsets[indices + 1] - first
    units = int(counts.sum())
    if units != len(rows):
        raise ValueError(f"the batch has {len(rows)} units, its samples had {units} when cached")
    order = torch.argsort(rows, stable=True)
    before = torch.repeat_interleave(counts.cumsum(0) - counts, counts)  # units of earlier rows
    positions = torch.empty_like(rows)
    positions[order] = first[rows[order]] + torch.arange(units) - before
    return positions


class FrozenOutputs:
    """Outputs of the frozen models of a task on any batch: cached rows, or computed online.

    Args:
        cache: where whole data sets are kept.
        models: anchor name -> model: "pretrained" and "previous", which may be the same object.
        resident_bytes: how much of the cache to copy to the models' device; beyond it, rows are gathered
            from the memory-mapped files.

    Attributes:
        samples_asked: samples that passed through the models, or would have done with an empty cache that has
            room for all: what a method costs must not depend on who ran before it.
        asked: what those were for, to be given to `remember` when the task is resumed.
    """

    def __init__(
        self, cache: FrozenCache, models: Mapping[str, FrozenModel], resident_bytes: int = 512 * 2**20
    ) -> None:
        self._cache = cache
        self._models = dict(models)
        self._room = resident_bytes
        self._heads: dict[str, Mapping[str, Tensor]] = {}
        self._requested: dict[str, list[str]] = {anchor: [] for anchor in self._models}
        self._tables: dict[tuple[str, str, str], _Table] = {}
        self._last: dict[str, tuple[weakref.ref[Batch], dict[str, Tensor]]] = {}
        self._said: set[str] = set()
        self.samples_asked = 0
        self.asked: dict[str, list[str]] = {}  # anchor, data and experience -> fields

    def remember(self, asked: Mapping[str, Sequence[str]]) -> None:
        """Take over what was asked for before the task was resumed; it is not counted again."""
        self.asked = {key: list(fields) for key, fields in asked.items()}

    def passed(self, samples: int) -> None:
        """Count samples that a hook has passed through a frozen model by itself."""
        self.samples_asked += samples

    def _count(self, anchor: str, samples: Prepared, fields: Sequence[str]) -> None:
        """One pass over the data set if any of the fields is new."""
        known = self.asked.setdefault(f"{anchor}\t{samples.key}\t{samples.experience.name}", [])
        if new := [name for name in dict.fromkeys(fields) if name not in known]:
            known.extend(new)
            self.samples_asked += len(samples)

    @property
    def models(self) -> Mapping[str, FrozenModel]:
        """Anchor name -> frozen model."""
        return self._models

    def request(self, anchor: str, fields: Sequence[str]) -> None:
        """Declare what will be read, so that one pass over the data computes all of it.

        Args:
            anchor: "pretrained" or "previous".
            fields: names from `FIELDS`.
        """
        owner = self._owner(anchor)
        if self._heads.get(owner):
            fields = ["embedding" if needs_head(name) else name for name in fields]
        requested = self._requested[owner]
        requested.extend(name for name in dict.fromkeys(fields) if name not in requested)

    def answer_with(self, heads: Mapping[str, Mapping[str, Tensor]]) -> None:
        """From now on `read` answers with these heads in the place of the models' own.

        So a task that starts from probed heads has teachers with them, and their trunks run once all the same.

        Args:
            heads: anchor -> parameters of heads, by name.
        """
        self._heads = dict(heads)

    def prefetch(self, samples: Prepared, progress: Progress | None = None) -> None:
        """Compute now everything requested for this data that is not cached yet.

        Args:
            samples: the data; nothing is done where random augmentation forbids caching.
            progress: called with (samples done, samples in all); a bar on the terminal unless given.
        """
        if not samples.deterministic:
            return
        for anchor, fields in self._requested.items():
            with contextlib.ExitStack() as stack:
                name = f"{anchor} model on {samples.experience.name}"
                self._table(samples, anchor, fields, progress or _bar_when_needed(stack, name))

    def whole(self, samples: Prepared, anchor: str, field: str) -> Tensor:
        """One field on a whole data set, (samples, ...) on the CPU, memory-mapped: treat it as read-only."""
        owner = self._owner(anchor)
        self._count(owner, samples, [field])
        return self._cache.outputs(self._models[owner], samples, [field])[field]

    def whole_units(self, samples: Prepared, anchor: str, field: str) -> tuple[Tensor, Tensor]:
        """A per-unit field on a whole data set, (units, ...), and the (samples + 1,) offsets of samples."""
        owner = self._owner(anchor)
        self._count(owner, samples, [field])
        found = self._cache.outputs(self._models[owner], samples, [field])
        return found[field], found.get(OFFSETS, torch.arange(len(samples) + 1))

    def read(self, batch: Batch, anchor: str, fields: Sequence[str]) -> dict[str, Tensor]:
        """Outputs of a frozen model on the samples of `batch`.

        Args:
            batch: the samples.
            anchor: "pretrained" or "previous".
            fields: names from `FIELDS`.

        Returns:
            The fields in the order of the batch's samples and units, on the model's device.

        Raises:
            ValueError: an unknown anchor, field or depth.
        """
        anchor = self._owner(anchor)
        heads = self._heads.get(anchor, {})
        own = self._models[anchor].model.head_parameters(batch.samples.experience) if heads else []
        if own and all(name in heads for name in own):
            answers = [name for name in fields if needs_head(name)]
            kept = [name for name in fields if name not in answers]
            found = self._read(batch, anchor, [*kept, *["embedding"] * bool(answers)])
            if answers:
                found |= self._models[anchor].answer(batch, found["embedding"], heads, answers)
            return {name: found[name] for name in fields}
        return self._read(batch, anchor, fields)

    def _read(self, batch: Batch, anchor: str, fields: Sequence[str]) -> dict[str, Tensor]:
        samples = batch.samples
        if not samples.deterministic:
            self._say_online(samples)
            return self._online(batch, anchor, fields, self._requested[anchor])
        table = self._table(samples, anchor, fields, None)
        online = [name for name in fields if name in table.online]
        found = self._online(batch, anchor, online, table.online) if online else {}
        positions: dict[bool, Tensor] = {}  # per unit or per sample -> rows of the cached arrays
        for name in fields:
            if name not in found:
                per_unit = name in PER_UNIT and batch.sample_of_unit is not None
                if per_unit not in positions:
                    offsets = table.values.get(OFFSETS)
                    positions[per_unit] = unit_rows(batch, offsets) if per_unit else batch.indices
                found[name] = _gather(table.values[name], positions[per_unit], self._models[anchor].device)
        return {name: found[name] for name in fields}

    def request_teacher(self, anchor: str) -> None:
        """Declare that a model's predictions will be read."""
        self.request(anchor, self._teacher_fields(anchor))

    def teacher(self, batch: Batch, anchor: str) -> Teacher:
        """A frozen model's predictions for the units of `batch`."""
        return teacher(self.read(batch, anchor, self._teacher_fields(anchor)))

    def _teacher_fields(self, anchor: str) -> tuple[str, ...]:
        return teacher_fields(self._models[self._owner(anchor)].model.top_logits)

    def _owner(self, anchor: str) -> str:
        """The first anchor that stands for the same model."""
        if anchor not in self._models:
            raise ValueError(f"no frozen model '{anchor}'; there are {', '.join(self._models)}")
        model = self._models[anchor]
        return next(name for name, other in self._models.items() if other is model)

    def _table(
        self, samples: Prepared, anchor: str, fields: Sequence[str], progress: Progress | None
    ) -> _Table:
        table = self._tables.setdefault((anchor, samples.key, samples.experience.name), _Table())
        if table.lacks(fields):
            wanted = [*self._requested[anchor], *fields]
            missing = [name for name in wanted if table.lacks([name])]
            self._count(anchor, samples, missing)
            values, refused = self._cache.stored(self._models[anchor], samples, missing, progress=progress)
            for name, value in values.items():
                table.values[name] = value if name == OFFSETS else self._resident(value, anchor)
            table.online.update(refused)
        return table

    def _resident(self, value: Tensor, anchor: str) -> Tensor:
        size = value.numel() * value.element_size()
        if size > self._room:
            return value
        self._room -= size
        return value.to(self._models[anchor].device, copy=True)

    def _online(
        self, batch: Batch, anchor: str, fields: Sequence[str], together: Sequence[str] | set[str]
    ) -> dict[str, Tensor]:
        """One pass over a batch, shared by all that read it; `together` is what others will ask for."""
        last = self._last.get(anchor)
        if last is None or last[0]() is not batch or any(name not in last[1] for name in fields):
            wanted = list(dict.fromkeys([*fields, *sorted(together)]))
            if not batch.samples.deterministic:  # else the pass over the whole set is counted
                self.samples_asked += len(batch)
            last = self._last[anchor] = (weakref.ref(batch), self._models[anchor].run(batch, wanted))
        return {name: last[1][name] for name in fields}

    def _say_online(self, samples: Prepared) -> None:
        if samples.key not in self._said:
            self._said.add(samples.key)
            logger.info(
                "frozen models run online on '%s' (%s): its samples are random, which leaves nothing to cache",
                samples.experience.name,
                samples.split,
            )


def _gather(values: Tensor, positions: Tensor, device: torch.device) -> Tensor:
    return values.index_select(0, positions.to(values.device)).to(device)


def _bar_when_needed(stack: contextlib.ExitStack, description: str) -> Progress:
    """A progress callback that opens its bar when there is something to compute."""
    advance: list[Callable[[int, str], None]] = []
    shown = 0

    def show(done: int, total: int) -> None:
        nonlocal shown
        if not advance:
            advance.append(stack.enter_context(bar(description, total, "samples")))
        advance[0](done - shown, "")
        shown = done

    return show
