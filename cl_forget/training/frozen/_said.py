"""Answers in words as rows of one length, so that they are cached as every other output is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

BYTES = 640
"""Of an answer in UTF-8 at most: what a report shows of one."""


def spelt(answers: Iterable[str | None]) -> Tensor:
    """(answers, 1 + BYTES) uint8: whether there is an answer, and its bytes with zeros behind them."""
    rows = []
    for answer in answers:
        content = b"" if answer is None else _cut(answer)
        rows.append(bytes([answer is not None]) + content + bytes(BYTES - len(content)))
    return torch.tensor([list(row) for row in rows], dtype=torch.uint8).reshape(-1, 1 + BYTES)


def answers_of(rows: Tensor) -> list[str | None]:
    """The inverse; None where an answer was not spelt out."""
    return [
        None if not row[0] else bytes(row[1:]).rstrip(b"\0").decode(errors="ignore")
        for row in rows.cpu().numpy().tolist()
    ]


def _cut(answer: str) -> bytes:
    """Its bytes, cut between two letters where there are too many."""
    content = answer.replace("\0", "").encode(errors="replace")
    if len(content) <= BYTES:
        return content
    return content[: BYTES - 3].decode(errors="ignore").encode() + "…".encode()
