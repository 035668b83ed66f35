"""Class-incremental: kinds of emoji, a few more with every experience."""

from __future__ import annotations

from cl_forget.streams._emoji import TEMPLATES, check_known, labelled, parts, pictures
from cl_forget.streams.base import Experience, ImageData, LabelSpace

#: Experience -> class name -> Unicode subgroups.
CATEGORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "people": {
        "a smiling face": ("face-smiling", "face-affection", "face-tongue"),
        "a worried face": ("face-concerned",),
        "a sick face": ("face-unwell",),
        "a heart": ("heart",),
        "a hand": (
            *("hand-fingers-open", "hand-fingers-partial", "hand-single-finger", "hand-fingers-closed"),
            "hands",
        ),
        "a body part": ("body-parts",),
        "a person at work": ("person-role",),
        "a fantasy being": ("person-fantasy",),
        "a person doing sport": ("person-sport",),
        "a couple or a family": ("family",),
    },
    "nature": {
        "a mammal": ("animal-mammal",),
        "a bird": ("animal-bird",),
        "a sea animal": ("animal-marine",),
        "a reptile or a frog": ("animal-reptile", "animal-amphibian"),
        "an insect": ("animal-bug",),
        "a flower": ("plant-flower",),
        "a plant": ("plant-other",),
        "the sky or the weather": ("sky-weather",),
    },
    "food": {
        "a fruit": ("food-fruit",),
        "a vegetable": ("food-vegetable",),
        "a prepared meal": ("food-prepared",),
        "asian food": ("food-asian",),
        "a sweet": ("food-sweet",),
        "a drink": ("drink",),
    },
    "places": {
        "a building": ("place-building", "place-religious"),
        "a vehicle on land": ("transport-ground",),
        "a boat": ("transport-water",),
        "an aircraft": ("transport-air",),
        "a celebration": ("event",),
        "a sport": ("sport",),
        "a game": ("game",),
    },
    "objects": {
        "clothing": ("clothing",),
        "a musical instrument": ("musical-instrument",),
        "a computer": ("computer",),
        "a camera or a light": ("light-video",),
        "a book or a newspaper": ("book-paper",),
        "money": ("money",),
        "mail": ("mail",),
        "something in an office": ("office", "writing"),
        "a tool": ("tool",),
        "something in a household": ("household",),
    },
    "symbols": {
        "an arrow": ("arrow",),
        "a religious symbol": ("religion",),
        "a zodiac sign": ("zodiac",),
        "a button of a player": ("av-symbol",),
        "letters in a box": ("alphanum",),
        "a number key": ("keycap",),
        "a geometric shape": ("geometric",),
        "a public sign": ("transport-sign",),
        "a warning sign": ("warning",),
    },
}
PER_CLASS = {"train": 40, "validation": 8, "test": 16, "unseen-styles": 8}


def categories(order: tuple[str, ...] = tuple(CATEGORIES), limit: int | None = None) -> list[Experience]:
    """Six experiences, `categories-<theme>`, that add 6 to 10 of 50 classes each: what kind of thing is it?

    All experiences share one label space of all the classes, and each has pictures of its own classes only.
    A class is one or more Unicode subgroups ("a bird", "a tool"). Concepts are split: those of train,
    validation and test differ, and none is held out of pre-training. The three are drawn in the seven seen
    styles, and pictures of the `emoji` suite are left out of training. Together 1,952 train, 398 validation,
    786 test. Shifted: `unseen-styles`, 356 pictures of test concepts in the two styles that pre-training does
    not see.

    Args:
        order: the experiences, in order: people, nature, food, places, objects, symbols.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: an unknown experience, or one given twice.
    """
    from cl_forget.streams.emoji import load

    check_known("experience of categories", order, list(CATEGORIES))
    emoji = load()
    classes = [name for theme in CATEGORIES.values() for name in theme]
    space = LabelSpace("categories", tuple(classes), TEMPLATES)
    part_of = parts()

    def pick(theme: str, part: str, split: str) -> ImageData:
        label_of_subgroup = {
            subgroup: classes.index(name)
            for name, subgroups in CATEGORIES[theme].items()
            for subgroup in subgroups
        }
        label_of = {
            concept.slug: label_of_subgroup[concept.subgroup]
            for concept in emoji.concepts
            if concept.subgroup in label_of_subgroup and part_of.get(concept.slug) == part
        }
        mask = {
            "train": emoji.pretrain,
            "unseen-styles": emoji.unseen_style,
        }.get(split, emoji.pretrain | emoji.held_out_pair)
        return pictures(labelled(mask, label_of), limit, PER_CLASS[split])

    return [
        Experience(
            f"categories-{theme}",
            space,
            train=pick(theme, "train", "train"),
            validation=pick(theme, "validation", "validation"),
            test=pick(theme, "test", "test"),
            shifted={"unseen-styles": pick(theme, "test", "unseen-styles")},
        )
        for theme in order
    ]
