"""Rows of a table as prompts and responses: by the columns a user names, or by those of a format that is known.

Known are OpenAI's `messages`, ShareGPT's `conversations`, preference rows (`chosen`, `rejected`), Alpaca's
`instruction, input, output`, TRL's `prompt, completion`, and pairs of columns with telling names. What was taken
for what is kept in words (`Read.notes`). A row that cannot be read is never skipped: all rows are looked at, and
the error says how many there are and which is the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._cells import MISSING, as_text, columns_of, fill, is_list, is_missing, look_up, parsed
from cl_forget.streams._choices import Choices, Listed, Part, spread_choices
from cl_forget.streams._rows import Row, Table
from cl_forget.streams._turns import (
    CannotRead,
    human_and_assistant,
    is_conversation,
    parted,
    turns_of,
    with_tools,
)
from cl_forget.streams.text import Message, Prompt

PAIRS = (
    ("prompt", "response"), ("question", "answer"), ("instruction", "output"), ("prompt", "completion"),
    ("instruction", "response"), ("question", "response"), ("query", "response"), ("query", "answer"),
    ("input", "output"), ("inputs", "targets"), ("input", "target"), ("source", "target"), ("problem", "solution"),
    ("prompt", "output"), ("prompt", "answer"), ("question", "output"), ("human", "assistant"), ("user", "assistant"),
    ("document", "summary"), ("article", "summary"), ("dialogue", "summary"), ("text", "summary"),
    ("article", "highlights"), ("text", "label"), ("sentence", "label"),
    ("", "text"),
)  # fmt: skip
"""Columns that are taken for prompt and response where none are named, the first pair that is there."""

CONVERSATIONS = ("messages", "conversations")
PERHAPS_CONVERSATIONS = ("conversation", "dialog", "dialogue", "turns")  # also names of texts
SYSTEM = ("system", "system_prompt")
GIVEN = (
    "context", "contexts", "passage", "input", "history", "document", "paragraph", "hint", "query", "question",
    "instruction", "choices", "options", "sentence2", "text2", "premise", "hypothesis", "evidence", "knowledge",
    "schema",
)  # fmt: skip
"""Columns that a question is about: one that is left out changes what is asked."""
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
GOOD = ("label", "kto_tag")
"""Columns whose true and false tell good answers from bad ones."""
TRUTH = {"true": True, "false": False}
NUMBERED_TRUTH = {"1": True, "0": False, "1.0": True, "0.0": False}
CLASSES = ("label", "labels")
"""Columns of classes, which make a table of texts one to classify."""

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
"""The two prompts of Stanford Alpaca (Taori et al. 2023, train.py)."""


NO_INPUT = ("", "<noinput>", "noinput", "<no input>")
"""What data made after Self-Instruct (Wang et al. 2022) write where an instruction needs no input."""


class Sample(NamedTuple):
    """A prompt, its response, and the choices it is among."""

    prompt: Prompt
    response: str
    choices: tuple[str, ...] | None


@dataclass
class Read:
    """The samples of a table.

    Attributes:
        samples: one for each row that is used.
        notes: what was taken for what, and what was left out.
        separator: what the format puts between prompt and response; None where it says nothing.
        numbers: what a person calls the row of each sample.
    """

    samples: list[Sample]
    notes: list[str]
    separator: str | None = None
    numbers: Sequence[int] = ()


@dataclass
class Format:
    """How a row becomes a sample.

    Attributes:
        words: prompt and response, in words.
        used: columns that are read.
        read: one row to (prompt, response), counting in words what it left out.
        separator: what the format puts between prompt and response.
        keep: rows that are samples at all.
        optional: columns of `used` that a row may lack.
        response: the column or template of the response, where it is one.
        choices: the column of the choices, or one for each of them.
    """

    words: str
    used: Sequence[str]
    read: Callable[[Row, Counter[str]], tuple[Prompt, str]]
    separator: str | None = None
    keep: Callable[[Row], bool] = lambda row: True
    optional: Sequence[str] = ()
    response: str = ""
    choices: Sequence[str] = ()


@dataclass(frozen=True)
class Columns:
    """Where a user says that prompt, response and choices stand.

    Attributes:
        prompt, response: the name of a column, or a template with names in braces; None leaves it to the format.
        choices: the name of a column, or those of several with commas between them.
    """

    prompt: str | None = None
    response: str | None = None
    choices: str | None = None

    def read(self, what: str, tables: Mapping[str, Table]) -> dict[str, Read]:
        """The samples of each split, all of them read in one way, whatever one alone would look like.

        Args:
            what: where the rows come from, for messages.
            tables: split -> its rows.

        Raises:
            UserError: columns that are not there, a split that is unlike the others, rows that cannot be read,
                empty responses.
        """
        names = {split: f"{what}, {split}" for split in tables}
        for split, table in tables.items():
            if not table.rows:
                raise UserError(f"{names[split]} holds no rows.")
            if self.prompt is None:
                _refuse_media(names[split], table)
        format = self._format(what if len(tables) > 1 else next(iter(names.values())), _together(tables))
        used = [*format.used, *format.choices]
        for split, table in tables.items():
            required = [name for name in used if name not in format.optional]
            _check_columns(names[split], table, required, {k: v for k, v in tables.items() if k != split})
        _refuse_unlike(names, tables, format.optional)
        parts = {split: self._part(names[split], table, format) for split, table in tables.items()}
        samples = self._samples(what if len(tables) > 1 else next(iter(names.values())), parts, format)
        return {
            split: Read(
                own,
                _notes(parts[split], format, used),
                format.separator,
                [parts[split].table.number(i) for i in parts[split].positions],
            )
            for split, own in samples.items()
        }

    def _part(self, what: str, table: Table, format: Format) -> Part:
        every = list(enumerate(table.rows))
        rows = [own for own, good in zip(every, _each(what, table, every, format.keep), strict=True) if good]
        if not rows:
            raise UserError(f"{what}: no row is a good answer ({format.words}).")
        found: Counter[str] = Counter()
        pairs = _each(what, table, rows, lambda row: format.read(row, found))
        lists = []
        if format.choices:
            lists = _each(what, table, rows, Choices(format.choices, format.response).listed)
        positions = [i for i, _ in rows]
        _refuse_without_prompt(what, table, positions, [prompt for prompt, _ in pairs])
        return Part(what, table, positions, pairs, lists, found)

    def _samples(self, what: str, parts: Mapping[str, Part], format: Format) -> dict[str, list[Sample]]:
        """The samples of each split; how the right choices are given is told by all of them together."""
        right: Mapping[str, Sequence[str]] = {
            split: [response for _, response in part.pairs] for split, part in parts.items()
        }
        if format.choices:
            right = Choices(format.choices, format.response).right(what, parts)
        samples = {}
        for split, part in parts.items():
            lists: Sequence[Listed | None] = part.lists or [None] * len(part.pairs)
            samples[split] = [
                Sample(prompt, response, None if own is None else own.texts)
                for (prompt, _), response, own in zip(part.pairs, right[split], lists, strict=True)
            ]
            _refuse_empty(part.what, part.table, part.positions, samples[split])
        return samples

    def _format(self, what: str, table: Table) -> Format:
        if self.prompt is None and self.choices is None:
            known = _conversation(table, self.response)
            if known is None and self.response is None:
                known = _preference(what, table) or _alpaca(table) or _completion(table)
            if known is not None:
                return _without_bad_answers(table, known)
        pair = _pair(what, table, self.prompt, self.response, self.choices)
        told = self.prompt is None and self.response is None and self.choices is None
        return _without_bad_answers(table, pair) if told else pair


# -- formats ---------------------------------------------------------------------------------------------


def _refuse_media(what: str, table: Table) -> None:
    """A question about a picture is another question without it."""
    for name in (*table.media, *(name for name in MEDIA if name in table.columns)):
        full = [
            i
            for i, row in enumerate(table.rows)
            if name in table.media or row.get(name) not in (None, "", [])
        ]
        if full:
            raise UserError(
                f"{what}: rows come with pictures or sounds in column '{name}' (the first is row "
                f"{table.number(full[0])}), which a language model does not get; remove these rows, or name the "
                "`prompt` if it stands without them."
            )


def _without_bad_answers(table: Table, format: Format) -> Format:
    """Of rows whose true and false tell good answers from bad ones, the good ones.

    Beside `prompt` and `completion` a `label` is such a flag whatever it holds (KTO), and so is a `kto_tag`
    anywhere; elsewhere a `label` may be the name or the number of a class, and is a flag where it says true or false.
    """
    for name in GOOD:
        if name not in table.columns or name in format.used:
            continue
        flag = name == "kto_tag" or list(format.used) == ["prompt", "completion"]
        held = [value for row in table.rows if not is_missing(value := row.get(name))]
        if flag or (held and all(_word(value) in TRUTH for value in held)):
            words = f"{format.words}; rows whose '{name}' is false are left out"
            known = {**TRUTH, **NUMBERED_TRUTH} if flag else TRUTH
            keep = partial(_is_good, name, known)
            return replace(format, words=words, used=[*format.used, name], keep=keep)
    return format


def _is_good(name: str, known: Mapping[str, bool], row: Row) -> bool:
    value = row.get(name)
    if (word := _word(value)) not in known:
        raise CannotRead(
            f"'{name}' tells good answers from bad ones and holds {_shown(value)}; write true or false, or name "
            "`prompt` and `response` to use every row"
        )
    return known[word]


def _word(value: Any) -> str:
    return (as_text(value) or "").strip().lower()


def _conversation(table: Table, named: str | None) -> Format | None:
    """A column of conversations, the last answer of each being the response."""
    if named is None:
        names = [name for name in CONVERSATIONS if name in table.columns]
        names += [name for name in PERHAPS_CONVERSATIONS if _holds_turns(table, name)]
        names = [] if {"chosen", "rejected"} <= set(table.columns) else names
    else:
        has_prompt = any(said == named and asked in table.columns for asked, said in PAIRS if asked)
        names = [named] if _holds_turns(table, named) and not has_prompt else []
    if not names:
        return None
    column = names[0]
    system = next((name for name in SYSTEM if name in table.columns), None)

    def read(row: Row, found: Counter[str]) -> tuple[Prompt, str]:
        turns = turns_of(column, look_up(row, column))
        before, answer = parted(column, _with_system(row, system, turns), found)
        return with_tools(before, row.get("tools")), answer

    used = [column, *(name for name in (system, "tools") if name in table.columns)]
    words = f"conversations: '{column}', the last answer of each is the response"
    return Format(words, used, read, optional=used[1:])


def _preference(what: str, table: Table) -> Format | None:
    """Pairs of a chosen and a rejected answer: the chosen one is the response."""
    if not {"chosen", "rejected"} <= set(table.columns):
        return None
    before = next(
        (name for name in ("prompt", "question", "instruction", *CONVERSATIONS) if name in table.columns),
        None,
    )
    system = next((name for name in SYSTEM if name in table.columns), None)

    def read(row: Row, found: Counter[str]) -> tuple[Prompt, str]:
        chosen = parsed(row["chosen"])
        if isinstance(chosen, str) and before is None:
            chosen = human_and_assistant(chosen)
            if chosen is None:
                raise CannotRead("'chosen' has no prompt before it; add a column 'prompt'")
        if is_list(chosen) or (isinstance(chosen, dict) and {"role", "from"} & set(chosen)):
            turns = turns_of("chosen", chosen if is_list(chosen) else [chosen])
            if not any(turn["role"] != "assistant" for turn in turns):
                turns = [*_asked(row, before), *turns]
            return parted("chosen", _with_system(row, system, turns), found)
        return _asked_text(row, before, system), _text_of(row, "chosen")

    used = ["chosen", *([before] if before else []), *([system] if system else [])]
    words = (
        f"preferences: the response is 'chosen'; 'rejected' is not used; the prompt is {before or 'in it'!r}"
    )
    return Format(words, used, read, optional=[name for name in used if name in (system, before)])


def _alpaca(table: Table) -> Format | None:
    """Stanford Alpaca's columns, or Dolly's names for them, under Alpaca's two prompts."""
    given = next((name for name in ("input", "context") if name in table.columns), None)
    answer = next((name for name in ("output", "response") if name in table.columns), None)
    if "instruction" not in table.columns or given is None or answer is None:
        return None
    system = next((name for name in SYSTEM if name in table.columns), None)

    def read(row: Row, found: Counter[str]) -> tuple[Prompt, str]:
        texts = {"instruction": _text_of(row, "instruction"), "input": _text_or_empty(row, given)}
        if not texts["instruction"].strip():
            raise CannotRead("'instruction' is empty; remove the row or fill it in")
        has_input = texts["input"].strip().lower() not in NO_INPUT
        asked = fill(ALPACA_WITH_INPUT if has_input else ALPACA, texts)
        answered = _text_of(row, answer)
        turns = _with_system(row, system, [*_history(row), _user(asked)])
        return (asked if len(turns) == 1 else turns), answered

    used = ["instruction", given, answer, *([system] if system else [])]
    used += ["history"] if "history" in table.columns else []
    words = f"Alpaca: 'instruction' and '{given}' (may be empty) in Alpaca's two prompts; the response is '{answer}'"
    return Format(words, used, read, "\n", optional=[given, *used[3:]])


