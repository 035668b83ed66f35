"""A user's own texts as tasks: JSON lines, CSV, and whatever the `datasets` library loads."""

from __future__ import annotations

import csv as csv_format
import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_forget.errors import UserError
from cl_forget.registry import closest
from cl_forget.streams._choose import balanced, chance
from cl_forget.streams.base import Experience
from cl_forget.streams.text import Prompt, Scoring, ScoringKind, TextData, text_experience

Row = Mapping[str, Any]
Rows = Sequence[Row]
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation"}
SPLITS |= {"dev": "validation", "test": "test"}
DEFAULTS = (("prompt", "response"), ("question", "answer"), ("instruction", "output"), ("", "text"))
"""Pairs of columns that are taken for prompt and response where none are named."""


def jsonl(
    path: Path,
    name: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    choices: str | None = None,
    scoring: ScoringKind | None = None,
    max_new_tokens: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    limit: int | None = None,
) -> list[Experience]:
    """One text task from JSON lines: a file, or a folder of `train.jsonl`, `validation.jsonl`, `test.jsonl`.

    What is missing of validation and test is set aside from train, the same lines every time.

    Args:
        path: the file or folder.
        name: name of the task; that of the file by default.
        prompt: a column, or a template such as "Question: {question}\\nAnswer:" over columns; an empty text
            takes the responses as plain text.
        response: a column, or a template. For multiple choice it may hold the position of the right choice.
        choices: a column with the list of choices, the right one among them.
        scoring: "exact match", "multiple choice" (the default with choices) or "perplexity" (without prompts).
        max_new_tokens: how far answers are decoded; null for the longest response.
        validation: fraction set aside for validation, where no file holds it.
        test: fraction set aside for testing, where no file holds it.
        limit: at most this many samples of each split; null keeps all.

    Without `prompt` and `response`, columns called prompt and response, question and answer, instruction and
    output, text alone, or messages (a conversation whose last turn is the response) are taken.

    Raises:
        UserError: no such file, a line that is not JSON, a column that is not there (the message names those
            that are), or splits that leave nothing.
    """
    return _task(path, ".jsonl", _read_jsonl, name, _Columns(prompt, response, choices), scoring, max_new_tokens,
                 {"validation": validation, "test": test}, limit)  # fmt: skip


def csv(
    path: Path,
    name: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    choices: str | None = None,
    scoring: ScoringKind | None = None,
    max_new_tokens: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    limit: int | None = None,
) -> list[Experience]:
    """One text task from CSV with a header line; options as for `jsonl`, choices as a JSON list in a cell."""
    return _task(path, ".csv", _read_csv, name, _Columns(prompt, response, choices), scoring, max_new_tokens,
                 {"validation": validation, "test": test}, limit)  # fmt: skip


def datasets(
    path: str,
    config: str | None = None,
    splits: dict[str, str] | None = None,
    name: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    choices: str | None = None,
    scoring: ScoringKind | None = None,
    max_new_tokens: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    limit: int | None = None,
) -> list[Experience]:
    """One text task from a folder or hub name that the `datasets` library loads; options as for `jsonl`.

    Args:
        path: a folder written by `save_to_disk`, a folder of data files, or a name on the hub.
        config: the data set's configuration, where it has several.
        splits: "train", "validation" and "test" -> the data set's own names for them; by default the same.
        name, prompt, response, choices, scoring, max_new_tokens, validation, test, limit: as for `jsonl`.

    Raises:
        UserError: no such data set or split, a hub that cannot be reached, or a column that is not there.
    """
    what = f"datasets '{path}'"
    tables = _named_splits(what, _load_datasets(what, path, config), splits)
    name = name or Path(path).name
    columns = _Columns(prompt, response, choices)
    return [_experience(what, name, tables, columns, scoring, max_new_tokens,
                        {"validation": validation, "test": test}, limit)]  # fmt: skip


# -- rows to tasks -------------------------------------------------------------------------------------


def _task(
    path: Path,
    suffix: str,
    read: Callable[[Path], Rows],
    name: str | None,
    columns: _Columns,
    scoring: ScoringKind | None,
    max_new_tokens: int | None,
    shares: dict[str, float],
    limit: int | None,
) -> list[Experience]:
    path = path.expanduser()
    tables = {split: read(file) for split, file in _files(path, suffix).items()}
    what = f"{suffix[1:]} '{path}'"
    return [_experience(what, name or path.stem, tables, columns, scoring, max_new_tokens, shares, limit)]


