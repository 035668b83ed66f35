"""What a protocol is beside its data: what it is reported by, and what others have reported on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """One line of somebody's table.

    Attributes:
        method: as the paper calls it; with what was tuned where the table has several models.
        source: the paper and the table that the numbers are from, and the model that was tuned.
        values: metric, or "task:<name>" for the accuracy on a task after the last stage -> a fraction.
    """

    method: str
    source: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Protocol:
    """A benchmark by its name.

    Attributes:
        title: its name in print.
        measures: the metrics that it is reported by -> what it calls them.
        options: those of its stream that choose among published tables, with their defaults.
        published: values of `options` -> the lines of the tables.
    """

    title: str
    measures: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[tuple[Any, ...], tuple[Published, ...]] = field(default_factory=dict)

    def beside(self, options: Mapping[str, Any]) -> tuple[Published, ...]:
        """What was published on the stream with these options; nothing of the stand-ins or of part of the data."""
        if not is_whole(options):
            return ()
        return self.published.get(tuple(options.get(name, own) for name, own in self.options.items()), ())


def is_whole(options: Mapping[str, Any]) -> bool:
    """Whether a stream with these options is the protocol itself: not its stand-in, and not a part of its data."""
    return str(options.get("root", "")) != "embedded" and options.get("limit") is None


def entry_of(stream: Any) -> tuple[str, dict[str, Any]] | None:
    """Name and options of the one entry of a stream, as a run has recorded it; None of several entries."""
    entries = stream if isinstance(stream, list) else [stream]
    if len(entries) != 1:
        return None
    [entry] = entries
    if isinstance(entry, str):
        return entry, {}
    name, options = next(iter(entry.items()))
    return name, dict(options or {})