def _completion(table: Table) -> Format | None:
    """TRL's `prompt` and `completion`, plain or conversational."""
    if not {"prompt", "completion"} <= set(table.columns):
        return None
    conversational = any(_holds_turns(table, name) for name in ("prompt", "completion"))

    def read(row: Row, found: Counter[str]) -> tuple[Prompt, str]:
        return _asked_and_said(row, "prompt", "completion", found)

    words = f"prompt 'prompt', response 'completion'{' (conversations)' if conversational else ''}"
    return Format(words, ["prompt", "completion"], read)


def _pair(
    what: str, table: Table, prompt: str | None, response: str | None, choices: str | None = None
) -> Format:
    """The columns or templates a user names; where one is missing, the first pair of telling names."""
    named, told = prompt is not None, prompt is None and response is None
    prompt, response = _telling(what, table, prompt, response)
    if told and not prompt:
        _refuse_classes(what, table, response)
    spread = () if named or choices else spread_choices(table.columns)
    if spread and (not prompt or spread[0][-1].isdigit()):
        raise UserError(
            f"{what}: columns {', '.join(spread)} look like choices; say `prompt: {prompt or 'COLUMN'}`, and "
            f'`choices: "{", ".join(spread)}"` for multiple choice.'
        )
    given = _listed(table, choices) if choices else spread
    system = None if named else next((name for name in SYSTEM if name in table.columns), None)
    used = list(dict.fromkeys([*columns_of(prompt), *columns_of(response), *([system] if system else [])]))
    lost = [name for name in GIVEN if name in table.columns and name not in (*used, *given) and prompt]
    if (
        lost
        and not named
        and lost[0] in ("choices", "options")
        and is_list(parsed(table.rows[0].get(lost[0])))
    ):
        raise UserError(
            f"{what}: prompt '{prompt}' and response '{response}' leave out the choices in '{lost[0]}'; set "
            f"`choices: {lost[0]}` for multiple choice, or `prompt: {prompt}`."
        )
    if lost and not named:
        template = "\\n\\n".join("{" + name + "}" for name in (*lost, prompt))
        raise UserError(
            f"{what}: prompt '{prompt}' and response '{response}' leave out '{lost[0]}', which the question may be "
            f'about; say what the prompt is: `prompt: "{template}"`, or `prompt: {prompt}`.'
        )

    def read(row: Row, found: Counter[str]) -> tuple[Prompt, str]:
        if "{" in prompt + response:
            return (_filled(row, prompt, found) if prompt else ""), _filled(row, response, found)
        asked, said = _asked_and_said(row, prompt, response, found)
        turns = _with_system(row, system, [_user(asked)] if isinstance(asked, str) else asked)
        return (asked if not prompt or len(turns) == 1 else turns), said

    words = f"prompt {prompt!r}, response {response!r}" if prompt else f"plain text: {response!r}"
    words += f", choices {', '.join(map(repr, given))}" if len(given) > 1 else ""
    optional = [system] if system else []
    return Format(words, used, read, optional=optional, response=response, choices=given)


