"""A frozen copy of a foundation model: what identifies it, and one pass of it over a batch."""

from __future__ import annotations

import copy as copying
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cl_forget.models.base import Batch, Forward, FoundationModel, full_precision
from cl_forget.streams.base import Experience
from cl_forget.training.frozen._said import spelt
from cl_forget.training.frozen._teacher import CUT, cut

FIELDS = (
    "logits", "top_logits", "top_ids", "rest", "embedding", "losses", "unit_losses", "correct", "said",
    "features/<depth>", "pooled/<depth>",
)  # fmt: skip
"""What can be asked of a frozen model; `<depth>` is one of the model's `depths`.

logits: (units, classes). top_logits, top_ids: (units, k), the model's k largest logits and their classes, and
rest: (units,), logsumexp of the others, for models that keep k (`FoundationModel.top_logits`). correct: (batch,)
1 where the answer is right. said: (batch, bytes) uint8, the answer in words (`answers_of`). embedding: (batch,
width), the trunk's output before the head. losses: (batch,) mean unit cross-entropy of each sample, nats.
unit_losses: (units,) nats. features/<depth>: (batch, tokens, width). pooled/<depth>: (batch, width), the mean of the
features over the tokens.
"""

PER_UNIT = frozenset({"logits", "top_logits", "top_ids", "rest", "unit_losses"})
CUT_FIELDS = frozenset(CUT)
_BY_DEPTH = ("features/", "pooled/")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


