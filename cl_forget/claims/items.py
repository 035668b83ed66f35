"""Which test items the arms of a claim have right: McNemar's test between two arms, seed by seed.

A run keeps its items in `items.parquet`; of those that a claim compares, the test items after the last task are kept
beside the claims, a bit each, so that the ledger is made again from committed files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cl_forget.claims.planning import Asked
from cl_forget.claims.values import Records
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.paired_items import mcnemar
from cl_forget.evaluation.item_table import FILE, read_items
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import whole

KEPT = "claims-items.parquet"
"""One line per trial and data set: its id, the data set's name, how many items, and a bit for each."""

BY_ITEM = {"speciality": "speciality_by_task", "generality": "generality_by_suite"}
"""Measures that are accuracies over items -> the metric whose names say over which data sets."""

LEVEL = 0.05

Right = dict[str, NDArray[np.bool_]]
"""Data set -> (items,) whether each was right."""


class Paired(BaseModel):
    """Two arms on the same items.

    Attributes:
        more_only, less_only: items that only the one has right, over all data sets and seeds.
        better, worse: seeds in which McNemar's test prefers the one, or the other, at p < .05.
        seeds: how many were compared.
    """

    model_config = ConfigDict(frozen=True)

    more_only: int
    less_only: int
    better: int
    worse: int
    seeds: int


def wanted(asked: Sequence[Asked], records: Mapping[str, Records]) -> list[str]:
    """The trials whose items the claims compare."""
    found: dict[str, None] = {}
    for one in asked:
        for arm in _arms(one):
            for trial in records[one.key].selected(arm).values():
                if trial is not None:
                    found[trial.id] = None
    return list(found)


def paired(one: Asked, records: Records, items: Mapping[str, Right], less: str) -> Paired | None:
    """The arm that is claimed to have more against another one; None where items of a seed are not known."""
    claim = one.claim
    if not {claim.more, less} <= set(_arms(one)):
        return None
    ours, theirs = (records.selected(arm) for arm in (str(claim.more), less))
    found = []
    for seed in records.seeds:
        a, b = ours[seed], theirs[seed]
        if a is None or b is None or a.id not in items or b.id not in items:
            return None
        names = [name for name in a.test.get(BY_ITEM[claim.measure], {}) if name in items[a.id]]
        if not names or any(name not in items[b.id] for name in names):
            return None
        found.append(mcnemar(*(np.concatenate([items[t.id][name] for name in names]) for t in (a, b))))
    return Paired(
        more_only=sum(test.first_only for test in found),
        less_only=sum(test.second_only for test in found),
        better=sum(test.p < LEVEL and test.difference > 0 for test in found),
        worse=sum(test.p < LEVEL and test.difference < 0 for test in found),
        seeds=len(found),
    )


def gather(names: Sequence[str], folders: Mapping[str, Path], kept: Path) -> dict[str, Right]:
    """The items of trials: those that were kept, and those in run folders.

    Args:
        names: ids of the trials; of others nothing is read.
        folders: id -> the folder of its run, where there is one.
        kept: the file of those that were kept, if it exists.

    Raises:
        UserError: a file is broken.
    """
    found = {name: right for name, right in _read(kept).items() if name in names}
    for name in names:
        folder = folders.get(name)
        if name not in found and folder is not None and (folder / FILE).is_file():
            found[name] = read_items(folder, -1)
    return found


def keep(items: Mapping[str, Right], file: Path) -> None:
    """Write the items of all trials, in order of id; whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    lines = [(name, data, right) for name in sorted(items) for data, right in sorted(items[name].items())]
    table = pyarrow.table(
        {
            "id": pyarrow.array([name for name, _, _ in lines], pyarrow.string()),
            "data": pyarrow.array([data for _, data, _ in lines], pyarrow.string()),
            "samples": pyarrow.array([len(right) for _, _, right in lines], pyarrow.int32()),
            "right": pyarrow.array([np.packbits(right).tobytes() for _, _, right in lines], pyarrow.binary()),
        }
    )
    with whole(file) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def _read(file: Path) -> dict[str, Right]:
    import pyarrow
    import pyarrow.parquet

    found: dict[str, Right] = {}
    if not file.is_file():
        return found
    try:
        lines: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
        for line in lines:
            bits = np.unpackbits(np.frombuffer(line["right"], np.uint8), count=line["samples"])
            found.setdefault(line["id"], {})[line["data"]] = bits.astype(bool)
    except (pyarrow.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} holds no items of this version ({str(error).splitlines()[0]}); restore it from a copy, or "
            "delete it."
        ) from None
    return found


def _arms(one: Asked) -> list[str]:
    """The tuned arms that a claim compares item by item; none for other claims."""
    claim = one.claim
    if claim.kind != "difference" or claim.measure not in BY_ITEM or not claim.less:
        return []
    return [arm for arm in (str(claim.more), *claim.less) if arm != PRETRAINED]
