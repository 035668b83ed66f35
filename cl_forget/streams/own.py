"""What a user's own data sets need, whatever they are read with: class names, templates and fair splits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import by_class, chance, check_shares
from cl_forget.streams.base import LabelSpace
from cl_forget.streams.images import printable

if TYPE_CHECKING:
    import numpy as np


Classes = Mapping[Any, Any] | Sequence[Any]
"""Readable class names as users give them: one per class in order, or by the source's own names."""

WNID = re.compile(r"n[0-9]{8}")
END = 4096  # bytes at the end of a file that are compared before all of it is


def label_space(
    what: str, head: str, found: Sequence[str], classes: Classes | None, templates: Sequence[str]
) -> LabelSpace:
    """The label space of a data set.

    Args:
        what: the data set, for messages.
        head: name of the classifier.
        found: the classes as the source calls them, in the order of their labels.
        classes: one name per class in the same order, or a mapping from the source's name to a readable one,
            which may leave classes out; None takes the source's names, with spaces for underscores, and for
            WordNet numbers ("n01440764") the names that they stand for.
        templates: prompt templates.

    Raises:
        UserError: fewer than two classes, names that do not match the classes, are no texts or are given
            twice, or a template without `{}`.
    """
    if len(found) < 2:
        raise UserError(f"{what} has {len(found)} class; telling classes apart needs at least two.")
    for template in templates:
        if template.count("{}") != 1 or template.replace("{}", "").count("{"):
            raise UserError(f"{what}: template '{template}' must hold {{}} once, where the class name goes.")
    if not templates:
        raise UserError(f"{what}: give at least one template, such as 'a photo of a {{}}.'.")
    if classes is None:  # a source's own names may be alike: ImageNet has two kinds of crane
        return LabelSpace(head, tuple(_own_names(what, found)), tuple(templates))
    if isinstance(classes, Mapping):
        given = {_key(what, key): name for key, name in classes.items()}
        for name in given:
            if name not in found:
                raise UserError(
                    f"{what} has no class '{name}'.{closest(name, list(found))} Its classes: {few(found)}."
                )
        missing = [name for name in found if name not in given]
        given |= zip(missing, _own_names(what, missing), strict=True)
        classes = [given[name] for name in found]
    if len(classes) != len(found):
        raise UserError(
            f"{what} has {len(found)} classes ({few(found)}) but {len(classes)} class names are given: "
            "give one name per class, in this order."
        )
    for name in classes:
        if not isinstance(name, str):
            raise UserError(f"{what}: a class name is read as {name!r}, which is no text: put it in quotes.")
        if not name.strip():
            raise UserError(f"{what}: a class name is empty; a prompt needs a name for each class.")
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{what}: two classes are called '{twice}'; a prompt could not tell them apart.")
    return LabelSpace(head, tuple(classes), tuple(templates))


def _key(what: str, key: Any) -> str:
    """The source's own name of a class, as a user wrote it."""
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise UserError(f"{what}: the class {key!r} is no text: put its name in quotes.")
    return unicodedata.normalize("NFC", str(key))


def _own_names(what: str, found: Sequence[str]) -> list[str]:
    """What the source's names are in a prompt."""
    for name in found:
        if printable(name) != name:
            raise UserError(
                f"{what}: the class '{printable(name)}' has a name that is not UTF-8: rename it, or give `classes:` "
                f"as a list of {len(found)} names in this order: {printable(few(found))}."
            )
    if found and all(WNID.fullmatch(name) for name in found):
        return _wordnet(what, found)
    return [name.replace("_", " ") for name in found]


def _wordnet(what: str, numbers: Sequence[str]) -> list[str]:
    """The names that WordNet numbers stand for, as ImageNet lists them; those alike get their definition."""
    from timm.data import ImageNetInfo

    known = ImageNetInfo("imagenet-22k")
    names = []
    for number in numbers:
        try:
            names.append(known.label_name_to_description(number, detailed=False).partition(",")[0].strip())
        except KeyError:
            raise UserError(
                f"{what}: '{number}' looks like a WordNet number of ImageNet but is none of them: give "
                f"readable names as `classes: {{{number}: ...}}`."
            ) from None
    return [
        f"{name}, {_definition(known, number)}" if names.count(name) > 1 else name
        for number, name in zip(numbers, names, strict=True)
    ]


def _definition(known: Any, number: str) -> str:
    """The first clause of what a WordNet number is defined as."""
    whole: str = known.label_name_to_description(number, detailed=True)
    return re.split(r"[;,(]", whole.partition(": ")[2])[0].strip()


