"""Domain-incremental: the same classes and concepts, drawn in one style after another."""

from __future__ import annotations

from cl_forget.streams._emoji import GROUPS, TEMPLATES, check_known, labelled, parts, pictures
from cl_forget.streams.base import Experience, ImageData, LabelSpace

#: The two styles that pre-training never sees stand between three it knows.
ORDER = ("openmoji", "fluent-emoji-high-contrast", "noto", "fluent-emoji", "twemoji")
PER_CLASS = {"train": 60, "validation": 12, "test": 25}


def styles(order: tuple[str, ...] = ORDER, limit: int | None = None) -> list[Experience]:
    """One experience per drawing style, `styles-<style>`: which of eight Unicode groups does an emoji show?

    All experiences share one label space and the same concepts, and differ in style only. Concepts are split:
    those of train, validation and test differ, and none is held out of pre-training. Pictures of the `emoji`
    suite are left out of training. In the default order, each style has 452 train, 96 validation and 196
    test pictures, and the second and the fourth style are the two that pre-training never sees.

    Args:
        order: the styles, in order; any of the nine of the emoji set.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: an unknown style, or one given twice.
    """
    from cl_forget.streams.emoji import load

    emoji = load()
    check_known("emoji style", order, emoji.styles)
    in_style = {style: emoji.in_style(style) for style in order}
    drawn = [set(emoji.concept[mask & ~emoji.held_out_concept].tolist()) for mask in in_style.values()]
    tested = [set(emoji.concept[mask & emoji.held_out_pair].tolist()) for mask in in_style.values()]
    everywhere, tested_somewhere = set.intersection(*drawn), set.union(*tested)
    groups, part_of = list(GROUPS), parts()

    def pick(style: str, part: str) -> ImageData:
        label_of = {
            concept.slug: groups.index(concept.group)
            for number, concept in enumerate(emoji.concepts)
            if concept.group in GROUPS
            and number in everywhere
            and part_of[concept.slug] == part
            and not (part == "train" and number in tested_somewhere)
        }
        return pictures(labelled(in_style[style], label_of), limit, PER_CLASS[part])

    space = LabelSpace("styles", tuple(GROUPS.values()), TEMPLATES)
    return [
        Experience(
            f"styles-{style}",
            space,
            train=pick(style, "train"),
            validation=pick(style, "validation"),
            test=pick(style, "test"),
        )
        for style in order
    ]
