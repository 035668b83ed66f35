"""A user's own texts as tasks: JSON, CSV, Parquet, and whatever the `datasets` library loads.

Files become rows in `_rows.py`, rows become prompts and responses in `_formats.py`; here splits are found or set
aside, and a task is made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import balanced, chance, check_shares, counted
from cl_forget.streams._formats import Columns, Read, Sample
from cl_forget.streams._hub import is_saved, load_datasets
from cl_forget.streams._rows import (
    ARROW_NAMES,
    COMPRESSED_NAMES,
    CSV_NAMES,
    JSON_NAMES,
    SPLITS,
    Table,
    from_datasets,
    only,
    read_file,
    split_files,
)
from cl_forget.streams.base import Experience
from cl_forget.streams.judges import JUDGES, JudgeName
from cl_forget.streams.scoring import Scoring, ScoringKind
from cl_forget.streams.text import Origin, Prompt, TextData, text_experience

Place = Annotated[str, BeforeValidator(lambda path: str(path) if isinstance(path, Path) else path)]


class TextSource(BaseModel):
    """Where a text task comes from, and how its rows are read.

    Attributes:
        path: a file, or a folder with a file for each split (`train`, `validation`, `test`).
        name: name of the task; that of the file by default.
        prompt: a column, or a template such as "Question: {question}\\nAnswer:" over columns; an empty text
            takes the responses as plain text.
        response: a column, or a template. For multiple choice it may hold the position of the right choice
            (from 0), its label or its letter.
        choices: a column with the list of choices, the right one among them, or a column for each choice, with
            commas between their names: "A, B, C, D".
        separator: what stands between prompt and response where no chat template says it; null for a space
            (a new line for Alpaca), unless prompt or response has white space there or the script has no spaces.
        scoring: "exact match", "multiple choice" (the default with choices) or "perplexity" (without prompts).
        judge: what makes a decoded answer right in place of equality: it "holds" the response as words of its own,
            or its "last number" is that of the response.
        max_new_tokens: how far answers are decoded; null for the longest response.
        validation: fraction set aside for validation, where no file holds it.
        test: fraction set aside for testing, where no file holds it.
        limit: at most this many samples of each split; null keeps all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Place
    name: str | None = None
    prompt: str | None = None
    response: str | None = None
    choices: str | None = None
    separator: str | None = None
    scoring: ScoringKind | None = None
    judge: JudgeName | None = None
    max_new_tokens: int | None = None
    validation: float = 0.1
    test: float = 0.2
    limit: int | None = None


class DatasetSource(TextSource):
    """A data set of the `datasets` library, and how its rows are read; the other fields as for files.

    Attributes:
        path: a folder written by `save_to_disk`, a folder of data files, a Parquet or Arrow file, or a name on
            the hub.
        config: the data set's configuration, where it has several.
        splits: "train", "validation" and "test" -> the data set's own names for them; by default the same.
    """

    config: str | None = None
    splits: dict[str, str] | None = None


def jsonl(source: TextSource) -> list[Experience]:
    """One text task from JSON lines or a JSON array: a file, or a folder of `train.jsonl`, `test.jsonl`, ...

    What is missing of validation and test is set aside from train, the same rows every time. Without `prompt`
    and `response` the format is told by its columns: OpenAI's messages, ShareGPT, preferences (the chosen
    answer), Alpaca, TRL, pairs such as question and answer, or text alone. What was taken for what is said in
    `Experience.notes`.

    Raises:
        UserError: no such file, text that cannot be read, a column that is not there or not in every row (the
            message names those that are), rows that are no samples, or splits that leave nothing.
    """
    return _from_files("jsonl", source, "json", JSON_NAMES)


def csv(source: TextSource) -> list[Experience]:
    """One text task from CSV or TSV with a header line; options as for `jsonl`, choices as a list in a cell.

    What stands between the cells (commas, semicolons, tabs, bars) is told by the first lines.
    """
    return _from_files("csv", source, "csv", CSV_NAMES[:3])


def datasets(source: DatasetSource) -> list[Experience]:
    """One text task from a folder or hub name that the `datasets` library loads; options as for `jsonl`.

    Classes are read as their names.

    Raises:
        UserError: no such data set or split, a hub that cannot be reached, or a column that is not there.
    """
    what = f"datasets '{source.path}'"
    path = Path(source.path).expanduser()
    if path.is_file():
        loaded = read_file(path, "json")
    elif path.is_dir() and not is_saved(path) and (files := split_files(path, ARROW_NAMES)):
        loaded = {split: only(file, read_file(file, "json")) for split, file in files.items()}
    else:
        parts = load_datasets(what, source.path, source.config)
        loaded = {split: from_datasets(own, "datasets") for split, own in parts.items()}
    return [task_of(what, source.name or path.name, named_splits(what, loaded, source.splits), source)]


