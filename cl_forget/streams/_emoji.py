"""What the emoji-based streams and suites share: who may be trained on, and how pictures become data.

Seen concepts (those that pre-training meets) are divided once, for all of them: streams train on pictures of
the *train* part only, and the suites measure concepts of the other two, or drawings that nothing trains on.
So no picture of a generality suite is ever fine-tuned on, whatever the stream.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import balanced, capped, shuffled
from cl_forget.streams.base import ImageData

if TYPE_CHECKING:
    from torch import Tensor

Part = Literal["train", "validation", "test"]

VALIDATION_SHARE, TEST_SHARE = 0.15, 0.25  # of the concepts of each Unicode subgroup
TEMPLATES = ("an emoji of {}.",)  # how the embedded model's captions begin

#: Concepts with a picture that occurs twice in the set, pixel for pixel (two concepts, or two styles, drawn
#: alike): always in the test part, lest one copy is trained on and the other measured.
DRAWN_ALIKE = frozenset(
    (
        *("person-walking", "man-walking", "person-walking-facing-right", "man-walking-facing-right"),
        *("couple-with-heart", "couple-with-heart-woman-man", "tongue"),
        *("black-medium-square", "white-square-button", "large-orange-diamond", "large-blue-diamond"),
    )
)

#: The Unicode groups that nearly every style draws, as class names; flags are missing in half of the styles.
GROUPS = {
    "smileys-emotion": "a smiley or a feeling",
    "people-body": "people or a body part",
    "animals-nature": "an animal or a plant",
    "food-drink": "food or drink",
    "travel-places": "a place, a vehicle or the weather",
    "activities": "a sport, a game or a celebration",
    "objects": "an object",
    "symbols": "a symbol or a sign",
}


def check_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an empty list, a name that is not known, and a name given twice, with one line."""
    for name in names:
        if name not in known:
            raise UserError(
                f"unknown {what} '{name}'.{closest(name, list(known))} Known: {', '.join(known)}."
            )
    if not names or len(set(names)) < len(names):
        raise UserError(f"name each {what} once, and at least one of {', '.join(known)}.")


@functools.cache
def position_of() -> dict[tuple[str, str], int]:
    """The position in the emoji set of each drawing, by (concept slug, style)."""
    from cl_forget.streams.emoji import load

    emoji = load()
    pairs = zip(emoji.concept.tolist(), emoji.style.tolist(), strict=True)
    return {(emoji.concepts[c].slug, emoji.styles[s]): position for position, (c, s) in enumerate(pairs)}


@functools.cache
def parts() -> dict[str, Part]:
    """The part of every seen concept, by slug: about 60 % train, 15 % validation, 25 % test per subgroup."""
    from cl_forget.streams.emoji import load

    subgroups: dict[str, list[str]] = {}
    for concept in load().concepts:
        if not concept.held_out:
            subgroups.setdefault(concept.subgroup, []).append(concept.slug)
    found: dict[str, Part] = {}
    for slugs in subgroups.values():
        order = sorted(shuffled(slugs, "concept parts"), key=lambda slug: slug not in DRAWN_ALIKE)
        test, validation = round(TEST_SHARE * len(order)), round(VALIDATION_SHARE * len(order))
        found |= dict.fromkeys(order, "train")
        found |= dict.fromkeys(order[:test], "test")
        found |= dict.fromkeys(order[test : test + validation], "validation")
    return found


def labelled(mask: Tensor, label_of: Mapping[str, int]) -> list[tuple[int, int]]:
    """(position in the emoji set, label) of the pictures under the mask whose concept has a label.

    Args:
        mask: (N,) bool over the emoji set.
        label_of: concept slug -> label.
    """
    from cl_forget.streams.emoji import load

    emoji = load()
    label_of_number = {n: label_of[c.slug] for n, c in enumerate(emoji.concepts) if c.slug in label_of}
    concept = emoji.concept.tolist()
    return [
        (position, label_of_number[concept[position]])
        for position in mask.nonzero().flatten().tolist()
        if concept[position] in label_of_number
    ]


def pictures(chosen: Sequence[tuple[int, int]], limit: int | None, per_class: int | None = None) -> ImageData:
    """Emoji on white.

    Args:
        chosen: (position in the emoji set, label) of each picture.
        limit: at most this many in all, balanced over the labels.
        per_class: at most this many of each label.
    """
    from cl_forget.streams.emoji import load

    emoji = load()
    if per_class is not None:
        chosen = [chosen[index] for index in capped([label for _, label in chosen], per_class, "emoji")]
    kept = [chosen[index] for index in balanced([label for _, label in chosen], limit, "emoji")]
    white = replace(emoji, images=emoji.images[[position for position, _ in kept]]).on_background()
    return ImageData([label for _, label in kept], array=white.numpy())
