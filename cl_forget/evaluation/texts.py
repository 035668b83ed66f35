"""A language model on one data set: one pass, beside what the pre-trained model said there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cl_forget.evaluation import metrics
from cl_forget.evaluation.items import Items
from cl_forget.ground.records import Scores
from cl_forget.models.base import FoundationModel, Prepared
from cl_forget.training.frozen import FrozenCache, FrozenModel, answers_of, teacher, teacher_fields, unit_rows


def text_scores(
    model: FoundationModel,
    base: FrozenModel,
    cache: FrozenCache,
    samples: Prepared,
    batch_size: int,
    pretrained: bool,
) -> tuple[Scores, Items]:
    """Accuracy (exact match or multiple choice), perplexity, loss and distance from the base; and sample by sample.

    Losses and KL are means over the tokens of a response, then over samples; perplexity is over all tokens.

    Args:
        model: the model as it is.
        base: the pre-trained one; its outputs are read from the cache.
        cache: where they are kept.
        samples: the data.
        batch_size: samples per forward pass at most.
        pretrained: whether `model` is the base, so that no pass is needed.
    """
    scoring = samples.experience.scoring
    fluent = scoring is not None and scoring.kind == "perplexity"
    own = ["losses"] if fluent else ["losses", "correct", *(["said"] if pretrained else [])]
    known = cache.outputs(base, samples, [*own, *teacher_fields(model.top_logits)], batch_size)
    offsets = known.get("offsets", torch.arange(len(samples) + 1))
    if pretrained:
        losses, right = known["losses"], known.get("correct")
        divergence = torch.zeros(len(samples))
        said = answers_of(known["said"]) if "said" in known else []
    else:
        losses, right, divergence, said = _pass(model, samples, known, offsets, batch_size, not fluent)
    units = offsets.diff()
    correct = None if right is None else right.numpy() > 0.5
    before = known["correct"].numpy() > 0.5 if "correct" in known else None
    if correct is None:
        items = Items(losses=losses.double().numpy(), tokens=units.numpy())
    else:
        items = Items(right=correct, said=said)
    scores = Scores(
        accuracy=None if right is None else float(right.double().mean()),
        loss=float(losses.double().mean()),
        perplexity=math.exp(float((losses.double() * units).sum() / units.sum())) if fluent else None,
        hardest_decile_accuracy=None
        if correct is None
        else metrics.hardest_decile_accuracy(known["losses"].numpy(), correct),
        kl_to_base=float(divergence.double().mean()),
        samples=len(samples),
        lost=None if correct is None or before is None else float((before & ~correct).mean()),
        gained=None if correct is None or before is None else float((~before & correct).mean()),
        choices=_choices(samples),
    )
    return scores, items


def _choices(samples: Prepared) -> float | None:
    """How many answers there are to choose among, on average."""
    listed = getattr(getattr(samples, "data", None), "choices", None)
    return None if not listed else sum(map(len, listed)) / len(listed)


def _pass(
    model: FoundationModel,
    samples: Prepared,
    known: dict[str, Tensor],
    offsets: Tensor,
    batch_size: int,
    answering: bool,
) -> tuple[Tensor, Tensor | None, Tensor, list[str | None]]:
    """(samples,) losses, whether each answer is right, KL(base ‖ model), and the answers."""
    losses, right, divergence = [], [], []
    said: list[str | None] = []
    fields = teacher_fields(model.top_logits)
    for batch in samples.batches(batch_size):
        forward = model(batch)
        rows = unit_rows(batch, offsets)
        base = teacher({field: known[field][rows].to(forward.logits.device) for field in fields})
        losses.append(forward.per_sample(forward.unit_losses()).cpu())
        divergence.append(forward.per_sample(base.kl(forward.logits).clamp_min(0)).cpu())
        answered, words = model.correct_and_said(batch, forward) if answering else (None, [])
        said += words
        if answered is not None:
            right.append(answered.cpu())
    return torch.cat(losses), torch.cat(right) if right else None, torch.cat(divergence), said
