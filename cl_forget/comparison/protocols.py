"""A protocol's own table: our arms by the metrics that it is reported by, and the published lines beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cl_forget.comparison.measures import Cell, Measure, Unit
from cl_forget.comparison.observations import Values
from cl_forget.comparison.statistics import Estimate
from cl_forget.comparison.table import FinalTable, Source
from cl_forget.evaluation import metrics
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.streams.protocols.definition import Protocol, entry_of, is_whole
from cl_forget.streams.protocols.published import PROTOCOLS

PUBLISHED = "{} (published)"
"""How a line of somebody else's table is called, so that nobody takes it for one of ours."""

_UNITS: Mapping[str, tuple[Unit, Literal["higher", "lower"]]] = {
    "bwt": ("change", "higher"),
    "general_ability_delta": ("change", "higher"),
    "generality_drop": ("points", "lower"),
}
"""Of what is no accuracy."""


@dataclass(frozen=True)
class ProtocolTable:
    """A protocol's table.

    Attributes:
        title: of the protocol.
        table: the pre-trained model and our arms, then what was published.
        sources: what the published lines are from, each once.
        comparable: whether the runs have all of its data, so that what was published stands beside them.
    """

    title: str
    table: FinalTable
    sources: tuple[str, ...]
    comparable: bool


def protocol_table(
    stream: Any,
    tasks: Sequence[str],
    lines: Mapping[str, Mapping[str, Estimate]],
    sources: Mapping[str, Source],
) -> ProtocolTable | None:
    """The table of the protocol that a stream is; None of any other stream.

    Args:
        stream: as a run has recorded it.
        tasks: of the stream.
        lines: the pre-trained model, where it is known, and every arm -> quantity -> estimate.
        sources: arm -> what its line is computed from.
    """
    entry = entry_of(stream)
    if entry is None or entry[0] not in PROTOCOLS:
        return None
    protocol = PROTOCOLS[entry[0]]
    columns = _columns(protocol, tasks)
    published = {PUBLISHED.format(line.method): line for line in protocol.beside(entry[1])}
    rows = {name: {m.name: _cell(line.get(m.name)) for m in columns} for name, line in lines.items()}
    rows |= {
        name: {m.name: Cell(line.values.get(m.name)) for m in columns} for name, line in published.items()
    }
    known = tuple(m for m in columns if any(row[m.name].mean is not None for row in rows.values()))
    theirs = {name: Source("published", facts={"source": line.source}) for name, line in published.items()}
    table = FinalTable(known, rows, {name: sources[name] for name in lines} | theirs)
    said = tuple(dict.fromkeys(line.source for line in published.values()))
    return ProtocolTable(protocol.title, table, said, is_whole(entry[1]) or not protocol.published)


def untouched(values: Values, tasks: Sequence[str]) -> Values:
    """The scalars of the pre-trained model as a method that no stage changes: it is the same after each of them."""
    first = [np.nan if (value := values.get(f"task:{task}")) is None else value for task in tasks]
    always = np.tile(np.array(first), (len(tasks) + 1, 1))
    return {
        **values,
        "mtil_transfer": metrics.mtil_transfer(always),
        "mtil_avg": metrics.mtil_avg(always),
        "mtil_last": metrics.mtil_last(always),
    }


def _cell(estimate: Estimate | None) -> Cell:
    shown = (estimate or Estimate()).shown()
    return Cell(shown.mean, shown.low, shown.high, count=shown.count)


def _columns(protocol: Protocol, tasks: Sequence[str]) -> tuple[Measure, ...]:
    own = []
    for name, title in protocol.measures.items():
        unit, better = _UNITS.get(name, ("percent", "higher"))
        own.append(Measure(name, title, unit, DEFINITIONS[name], better, protocol.title))
    each = [
        Measure(
            f"task:{name}", name, "percent", f"test accuracy on {name} after the last stage", "higher", "Last"
        )
        for name in tasks
    ]
    return (*own, *each)
