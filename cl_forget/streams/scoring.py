"""How the answers of a language model to a text experience become an accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ScoringKind = Literal["exact match", "perplexity", "multiple choice"]


Judge = Callable[[str, str, str], bool | float]
"""(prompt, what the model wrote, the reference response) -> whether it is right, or how right, from 0 to 1."""


@dataclass(frozen=True)
class Scoring:
    """How answers to a text experience become an accuracy.

    Attributes:
        kind: "exact match": greedy decoding, compared with the response, white space around them stripped.
            "multiple choice": the choice with the largest log-likelihood per token is the answer.
            "perplexity": nothing is answered; there is a loss but no accuracy.
        judge: decides instead of equality whether a decoded answer is right ("answers in capitals only", ...), or
            how right (ROUGE-L, ...): the accuracy is then the mean, and an item is right above one half;
            a function at a module's top level, so that processes can hand it on.
        max_new_tokens: how far to decode; None for the longest reference response of the data set.
    """

    kind: ScoringKind = "exact match"
    judge: Judge | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.kind != "exact match" and (self.judge or self.max_new_tokens is not None):
            raise ValueError(f"judge and max_new_tokens are for exact match; {self.kind} decodes nothing")
