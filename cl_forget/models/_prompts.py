"""Prompts of a data set of texts that a model answers itself, sampled in batches with a cache of keys and values."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.models import _answers
from cl_forget.models._texts import PreparedTexts, TextTable
from cl_forget.models.base import Batch, FoundationModel, Prompts, evaluating
from cl_forget.streams.text import Prompt


class TextPrompts(Prompts):
    """The prompts of texts as token ids.

    A prompt of the data is read as training and evaluation read it, and loses its beginning where an answer would not
    fit behind it; one that shows the data's response has to fit, unless `text.too_long` is "truncate".

    Args:
        samples: the texts; every one has a prompt.
        shown, length: as for `FoundationModel.prompts`.

    Raises:
        UserError: a prompt that shows its response leaves no room for an answer.
    """

    def __init__(self, samples: PreparedTexts, shown: str | None, length: int | None) -> None:
        self._samples = samples
        self._length = length or samples.max_new_tokens
        table, data, form = samples.table, samples.data, samples.form
        if shown is None:
            heads = [table.sample(i)[: int(table.response[i])].tolist() for i in range(len(table))]
        else:
            asked = zip(data.prompts, data.responses, strict=True)
            heads = [form.prompt_ids(_shown(shown, *own), data.join) for own in asked]
        if form.limit is not None:
            room = form.limit - self._length
            longest = max(range(len(heads)), key=lambda i: len(heads[i]))
            if shown is not None and len(heads[longest]) > room and form.options.too_long == "refuse":
                raise UserError(
                    f"task '{samples.experience.name}': {data.place(longest)} has {len(heads[longest])} tokens where "
                    f"its response is shown, and with {self._length} for an answer the limit is {form.limit}: "
                    "shorten it, or set text.too_long=truncate."
                )
            heads = [own[-max(1, room) :] for own in heads]
        self._heads: list[list[int]] = heads

    def answer(
        self, model: FoundationModel, indices: Tensor, seed: int, temperature: float = 1.0
    ) -> list[list[int]]:
        """Sampled in batches of prompts of like length; in full precision, as frozen models run."""
        numbers = indices.tolist()
        draws = np.stack([np.random.default_rng((seed, i)).random(self._length) for i in numbers])
        speaker: Any = model
        with evaluating(model), torch.autocast(model.device.type, enabled=False):
            return _answers.continued(
                speaker,
                self._samples.form.ends,
                [self._heads[i] for i in numbers],
                self._length,
                draws=torch.from_numpy(draws),
                temperature=temperature,
            )

    def batch(self, indices: Tensor, answers: Sequence[Sequence[int]]) -> Batch:
        """Laid out in rows as the samples themselves are."""
        parts = [(self._heads[i], list(own)) for i, own in zip(indices.tolist(), answers, strict=True)]
        batch = self._samples.laid_out(TextTable(parts), torch.arange(len(parts)))
        return dataclasses.replace(batch, indices=indices)

    def accepts(self, index: int, answer: Sequence[int]) -> bool:
        """As evaluation judges it."""
        return _answers.accepted(self._samples, index, *_answers.spelt(self._samples.form, answer))

    def answered(self, indices: Sequence[int], answers: Sequence[Sequence[int] | None]) -> PreparedTexts:
        """The same texts with other responses; they keep their tokens as they were drawn."""
        table = self._samples.table
        parts: list[tuple[list[int], list[int]]] = []
        for i, own in zip(indices, answers, strict=True):
            ids, start = table.sample(i).tolist(), int(table.response[i])
            parts.append((ids[:start], ids[start:]) if own is None else (self._heads[i], list(own)))
        twin = copy.copy(self._samples)
        twin.table = TextTable(parts)
        twin.key = f"{self._samples.key}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
        return twin


def _shown(template: str, prompt: Prompt, response: str) -> Prompt:
    """A prompt that shows its response: the text, or the last turn of the conversation, as the template words it."""
    said = prompt if isinstance(prompt, str) else str(prompt[-1].get("content") or "")
    pieces = {"{prompt}": said, "{response}": response}
    text = re.sub(r"\{prompt\}|\{response\}", lambda found: pieces[found[0]], template)
    return text if isinstance(prompt, str) else [*prompt[:-1], {**prompt[-1], "content": text}]
