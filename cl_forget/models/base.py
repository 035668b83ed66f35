"""What the training loop, the mitigations and the evaluation need from a foundation model.

Nothing outside `models/` knows images from text. A model turns raw `Data` into `Prepared` samples, runs a
`Batch` of them, and answers with a `Forward`: logits and targets per *unit* (an image for CLIP, a response
token for a language model), and features by depth. A mitigation written against these words works for both.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.ground.tensors import save_tensors
from cl_forget.streams.base import OWN_ANSWERS, Data, Experience
from cl_forget.streams.understood import Seen
from cl_forget.weights.blocks import comes_before

if TYPE_CHECKING:
    from cl_forget.models.options import TextOptions


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards every part in the mode it was in (frozen BatchNorm does not train)."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def full_precision(value: Tensor) -> Tensor:
    """Half precision as float32; anything else as it is."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


@dataclass
class Batch:
    """Some samples of one experience, ready for the model.

    Attributes:
        inputs: whatever the model's `forward` takes (images (batch, 3, height, width), token ids, ...).
        targets: (units,) int64.
        indices: (batch,) int64, positions in `samples`; the key into cached frozen-model outputs.
        samples: where the batch was drawn from.
        sample_of_unit: (units,) int64, the batch row each unit belongs to; None when unit = sample.
        headless: whether only the embedding is wanted, as of reference data that have no task of their own;
            the logits are then left empty.
    """

    inputs: Any
    targets: Tensor
    indices: Tensor
    samples: Prepared
    sample_of_unit: Tensor | None = None
    headless: bool = False

    def __len__(self) -> int:
        return len(self.indices)


class Prepared(ABC):
    """The samples of one data set in a model's own input format.

    Attributes:
        experience: the experience they belong to (names the head).
        split: "train", "validation", "test" or the name of a shifted set.
        key: content hash of data and preprocessing.
        deterministic: whether `batch` gives the same inputs every time; with random augmentation it does
            not, and frozen-model outputs cannot be cached.
        targets: (samples,) int64 labels where unit = sample; None for text.
    """

    experience: Experience
    split: str
    key: str
    deterministic: bool = True
    targets: Tensor | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The samples at `indices`; `generator` drives random augmentation, if there is any."""

    def plain(self) -> Prepared:
        """The same samples without random augmentation."""
        return self

    def grouped(self, indices: Tensor) -> Tensor:
        """`indices` in the order in which splitting them into micro-batches is cheapest."""
        return indices

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All samples in order."""
        for start in range(0, len(self), batch_size):
            yield self.batch(torch.arange(start, min(start + batch_size, len(self))))


class Prompts(ABC):
    """The prompts of a data set, to be answered by a model and not by the data."""

    @abstractmethod
    def answer(
        self, model: FoundationModel, indices: Tensor, seed: int, temperature: float = 1.0
    ) -> list[list[int]]:
        """Answers drawn from a model, as token ids with the end token where it came.

        Args:
            model: draws them, without gradient and in eval mode.
            indices: (batch,) whose prompts.
            seed: of the draws; those of a sample depend on it and the sample's index alone, not on the batch.
            temperature: divides the logits; 1 draws from the model as it is.
        """

    @abstractmethod
    def batch(self, indices: Tensor, answers: Sequence[Sequence[int]]) -> Batch:
        """The prompts at `indices` with these answers; their tokens are the units."""

    @abstractmethod
    def accepts(self, index: int, answer: Sequence[int]) -> bool:
        """Whether the data set's own judge takes the answer to the prompt at `index` for right."""

    @abstractmethod
    def answered(self, indices: Sequence[int], answers: Sequence[Sequence[int] | None]) -> Prepared:
        """A data set of the prompts at `indices` with these answers; None is the data's own."""


@dataclass
class Forward:
    """What one pass of a model over a batch gives.

    Attributes:
        logits: (units, classes).
        targets: (units,).
        embedding: (batch, width), the final representation of each sample, before the head.
        features: depth name -> (batch, tokens, width), only for the depths asked for.
        sample_of_unit: (units,) or None, as in `Batch`.
    """

    logits: Tensor
    targets: Tensor
    embedding: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    sample_of_unit: Tensor | None = None

    def unit_losses(self, label_smoothing: float = 0.0) -> Tensor:
        """(units,) cross-entropy."""
        return nn.functional.cross_entropy(
            self.logits, self.targets, reduction="none", label_smoothing=label_smoothing
        )

    def per_sample(self, per_unit: Tensor) -> Tensor:
        """(batch,) mean of a per-unit quantity over the units of each sample."""
        if self.sample_of_unit is None:
            return per_unit
        batch = len(self.embedding)
        zeros = torch.zeros(batch, dtype=per_unit.dtype, device=per_unit.device)
        total = zeros.index_add(0, self.sample_of_unit, per_unit)
        count = zeros.index_add(0, self.sample_of_unit, torch.ones_like(per_unit))
        return total / count.clamp_min(1)


