"""What a stream is: experiences in order, each with data that a model can prepare for itself.

The nouns are Avalanche's. A *stream* is a sequence of *experiences*; an experience is a task with its own
train, validation and test data. A *suite* is an experience without training data: generality is measured
on it. Class-incremental and domain-incremental streams need no special case: their experiences share one
label space (the same head and the same classes) and differ in their data.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unicodedata import category

from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from cl_forget.ground.records import Scores
    from cl_forget.streams.scoring import Scoring

CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode's control characters, halves of pairs, line and paragraph ends
DEFAULT_TEMPLATES = ("a photo of a {}.", "an image of a {}.")
OWN_ANSWERS = "the pre-trained model's own answers"
"""The head of a suite without right answers: what counts is that a model's own stay (`agreement`)."""


class Data:
    """Labelled samples as their source holds them; a model turns them into its own inputs.

    Attributes:
        labels: (samples,) int64, positions in the label space's `classes`; for text data all zeros.
        fingerprint: hash of the content, the key under which frozen-model outputs are cached.
    """

    labels: np.ndarray
    fingerprint: str

    @property
    def in_memory(self) -> bool:
        """Whether the samples are held in memory and will not change, so that one copy serves a process."""
        return False

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, positions: Sequence[int] | np.ndarray) -> Data:
        """The samples at `positions`, in that order."""
        raise UserError(f"{type(self).__name__} cannot be cut down; leave `evaluate.limit` out.")

    def hints(self) -> Sequence[Hashable] | None:
        """(samples,) something cheap that equal samples have in common, such as a file's size.

        None where nothing can be said of a sample without reading all of them; then no duplicates are sought.
        """
        return None

    def content(self, position: int) -> Hashable:
        """What the sample at `position` has in common with equal samples only; asked where hints are equal."""
        raise NotImplementedError


class ImageData(Data):
    """Images with labels; either an array in memory or a function that opens one image.

    Args:
        labels: (samples,) integers.
        array: (samples, 3, height, width) uint8 RGB, for small sets.
        opener: position -> PIL image, for sets that stay on disk. Exactly one of `array` and `opener`.
        fingerprint: content hash; computed from the array when not given, required with an opener.
        sizes: (samples,) bytes of each encoded image, where an opener reads files; images of one size may be
            the same file twice.
        encoded: position -> the encoded image, needed with `sizes`.
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray,
        array: np.ndarray | None = None,
        opener: Callable[[int], Image] | None = None,
        fingerprint: str | None = None,
        sizes: Sequence[int] | None = None,
        encoded: Callable[[int], bytes] | None = None,
    ) -> None:
        import numpy as np

        self.labels = np.asarray(labels, dtype=np.int64)
        if (array is None) == (opener is None):
            raise ValueError("give exactly one of array and opener")
        if len(self.labels) == 0:
            raise UserError("a data set is empty: check its path, its split and its filter.")
        if array is not None:
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] != 3:
                raise ValueError(f"array must be (samples, 3, height, width) uint8, not {array.shape}")
            if len(array) != len(self.labels):
                raise UserError(f"{len(array)} images but {len(self.labels)} labels: one label per image.")
        self.array = array
        self.opener = opener
        self.sizes, self.encoded = sizes, encoded
        if fingerprint is None:
            if array is None:
                raise ValueError("an opener needs a fingerprint")
            fingerprint = hash_arrays(array, self.labels)
        self.fingerprint = fingerprint

    @property
    def in_memory(self) -> bool:
        """Whether this is an array and not files."""
        return self.array is not None

    def image(self, position: int) -> Image:
        """The image at `position` as RGB."""
        if self.opener is not None:
            return self.opener(position).convert("RGB")
        from PIL import Image

        assert self.array is not None
        return Image.fromarray(self.array[position].transpose(1, 2, 0))

    def subset(self, positions: Sequence[int] | np.ndarray) -> ImageData:
        """The samples at `positions`, in that order."""
        import numpy as np

        positions = np.asarray(positions, dtype=np.int64)
        digest = hashlib.sha256(self.fingerprint.encode() + positions.tobytes()).hexdigest()[:16]
        if self.array is not None:
            return ImageData(self.labels[positions], array=self.array[positions], fingerprint=digest)
        opener, encoded = self.opener, self.encoded
        assert opener is not None
        return ImageData(
            self.labels[positions],
            opener=lambda i: opener(int(positions[i])),
            fingerprint=digest,
            sizes=None if self.sizes is None else [self.sizes[i] for i in positions],
            encoded=None if encoded is None else lambda i: encoded(int(positions[i])),
        )

    def relabelled(self, shift: int) -> ImageData:
        """The same images with `shift` added to every label, for a label space in which other classes come first."""
        digest = hashlib.sha256(f"{self.fingerprint} {shift}".encode()).hexdigest()[:16]
        return ImageData(
            self.labels + shift, self.array, self.opener, digest, sizes=self.sizes, encoded=self.encoded
        )

    def hints(self) -> Sequence[Hashable] | None:
        """Sizes of files, hashes of an array's images."""
        if self.array is None:
            return self.sizes
        return [self.content(position) for position in range(len(self))]

    def content(self, position: int) -> Hashable:
        """Hash of the image, as encoded or as in the array."""
        if self.array is not None:
            return hashlib.blake2b(self.array[position].tobytes(), digest_size=8).digest()
        assert self.encoded is not None
        return hashlib.blake2b(self.encoded(position), digest_size=16).digest()


