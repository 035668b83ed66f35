"""What a user's own data sets need, whatever they are read with: class names, templates and fair splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cl_forget.errors import UserError
from cl_forget.registry import closest
from cl_forget.streams._choose import by_class, chance
from cl_forget.streams.base import LabelSpace

if TYPE_CHECKING:
    import numpy as np


def label_space(
    what: str,
    head: str,
    found: Sequence[str],
    classes: Sequence[str] | Mapping[str, str] | None,
    templates: Sequence[str],
) -> LabelSpace:
    """The label space of a data set.

    Args:
        what: the data set, for messages.
        head: name of the classifier.
        found: the classes as the source calls them, in the order of their labels.
        classes: one name per class in the same order, or a mapping from the source's name to a readable one,
            which may leave classes out; None takes the source's names, with spaces for underscores.
        templates: prompt templates.

    Raises:
        UserError: fewer than two classes, names that do not match the classes or are given twice, or a
            template without `{}`.
    """
    if len(found) < 2:
        raise UserError(f"{what} has {len(found)} class; telling classes apart needs at least two.")
    for template in templates:
        if template.count("{}") != 1 or template.replace("{}", "").count("{"):
            raise UserError(f"{what}: template '{template}' must hold {{}} once, where the class name goes.")
    if not templates:
        raise UserError(f"{what}: give at least one template, such as 'a photo of a {{}}.'.")
    if isinstance(classes, Mapping):
        for name in classes:
            if name not in found:
                raise UserError(
                    f"{what} has no class '{name}'.{closest(name, list(found))} Its classes: {_few(found)}."
                )
        classes = [classes.get(name, _spaced(name)) for name in found]
    if classes is None:  # a source's own names may be alike: ImageNet has two kinds of crane
        return LabelSpace(head, tuple(_spaced(name) for name in found), tuple(templates))
    if len(classes) != len(found):
        raise UserError(
            f"{what} has {len(found)} classes ({_few(found)}) but {len(classes)} class names are given: "
            "give one name per class, in this order."
        )
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{what}: two classes are called '{twice}'; a prompt could not tell them apart.")
    return LabelSpace(head, tuple(classes), tuple(templates))


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def carve(
    what: str,
    labels: Sequence[int] | np.ndarray,
    keys: Sequence[str],
    shares: Mapping[str, float],
    class_names: Sequence[str],
) -> dict[str, list[int]]:
    """Positions of the named shares and of the rest ("train"), class by class, fixed by the keys.

    Args:
        what: the data set, for messages.
        labels: (samples,) label of each sample.
        keys: something lasting about each sample (its path), which decides where it goes.
        shares: split name -> fraction of each class, in (0, 1); every split gets at least one of each class.
        class_names: for messages.

    Raises:
        UserError: a share outside (0, 1), shares that leave nothing to train on, or a class with too few
            samples.
    """
    for split, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f"{what}: {split} is the fraction to set aside, between 0 and 1, not {share}.")
    if sum(shares.values()) >= 1:
        raise UserError(f"{what}: {' + '.join(shares)} leave nothing to train on; make them smaller.")
    splits: dict[str, list[int]] = {split: [] for split in ("train", *shares)}
    for label, positions in by_class(labels).items():
        counts = {split: max(1, round(share * len(positions))) for split, share in shares.items()}
        if sum(counts.values()) >= len(positions):
            raise UserError(
                f"{what}: class '{class_names[label]}' has {len(positions)} images, too few for "
                f"{', '.join(splits)}: add images, or remove the class."
            )
        order = sorted(positions, key=lambda position: chance("carve", keys[position]))
        for split, count in counts.items():
            splits[split] += order[:count]
            order = order[count:]
        splits["train"] += order
    return {split: sorted(positions) for split, positions in splits.items()}


def _few(names: Sequence[str]) -> str:
    """The names, or the first of many."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