Keep = Callable[[Sequence[str], Callable[[], Tensor]], Tensor]
"""Gives the tensor that some words identify: one kept from before, or what the function makes."""


class FoundationModel(nn.Module, ABC):
    """A pre-trained model under simulation.

    Attributes:
        spec: the name it was loaded by ("emoji-clip", "open_clip:ViT-B-32/openai", ...).
        depths: names of the depths features can be read at, shallow to deep; LDIFS, CKA and drift use them.
        default_depths: the slices LDIFS uses unless told otherwise.
        zero_shot: whether it makes a classifier from class names, so that a new head can start from one.
        pretrained_head: whether it has a head that it was pre-trained with, as image classifiers do (`own_logits`).
        library: name of the child that is the library's own model, which is what is written; empty for all of it.
        top_logits: how many logits per unit are kept of a frozen copy, with the total of the rest; None for
            all of them.
        keep: where it keeps what follows from its pre-trained weights and takes long to work out; None for nowhere.
    """

    spec: str
    depths: tuple[str, ...]
    default_depths: tuple[str, ...]
    zero_shot: bool = False
    pretrained_head: bool = False
    library: str = ""
    top_logits: int | None = None
    keep: Keep | None = None

    @abstractmethod
    def prepare(self, data: Data, experience: Experience, split: str, augment: str = "none") -> Prepared:
        """Data in this model's input format; done once per data set and reused."""

    @abstractmethod
    def add_task(self, experience: Experience) -> None:
        """Make the model able to answer `experience` (CLIP: a zero-shot head from the class names).

        Does nothing when the experience's head is there already.
        """

    @abstractmethod
    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        """One pass. `embedding`, where given, replaces the trunk's output (probing on cached features)."""

    @abstractmethod
    def tunable(self, experience: Experience) -> list[str]:
        """Names of the parameters that plain full fine-tuning on `experience` updates."""

    @abstractmethod
    def head_parameters(self, experience: Experience) -> list[str]:
        """Names of the parameters that a linear probe on `experience` updates; empty where there is none."""

    def head_logits(self, experience: Experience, embedding: Tensor) -> Tensor:
        """(batch, classes) what the head of any `experience` says about (batch, width) embeddings.

        Raises:
            UserError: the model has no heads.
        """
        raise UserError(f"'{self.spec}' has no heads of its own for each task; use a CLIP model.")

    def add_random_features(self, experience: Experience, projection: Tensor) -> None:
        """Let the head of `experience` read `relu(P·φ)` beside the unit embedding φ (`RandomFeatureHead`).

        Args:
            experience: whose head.
            projection: P, (features, width).

        Raises:
            UserError: the model's heads read the embedding alone.
        """
        raise UserError(f"the heads of '{self.spec}' read its embedding alone; leave random features out.")

    def can_answer(self, experience: Experience) -> bool:
        """Whether the model has something to say about `experience`: a head, or what it makes one from.

        Where it has not, `forward` gives logits that mean nothing, and what depends on them is missing in the rows.
        """
        return True

    def own_logits(self, embedding: Tensor) -> Tensor | None:
        """(batch, classes) what the head of pre-training says of (batch, width) embeddings; None without one.

        KL to base is taken over these classes where there are any, whatever the data are.
        """
        return None

    def check_suite(self, experience: Experience) -> None:
        """Refuse a suite that the model cannot answer.

        Raises:
            UserError: says why, and what to do instead.
        """
        if experience.labels is not None and experience.labels.head == OWN_ANSWERS:
            raise UserError(
                f"suite '{experience.name}' asks how often own answers stay, which '{self.spec}' has no head for; "
                "`agreement` is for image classifiers, leave it out."
            )

    def see(self, experience: Experience) -> Seen:
        """The first sample of `experience` as the model sees it, for the eyes of a person.

        A model that reads neither images nor texts has nothing to show.
        """
        return Seen()

    def memory_of(self, data: Data) -> int:
        """Bytes that `data` takes when it is prepared; 0 where that is next to nothing."""
        return 0

    def read_as(self, options: TextOptions) -> None:
        """Set how texts are read, where the model reads any."""
        return

    def correct(self, batch: Batch, forward: Forward) -> Tensor | None:
        """(batch,) 1 where the answer is right, else 0; None where the data ask for no answer.

        Args:
            batch: the samples.
            forward: what the model gave for them.
        """
        return (forward.logits.argmax(1) == forward.targets).to(forward.logits.dtype)

    def correct_and_said(self, batch: Batch, forward: Forward) -> tuple[Tensor | None, list[str | None]]:
        """`correct`, and what the model answered to each sample; None where it was not spelt out."""
        return self.correct(batch, forward), [None] * len(batch)

    def check_prompts(self, experience: Experience, judged: bool = False) -> None:
        """Refuse a task to which the model can give no answers of its own.

        Args:
            experience: the task.
            judged: whether the answers are to be judged, too.

        Raises:
            UserError: says why, and what to do instead.
        """
        raise self._no_answers()

    def prompts(self, samples: Prepared, shown: str | None = None, length: int | None = None) -> Prompts:
        """The prompts of `samples`, which a model answers itself.

        Args:
            samples: prepared by this model.
            shown: a text that takes the place of each prompt (its last turn), with {prompt} and {response} for what
                the data have; None for the prompts as they are.
            length: tokens of an answer at most; None for as many as the scoring allows.

        Raises:
            UserError: as `check_prompts`, or a prompt that leaves no room for an answer.
        """
        raise self._no_answers()

    def _no_answers(self) -> UserError:
        return UserError(f"'{self.spec}' gives no answers of its own in words; use a causal language model.")

    def checkpoint_activations(self, on: bool) -> None:
        """Whether training keeps only the blocks' inputs and computes the rest again in the backward pass.

        Raises:
            UserError: the model cannot.
        """
        if on:
            raise UserError(f"'{self.spec}' cannot do gradient checkpointing; leave it out of `train`.")

    # -- classifiers made from class names -------------------------------------------------------------
    def class_weights(self, experience: Experience) -> Tensor:
        """(classes, width) zero-shot classifier on normalised embeddings, differentiable.

        Raises:
            UserError: the model does not make classifiers from class names; so do the next three.
        """
        raise self._no_text_tower()

    def caption_weights(self, experience: Experience, classes: Tensor, templates: Tensor) -> Tensor:
        """(captions, width) one caption each, differentiable, scaled like `class_weights`.

        Args:
            experience: whose class names and templates.
            classes: (captions,) int64, class of each caption.
            templates: (captions,) int64, template of each caption.
        """
        raise self._no_text_tower()

    def text_parameters(self) -> list[str]:
        """Names of the parameters that `class_weights` depends on."""
        raise self._no_text_tower()

    def rebuild_heads(self) -> None:
        """Set every head to what `class_weights` now gives for it."""
        raise self._no_text_tower()

    def _no_text_tower(self) -> UserError:
        return UserError(f"'{self.spec}' has no text tower to read class names with; use a CLIP model.")

    @abstractmethod
    def block_of(self, parameter: str) -> int | None:
        """Index of the transformer block (0 = shallowest) a parameter belongs to; None for the rest."""

    @property
    @abstractmethod
    def blocks(self) -> int:
        """Number of blocks `block_of` counts."""

    def layer_of(self, parameter: str) -> int:
        """Depth of any parameter: 0 before the blocks, 1 to `blocks` in them, `blocks` + 1 after them."""
        block = self.block_of(parameter)
        if block is not None:
            return block + 1
        return 0 if comes_before(parameter) else self.blocks + 1

    def export(self, folder: Path) -> list[Path]:
        """Write the model as it stands; a subclass uses the format its own library loads.

        Returns:
            The files written, each whole or not at all; here `model.safetensors`, the state dict.
        """
        save_tensors(folder / "model.safetensors", self.state_dict())
        return [folder / "model.safetensors"]

    def export_heads(self, folder: Path) -> None:
        """Write what the model has beside the library's own: the heads of its tasks."""

    def load_exported(self, folder: Path) -> None:
        """Set the model to what `export` has written; the tasks' heads must be there."""
        from safetensors.torch import load_file

        self.load_state_dict(load_file(folder / "model.safetensors"))

    @property
    def device(self) -> torch.device:
        """Where the model's parameters lie."""
        return next(self.parameters()).device
