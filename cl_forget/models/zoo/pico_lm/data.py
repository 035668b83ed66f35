"""What pico-lm reads: questions with answers, and stories, packed into rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from cl_forget.streams.skills import prose
from cl_forget.streams.skills.base import mixture
from cl_forget.streams.skills.formats import formatted
from cl_forget.streams.skills.known import SKILLS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

STORIES, FORMATTED = 0.04, 0.2  # share of the documents, and of the questions
PROMPT_WEIGHT = 0.1  # of a question's tokens in the loss; those of answers and stories weigh 1
_MISSES = 12  # documents that may find no room before a batch is full


@dataclass
class Packed:
    """Documents side by side in rows.

    Attributes:
        tokens: (rows, length) int64.
        positions: (rows, length) int64, counted from the start of each document.
        document: (rows, length) int64, number of the document in its row; 0 is padding.
        weights: (rows, length) of each token as a target.
    """

    tokens: Tensor
    positions: Tensor
    document: Tensor
    weights: Tensor

    def mask(self) -> Tensor:
        """(rows, 1, length, length), to add to attention scores: 0 where a token may look, which is at itself
        and at what stands before it in its document, and a large negative number elsewhere."""
        import torch

        same = self.document[:, None, :, None] == self.document[:, None, None, :]
        seen = same & torch.ones(same.shape[-2:], dtype=torch.bool).tril()
        return torch.zeros(seen.shape).masked_fill(~seen, -1e9)


def documents(random: Random) -> Iterator[tuple[str, str]]:
    """(question, answer) pairs of training for ever; a story has an empty question."""
    skills = mixture(SKILLS, random)
    while True:
        kind = random.random()
        if kind < STORIES:
            yield "", prose.draw("train", random)
        elif random.random() < FORMATTED:
            yield formatted(next(skills), "train", random)
        else:
            yield next(skills).draw("train", random)


def encode(tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """Each document's tokens, with the start and end signs, and how many of them are the question's."""
    fast = tokenizer.backend_tokenizer
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    questions = fast.encode_batch_fast([q + "\n" if q else "" for q, _ in pairs], add_special_tokens=False)
    answers = fast.encode_batch_fast([a for _, a in pairs], add_special_tokens=False)
    return [([start, *q.ids, *a.ids, end], 1 + len(q.ids)) for q, a in zip(questions, answers, strict=True)]


def batch(tokenizer: PreTrainedTokenizerFast, rows: int, length: int, random: Random) -> Packed:
    """Documents drawn by `random`, each put into the first row with room for it."""
    import torch

    tokens, positions, document = (torch.zeros(rows, length, dtype=torch.int64) for _ in range(3))
    weights = torch.zeros(rows, length)
    used, count, misses, source = [0] * rows, [0] * rows, 0, documents(random)
    while misses < _MISSES:
        for ids, question in encode(tokenizer, [next(source) for _ in range(rows)]):
            row = next((r for r in range(rows) if used[r] + len(ids) <= length), None)
            if row is None:
                misses += 1
                continue
            place = slice(used[row], used[row] + len(ids))
            used[row], count[row] = place.stop, count[row] + 1
            tokens[row, place] = torch.tensor(ids)
            positions[row, place] = torch.arange(len(ids))
            document[row, place] = count[row]
            weights[row, place] = 1.0
            weights[row, place.start : place.start + question] = PROMPT_WEIGHT
            weights[row, place.start] = 0.0  # nothing foretells the start sign
    return Packed(tokens, positions, document, weights)
