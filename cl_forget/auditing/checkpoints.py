"""Several tuned models in order: found by name, and each measured beside the base on the same test data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.auditing.bench import Bench, Tested, by_perplexity, log_ratio, quality
from cl_forget.auditing.gate import Compared
from cl_forget.auditing.pair import Pair, require_there
from cl_forget.auditing.records import Loss
from cl_forget.evaluation.items import Interval, Items, difference, interval, rise
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Scores
from cl_forget.ground.redact import redact

if TYPE_CHECKING:
    from cl_forget.streams.base import Experience

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "result.json", "model", "adapter")


def expand_names(given: str | Sequence[str]) -> list[str]:
    """The tuned models that were named, in order.

    Args:
        given: one or several; a pattern (`out/checkpoint-*`), and a folder that has no weights of its own but folders
            `checkpoint-…`, stand for what they hold, by the numbers in their names.

    Raises:
        UserError: a pattern that nothing matches, a model that is not there, or one named twice.
    """
    names = [name for one in ([given] if isinstance(given, str) else given) for name in _expand(one)]
    if not names:
        raise UserError("no model to audit: give one with --tuned.")
    for name in names:
        require_there(name)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{twice} is named twice with --tuned: name each checkpoint once.")
    return names


def _expand(name: str) -> list[str]:
    path = Path(name).expanduser()
    if any(sign in name for sign in "*?[") and not path.exists():
        root = Path(path.anchor) if path.is_absolute() else Path()
        found = sorted(map(str, root.glob(str(path.relative_to(path.anchor)))), key=_natural)
        if not found:
            raise UserError(
                f"nothing matches {name}: give the fine-tuned models' files or folders with --tuned."
            )
        return found
    if path.is_dir() and not any(next(path.glob(pattern), None) for pattern in _WEIGHTS):
        return sorted(map(str, path.glob("checkpoint-*")), key=_natural) or [name]
    return [name]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts checkpoint-200 before checkpoint-1000."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def short_names(names: Sequence[str]) -> list[str]:
    """Names for tables and axes: as many last parts of each path as tell them all apart."""
    parts = [redact(name).rstrip("/").split("/") for name in names]
    for count in range(1, max(map(len, parts)) + 1):
        short = ["/".join(part[-count:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return [redact(name) for name in names]


@dataclass(frozen=True)
class Data:
    """What every model of an audit is measured on.

    Attributes:
        tasks, suites: the data sets.
        batch_size: samples per forward pass; None for that of the tuned model's run, or 64.
        limit: samples per data set at most; None for all.
    """

    tasks: list[Experience]
    suites: list[Experience]
    batch_size: int | None = None
    limit: int | None = None

    def bench(self, pair: Pair) -> Bench:
        """Where a pair is measured on them; its weights are read into memory."""
        pair.add_tasks(self.tasks)
        pair.load()
        return Bench(pair, self.tasks, self.suites, self.batch_size, self.limit)

    def losses(self, base: Tested, tuned: Tested) -> list[Loss]:
        """Every task and suite before and after."""
        return losses(
            self.tasks, self.suites, base.scores, tuned.scores, {"base": base.items, "tuned": tuned.items}
        )


def compare(name: str, bench: Bench, base: Tested, tuned: Tested) -> Compared:
    """A model beside the base, as a gate judges it."""
    return Compared(
        name=name,
        base={of: quality(scores) for of, scores in base.scores.items()},
        tuned={of: quality(scores) for of, scores in tuned.scores.items()},
        base_items=base.items,
        tuned_items=tuned.items,
        groups=bench.groups(base.scores),
    )


def losses(
    tasks: list[Experience],
    suites: list[Experience],
    before: Mapping[str, Scores],
    after: Mapping[str, Scores],
    items: Mapping[str, Mapping[str, Items]],
) -> list[Loss]:
    """Both models on every task and suite, test data.

    Args:
        tasks, suites: what was measured.
        before, after: the numbers of base and tuned model, by name.
        items: of "base", "tuned" and any other model.
    """
    found = []
    for role, experiences in (("task", tasks), ("suite", suites)):
        for experience in experiences:
            base, tuned = before[experience.name], after[experience.name]
            ends = quality(base), quality(tuned)
            found.append(
                Loss(
                    name=experience.name,
                    role=role,
                    metric=experience.metric,
                    base=base,
                    tuned=tuned,
                    drop=None if None in ends else ends[0] - ends[1],  # type: ignore[operator]
                    perplexity_rise=log_ratio(tuned.perplexity, base.perplexity)
                    if base.accuracy is None
                    else None,
                    ranges=_ranges(experience.name, items),
                )
            )
    return found


_COMPARED = {"drop": ("base", "tuned"), "change": ("repaired", "tuned")}


def _ranges(name: str, items: Mapping[str, Mapping[str, Items]]) -> dict[str, Interval]:
    """Of each model on one data set, and of the differences between them."""
    known = {model: of[name] for model, of in items.items() if name in of}
    alone = {model: interval(one) for model, one in known.items()}
    pairs = {
        key: difference(known[one], known[other])
        for key, (one, other) in _COMPARED.items()
        if one in known and other in known
    }
    found = alone | pairs
    if by_perplexity(known, ["base", "tuned"]):
        found["perplexity_rise"] = rise(known["base"], known["tuned"])
    if by_perplexity(known, ["tuned", "repaired"]):
        found["change_in_nats"] = rise(known["tuned"], known["repaired"])
    return found