def class_notes(found: Sequence[str], classes: Classes | None) -> list[str]:
    """What to say of the names that a source has for its classes."""
    if classes is None and all(WNID.fullmatch(name) for name in found):
        return [f"WordNet numbers are read as ImageNet's names ({found[0]} is {_wordnet('', found[:1])[0]})"]
    if classes is None and all(name.strip("_-. ").isdecimal() for name in found):
        return ["the class names are numbers, which tell CLIP little: give readable names as `classes:`"]
    return []


def carve(
    what: str,
    labels: Sequence[int] | np.ndarray,
    keys: Sequence[str],
    shares: Mapping[str, float],
    class_names: Sequence[str],
    copies: Sequence[int] | None = None,
) -> dict[str, list[int]]:
    """Positions of the named shares and of the rest ("train"), class by class, fixed by the keys.

    Args:
        what: the data set, for messages.
        labels: (samples,) label of each sample.
        keys: something lasting about each sample (its path), which decides where it goes.
        shares: split name -> fraction of each class, in (0, 1); every split gets at least one of each class.
        class_names: for messages.
        copies: (samples,) the first sample that each is a copy of, as `alike` finds it; copies in one class go to
            one split.

    Raises:
        UserError: a share outside (0, 1), shares that leave nothing to train on, or a class with too few
            samples.
    """
    check_shares(what, shares)
    splits: dict[str, list[int]] = {split: [] for split in ("train", *shares)}
    for label, positions in by_class(labels).items():
        together: dict[int, list[int]] = {}
        for position in positions:
            together.setdefault(position if copies is None else copies[position], []).append(position)
        counts = {split: max(1, round(share * len(positions))) for split, share in shares.items()}
        if sum(counts.values()) >= len(positions) or len(together) <= len(counts):
            unlike = "" if len(together) == len(positions) else f", {len(together)} of them different"
            raise UserError(
                f"{what}: class '{class_names[label]}' has {len(positions)} images{unlike}, too few for "
                f"{', '.join(splits)}: add images, or remove the class."
            )
        rest = sorted(together.values(), key=lambda own: chance("carve", keys[own[0]]))
        for still, (split, count) in enumerate(counts.items(), start=1):
            own, rest = _take(rest, count, len(counts) - still + 1)
            splits[split] += own
        splits["train"] += [position for own in rest for position in own]
    return {split: sorted(positions) for split, positions in splits.items()}


def _take(groups: list[list[int]], count: int, leave: int) -> tuple[list[int], list[list[int]]]:
    """The first groups that fit into `count` samples, at least one, and the rest, at least `leave` groups."""
    taken: list[int] = []
    rest: list[list[int]] = []
    for position, own in enumerate(groups):
        if len(taken) + len(own) <= count and len(rest) + len(groups) - position > leave:
            taken += own
        else:
            rest.append(own)
    if not taken:  # copies are many: those of the picture that has the fewest
        taken = min(rest, key=len)
        rest.remove(taken)
    return taken, rest


def alike(rough: Sequence[Hashable], *looks: Callable[[int], Hashable]) -> list[int]:
    """(samples,) the first sample that each is a copy of; itself where it is none.

    Args:
        rough: (samples,) something cheap that copies have in common, such as a file's size.
        looks: position -> something that copies have in common, cheapest first; the last one tells for sure. Asked
            only of samples that nothing before told apart.
    """
    groups = [list(range(len(rough)))]
    for look in (rough.__getitem__, *looks):
        finer: list[list[int]] = []
        for group in groups:
            found: dict[Hashable, list[int]] = {}
            for position in group:
                found.setdefault(look(position) if len(group) > 1 else None, []).append(position)
            finer += found.values()
        groups = finer
    first = {position: group[0] for group in groups for position in group}
    return [first[position] for position in range(len(rough))]


def end_of(path: Path) -> bytes:
    """The last bytes of a file, by which nearly all images of equal size differ; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - END))
            return file.read()
    except OSError:
        return b""


def copies_note(split: str, copies: Sequence[int], labels: Sequence[int] | None = None) -> list[str]:
    """How many images of a split are copies, and whether copies have different classes."""
    repeated = sum(first != position for position, first in enumerate(copies))
    if not repeated:
        return []
    notes = [
        f"{repeated:,} of {len(copies):,} images read as {split} are copies of another; copies in one class stay in "
        "one split"
    ]
    classes: dict[int, set[int]] = {}
    for first, label in zip(copies, labels or (), strict=bool(labels)):
        classes.setdefault(first, set()).add(label)
    several = sum(len(own) > 1 for own in classes.values())
    if several:
        notes.append(f"{several:,} of the images read as {split} have copies in another class")
    return notes


def few(names: Sequence[str]) -> str:
    """The names, or the first of many."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