# -- rows to tasks -------------------------------------------------------------------------------------


def _from_files(kind: str, source: TextSource, prefer: str, endings: tuple[str, ...]) -> list[Experience]:
    path, used = Path(source.path).expanduser(), (source.prompt, source.response, source.choices)
    what = f"{kind} '{path}'"
    if path.is_file():
        tables = read_file(path, prefer, used)
    elif path.is_dir():
        files = split_files(path, endings)
        if "train" not in files and "test" not in files:
            raise UserError(f"folder '{path}' holds no train.{kind} (nor test.{kind}); name the files so.")
        tables = {split: only(file, read_file(file, prefer, used)) for split, file in files.items()}
    else:
        raise UserError(f"no file or folder at '{path}'; give a .{kind} file, or a folder with train.{kind}.")
    return [task_of(what, source.name or _stem(path), tables, source)]


def _stem(path: Path) -> str:
    """The file's name without its endings: "sums" of "sums.jsonl.gz"."""
    known = (*JSON_NAMES, *CSV_NAMES, *ARROW_NAMES, *COMPRESSED_NAMES)
    while path.suffix.lower() in known:
        path = path.with_suffix("")
    return path.name


def task_of(what: str, name: str, tables: Mapping[str, Table], source: TextSource) -> Experience:
    """A task of the rows of each split; what is missing is set aside from train, or from test where there is none.

    Args:
        what: where the rows come from, for messages.
        name: of the task.
        tables: split -> rows; "train" or "test" at least.
        source: how they are read.

    Raises:
        UserError: rows that are no samples, or splits that leave nothing.
    """
    columns = Columns(source.prompt, source.response, source.choices)
    read = columns.read(what, tables)
    samples = {
        split: [Placed(*both, f"{what}, {split}") for both in zip(own.samples, own.numbers, strict=True)]
        for split, own in read.items()
    }
    shares = {"validation": source.validation, "test": source.test}
    samples = _carve(what, samples, {k: v for k, v in shares.items() if k not in samples})
    separator = source.separator
    if separator is None:
        separator = next(iter(read.values())).separator
    data = {split: _data(own, source, separator, name, split) for split, own in samples.items() if own}
    try:
        judge = JUDGES[source.judge] if source.judge else None
        judged = Scoring(source.scoring or _kind(data["test"]), judge, source.max_new_tokens)
    except ValueError as error:
        raise UserError(f"{what}: {error}.") from None
    experience = text_experience(name, data.get("train"), data["validation"], data["test"], judged)
    return replace(experience, notes=(*_notes(read), *_asked_in_train(data)))


def _notes(read: Mapping[str, Read]) -> tuple[str, ...]:
    """What is to be said of the splits; what they have in common, once."""
    first = next(iter(read.values())).notes
    shared = [note for note in first if all(note in own.notes for own in read.values())]
    notes = [f"{split}: {note}" for split, own in read.items() for note in own.notes if note not in shared]
    return (*notes, *shared)


def _asked_in_train(data: Mapping[str, TextData]) -> list[str]:
    """How many prompts of each split stand in train with another answer: that they are new to the model is not so."""
    if "train" not in data:
        return []
    train = data["train"]
    prompts, whole = {_asked(*own) for own in _questions(train)}, set(train.hints())
    notes = []
    for split in ("validation", "test"):
        contents = zip(_questions(data[split]), data[split].hints(), strict=True)
        known = sum(own[0] != "" and _asked(*own) in prompts and hint not in whole for own, hint in contents)
        if known:
            total = f"{known:,} of {len(data[split]):,} prompts of {split}"
            notes.append(f"{total} stand in train, too, with other answers")
    return notes


def _questions(data: TextData) -> Iterator[tuple[Prompt, tuple[str, ...] | None]]:
    choices: Sequence[tuple[str, ...] | None] = data.choices or [None] * len(data.prompts)
    return zip(data.prompts, choices, strict=True)


def _asked(prompt: Prompt, choices: tuple[str, ...] | None) -> str:
    """What a sample asks: one prompt over other choices ("Which is right?") is another question."""
    return json.dumps([prompt, sorted(choices or ())])