def _files(path: Path, suffix: str) -> dict[str, Path]:
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise UserError(
            f"no file or folder at '{path}'; give a {suffix} file, or a folder with train{suffix}."
        )
    found = {SPLITS[f.stem]: f for f in sorted(path.glob(f"*{suffix}")) if f.stem in SPLITS}
    if "train" not in found and "test" not in found:
        raise UserError(f"folder '{path}' holds no train{suffix} (nor test{suffix}); name the files so.")
    return found


def _experience(
    what: str,
    name: str,
    tables: Mapping[str, Rows],
    columns: _Columns,
    scoring: ScoringKind | None,
    max_new_tokens: int | None,
    shares: dict[str, float],
    limit: int | None,
) -> Experience:
    samples = {split: columns.samples(f"{what}, {split}", rows) for split, rows in tables.items()}
    samples = _carve(what, samples, {k: v for k, v in shares.items() if k not in samples})
    data = {split: _data(own, limit, name, split) for split, own in samples.items() if own}
    kind = scoring or _kind(data["test"])
    try:
        judged = Scoring(kind, max_new_tokens=max_new_tokens)
    except ValueError as error:
        raise UserError(f"{what}: {error}.") from None
    return text_experience(name, data.get("train"), data["validation"], data["test"], judged)


Sample = tuple[Prompt, str, tuple[str, ...] | None]


def _data(samples: Sequence[Sample], limit: int | None, *key: str) -> TextData:
    chosen = [samples[i] for i in balanced([0] * len(samples), limit, *key)]
    choices = [own for _, _, own in chosen if own is not None]
    return TextData([r for _, r, _ in chosen], [p for p, _, _ in chosen], choices or None, from_file=True)


def _kind(data: TextData) -> ScoringKind:
    if data.choices is not None:
        return "multiple choice"
    return "exact match" if any(prompt != "" for prompt in data.prompts) else "perplexity"


def _carve(
    what: str, samples: dict[str, list[Sample]], shares: Mapping[str, float]
) -> dict[str, list[Sample]]:
    """Set the missing splits aside, by the hash of each sample; the same text is never in two of them."""
    source = "train" if "train" in samples else "test"
    for split, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f"{what}: {split} is the fraction to set aside, between 0 and 1, not {share}.")
    if sum(shares.values()) >= 1:
        raise UserError(f"{what}: {' + '.join(shares)} leave nothing to train on; make them smaller.")
    if source == "test":  # a suite: no training data, and half of the rest for validation
        shares = {"validation": 0.5} if "validation" in shares else {}
    kept: dict[str, list[Sample]] = {split: list(own) for split, own in samples.items() if split != source}
    rest: dict[str, list[Sample]] = {source: [], **{split: [] for split in shares}}
    for sample in samples[source]:
        draw, bound, split = chance("carve", json.dumps(sample)), 0.0, source
        for candidate, share in shares.items():
            if bound <= draw < bound + share:
                split = candidate
            bound += share
        rest[split].append(sample)
    for split, own in rest.items():
        if not own:
            raise UserError(
                f"{what}: {len(samples[source])} samples are too few to set {split} aside; add some, or "
                f"give {split} a larger share or a file of its own."
            )
    return {**rest, **kept}


class _Columns:
    """Where prompt, response and choices stand in a row.

    Args:
        prompt, response: a column's name or a template with names in braces.
        choices: a column's name.
    """

    def __init__(self, prompt: str | None, response: str | None, choices: str | None) -> None:
        self.prompt, self.response, self.choices = prompt, response, choices

    def samples(self, what: str, rows: Rows) -> list[Sample]:
        """(prompt, response, choices) of every row."""
        if not len(rows):
            raise UserError(f"{what} holds no rows.")
        known = list(rows[0])
        if self.prompt is None and self.response is None and "messages" in known:
            return [(*_turns(what, i, row["messages"]), None) for i, row in enumerate(rows)]
        prompt, response = self._chosen(what, known)
        for wanted in [*_names(prompt), *_names(response), *([self.choices] if self.choices else [])]:
            if wanted not in known:
                raise UserError(
                    f"{what} has no column '{wanted}'.{closest(wanted, known)} Its columns: {', '.join(known)}."
                )
        return [self._sample(what, i, row, prompt, response) for i, row in enumerate(rows)]

    def _chosen(self, what: str, known: list[str]) -> tuple[str, str]:
        for prompt, response in DEFAULTS:
            fits = self.response in (None, response) and response in known and (not prompt or prompt in known)
            if self.response is None and fits and self.prompt is None:
                return prompt, response
        if self.response is None:
            raise UserError(
                f"{what}: say which column is the `response` (and the `prompt`). Its columns: {', '.join(known)}."
            )
        return self.prompt or "", self.response

    def _sample(self, what: str, number: int, row: Row, prompt: str, response: str) -> Sample:
        asked = _filled(what, number, row, prompt) if prompt else ""
        if self.choices is None:
            return asked, _filled(what, number, row, response), None
        choices = _list(what, number, row[self.choices], self.choices)
        right = row[response] if response in row else _filled(what, number, row, response)
        if str(right) not in choices and re.fullmatch(r"\d+", str(right)) and int(right) < len(choices):
            right = choices[int(right)]
        return asked, str(right), choices


