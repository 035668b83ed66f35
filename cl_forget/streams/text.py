"""Text tasks: prompts with the responses a language model should give, and how its answers are judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from cl_forget.ground.errors import UserError
from cl_forget.streams.base import Data, Experience
from cl_forget.streams.scoring import Scoring, ScoringKind

Message = Mapping[str, Any]
"""One turn of a conversation: {"role": "system" | "user" | "assistant" | "tool", "content": text}; an assistant's may
hold "tool_calls", and the first one "tools" (their definitions), as chat templates take them."""


Prompt = str | Sequence[Message]
"""What stands before the response: a text, or the turns of a conversation (which need a chat template)."""


class Join(NamedTuple):
    """How prompt and response are put together.

    Attributes:
        separator: as in `TextData`.
        reasoning: whether responses hold their own reasoning, so that no template puts an empty one before them.
    """

    separator: str | None = ""
    reasoning: bool = False


PLAIN = Join()


class Origin(NamedTuple):
    """Where the samples of a file stand in it.

    Attributes:
        what: the file and its split.
        numbers: what a person calls the row of each sample.
    """

    what: str
    numbers: Sequence[int]


class TextData(Data):
    """Prompts and responses; the loss is taken on the responses.

    Args:
        responses: what the model should say; none may be empty.
        prompts: what stands before each response. An empty text means plain text, all of which is the
            response; None leaves every prompt empty.
        choices: for multiple choice, the possible responses to each prompt, the right one among them.
        from_file: whether the source may change between two runs of one process.
        separator: what stands between a prompt that is text and the response (or choice), where no chat
            template says it: "" for nothing, None for what `joined` finds fit.
        origin: where the samples stand in their file, for messages.

    Attributes:
        labels: zeros; text has no classes.
        fingerprint: hash of the content.

    Raises:
        UserError: no samples, lists of different lengths, an empty response, or choices without the response.
    """

    def __init__(
        self,
        responses: Sequence[str],
        prompts: Sequence[Prompt] | None = None,
        choices: Sequence[Sequence[str]] | None = None,
        from_file: bool = False,
        separator: str | None = "",
        origin: Origin | None = None,
    ) -> None:
        import numpy as np

        self.responses = list(responses)
        self.prompts: list[Prompt] = [""] * len(self.responses) if prompts is None else list(prompts)
        self.choices = None if choices is None else [tuple(own) for own in choices]
        self.from_file, self.separator, self.origin = from_file, separator, origin
        self._check()
        self.labels = np.zeros(len(self.responses), dtype=np.int64)
        content = [self.prompts, self.responses, self.choices]
        self.fingerprint = _hash([*content, separator] if separator != "" else content)

    def _check(self) -> None:
        if not self.responses:
            raise UserError("a text data set is empty: check its path, its split and its filter.")
        if len(self.prompts) != len(self.responses):
            raise UserError(
                f"{len(self.prompts)} prompts but {len(self.responses)} responses: one response per prompt."
            )
        empty = [i for i, response in enumerate(self.responses) if not response.strip()]
        if empty:
            raise UserError(
                f"{len(empty)} responses are empty (the first is {self.place(empty[0])}): the loss is taken on "
                "responses, so remove these samples or fill them in."
            )
        if self.choices is None:
            return
        if len(self.choices) != len(self.responses):
            raise UserError(
                f"{len(self.choices)} lists of choices but {len(self.responses)} responses: one list each."
            )
        for i, (own, response) in enumerate(zip(self.choices, self.responses, strict=True)):
            if len(own) < 2 or own.count(response) != 1:
                raise UserError(
                    f"{self.place(i)}: {len(own)} choices hold the response {response!r} {own.count(response)} "
                    "times; give at least two choices, the response once among them."
                )

    def place(self, position: int) -> str:
        """What a message calls a sample: its position, and its row where it comes from a file."""
        if self.origin is None:
            return f"sample {position}"
        return f"sample {position} ({self.origin.what}, row {self.origin.numbers[position]})"

    @property
    def join(self) -> Join:
        """How prompts and responses are put together."""
        return Join(self.separator, any("</think>" in response for response in self.responses))

    @property
    def in_memory(self) -> bool:
        """Whether reading the source again would give the same samples."""
        return not self.from_file

    def subset(self, positions: Sequence[int]) -> TextData:  # type: ignore[override]
        """The samples at `positions`, in that order."""
        origin = self.origin
        return TextData(
            [self.responses[i] for i in positions],
            [self.prompts[i] for i in positions],
            None if self.choices is None else [self.choices[i] for i in positions],
            self.from_file,
            self.separator,
            None if origin is None else Origin(origin.what, [origin.numbers[i] for i in positions]),
        )

    def hints(self) -> Sequence[Hashable]:
        """Hashes of prompt and response."""
        return [self.content(position) for position in range(len(self.responses))]

    def content(self, position: int) -> Hashable:
        """Hash of prompt and response."""
        return _hash([self.prompts[position], self.responses[position]])


def joined(prompt: str, response: str, separator: str | None) -> tuple[str, str]:
    """A prompt and what follows it as text, cut where tokens begin.

    Spaces between the two belong to what follows, as a word's space is part of its token in nearly every
    vocabulary (lm-evaluation-harness cuts there, too); a line that ends belongs to the prompt.

    Args:
        prompt: a text that is not empty.
        response: the response or a choice; empty to ask for the prompt alone.
        separator: stands between them. None: a space, unless one of them has white space there or the prompt
            ends in a script without spaces.
    """
    if separator is None:
        spaced = prompt[-1].isspace() or response[:1].isspace() or _is_unspaced(prompt[-1])
        separator = "" if spaced else " "
    before = prompt + separator
    start = before.rstrip(" \t")
    return start, before[len(start) :] + response


def _is_unspaced(character: str) -> bool:
    """Whether a character is of Chinese, Japanese, Thai, Lao, Khmer or Burmese, or their punctuation."""
    ranges = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x9FFF), (0xF900, 0xFAFF))
    code = ord(character)
    return any(low <= code <= high for low, high in (*ranges, (0xFF00, 0xFFEF), (0x20000, 0x3FFFF)))


def text_experience(
    name: str,
    train: TextData | None,
    validation: TextData,
    test: TextData,
    scoring: Scoring | ScoringKind = "exact match",
    shifted: Mapping[str, TextData] | None = None,
) -> Experience:
    """A text task, or (with `train` None) a suite.

    Args:
        name: unique in its stream.
        train, validation, test: the data; `validation` is for selection, `test` is read for the report.
        scoring: how answers are judged; its kind alone will do.
        shifted: further test sets by name (other phrasings, other lengths).

    Raises:
        UserError: multiple choice without choices.
    """
    scoring = Scoring(scoring) if isinstance(scoring, str) else scoring
    experience = Experience(
        name, None, train, validation, test, dict(shifted or {}), metric=scoring.kind, scoring=scoring
    )
    for split, data in experience.splits().items():
        if scoring.kind == "multiple choice" and split != "train" and getattr(data, "choices", None) is None:
            raise UserError(
                f"experience '{name}', {split}: multiple choice needs a list of choices per sample."
            )
    return experience


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]