def _listed(table: Table, choices: str) -> tuple[str, ...]:
    """The columns that the option `choices` names: one, or several with commas between them."""
    several = tuple(name.strip() for name in choices.split(","))
    return (choices,) if choices in table.columns or not all(several) else several


def _refuse_classes(what: str, table: Table, text: str) -> None:
    """Texts beside numbers of classes are to be classified, and not to be continued."""
    for name in CLASSES:
        if any(not is_missing(row.get(name)) for row in table.rows):
            raise UserError(
                f"{what}: '{text}' stands beside '{name}', whose values are no words that could be answers; name the "
                f"classes in '{name}' and say `prompt: {text}` and `response: {name}`, or say `response: {text}` to "
                "use the texts alone."
            )


def _telling(what: str, table: Table, prompt: str | None, response: str | None) -> tuple[str, str]:
    if response is not None and not response.strip():
        raise UserError(f"{what}: the option `response` is empty; name a column, or leave it out.")
    if prompt is not None and response is not None:
        return prompt, response
    for asked, said in PAIRS:
        fits = said in table.columns and (not asked or asked in table.columns)
        if said == "label" and response is None:  # the number of a class is no answer
            fits = fits and _holds_words(table, said)
        if fits and prompt in (None, asked) and response in (None, said):
            return asked, said
    if response is None:
        columns = ", ".join(table.columns)
        raise UserError(
            f"{what}: say which column is the `response` (and the `prompt`). Its columns: {columns}."
        )
    return "", response