class MeasuredData(Data, ABC):
    """Samples that only another library can judge: it is given the model and answers with scores."""

    @abstractmethod
    def measure(self, model: Any, batch_size: int) -> Scores:
        """The scores of a `FoundationModel`, in eval mode, on these samples."""


@dataclass(frozen=True)
class LabelSpace:
    """The classes a task distinguishes; experiences with the same `head` share one classifier.

    Attributes:
        head: name of the classifier these labels belong to.
        classes: human-readable class names; label k means `classes[k]`.
        templates: prompt templates with one `{}` for the class name, ensembled for zero-shot weights.
    """

    head: str
    classes: tuple[str, ...]
    templates: tuple[str, ...] = DEFAULT_TEMPLATES

    @property
    def wording(self) -> tuple[Any, ...]:
        """What the prompts of these classes follow from, beside the classes."""
        return self.templates

    def prompts(self, index: int) -> list[str]:
        """The prompts of class `index`, one per template."""
        return [template.format(self.classes[index]) for template in self.templates]


@dataclass(frozen=True)
class PooledSpace(LabelSpace):
    """The classes of several label spaces together; each is still asked for in the words of its own.

    Attributes:
        templates: those of the first class; they say how many each class has.
        own: class -> its templates, as many for each.
    """

    own: tuple[tuple[str, ...], ...] = ()

    @property
    def wording(self) -> tuple[Any, ...]:
        """The templates of every class."""
        return self.own

    def prompts(self, index: int) -> list[str]:
        """The prompts of class `index`, one per template of its own."""
        return [template.format(self.classes[index]) for template in self.own[index]]


def pooled(head: str, spaces: Sequence[LabelSpace]) -> PooledSpace:
    """Every class of several label spaces, in their order, under one head.

    Two spaces may name a class alike ("lotus", "pizza"): these stay two classes. Of templates, each class keeps the
    first ones, as many as the space with the fewest has.
    """
    fewest = min(len(space.templates) for space in spaces)
    own = tuple(space.templates[:fewest] for space in spaces for _ in space.classes)
    return PooledSpace(head, tuple(name for space in spaces for name in space.classes), own[0], own)


@dataclass(frozen=True)
class Experience:
    """One task of a stream, or (without `train`) one generality suite.

    Attributes:
        name: unique in its stream.
        labels: the label space; None for text.
        train: what fine-tuning sees; None for a suite.
        validation: what selection (early stopping, sweeps) reads, and nothing else.
        test: read once, for the report.
        shifted: named out-of-distribution test sets with the same labels (unseen styles, unseen fonts).
        metric: what "accuracy" means here, for tables.
        scoring: how answers of a language model are judged; None for classes (top-1).
        notes: what the source has to say of how it read the data, one sentence each; shown before a run.
    """

    name: str
    labels: LabelSpace | None
    train: Data | None
    validation: Data
    test: Data
    shifted: dict[str, Data] = field(default_factory=dict)
    metric: str = "top-1 accuracy"
    scoring: Scoring | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # The name stands in files, tables and addresses of W&B.
        if not self.name.strip() or any(category(letter) in CONTROL for letter in self.name):
            raise UserError(
                f"a task cannot be called {self.name!a}: give it a printable name with the option `name:`."
            )
        for split in self.shifted:
            if split in ("train", "validation", "test"):
                raise UserError(
                    f"experience '{self.name}': a shifted test set cannot be called '{split}', which is a split; "
                    "give it another name."
                )
        if self.labels is None:
            return
        classes = len(self.labels.classes)
        for split, data in self.splits().items():
            low, high = int(data.labels.min()), int(data.labels.max())
            if low < 0 or high >= classes:
                raise UserError(
                    f"experience '{self.name}', {split}: labels run from {low} to {high} but there are "
                    f"{classes} class names; give one name per label."
                )

    @property
    def fingerprint(self) -> str:
        """Hash of the classes, the prompts and the content of every data set."""
        content = sorted((split, data.fingerprint) for split, data in self.splits().items())
        return hashlib.sha256(repr((self.labels, self.metric, content)).encode()).hexdigest()[:16]

    def splits(self) -> dict[str, Data]:
        """Every data set of the experience by name."""
        named: dict[str, Any] = {"train": self.train, "validation": self.validation, "test": self.test}
        return {**{k: v for k, v in named.items() if v is not None}, **self.shifted}


def hash_arrays(*arrays: Any) -> str:
    """A short content hash of numpy arrays, shapes included."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, str(array.dtype))).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
