"""The `text` section of a file: how a language model reads texts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from cl_forget.ground.section import Section


class TextOptions(Section):
    """How a language model reads texts; other models take no notice.

    Attributes:
        chat: whether prompts are put into the tokenizer's chat template; null: where it has one. Prompts given
            as messages always are, plain text never is.
        template_arguments: what else the chat template is given, such as {enable_thinking: false}.
        max_length: longest sequence in tokens; null for the model's own context.
        too_long: "refuse" a sequence beyond that, or "truncate" it: the start of the prompt goes first, then
            the end of the response.
        packing: whether several short sequences share a row of a batch instead of being padded; null: where
            that saves a third of the tokens and the model is seen to keep them apart.
        embedding: a sample's representation: the "mean" of the last hidden state over the positions that
            answer, or the "last" of them.
        top_logits: how many of a frozen model's logits are kept per token, with the total of the rest.
    """

    chat: bool | None = None
    template_arguments: dict[str, Any] = Field(default_factory=dict)
    max_length: int | None = Field(default=None, ge=2)
    too_long: Literal["refuse", "truncate"] = "refuse"
    packing: bool | None = None
    embedding: Literal["mean", "last"] = "mean"
    top_logits: int = Field(default=64, ge=1)
