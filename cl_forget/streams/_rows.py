"""Files of rows, whatever they are written in: JSON, CSV, Parquet, Arrow, `datasets` folders, compressed or not.

This is the only place where a text file of a user's is opened. What it is is told by its first bytes, then by its
name, and is kept in words (`Table.format`), so that it can be said.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cl_forget.ground.errors import UserError, first_line
from cl_forget.ground.registry import closest
from cl_forget.streams._cells import is_missing

Row = Mapping[str, Any]
SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
SPLITS |= {"val": "validation", "dev": "validation", "eval": "validation", "test": "test"}
SPLITS |= {"evaluation": "validation", "testing": "test"}
JSON_NAMES = (".jsonl", ".json", ".ndjson", ".jsonlines")
CSV_NAMES = (".csv", ".tsv", ".tab", ".txt")
ARROW_NAMES = (".parquet", ".arrow", ".feather")
COMPRESSED_NAMES = (".gz", ".zst", ".zstd", ".bz2", ".xz")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti")  # features of `datasets` that no prompt can hold


class ClassName(str):
    """The name of a class, which knows the number that the data set stores for it."""

    position: int

    def __new__(cls, name: str, position: int) -> ClassName:
        """The name, with its number."""
        own = super().__new__(cls, name)
        own.position = position
        return own


@dataclass(frozen=True)
class Table:
    """Rows as they were read.

    Attributes:
        rows: name of a column -> value; a row may lack columns.
        columns: every column that some row has, in order of appearance.
        format: what the file was read as, in words.
        unit: what one of its rows is called.
        first: number of the first row, as a person counts in that file.
        media: columns of pictures and sounds, which no row has.
        numbers: what a person calls each row, where they do not follow each other.
        divided: whether these are what a column of the file gives to one split.
    """

    rows: list[Row]
    columns: tuple[str, ...]
    format: str
    unit: str = "row"
    first: int = 1
    media: tuple[str, ...] = ()
    numbers: tuple[int, ...] | None = None
    divided: bool = False

    def number(self, position: int) -> int:
        """What a person calls the row at `position`."""
        return position + self.first if self.numbers is None else self.numbers[position]


def read_file(path: Path, prefer: str, used: Collection[str | None] = ()) -> dict[str, Table]:
    """The rows of a file by split; a file that names no splits is all "train".

    Args:
        path: the file.
        prefer: "json" or "csv": what a text is taken for whose name does not say it.
        used: columns that hold something else than splits, whatever they are called.

    Raises:
        UserError: a file that cannot be read, or is none of what this module reads.
    """
    try:
        data = _decompressed(path, path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check the path.") from None
    if data[:4] == b"PAR1" or data[:6] == b"ARROW1" or data[:4] == b"\xff\xff\xff\xff":
        return _by_column(path, {"train": _arrow(path, data)}, used)
    if data[:4] == b"PK\x03\x04":
        raise UserError(f"{path} is a zip or an Excel file; unpack it, or save its sheet as CSV.")
    text = _decoded(path, data)
    start = text.lstrip()[:60].lower()
    if start.startswith("version https://git-lfs"):
        raise UserError(
            f"{path} is a Git LFS pointer and not the data; run `git lfs pull` in its repository."
        )
    if start.startswith(("<!doctype html", "<html")):
        raise UserError(f"{path} is a web page and not the data; download the file itself.")
    suffix = next((s.lower() for s in reversed(path.suffixes) if s.lower() not in COMPRESSED_NAMES), "")
    named = "json" if suffix in JSON_NAMES else "csv" if suffix in CSV_NAMES[:3] else prefer
    return _by_column(path, _json(path, text) if named == "json" else {"train": _csv(path, text)}, used)


SPLIT_COLUMNS = ("split", "subset", "set", "partition")


def _by_column(path: Path, tables: dict[str, Table], used: Collection[str | None]) -> dict[str, Table]:
    """The rows by the split that a column names; a column that names none in any row means something else.

    Raises:
        UserError: a column that names splits in some rows only: the others might be those to test on.
    """
    table = tables.get("train")
    if table is None or len(tables) > 1 or not table.rows:
        return tables
    by_name = {name.lower(): name for name in table.columns if name not in used}
    for column in (by_name[name] for name in SPLIT_COLUMNS if name in by_name):
        named = [SPLITS.get(str(row.get(column)).strip().lower()) for row in table.rows]
        if not any(named):
            continue
        if None in named:
            raise _no_split(path, table, column, named)
        return {split: _part(table, column, split, named) for split in dict.fromkeys(filter(None, named))}
    return tables


def _no_split(path: Path, table: Table, column: str, named: Sequence[str | None]) -> UserError:
    first = named.index(None)
    row = f"{path}, row {table.number(first)}"
    return names_no_split(row, column, table.rows[first].get(column), named)


def names_no_split(row: str, column: str, value: Any, named: Sequence[str | None]) -> UserError:
    """That a column names splits in other rows than this one.

    Args:
        row: the first row without one, for the message.
        column, value: what it holds there.
        named: (rows,) the split of each row.
    """
    said = "nothing" if is_missing(value) or not str(value).strip() else f"'{value}'"
    meant = closest(str(value).strip().lower(), list(SPLITS))
    return UserError(
        f"{row}: column '{column}' holds {said}, which names no split, as others do ({named.count(None):,} of "
        f"{len(named):,} rows so).{meant} Known are {', '.join(SPLITS)}; correct the rows, or rename the column if "
        "it means something else."
    )


def _part(table: Table, column: str, split: str, named: Sequence[str | None]) -> Table:
    places = [position for position, own in enumerate(named) if own == split]
    return replace(
        table,
        rows=[{k: v for k, v in table.rows[place].items() if k != column} for place in places],
        columns=tuple(name for name in table.columns if name != column),
        format=f"{table.format}, splits by column '{column}'",
        numbers=tuple(table.number(place) for place in places),
        divided=True,
    )


def only(path: Path, tables: Mapping[str, Table]) -> Table:
    """The table of a file that stands for one split itself.

    Raises:
        UserError: the file has splits of its own.
    """
    if len(tables) > 1:
        raise UserError(f"{path} holds several splits ({', '.join(tables)}); give it as `path`, by itself.")
    return next(iter(tables.values()))


def split_files(folder: Path, first_choice: Sequence[str]) -> dict[str, Path]:
    """Which file of a folder holds which split; empty where none is named after one.

    Args:
        folder: where to look.
        first_choice: endings that win where a split has several files.

    Raises:
        UserError: two files for one split, neither of them the first choice.
    """
    endings = (*JSON_NAMES, *CSV_NAMES[:3], *ARROW_NAMES)
    found: dict[str, dict[Path, str]] = {}
    for file in sorted(folder.iterdir()):
        stem, _, rest = file.name.partition(".")
        kind = "." + ".".join(part for part in rest.lower().split(".") if f".{part}" not in COMPRESSED_NAMES)
        if file.is_file() and stem.lower() in SPLITS and kind in endings:
            found.setdefault(SPLITS[stem.lower()], {})[file] = kind
    chosen = {}
    for split, kinds in found.items():
        several = [file for file, kind in kinds.items() if kind in first_choice] or list(kinds)
        if len(several) > 1:
            names = " and ".join(file.name for file in several)
            raise UserError(f"folder '{folder}' holds {names}, both for {split}; keep one of them.")
        chosen[split] = several[0]
    return chosen


def from_datasets(dataset: Any, format: str) -> Table:
    """The rows of a `datasets.Dataset`: classes by their names, columns of media left out."""
    features = dict(dataset.features)
    media = [name for name, feature in features.items() if type(feature).__name__ in _MEDIA]
    rows = dataset.with_format(None).remove_columns(media).to_list()
    named = {name: feature for name, feature in features.items() if _has_classes(feature)}
    for row in rows:
        for name, feature in named.items():
            row[name] = _with_names(feature, row[name])
    return Table(rows, tuple(name for name in features if name not in media), format, media=tuple(media))


# -- bytes -----------------------------------------------------------------------------------------------


def _decompressed(path: Path, data: bytes) -> bytes:
    import bz2
    import gzip
    import lzma

    try:
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data)
        if data[:3] == b"BZh":
            return bz2.decompress(data)
        if data[:6] == b"\xfd7zXZ\x00":
            return lzma.decompress(data)
        if data[:4] == b"\x28\xb5\x2f\xfd":
            import pyarrow

            return bytes(pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read())
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be unpacked ({first_line(error)}); is the file whole?") from None
    return data


_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _decoded(path: Path, data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:2]:  # UTF-16 without its mark, in a file that begins with ASCII
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} cannot be read: byte {error.start} is not {encoding}; save it as UTF-8 "
            "(iconv -f latin1 -t utf-8, where it is Latin-1)."
        ) from None


def _arrow(path: Path, data: bytes) -> Table:
    import datasets
    import pyarrow
    from datasets.table import InMemoryTable
    from pyarrow import ipc, parquet

    source = pyarrow.BufferReader(data)
    try:
        if data[:4] == b"PAR1":
            table, format = parquet.read_table(source), "Parquet"
        else:
            opened = ipc.open_file if data[:6] == b"ARROW1" else ipc.open_stream
            table, format = opened(source).read_all(), "Arrow"
        twice = _twice(table.column_names)
        if twice is None:
            return from_datasets(datasets.Dataset(InMemoryTable(table)), format)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); is the file whole?") from None
    raise UserError(f"{path} has two columns '{twice}'; rename one.")


def _has_classes(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return any(_has_classes(own) for own in feature.values())
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
    return type(feature).__name__ == "ClassLabel" or (inner is not None and _has_classes(inner))


def _with_names(feature: Any, value: Any) -> Any:
    """`value` with names for the numbers of classes; -1 stands for none in `datasets`."""
    if value is None:
        return None
    if type(feature).__name__ == "ClassLabel":
        return ClassName(feature.names[value], value) if 0 <= value < len(feature.names) else None
    if isinstance(feature, Mapping):
        return {name: _with_names(own, value.get(name)) for name, own in feature.items()}
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
    if inner is None:
        return value
    if isinstance(value, Mapping):  # a list of records, stored as a record of lists
        return {name: [_with_names(inner[name], own) for own in value[name]] for name in value}
    return [_with_names(inner, own) for own in value]


# -- JSON ------------------------------------------------------------------------------------------------


def _json(path: Path, text: str) -> dict[str, Table]:
    """One object per line, one array of objects, or one object that holds such an array."""
    text = text.lstrip("\ufeff")
    if text.lstrip()[:1] in ("[", "{"):
        try:
            whole = _parsed(text)
        except ValueError as error:
            if (
                text.lstrip()[0] == "["
                and "\n" in text.strip()
                and not _is_json(text.lstrip().split("\n")[0])
            ):
                raise UserError(f"{path} begins like a JSON array but is none ({error}).") from None
            return {"train": _json_lines(path, text)}
        if isinstance(whole, list) and ("\n" in text.strip() or all(isinstance(own, dict) for own in whole)):
            return {"train": _objects(path, whole, "a JSON array")}
        if isinstance(whole, dict):
            return _json_document(path, whole)
    return {"train": _json_lines(path, text)}


def _json_document(path: Path, whole: dict[str, Any]) -> dict[str, Table]:
    """One object is a row, unless it holds the rows: by split, or under a single name."""
    lists = {key: own for key, own in whole.items() if _is_rows(own)}
    others = [own for key, own in whole.items() if key not in lists]
    if lists and set(lists) <= set(SPLITS) and not any(isinstance(own, dict) for own in others):
        return _json_splits(path, lists)
    conversation = {"messages", "conversations", "conversation", "prompt", "chosen"} & set(lists)
    if len(lists) == 1 and not conversation:
        ((key, own),) = lists.items()
        return {"train": _objects(path, own, f"the JSON array '{key}'")}
    if len(lists) > 1 and set(lists) & set(SPLITS):
        raise UserError(
            f"{path} holds the lists {', '.join(lists)}; name them train, validation and test, or keep one."
        )
    if len(whole) > 1 and all(isinstance(own, dict) for own in whole.values()):
        raise UserError(
            f"{path} is one object of objects ({', '.join(list(whole)[:3])}, ...) and no list of rows; write "
            '[{"prompt": ...}, ...], or one object per line (in pandas: orient="records").'
        )
    return {"train": _table([whole], "JSON lines", "object")}


def _json_splits(path: Path, lists: Mapping[str, list[Any]]) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for key, own in lists.items():
        if SPLITS[key] in tables:
            raise UserError(f"{path} holds {', '.join(lists)}, two of them for {SPLITS[key]}; keep one.")
        tables[SPLITS[key]] = _objects(path, own, f"JSON, '{key}'")
    return tables


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _objects(path: Path, rows: list[Any], format: str) -> Table:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f'{path}: element {number} of {format} must be an object like {{"prompt": ...}}.')
    return _table(rows, format, "object")


def _json_lines(path: Path, text: str) -> Table:
    rows: list[Row] = []
    # Only what ends a line of JSON: U+2028 and the like may stand in its strings.
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if not line.strip():
            continue
        try:
            row = _parsed(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}); one object per line.") from None
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}: a line must be an object like {{"prompt": ...}}.')
        rows.append(row)
    return _table(rows, "JSON lines", "object")


def _parsed(text: str) -> Any:
    """A JSON text.

    Raises:
        ValueError: not JSON, nested too deeply, or an object that names a key twice (the first would be lost).
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = _twice([key for key, _ in pairs])
    if twice is not None:
        raise ValueError(f"the key '{twice}' stands twice in one object")
    return dict(pairs)