def _holds_words(table: Table, column: str) -> bool:
    """Whether what a column holds are texts, and not all of them numbers; cells may be empty."""
    held = [value for row in table.rows if not is_missing(value := row.get(column))]
    texts = bool(held) and all(isinstance(value, str) for value in held)
    return texts and not all(str(value).strip("-. ").isdecimal() for value in held)


# -- parts of a row --------------------------------------------------------------------------------------


def _asked_and_said(row: Row, prompt: str, response: str, found: Counter[str]) -> tuple[Prompt, str]:
    """A prompt and a response of which both may be texts or turns."""
    asked, said = (parsed(look_up(row, name)) if name else "" for name in (prompt, response))
    if not (is_conversation(asked) or is_conversation(said)):
        return (_text_of(row, prompt) if prompt else ""), _text_of(row, response)
    before = turns_of(prompt, asked) if is_conversation(asked) else _as_user(row, prompt)
    after = turns_of(response, said) if is_conversation(said) else [_answer(_text_of(row, response))]
    return parted(response, [*before, *after], found)


def _as_user(row: Row, column: str) -> list[Message]:
    return [_user(_text_of(row, column))] if column else []


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _asked(row: Row, column: str | None) -> list[Message]:
    """What stands before an answer as turns."""
    value = parsed(row.get(column)) if column else None
    if is_conversation(value):
        return turns_of(str(column), value)
    return _as_user(row, column or "")