class FrozenModel:
    """A frozen copy of a foundation model: eval mode, no gradients, weights that never change.

    Args:
        model: the model as it is now.
        experiences: the experiences whose heads the model may carry. The outputs on one experience do not
            depend on the heads of the others, so naming them lets streams and suites share cached outputs.
        copy: False hands over a module that nobody else will touch, instead of a deep copy of it.

    Attributes:
        model: the frozen module.
        samples_run: samples run through it so far, for cost accounting.
    """

    def __init__(
        self, model: FoundationModel, experiences: Iterable[Experience] = (), copy: bool = True
    ) -> None:
        self.model = (copying.deepcopy(model) if copy else model).eval().requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.grad = None
        self.samples_run = 0
        self._experiences = tuple(experiences)
        self._digests: dict[str, tuple[tuple[int, int], str]] = {}
        # (spec, heads left out) -> stamps of all tensors, fingerprint
        self._fingerprints: dict[tuple[str, frozenset[str]], tuple[tuple[tuple[int, int], ...], str]] = {}

    @property
    def device(self) -> torch.device:
        """Where the model runs, and where the outputs read from it lie."""
        return self.model.device

    def fingerprint(self, experience: Experience | None = None) -> str:
        """Hash of what determines the outputs on `experience`: architecture, weights and buffers.

        The heads of the other experiences named at construction are left out; without an experience, all of
        them. Tensors are hashed once.
        """
        own = set() if experience is None else set(self.model.head_parameters(experience))
        other = {name for e in self._experiences for name in self.model.head_parameters(e)} - own
        spec = "" if experience is None else f" {self.model.spec}"
        tensors = {**dict(self.model.named_buffers()), **self.model.state_dict()}
        stamps = tuple(_stamp(tensor) for tensor in tensors.values())
        known = self._fingerprints.get((spec, frozenset(other)))
        if known is None or known[0] != stamps:
            known = stamps, self._fingerprint(spec, other, tensors)
            self._fingerprints[spec, frozenset(other)] = known
        return known[1]

    def _fingerprint(self, spec: str, other: set[str], tensors: dict[str, Tensor]) -> str:
        """The hash itself: of `tensors` and of the modules, but for the heads named in `other`."""
        digest = hashlib.sha256(f"{type(self.model).__qualname__}{spec}\n".encode())
        for name, module in self.model.named_modules():
            parameters = {f"{name}.{p}" if name else p for p, _ in module.named_parameters(recurse=False)}
            if parameters.isdisjoint(other):
                # Two models can share every weight and differ in an activation or an epsilon.
                line = f"{name} {type(module).__qualname__} {module.extra_repr()}\n"
                digest.update(_ADDRESS.sub("", line).encode())
        for name in sorted(tensors.keys() - other):
            digest.update(f"{name} {self._tensor_digest(name, tensors[name])}\n".encode())
        return digest.hexdigest()[:32]

    def _tensor_digest(self, name: str, tensor: Tensor) -> str:
        stamp = _stamp(tensor)
        known = self._digests.get(name)
        if known is None or known[0] != stamp:
            digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest.update(values.data)
            known = self._digests[name] = (stamp, digest.hexdigest())
        return known[1]

    def run(self, batch: Batch, fields: Sequence[str]) -> dict[str, Tensor]:
        """The online path: one pass of the model over `batch`.

        Args:
            batch: the samples.
            fields: names from `FIELDS`.

        Returns:
            The fields, float32 (float64 if the model is), on the model's device, without gradients.

        Raises:
            ValueError: a field, or a depth, that the model does not have.
        """
        depths = self._depths(fields)
        # Autocast would give the teacher other numbers inside the training step than outside it.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            wanted = batch if any(map(needs_head, fields)) else replace(batch, headless=True)
            forward = self.model(wanted, depths=depths)
            self.samples_run += len(batch)
            more = self._more(batch, forward, fields)
            return {
                field: full_precision(more[field] if field in more else _value(forward, field))
                for field in fields
            }

    def answer(
        self, batch: Batch, embedding: Tensor, heads: Mapping[str, Tensor], fields: Sequence[str]
    ) -> dict[str, Tensor]:
        """What other heads than the model's own say of embeddings that are known.

        Args:
            batch: the samples.
            embedding: (batch, width) of them.
            heads: parameters of heads, by name.
            fields: names from `FIELDS` that depend on the head.
        """
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            known = {"embedding": embedding}
            forward = torch.func.functional_call(self.model, dict(heads), (batch,), known)
            more = self._more(batch, forward, fields)
            return {f: full_precision(more[f] if f in more else _value(forward, f)) for f in fields}

    def _more(self, batch: Batch, forward: Forward, fields: Sequence[str]) -> dict[str, Tensor]:
        """Fields that the forward pass alone does not hold."""
        found: dict[str, Tensor] = {}
        if not CUT_FIELDS.isdisjoint(fields):
            if self.model.top_logits is None:
                raise ValueError(f"'{self.model.spec}' keeps all logits: ask for them as 'logits'")
            found.update(cut(forward.logits, self.model.top_logits))
            found["top_ids"] = found["top_ids"].int()
        if not {"correct", "said"}.isdisjoint(fields):
            right, said = self.model.correct_and_said(batch, forward)
            if right is None:
                raise ValueError(f"'{batch.samples.experience.name}' asks for no answers that could be right")
            found["correct"] = right
            if "said" in fields:
                found["said"] = spelt(said)
        return found

    def _depths(self, fields: Sequence[str]) -> list[str]:
        wanted = set()
        for field in fields:
            if field.startswith(_BY_DEPTH):
                wanted.add(field.partition("/")[2])
            elif field not in FIELDS:
                raise ValueError(f"unknown field '{field}' of a frozen model; known: {', '.join(FIELDS)}")
        unknown = sorted(wanted.difference(self.model.depths))
        if unknown:
            raise ValueError(f"no depth {', '.join(unknown)}; this model has {', '.join(self.model.depths)}")
        return [depth for depth in self.model.depths if depth in wanted]


def _stamp(tensor: Tensor) -> tuple[int, int]:
    """Changes when somebody writes to a frozen tensor all the same."""
    return tensor.data_ptr(), tensor._version


def needs_head(field: str) -> bool:
    """Whether a field depends on the head, and not on the trunk alone."""
    return field != "embedding" and not field.startswith(_BY_DEPTH)


def _value(forward: Forward, field: str) -> Tensor:
    kind, _, depth = field.partition("/")
    if kind == "features":
        return forward.features[depth]
    if kind == "pooled":
        return forward.features[depth].mean(dim=1)
    if kind == "losses":
        return forward.per_sample(forward.unit_losses())
    if kind == "unit_losses":
        return forward.unit_losses()
    return forward.logits if kind == "logits" else forward.embedding