def _is_json(line: str) -> bool:
    try:
        _parsed(line)
    except ValueError:
        return False
    return True


# -- CSV -------------------------------------------------------------------------------------------------


def _csv(path: Path, text: str) -> Table:
    csv.field_size_limit(2**31 - 1)  # a cell may be a book
    text = text.lstrip("\ufeff")
    asked = re.match(r"sep=(.)\r?\n", text)  # a line that Excel writes
    if asked:
        text = text[asked.end() :]
    delimiter = asked[1] if asked else _delimiter(path, text)
    records, quoted = _records(path, text, delimiter)
    between = DELIMITERS.get(delimiter, delimiter)
    format = f"{'TSV' if between == 'tabs' else 'CSV'}, cells between {between}"
    filled = [(number, cells) for number, cells in records if any(cells)]
    if not filled:
        return Table([], (), format, first=2)
    header = [name.strip() for name in filled[0][1]]
    twice = _twice([name for name in header if name])
    if twice is not None:
        raise UserError(f"{path}: the header names '{twice}' twice; rename one.")
    wrong = [(number, len(cells)) for number, cells in filled[1:] if len(cells) != len(header)]
    if wrong:
        number, cells = wrong[0]
        raise UserError(
            f"{path}, row {number}: it has other columns than the header, {cells} and not {len(header)} "
            f"({len(wrong)} of {len(filled) - 1} rows so); quote texts with {between} in them."
        )
    rows: list[Row] = [
        {name: cell for name, cell in zip(header, cells, strict=True) if name} for _, cells in filled[1:]
    ]
    if len(records) > len(filled):
        format += f", {len(records) - len(filled):,} rows of empty cells left out"
    return Table(
        rows,
        tuple(filter(None, header)),
        format + ("" if quoted else ", quotes as they are"),
        numbers=tuple(number for number, _ in filled[1:]),
    )


