"""Whether a language model's answers are right: greedy decoding in batches, and multiple choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from cl_forget.models._texts import PreparedTexts, TextFormat
from cl_forget.models.base import Batch, Forward
from cl_forget.streams.text import PLAIN, Join

if TYPE_CHECKING:
    from cl_forget.streams.text import Prompt


class LanguageModel(Protocol):
    """What answering needs of a model.

    Attributes:
        lm: the transformers model, which generates.
        device: where it lies.
    """

    lm: Any

    @property
    def device(self) -> torch.device: ...

    def __call__(self, batch: Batch) -> Forward: ...


DECODED_TOGETHER = 64
"""Prompts decoded in one batch at most."""

PADDED_AT_MOST = 128
"""Tokens of padding that are cheaper than a batch of its own."""


def exact_matches(model: LanguageModel, batch: Batch, forward: Forward) -> tuple[Tensor, list[str | None]]:
    """(batch,) 1 where greedy decoding gives the response, else 0, or what the judge says; and the answers.

    Greedy decoding follows the response exactly as long as each of its tokens is the likeliest one, which the
    forward pass has shown already: only the other samples are decoded, since another sequence of tokens may
    spell the same text, or please the judge. An answer that nothing asked for is None.
    """
    samples = batch.samples
    assert isinstance(samples, PreparedTexts)
    hits = (forward.logits.argmax(-1) == forward.targets).to(forward.logits.dtype)
    as_reference = forward.per_sample(hits).cpu() == 1.0
    fits = samples.table.units[batch.indices] <= samples.max_new_tokens
    right = torch.zeros(len(batch), dtype=forward.logits.dtype)
    answers: list[str | None] = [None] * len(batch)
    undecided = []
    for row, index in enumerate(batch.indices.tolist()):
        response = samples.data.responses[index]
        if as_reference[row] and fits[row]:
            answers[row] = response
            right[row] = graded(samples, index, response, True)
        elif samples.form.ends or samples.scoring.judge:
            undecided.append(row)
    indices = batch.indices[undecided].tolist()
    prompts = [samples.data.prompts[i] for i in indices]
    said = decode(model, samples.form, prompts, samples.max_new_tokens, join=samples.data.join)
    for row, index, (answer, ended) in zip(undecided, indices, said, strict=True):
        answers[row] = answer
        right[row] = graded(samples, index, answer, ended)
    return right.to(forward.logits.device), answers


def accepted(samples: PreparedTexts, index: int, answer: str, ended: bool) -> bool:
    """Whether an answer is right: graded above one half; arguments as of `graded`."""
    return graded(samples, index, answer, ended) > 0.5


def graded(samples: PreparedTexts, index: int, answer: str, ended: bool) -> float:
    """How right an answer is: 1 for the response, else 0, or what the judge says.

    Args:
        samples: of a data set that is judged by its answers.
        index: of the sample.
        answer: without special tokens.
        ended: whether it came to its end.
    """
    response, judge = samples.data.responses[index], samples.scoring.judge
    if judge is None:
        return float(ended and answer.strip() == response.strip())
    prompt = samples.data.prompts[index]
    asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return float(judge(asked, answer, response))


def decode(
    model: LanguageModel,
    form: TextFormat,
    prompts: list[Prompt],
    max_new_tokens: int,
    together: int = DECODED_TOGETHER,
    join: Join = PLAIN,
) -> list[tuple[str, bool]]:
    """What the model says to each prompt, by greedy decoding.

    Prompts of like length are decoded together, padded on the left; a batch stops when all have ended.

    Args:
        model: in eval mode.
        form: how it reads texts.
        prompts: the prompts.
        max_new_tokens: where to stop at the latest.
        together: prompts in a batch.
        join: how an answer is put behind its prompt.

    Returns:
        The text of each answer without special tokens, and whether it came to its end.
    """
    ids = [form.prompt_ids(prompt, join) for prompt in prompts]
    if form.limit is not None:
        ids = [own[-max(1, form.limit - max_new_tokens) :] for own in ids]
    return [spelt(form, tokens) for tokens in continued(model, form.ends, ids, max_new_tokens, together)]


def spelt(form: TextFormat, tokens: Sequence[int]) -> tuple[str, bool]:
    """The text of an answer without special tokens, and whether it came to its end."""
    end = next((k for k, token in enumerate(tokens) if token in form.ends), None)
    return form.tokenizer.decode(tokens[:end], skip_special_tokens=True), end is not None


def continued(
    model: LanguageModel,
    ends: tuple[int, ...],
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    together: int = DECODED_TOGETHER,
    draws: Tensor | None = None,
    temperature: float = 1.0,
) -> list[list[int]]:
    """The tokens that a model puts behind each prompt, up to and with the first that ends an answer.

    Args:
        model: in eval mode.
        ends: ids that end an answer.
        prompts: token ids.
        max_new_tokens: where to stop at the latest.
        together: prompts in a batch.
        draws: (prompts, max_new_tokens) uniform in [0, 1), each of which decides a token; None for greedy decoding.
        temperature: divides the logits that are drawn from.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    for chosen in _alike([len(own) for own in prompts], together):
        drawn = None if draws is None else _Drawn(draws[chosen].to(model.device), temperature)
        said = _generate(model, [prompts[i] for i in chosen], max_new_tokens, ends, drawn)
        for i, tokens in zip(chosen, said, strict=True):
            end = next((k for k, token in enumerate(tokens) if token in ends), len(tokens))
            answers[i] = tokens[: end + 1]
    return answers


