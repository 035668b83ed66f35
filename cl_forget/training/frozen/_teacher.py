"""What a frozen model predicted for some units, whole or cut down to its largest logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WHOLE = ("logits",)
CUT = ("top_logits", "top_ids", "rest")


@dataclass
class Teacher:
    """A frozen model's prediction for some units.

    With a vocabulary of many thousand tokens all logits of a data set would not fit anywhere, so a language
    model's are cut down to the k largest and the total of the rest. Divergences are then taken over k + 1
    outcomes, "one of the rest" being the last. Merging outcomes can only lower a divergence, and by no more
    than the divergence within the rest: KL - KL_cut = p(rest) · KL(p within the rest ‖ q within the rest).

    Attributes:
        logits: (units, k), all of them or the largest.
        ids: (units, k) int64, the classes they belong to; None for all classes in order.
        rest: (units,) logsumexp of the logits left out; None where nothing is.
    """

    logits: Tensor
    ids: Tensor | None = None
    rest: Tensor | None = None

    def log_p(self) -> Tensor:
        """(units, outcomes) log-probabilities, those of the rest last."""
        if self.rest is None:
            return self.logits.log_softmax(-1)
        return torch.cat([self.logits, self.rest[:, None]], 1).log_softmax(-1)

    def log_q(self, logits: Tensor) -> Tensor:
        """(units, outcomes) the same outcomes under another model's (units, classes) logits."""
        if self.ids is None:
            return logits.log_softmax(-1)
        kept = logits.gather(1, self.ids)
        rest = logits.scatter(1, self.ids, -torch.inf).logsumexp(-1)
        return torch.cat([kept, rest[:, None]], 1).log_softmax(-1)

    def kl(self, logits: Tensor, reverse: bool = False) -> Tensor:
        """(units,) KL(teacher ‖ other) in nats, or KL(other ‖ teacher)."""
        base, now = self.log_p(), self.log_q(logits)
        p, q = (now, base) if reverse else (base, now)
        return (p.exp() * (p - q)).sum(-1)

    def squared_distance(self, logits: Tensor) -> Tensor:
        """(units,) ‖f - f*‖² over the classes kept."""
        own = logits if self.ids is None else logits.gather(1, self.ids)
        return (own - self.logits).square().sum(-1)


def cut(logits: Tensor, k: int) -> dict[str, Tensor]:
    """The k largest of (units, classes) logits, k < classes, as the fields of `CUT`."""
    top = logits.topk(k, dim=-1)
    rest = logits.scatter(1, top.indices, -torch.inf).logsumexp(-1)
    return {"top_logits": top.values, "top_ids": top.indices, "rest": rest}


def teacher_fields(k: int | None) -> tuple[str, ...]:
    """What to ask of a frozen model that keeps k logits per unit (None: all)."""
    return WHOLE if k is None else CUT


def teacher(found: dict[str, Tensor]) -> Teacher:
    """From fields that were read."""
    if "logits" in found:
        return Teacher(found["logits"])
    return Teacher(found["top_logits"], found["top_ids"].long(), found["rest"])