def _records(path: Path, text: str, delimiter: str) -> tuple[list[tuple[int, list[str]]], bool]:
    """The number and the cells of every row, and whether quotes were taken for quotes."""
    try:
        return _cells(text, delimiter, csv.QUOTE_MINIMAL), True
    except csv.Error as error:
        if delimiter == "\t":  # written without quoting, as most TSV is
            return _cells(text, delimiter, csv.QUOTE_NONE), False
        raise UserError(
            f"{path} cannot be read as CSV ({error}); a text with quotes in it stands in quotes, its own doubled."
        ) from None


def _cells(text: str, delimiter: str, quoting: Any) -> list[tuple[int, list[str]]]:
    """The rows as a spreadsheet counts them: a blank line is counted, and is no row of cells."""
    # newline="" leaves line ends in quoted cells alone; strict refuses a quote that is never closed
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, quoting=quoting)
    return [(number, cells) for number, cells in enumerate(reader, start=1) if cells]


def _delimiter(path: Path, text: str) -> str:
    """What stands between the cells: whatever cuts the first lines into cells most evenly."""
    head = text[: 2**18]
    usual = "\t" if any(s.lower() in (".tsv", ".tab") for s in path.suffixes) else ","
    scores = {}
    for delimiter in DELIMITERS:
        widths = []
        try:
            for cells in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter):
                if cells:
                    widths.append(len(cells))
        except csv.Error:
            continue
        widths = widths[:-1] if len(text) > len(head) and len(widths) > 2 else widths
        if widths and widths[0] > 1:
            alike = sum(width == widths[0] for width in widths) / len(widths)
            scores[delimiter] = (round(alike, 2), delimiter == usual, widths[0])
    return max(scores, key=scores.__getitem__, default=usual)


# -- shared ----------------------------------------------------------------------------------------------


def _table(rows: Sequence[Row], format: str, unit: str) -> Table:
    return Table(list(rows), tuple(dict.fromkeys(key for row in rows for key in row)), format, unit)


def _twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
