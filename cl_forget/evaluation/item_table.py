"""`items.parquet`: for every evaluation of a run, which samples were right and what was predicted.

One line per sample, columns dictionary-encoded: `row` (0 is the pre-trained model), `data` (task or suite), `split`,
`item` (position in what was read of the split), `right`, `predicted` (the class's name, or the text that was said).
The latter is null where no text was spelt out. A run under way keeps one part per row, so that one that is killed
goes on; the parts are gathered when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cl_forget.evaluation.item_samples import shortened
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import whole

if TYPE_CHECKING:
    from cl_forget.evaluation.evaluate import Evaluator

FILE = "items.parquet"


def write_part(folder: Path, row: int, evaluator: Evaluator) -> None:
    """Write what the evaluator saw at its last row; data that is only measured by fluency has no items."""
    tables = list(_tables(row, evaluator))
    if tables:
        _write(folder / f"items-{row}.parquet", tables)


def gather_parts(folder: Path) -> None:
    """One file of all parts; what it holds of other rows already stays."""
    parts = sorted(folder.glob("items-*.parquet"), key=lambda path: int(path.stem.partition("-")[2]))
    if not parts:
        return
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    file = folder / FILE
    tables = [parquet.read_table(part) for part in parts]
    if file.is_file():  # a run that died while it gathered
        rows = [int(part.stem.partition("-")[2]) for part in parts]
        before = parquet.read_table(file)
        tables.insert(
            0, before.filter(compute.invert(compute.is_in(before["row"], value_set=_integers(rows))))
        )
    _write(file, tables)
    for part in parts:
        part.unlink()


def read_items(folder: Path, row: int, split: str = "test") -> dict[str, np.ndarray[Any, Any]]:
    """Data set -> (samples,) whether each was right.

    Args:
        folder: of a run.
        row: of the evaluation; -1 for the last one.
        split: "validation", "test" or a shifted set.

    Raises:
        UserError: the run kept none.
    """
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    file = folder / FILE
    if not file.is_file():
        raise UserError(f"{folder} holds no {FILE}; run it with `evaluate: {{items: true}}`.")
    try:
        table = parquet.read_table(file)
        number = compute.max(table["row"]).as_py() if row < 0 else row
        chosen = table.filter(
            compute.and_(compute.equal(table["row"], number), compute.equal(table["split"], split))
        )
        data, right = chosen["data"].to_pylist(), np.array(chosen["right"].to_pylist(), dtype=bool)
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{file} is not whole ({str(error).splitlines()[0]}); run it again.") from None
    names = np.array(data)
    return {name: right[names == name] for name in dict.fromkeys(data)}


@dataclass(frozen=True)
class Answers:
    """What a model said to the samples of a data set, in order.

    Attributes:
        right: (samples,) whether each answer is right.
        predicted: (samples,) which of `names` each answer is; -1 where it was not kept.
        names: the answers.
    """

    right: np.ndarray[Any, Any]
    predicted: np.ndarray[Any, Any]
    names: tuple[str, ...]


def read_answers(folder: Path, split: str = "test") -> dict[tuple[int, str], Answers]:
    """(row, data set) -> what the model said after that evaluation.

    Args:
        folder: of a run.
        split: as for `read_items`.

    Raises:
        UserError: the run kept none.
    """
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    file = folder / FILE
    if not file.is_file():
        raise UserError(f"{folder} holds no {FILE}; run it with `evaluate: {{items: true}}`.")
    try:
        table = parquet.read_table(file)
        table = table.filter(compute.equal(table["split"], split)).unify_dictionaries()
        rows, right = table["row"].to_numpy(), table["right"].to_numpy()
        (data, sets), (predicted, names) = (_codes(table[name]) for name in ("data", "predicted"))
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{file} is not whole ({str(error).splitlines()[0]}); run it again.") from None
    found = {}
    for row in np.unique(rows):
        for code, name in enumerate(sets):
            here = (rows == row) & (data == code)
            if here.any():
                found[int(row), name] = Answers(right[here], predicted[here], names)
    return found


def _codes(column: Any) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
    """A dictionary column as positions in its values, -1 for null."""
    array = column.combine_chunks()
    array = array.chunk(0) if hasattr(array, "chunk") else array
    return array.indices.fill_null(-1).to_numpy(zero_copy_only=False), tuple(array.dictionary.to_pylist())


def _tables(row: int, evaluator: Evaluator) -> Iterator[Any]:
    import pyarrow

    classes = {
        experience.name: experience.labels.classes
        for experience in (*evaluator.tasks, *evaluator.suites)
        if experience.labels is not None
    }
    for (name, split), items in evaluator.row_items.items():
        if items.right is None:
            continue
        count = len(items.right)
        words = [None if word is None else shortened(word) for word in items.said or [None] * count]
        predicted = pyarrow.array(words, pyarrow.string()).dictionary_encode()
        if items.predicted is not None and name in classes:
            predicted = pyarrow.DictionaryArray.from_arrays(
                pyarrow.array(items.predicted.astype(np.int32)),
                pyarrow.array(list(classes[name]), pyarrow.string()),
            )
        yield pyarrow.table(
            {
                "row": pyarrow.array(np.full(count, row, np.int16)),
                "data": _constant(name, count),
                "split": _constant(split, count),
                "item": pyarrow.array(np.arange(count, dtype=np.int32)),
                "right": pyarrow.array(items.right),
                "predicted": predicted,
            }
        )


def _constant(word: str, count: int) -> Any:
    import pyarrow

    indices = pyarrow.array(np.zeros(count, np.int32))
    return pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array([word]))


def _integers(values: list[int]) -> Any:
    import pyarrow

    return pyarrow.array(values, pyarrow.int16())


def _write(file: Path, tables: list[Any]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.concat_tables(tables).unify_dictionaries()
    with whole(file) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