def _names(pattern: str) -> list[str]:
    """The columns a column name or a template needs."""
    if "{" not in pattern:
        return [pattern] if pattern else []
    try:
        return [field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None]
    except ValueError as error:
        raise UserError(f"template '{pattern}' cannot be read ({error}); write {{{{ for a brace.") from None


def _filled(what: str, number: int, row: Row, pattern: str) -> str:
    if "{" in pattern:
        return pattern.format(**row)
    value = row[pattern]
    if value is None or isinstance(value, (list, dict)):
        raise UserError(
            f"{what}, row {number + 1}: column '{pattern}' holds {value!r}, not a text; remove the row, or use "
            "another column."
        )
    return str(value)


def _list(what: str, number: int, value: Any, column: str) -> tuple[str, ...]:
    if isinstance(value, Mapping) and isinstance(value.get("text"), Sequence):  # as in ARC: {text, label}
        value = value["text"]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, (list, tuple)):
        raise UserError(f"{what}, row {number + 1}: column '{column}' must hold a list of choices.")
    return tuple(str(choice) for choice in value)


def _turns(what: str, number: int, messages: Any) -> tuple[Prompt, str]:
    """A conversation as its turns but the last, and the text of the last."""
    fits = isinstance(messages, Sequence) and len(messages) >= 2
    if not fits or messages[-1].get("role") != "assistant":
        raise UserError(
            f"{what}, row {number + 1}: messages must be a list of turns that ends with the assistant's."
        )
    return [{"role": m["role"], "content": m["content"]} for m in messages[:-1]], messages[-1]["content"]


# -- files to rows -------------------------------------------------------------------------------------


def _read_jsonl(path: Path) -> Rows:
    rows: list[Row] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}); one object per line.") from None
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}: a line must be an object like {{"prompt": ...}}.')
        rows.append(row)
    return _even(path, rows)


def _read_csv(path: Path) -> Rows:
    reader = csv_format.DictReader(_text(path).splitlines(keepends=True), restkey="")
    rows: list[Row] = []
    for number, row in enumerate(reader, start=2):
        if "" in row or None in row.values():
            raise UserError(
                f"{path}, row {number}: it has other columns than the header; quote texts with commas in them."
            )
        rows.append(row)
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give a UTF-8 text file.") from None


def _even(path: Path, rows: Iterable[Row]) -> Rows:
    rows = list(rows)
    for number, row in enumerate(rows, start=1):
        missing = next((key for key in rows[0] if key not in row), None)
        if missing is not None:
            raise UserError(f"{path}: object {number} has no '{missing}', which the first one has; add it.")
    return rows


def _load_datasets(what: str, path: str, config: str | None) -> Mapping[str, Rows]:
    import datasets as library

    from cl_forget.models.sources import hub_offline_if_unreachable, out_of_reach

    folder = Path(path).expanduser()
    local = folder.is_dir()
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded: Any = library.load_from_disk(str(folder))
        elif local:
            loaded = library.load_dataset(str(folder), config)
        else:
            with hub_offline_if_unreachable():
                loaded = library.load_dataset(path, config)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        if not local and out_of_reach(error):
            raise UserError(
                f"{what} could not be had from the hub ({type(error).__name__}): check the name and the network, "
                "or download it elsewhere and give the folder."
            ) from error
        raise UserError(f"{what} cannot be loaded: {first}; check its path and config.") from error
    return dict(loaded) if isinstance(loaded, library.DatasetDict) else {"train": loaded}


def _named_splits(what: str, loaded: Mapping[str, Rows], names: Mapping[str, str] | None) -> dict[str, Rows]:
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