def _asked_text(row: Row, column: str | None, system: str | None) -> Prompt:
    turns = _with_system(row, system, _asked(row, column))
    if len(turns) == 1 and turns[0]["role"] == "user":
        return str(turns[0]["content"])
    return turns


def _with_system(row: Row, column: str | None, turns: Sequence[Message]) -> list[Message]:
    """The turns with the text of a column as their system turn, unless they have one."""
    text = _text_or_empty(row, column) if column else ""
    if not text.strip() or (turns and turns[0]["role"] == "system"):
        return list(turns)
    return [{"role": "system", "content": text}, *turns]


def _history(row: Row) -> list[Message]:
    """Earlier rounds, as LLaMA-Factory keeps them beside Alpaca's columns: pairs of question and answer."""
    rounds = parsed(row.get("history"))
    if is_missing(rounds) or rounds == "":
        return []
    if not is_list(rounds) or not all(is_list(pair) and len(pair) == 2 for pair in rounds):
        raise CannotRead("'history' must be a list of pairs of question and answer")
    turns: list[Message] = []
    for asked, said in rounds:
        earlier = {"question": asked, "answer": said}
        turns += [_user(_text_of(earlier, "question")), _answer(_text_of(earlier, "answer"))]
    return turns


def _filled(row: Row, pattern: str, found: Counter[str]) -> str:
    texts = {name: _text_of(row, name) for name in columns_of(pattern)}
    for name in [name for name, text in texts.items() if not text.strip()]:
        found[f"rows have nothing in '{name}', which leaves a hole in '{pattern}'"] += 1
    return fill(pattern, texts)


def _text_or_empty(row: Row, column: str) -> str:
    return "" if is_missing(row.get(column)) else _text_of(row, column)


def _text_of(row: Row, column: str) -> str:
    value = look_up(row, column)
    text = None if is_missing(value) else as_text(value)
    if text is None:
        raise CannotRead(
            f"column '{column}' holds {_shown(value)}, not a text; remove the row, or use another column"
        )
    return text


def _shown(value: Any) -> str:
    said = "None" if is_missing(value) else repr(value)
    return said if len(said) < 60 else said[:57] + "..."


# -- rows ------------------------------------------------------------------------------------------------


