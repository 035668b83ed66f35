"""The classes that a classifier was pre-trained on, and which of them a suite's class names are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.streams.base import Experience

_PLACEHOLDER = re.compile(r"LABEL_\d+")  # what transformers writes where nobody has named the classes


class OwnClasses:
    """What the outputs of a model's own head mean.

    Args:
        names: of each output what it is called, such as WordNet's id and the line of its synset, "tabby, tabby cat";
            a word of such a line names it, too. Empty where nobody knows.
    """

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.names = tuple(tuple(own) for own in names)
        self._whole: dict[str, set[int]] = {}
        self._words: dict[str, set[int]] = {}
        for position, own in enumerate(self.names):
            for name in own:
                self._whole.setdefault(_plain(name), set()).add(position)
                for word in name.split(","):
                    self._words.setdefault(_plain(word), set()).add(position)

    @property
    def key(self) -> str:
        """Hash of the names."""
        return hashlib.sha256(repr(self.names).encode()).hexdigest()[:12]

    def _places(self, name: str) -> set[int]:
        return self._whole.get(_plain(name)) or self._words.get(_plain(name), set())

    def positions(self, experience: Experience, spec: str) -> list[int]:
        """The output for each class of a suite.

        Args:
            experience: the suite.
            spec: the model's name, for the message.

        Raises:
            UserError: a class is none of the model's, or two of them by its name.
        """
        classes = () if experience.labels is None else experience.labels.classes
        found = [self._places(name) for name in classes]
        strange = [name for name, places in zip(classes, found, strict=True) if not places]
        if strange:
            own = f"{len(self.names)} classes" if self.names else "classes without names"
            raise UserError(
                f"suite '{experience.name}' asks for classes that '{spec}' was not pre-trained on ({len(strange)} of "
                f"{len(classes)}, the first '{strange[0]}'; its own head has {own}): list the suite under `probes` "
                "if it has training data, or write {agreement: {of: ...}} for how often the model's own answers stay."
            )
        twice = next((name for name, places in zip(classes, found, strict=True) if len(places) > 1), None)
        if twice is not None:
            raise UserError(
                f"suite '{experience.name}': '{twice}' names {len(self._places(twice))} classes of '{spec}'; "
                "call the classes by their ids, or by the whole line of the model's configuration."
            )
        positions = [next(iter(places)) for places in found]
        if len(set(positions)) < len(positions):
            first = next(p for i, p in enumerate(positions) if p in positions[:i])
            same = [name for name, p in zip(classes, positions, strict=True) if p == first]
            raise UserError(
                f"suite '{experience.name}': {' and '.join(map(repr, same))} are one class of '{spec}'; "
                "make them one."
            )
        return positions


def _plain(name: str) -> str:
    """A class name as it is compared: without case, underscores and hyphens."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def of_imagenet(count: int) -> OwnClasses:
    """The classes of a head of as many outputs as one of ImageNet's lists has, as timm knows them.

    Args:
        count: outputs of the head.

    Returns:
        Them by WordNet's id and the line of the synset; without names for another count.
    """
    from timm.data import ImageNetInfo
    from timm.data.imagenet_info import infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return OwnClasses([])
    info = ImageNetInfo(subset)
    return OwnClasses([(name, info.label_name_to_description(name)) for name in info.label_names()])


def of_labels(labels: Any, count: int) -> OwnClasses:
    """The classes that a configuration lists.

    Args:
        labels: names in order, or a mapping of outputs to names (`id2label`).
        count: outputs of the head.

    Returns:
        Them; without names where there is not one real name for each output.
    """
    if isinstance(labels, Mapping):
        by_output = {int(key): str(name) for key, name in labels.items() if str(key).isdigit()}
        labels = [by_output.get(position, "") for position in range(count)]
    names = [str(name) for name in labels or ()]
    known = len(names) == count and all(names) and not all(map(_PLACEHOLDER.fullmatch, names))
    return OwnClasses([(name,) for name in names] if known else [])
