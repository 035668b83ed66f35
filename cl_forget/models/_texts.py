"""Texts as a causal language model reads them: token ids, which of them are answered for, and their layout.

A *unit* is a token of a response; it is predicted at the position before it. A batch is laid out in rows:
one sample a row, padded on the right (a causal model needs no mask for that: no token sees what comes after
it), or several samples a row under a mask that keeps them apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.models._chat import ChatTemplate
from cl_forget.models._quiet import tokenized
from cl_forget.models.base import Batch, Prepared
from cl_forget.models.options import TextOptions
from cl_forget.streams.base import Experience
from cl_forget.streams.scoring import Scoring
from cl_forget.streams.text import PLAIN, Join, Prompt, TextData, joined

PACK_BELOW = 2 / 3
"""Rows are shared, where nothing else is asked for, if that leaves less than this part of the tokens."""

READING = 2
"""Goes into keys of caches: raised when the same text comes to be read as other tokens."""

LOGITS_AT_ONCE = 2**26
"""Entries in the logits of one pass over a data set, 256 MiB in float32."""

TOKENS_AT_ONCE = 2**15
"""Tokens of one such pass, padding included."""


@dataclass
class Tokens:
    """The input of one pass of a language model.

    Attributes:
        ids: (rows, length) int64.
        positions: (rows, length) position of each token in its own sample; None for 0, 1, 2, ...
        samples: (rows, length) batch row of the sample each token belongs to, -1 for padding; None where no
            row is shared.
        rows, columns: (units,) where each unit is predicted.
    """

    ids: Tensor
    rows: Tensor
    columns: Tensor
    positions: Tensor | None = None
    samples: Tensor | None = None

    def to(self, device: torch.device) -> Tokens:
        """The same on another device."""
        moved: Any = {k: None if v is None else v.to(device) for k, v in vars(self).items()}
        return Tokens(**moved)

    def mask(self) -> Tensor | None:
        """(rows, 1, length, length) whether a position sees another; None for plain causal attention."""
        if self.samples is None:
            return None
        same = self.samples[:, None, :, None] == self.samples[:, None, None, :]
        return same & torch.ones(same.shape[-2:], dtype=torch.bool, device=same.device).tril()


class TextFormat:
    """How a tokenizer turns prompts and responses into token ids.

    Args:
        tokenizer: one of transformers.
        options: chat template or not, length, ...
        context: longest sequence of the model; None if it has no limit.
        ends: ids that end a response, the first of them its own; empty if the model knows none.
        vocabulary: how many tokens the model knows; None leaves it to the tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        options: TextOptions,
        context: int | None,
        ends: tuple[int, ...],
        vocabulary: int | None = None,
    ) -> None:
        self.tokenizer, self.options, self.ends, self.vocabulary = tokenizer, options, ends, vocabulary
        limits = [limit for limit in (context, options.max_length) if limit is not None]
        self.limit = min(limits, default=None)
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if options.chat and not has_template:
            raise UserError("text.chat is true but the tokenizer has no chat template; set text.chat=false.")
        if options.template_arguments and not has_template:
            raise UserError(
                "text.template_arguments are given but the tokenizer has no chat template; leave them out."
            )
        self.chat = has_template if options.chat is None else options.chat
        self.template = ChatTemplate(tokenizer, options.template_arguments) if has_template else None
        if self.template is not None and self.template.end is not None:
            self.ends = tuple(dict.fromkeys((*ends, tokenizer.convert_tokens_to_ids(self.template.end))))
        self._before = self._special_start()
        self._tables: WeakKeyDictionary[TextData, TextTable] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_tables": WeakKeyDictionary()}  # weak references stay in their process

    @property
    def key(self) -> str:
        """Hash of everything that decides the ids of a text."""
        tokenizer = self.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        said = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
        template = (getattr(tokenizer, "chat_template", None), self.options.template_arguments, self.chat)
        parts = (READING, said, *map(str, template), self.limit, self.ends)
        return hashlib.sha256(repr((*parts, self._before, self.options.too_long)).encode()).hexdigest()[:12]

    def table(self, data: TextData) -> TextTable:
        """The token ids of a data set, made once as long as it is in use.

        Raises:
            UserError: as `encode`.
        """
        if data not in self._tables:
            self._tables[data] = self.encode(data.prompts, data.responses, data.join, data.place)
        return self._tables[data]

    def encode(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        join: Join = PLAIN,
        place: Callable[[int], str] = "sample {}".format,
    ) -> TextTable:
        """The token ids of each prompt and its response; `place` says what a message calls a sample.

        Raises:
            UserError: a sequence that is too long or empty, messages without a chat template, or a conversation
                that the template refuses.
        """
        heads, tails = self._texts(prompts, responses, join, place)
        before = self._ids(heads)
        whole = self._ids([head + tail for head, tail in zip(heads, tails, strict=True)])
        # A prompt's tokens are read as its beginning; where the response runs into the last of them, it is read by
        # itself, as the model will continue the prompt's tokens and no others.
        apart = [i for i, own in enumerate(before) if whole[i][: len(own)] != own]
        by_itself = dict(zip(apart, self._ids([tails[i] for i in apart]) if apart else [], strict=True))
        parts, cut = [], 0
        for i, prompt in enumerate(prompts):
            head = [*([] if self._is_rendered(prompt) else self._opening(not prompt)), *before[i]]
            tail = by_itself.get(i, whole[i][len(before[i]) :])
            tail = tail if isinstance(prompt, str) and not prompt else self._ended(tail)
            parts.append(self._fitted(head, tail, place(i)))
            cut += sum(map(len, parts[-1])) < len(head) + len(tail)
        return TextTable(parts, cut)

    def prompt_ids(self, prompt: Prompt, join: Join = PLAIN) -> list[int]:
        """What the model is given to answer `prompt`."""
        if self._is_rendered(prompt):
            return self._ids([self._chat().prompt(prompt, join.reasoning)])[0]
        assert isinstance(prompt, str)
        start = joined(prompt, "", join.separator)[0] if prompt else ""
        return [*self._opening(not prompt), *self._ids([start])[0]]

    # -- text ------------------------------------------------------------------------------------------
    def _is_rendered(self, prompt: Prompt) -> bool:
        return not isinstance(prompt, str) or (self.chat and prompt != "")

    def _texts(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        join: Join,
        place: Callable[[int], str],
    ) -> tuple[list[str], list[str]]:
        """What stands before each response, and the response with what the template ends it with."""
        pairs, failed = [], []
        for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            try:
                pairs.append(self._pair(prompt, response, join))
            except UserError as error:
                failed.append((number, error))
        if failed:
            number, first = failed[0]
            more = f" ({len(failed):,} of {len(prompts):,} samples are so)" if len(failed) > 1 else ""
            raise UserError(f"{place(number)}: {str(first).rstrip('.')}{more}.") from first
        return [head for head, _ in pairs], [tail for _, tail in pairs]

    def _pair(self, prompt: Prompt, response: str, join: Join) -> tuple[str, str]:
        if self._is_rendered(prompt):
            return self._chat().parts(prompt, response, join.reasoning)
        assert isinstance(prompt, str)
        return joined(prompt, response, join.separator) if prompt else ("", response)

    def _chat(self) -> ChatTemplate:
        if self.template is None:
            raise UserError(
                "prompts given as messages need a chat template, and the tokenizer has none; give them as text."
            )
        return self.template

    # -- ids -------------------------------------------------------------------------------------------
    def _ids(self, texts: list[str]) -> list[list[int]]:
        # verbose=False: the tokenizer's own warning about long texts; ours is an error with the cure
        ids: list[list[int]] = tokenized(self.tokenizer, texts, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        largest = max((max(own, default=0) for own in ids), default=0)
        if self.vocabulary is not None and largest >= self.vocabulary:
            raise UserError(
                f"the tokenizer makes the token {self.tokenizer.convert_ids_to_tokens(largest)!r} ({largest}) of a "
                f"text, and the model knows {self.vocabulary}: give it the tokenizer's tokens "
                "(resize_token_embeddings, then save it), or the tokenizer that belongs to it."
            )
        return ids

    def _special_start(self) -> list[int]:
        """The ids the tokenizer puts before a text of its own accord."""
        with_them = tokenized(self.tokenizer, "a")["input_ids"]
        without = tokenized(self.tokenizer, "a", add_special_tokens=False)["input_ids"]
        for start in range(len(with_them) - len(without) + 1):
            if with_them[start : start + len(without)] == without:
                return list(with_them[:start])
        return []

    def _opening(self, plain: bool) -> list[int]:
        """Plain text gets a start token even from a tokenizer that puts none: its first word is a unit, too."""
        bos = self.tokenizer.bos_token_id
        return self._before or ([bos] if plain and bos is not None else [])

    def _ended(self, ids: list[int]) -> list[int]:
        """The response with its end token."""
        return ids if ids and ids[-1] in self.ends else [*ids, *self.ends[:1]]

    def _fitted(self, head: list[int], tail: list[int], place: str) -> tuple[list[int], list[int]]:
        length, limit = len(head) + len(tail), self.limit
        if not tail or length < 2:
            raise UserError(f"{place} has no token that the model could predict; remove it.")
        if limit is None or length <= limit:
            return head, tail
        if self.options.too_long == "refuse":
            raise UserError(
                f"{place} has {length} tokens and the limit is {limit}: shorten it, or set "
                "text.too_long=truncate."
            )
        kept = max(1, limit - len(tail)) if head else 0
        head = head[len(head) - min(kept, len(head)) :]
        return head, tail[: limit - len(head)]


class TextTable:
    """Token sequences end to end in one tensor.

    Args:
        parts: (prompt ids, response ids) of each sample.
        cut: how many of them were truncated.

    Attributes:
        ids: (all tokens,) int64.
        first: (samples + 1,) where each sample starts.
        response: (samples,) position in its sample of the first token that is predicted.
    """

    def __init__(self, parts: Sequence[tuple[list[int], list[int]]], cut: int = 0) -> None:
        self.cut = cut
        lengths = torch.tensor([len(head) + len(tail) for head, tail in parts], dtype=torch.int64)
        self.ids = torch.tensor(
            [token for head, tail in parts for token in (*head, *tail)], dtype=torch.int64
        )
        self.first = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        self.response = torch.tensor([max(1, len(head)) for head, _ in parts], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.response)

    @property
    def lengths(self) -> Tensor:
        """(samples,) tokens of each sample."""
        return self.first.diff()

    @property
    def units(self) -> Tensor:
        """(samples,) tokens that are predicted."""
        return self.lengths - self.response

    def sample(self, position: int) -> Tensor:
        """The ids of one sample."""
        return self.ids[int(self.first[position]) : int(self.first[position + 1])]


def lay_out(table: TextTable, indices: Tensor, packed: bool | None) -> tuple[Tokens, Tensor, Tensor]:
    """The samples at `indices` in rows.

    Args:
        table: all samples.
        indices: (batch,) which ones.
        packed: whether rows are shared; None where that saves enough.

    Returns:
        The tokens, (units,) targets and (units,) the batch row each unit belongs to, in order of the batch.
    """
    lengths, starts = table.lengths[indices], table.response[indices]
    width = int(lengths.max())
    rows, offsets = torch.arange(len(indices)), torch.zeros_like(indices)
    if packed is not False:
        shared, places = _first_fit(lengths.tolist(), width)
        if packed or (int(shared.max()) + 1) < PACK_BELOW * len(indices):
            rows, offsets = shared, places
    # every token's sample, and its position in the sample
    owner = torch.repeat_interleave(torch.arange(len(indices)), lengths)
    inside = torch.arange(len(owner)) - (lengths.cumsum(0) - lengths)[owner]
    ids = torch.zeros(int(rows.max()) + 1, width, dtype=torch.int64)
    flat = table.ids[table.first[indices][owner] + inside]
    ids[rows[owner], offsets[owner] + inside] = flat
    predicted = inside >= starts[owner]
    tokens = Tokens(ids, rows[owner][predicted], (offsets[owner] + inside)[predicted] - 1)
    if len(ids) < len(indices):
        tokens.positions = torch.zeros_like(ids)
        tokens.samples = torch.full_like(ids, -1)
        tokens.positions[rows[owner], offsets[owner] + inside] = inside
        tokens.samples[rows[owner], offsets[owner] + inside] = owner
    return tokens, flat[predicted], owner[predicted]


def _first_fit(lengths: list[int], width: int) -> tuple[Tensor, Tensor]:
    """(row, offset) of each sequence: the longest first, each into the first row that has room for it."""
    used: list[int] = []
    rows, offsets = [0] * len(lengths), [0] * len(lengths)
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, full in enumerate(used) if full + lengths[i] <= width), len(used))
        if row == len(used):
            used.append(0)
        rows[i], offsets[i] = row, used[row]
        used[row] += lengths[i]
    return torch.tensor(rows), torch.tensor(offsets)