def _data(samples: list[Placed], source: TextSource, separator: str | None, *key: str) -> TextData:
    placed = [samples[i] for i in balanced([0] * len(samples), source.limit, *key)]
    chosen = [own.sample for own in placed]
    choices = [own.choices for own in chosen if own.choices is not None]
    return TextData(
        [own.response for own in chosen],
        [own.prompt for own in chosen],
        choices or None,
        from_file=True,
        separator=separator,
        origin=Origin(placed[0].what, [own.number for own in placed]),
    )


def _kind(data: TextData) -> ScoringKind:
    if data.choices is not None:
        return "multiple choice"
    return "exact match" if any(prompt != "" for prompt in data.prompts) else "perplexity"


class Placed(NamedTuple):
    """A sample, the row that it stands in, and of what."""

    sample: Sample
    number: int
    what: str


def _carve(
    what: str, samples: dict[str, list[Placed]], shares: Mapping[str, float]
) -> dict[str, list[Placed]]:
    """Set the missing splits aside by hashes; the same text, and the same question, is never in two of them."""
    source = "train" if "train" in samples else "test"
    check_shares(what, shares)
    if source == "test":  # a suite: no training data, and half of the rest for validation
        shares = {"validation": 0.5} if "validation" in shares else {}
    kept: dict[str, list[Placed]] = {split: list(own) for split, own in samples.items() if split != source}
    keys = _keys([own.sample for own in samples[source]])
    rest: dict[str, list[int]] = {source: [], **{split: [] for split in shares}}  # positions
    for position, key in enumerate(keys):
        draw, bound, split = chance("carve", key), 0.0, source
        for candidate, share in shares.items():
            if bound <= draw < bound + share:
                split = candidate
            bound += share
        rest[split].append(position)
    for split, own in rest.items():
        if not own and not _move_one(rest, split, keys):
            unlike = len(set(keys))
            raise UserError(
                f"{what}: {counted(len(keys), 'sample', unlike)} too few to set {split} aside; add some, "
                f"or give {split} a larger share or a file of its own."
            )
    return {**{split: [samples[source][i] for i in own] for split, own in rest.items()}, **kept}


FORM = 0.25
"""A prompt that a larger share of the rows has is a form, such as "Write a story.", and no question."""


def _keys(samples: Sequence[Sample]) -> list[str]:
    """What each sample is set aside by: its text, and for a question with several answers the first of their texts.

    So the answers to one question stay together, and other samples stay where their own text puts them.
    """
    texts = [json.dumps(sample) for sample in samples]
    groups: dict[str, list[str]] = {}
    asked = [_asked(sample.prompt, sample.choices) if sample.prompt else "" for sample in samples]
    for question, text in zip(asked, texts, strict=True):
        groups.setdefault(question, []).append(text)
    first = {
        question: min(own) for question, own in groups.items() if question and len(own) <= FORM * len(texts)
    }
    return [first.get(question, text) for question, text in zip(asked, texts, strict=True)]


def _move_one(rest: dict[str, list[int]], split: str, keys: Sequence[str]) -> bool:
    """Give an empty split one sample of the largest, with those alike; False where none can spare one.

    Of few samples, the hash may put none into a small split.
    """
    largest = max(rest, key=lambda other: len(rest[other]))
    there = {keys[position] for position in rest[largest]}
    if len(there) < 2:
        return False
    chosen = min(there, key=lambda key: chance("carve", split, key))
    rest[split] = [position for position in rest[largest] if keys[position] == chosen]
    rest[largest] = [position for position in rest[largest] if keys[position] != chosen]
    return True


# -- data sets of the library ----------------------------------------------------------------------------


def named_splits(what: str, loaded: Mapping[str, Table], names: Mapping[str, str] | None) -> dict[str, Table]:
    """The splits under our names for them.

    Args:
        what: the data set, for messages.
        loaded: its own name for a split -> rows.
        names: ours -> its own; None for the usual ones.

    Raises:
        UserError: no such split, or none that has a usual name.
    """
    for split, own in (names or {}).items():
        if split not in ("train", "validation", "test"):
            raise UserError(f"{what}: splits are train, validation and test, not '{split}'.")
        if own not in loaded:
            raise UserError(
                f"{what} has no split '{own}'.{closest(own, list(loaded))} Its splits: {', '.join(loaded)}."
            )
    if names:
        return {split: loaded[own] for split, own in names.items()}
    found = {SPLITS[own]: rows for own, rows in loaded.items() if own in SPLITS}
    if "train" not in found and "test" not in found:
        raise UserError(f"{what}: name the splits to use, as `splits: {{train: ...}}`: {', '.join(loaded)}.")
    return found