def _each(what: str, table: Table, rows: list[tuple[int, Row]], read: Callable[[Row], Any]) -> list[Any]:
    """`read` of every row; where some cannot be read, one line with their number and the first of them."""
    done, failed = [], []
    for position, row in rows:
        try:
            done.append(read(row))
        except CannotRead as error:
            failed.append((position, str(error)))
    if failed:
        position, reason = failed[0]
        more = f" ({len(failed):,} of {len(rows):,} rows cannot be read)" if len(failed) > 1 else ""
        raise UserError(f"{what}, row {table.number(position)}: {reason}{more}.")
    return done


def _together(tables: Mapping[str, Table]) -> Table:
    """The rows and columns of all splits, by which their format is told; those of train first."""
    ordered = sorted(tables.values(), key=lambda table: table is not tables.get("train"))
    columns = dict.fromkeys(name for table in ordered for name in table.columns)
    return replace(ordered[0], rows=[row for table in ordered for row in table.rows], columns=tuple(columns))


def _refuse_unlike(names: Mapping[str, str], tables: Mapping[str, Table], optional: Sequence[str]) -> None:
    """A column that one split has in every row and another nowhere would make two tasks of them."""
    for name in optional:
        filled = [split for split, table in tables.items() if _is_filled(table, name)]
        for split, table in tables.items():
            if filled and name not in table.columns:
                raise UserError(
                    f"{names[split]} has no column '{name}', which every row of {filled[0]} has; add it (it may be "
                    f"empty), or take it out of {filled[0]}. Its columns: {', '.join(table.columns)}."
                )


def _is_filled(table: Table, name: str) -> bool:
    values = [row.get(name, MISSING) for row in table.rows]
    return MISSING not in values and not all(is_missing(value) or value in ("", []) for value in values)


def _check_columns(what: str, table: Table, names: Sequence[str], others: Mapping[str, Table]) -> None:
    """Every column is there, and every row has it."""
    for name in names:
        if name not in table.columns and name.partition(".")[0] not in table.columns:
            having = [split for split, other in others.items() if name in other.columns]
            which = f", which {having[0]} has; all splits are read in one way" if having else ""
            raise UserError(
                f"{what} has no column '{name}'{which}.{closest(name, list(table.columns))} "
                f"Its columns: {', '.join(table.columns)}."
            )
        key = name if name in table.columns else name.partition(".")[0]
        without = [position for position, row in enumerate(table.rows) if key not in row]
        if without:
            raise UserError(
                f"{what}: {table.unit} {table.number(without[0])} has no '{key}', which others have "
                f"({len(without):,} of {len(table.rows):,} lack it); add it, or remove these rows."
            )


def _refuse_without_prompt(what: str, table: Table, positions: list[int], prompts: list[Prompt]) -> None:
    """A text without a prompt is all response: that is meant for all rows of a table, or for none."""
    without = [
        i for i, asked in zip(positions, prompts, strict=True) if isinstance(asked, str) and not asked.strip()
    ]
    if without and len(without) < len(prompts):
        raise UserError(
            f"{what}: {len(without):,} prompts are empty (the first is row {table.number(without[0])}) and the "
            "others are not: remove these rows or fill them in."
        )


def _refuse_empty(what: str, table: Table, positions: list[int], samples: list[Sample]) -> None:
    empty = [i for i, sample in zip(positions, samples, strict=True) if not sample.response.strip()]
    if empty:
        raise UserError(
            f"{what}: {len(empty):,} responses are empty (the first is row {table.number(empty[0])}): the loss is "
            "taken on responses, so remove these rows or fill them in."
        )


def _notes(part: Part, format: Format, used: Sequence[str]) -> list[str]:
    table, rows = part.table, len(part.positions)
    size = f"{len(table.rows):,} row{'' if len(table.rows) == 1 else 's'}"
    notes = [f"{table.format}, {size}", format.words]
    notes += [f"{len(table.rows) - rows:,} rows are left out"] if rows < len(table.rows) else []
    heads = {name.partition(".")[0] for name in used} | set(used)
    unused = [name for name in table.columns if name not in heads]
    notes += [f"columns not used: {_few(unused)}"] if unused else []
    absent = [name for name in format.optional if name not in table.columns]
    notes += [f"no column '{name}', which is read as empty" for name in absent]
    return notes + [f"{count:,} {words}" for words, count in part.found.items()]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _holds_turns(table: Table, column: str) -> bool:
    values = (look_up(row, column) for row in table.rows[:100])
    return any(is_conversation(value) for value in values)