class PreparedTexts(Prepared):
    """The texts of one data set as token ids, made once.

    Attributes:
        table: prompts with their responses.
        data: the texts.
        scoring: how they are judged.
        max_new_tokens: how far answers are decoded.
    """

    def __init__(
        self,
        data: TextData,
        experience: Experience,
        split: str,
        form: TextFormat,
        packed: bool | None,
        vocabulary: int,
        model: nn.Module,
    ) -> None:
        self.experience, self.split, self.data, self._packed = experience, split, data, packed
        self.scoring = experience.scoring or Scoring()
        self.form = form
        try:
            self.table = form.table(data)
        except UserError as error:
            raise UserError(f"experience '{experience.name}', {split}: {error}") from None
        asked = self.scoring.max_new_tokens
        self.max_new_tokens = int(self.table.units.max()) if asked is None else asked
        judge = self.scoring.judge and f"{self.scoring.judge.__module__}.{self.scoring.judge.__qualname__}"
        self.key = f"{data.fingerprint}-{form.key}-{self.scoring.kind}-{self.max_new_tokens}-{judge}"
        self._vocabulary = vocabulary
        self._wrong: tuple[TextTable, Tensor] | None = None
        self._parameter = next(model.parameters())

    def __len__(self) -> int:
        return len(self.table)

    def grouped(self, indices: Tensor) -> Tensor:
        """Short samples first, so that a micro-batch has little padding."""
        return indices[self.table.lengths[indices].argsort(stable=True)]

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All samples in order; fewer than `batch_size` at a time where they are long."""
        start, table = 0, self.table
        logits, tokens = table.units * self._vocabulary, table.lengths
        while start < len(self):
            end = min(start + batch_size, len(self))
            rows = torch.arange(1, end - start + 1)
            padded = tokens[start:end].cummax(0).values * rows
            fits = (logits[start:end].cumsum(0) <= LOGITS_AT_ONCE) & (padded <= TOKENS_AT_ONCE)
            end = start + max(1, int(fits.sum()))
            yield self.batch(torch.arange(start, end))
            start = end

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The samples at `indices`, laid out in rows, on the model's device."""
        return self.laid_out(self.table, indices)

    def laid_out(self, table: TextTable, indices: Tensor, packed: bool | None = None) -> Batch:
        """Samples of any table of these texts as a batch; `packed` as in `lay_out`."""
        tokens, targets, owner = lay_out(table, indices, self._packed if packed is None else packed)
        device = self._parameter.device
        return Batch(tokens.to(device), targets.to(device), indices, self, owner.to(device))

    def wrong_choices(self) -> tuple[TextTable, Tensor]:
        """Every prompt with each of its wrong choices, and (choices,) the sample each belongs to."""
        if self._wrong is None:
            data = self.data
            assert data.choices is not None
            owned = [
                (i, choice)
                for i, choices in enumerate(data.choices)
                for choice in choices
                if choice != data.responses[i]
            ]
            prompts, wrong = [data.prompts[i] for i, _ in owned], [choice for _, choice in owned]
            table = self.form.encode(prompts, wrong, data.join, lambda i: data.place(owned[i][0]))
            self._wrong = table, torch.tensor([i for i, _ in owned])
        return self._wrong