class _Drawn:
    """Leaves one token possible: the one in which a uniform number lies among the cumulated probabilities.

    So a sample's answer depends on its own numbers and on no other sample that is decoded beside it.
    """

    def __init__(self, draws: Tensor, temperature: float) -> None:
        self._draws, self._temperature, self._place = draws, temperature, 0

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """(rows, vocabulary) scores, all but one of each row impossible."""
        reached = (scores.double() / self._temperature).softmax(-1).cumsum(-1)
        wanted = self._draws[:, self._place, None] * reached[:, -1:]
        token = torch.searchsorted(reached, wanted, right=True).clamp_max(scores.shape[-1] - 1)
        self._place += 1
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


def _alike(lengths: list[int], together: int) -> list[list[int]]:
    """Positions in groups of like length: padding is never more than a quarter of the texts and a little."""
    groups: list[list[int]] = []
    tokens = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        size = len(groups[-1]) + 1 if groups else 0
        tokens += lengths[i]
        if not groups or size > together or size * lengths[i] - tokens > max(PADDED_AT_MOST, tokens // 4):
            groups.append([])
            tokens = lengths[i]
        groups[-1].append(i)
    return groups


def _generate(
    model: LanguageModel,
    prompts: list[list[int]],
    limit: int,
    ends: tuple[int, ...],
    drawn: _Drawn | None = None,
) -> list[list[int]]:
    """The tokens after each prompt, padded behind the end."""
    from transformers import GenerationConfig

    width = max(1, *map(len, prompts))
    padding = ends[0] if ends else 0
    ids = torch.tensor([[padding] * (width - len(own)) + own for own in prompts])
    seen = torch.tensor([[0] * (width - len(own)) + [1] * len(own) for own in prompts])
    greedy: Any = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=limit,
        eos_token_id=list(ends) or None,
        pad_token_id=padding,
    )
    # What ours leaves open would be filled in from the model's own settings: penalties, forbidden words, beams.
    own, model.lm.generation_config = model.lm.generation_config, GenerationConfig()
    try:
        with torch.no_grad():
            said = model.lm.generate(
                input_ids=ids.to(model.device),
                attention_mask=seen.to(model.device),
                generation_config=greedy,
                logits_processor=None if drawn is None else [drawn],
            )
    finally:
        model.lm.generation_config = own
    tokens: list[list[int]] = said[:, width:].tolist()
    return tokens


def choices_right(model: LanguageModel, batch: Batch, forward: Forward) -> tuple[Tensor, list[str | None]]:
    """(batch,) 1 where the response has the largest log-likelihood per token among its choices, else 0; what has it.

    The end token is left out of the mean: it belongs to the turn and not to the choice. The response itself
    was in `forward`; only the wrong choices are run here.
    """
    samples = batch.samples
    assert isinstance(samples, PreparedTexts)
    table, owners = samples.wrong_choices()
    best = _per_token(forward, samples.form)
    rows = {int(index): row for row, index in enumerate(batch.indices.tolist())}
    wanted = torch.isin(owners, batch.indices).nonzero().squeeze(1)
    right = torch.ones_like(best)
    answers: list[str | None] = [samples.data.responses[index] for index in rows]
    largest = best.tolist()
    for part in wanted.split(max(1, len(batch))):
        with torch.no_grad():
            other = _per_token(model(samples.laid_out(table, part)), samples.form)
        own = torch.tensor([rows[int(i)] for i in owners[part].tolist()], device=best.device)
        beaten = own[other >= best[own]]
        right[beaten] = 0.0
        for place, row, value in zip(part.tolist(), own.tolist(), other.tolist(), strict=True):
            if value >= largest[row]:
                largest[row], answers[row] = value, _wrong_choice(samples, owners, place)
    return right, answers


def _wrong_choice(samples: PreparedTexts, owners: Tensor, place: int) -> str:
    """The text of a wrong choice: those of a sample stand together, in the order of its choices."""
    index = int(owners[place])
    assert samples.data.choices is not None
    wrong = [choice for choice in samples.data.choices[index] if choice != samples.data.responses[index]]
    return wrong[place - int(torch.searchsorted(owners, index))]


def _per_token(forward: Forward, form: TextFormat) -> Tensor:
    """(batch,) mean log-likelihood of a sample's tokens, its end token left out."""
    log_p = -forward.unit_losses()
    ends = torch.tensor(form.ends, device=log_p.device)
    counts = (~torch.isin(forward.targets, ends)).to(log_p.dtype)
    return forward.per_sample(log_p * counts) / forward.per_sample(counts)
