"""Generality suites on the emoji set; no stream trains on a picture that they validate or test on."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

from cl_forget.streams._choose import chance
from cl_forget.streams._emoji import GROUPS, TEMPLATES, Part, check_known, labelled, parts, pictures
from cl_forget.streams.base import Experience, ImageData, LabelSpace
from cl_forget.streams.emoji import UNSEEN_STYLES, load

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION_SHARE = 1 / 3  # of the concepts, in suites of concepts or drawings that nothing trains on
GROUPS_PER_CLASS = {"train": 125, "validation": 25, "test": 50, "unseen-styles": 25}


def emoji(limit: int | None = None) -> Experience:
    """Zero-shot: which of the 1,496 concepts of pre-training is it?

    The pictures are the (concept, style) pairs held out of pre-training, in the seven seen styles; it saw the
    same concepts in other styles. Concepts of validation (296 pictures) and test (595) differ.

    Args:
        limit: at most this many images in each split, spread over the concepts; None keeps all.
    """
    label_of = {slug: label for label, slug in enumerate(parts())}
    validation, test = ({s: k for s, k in label_of.items() if _is_validation(s) is v} for v in (True, False))
    pairs = load().held_out_pair
    return Experience(
        "emoji",
        _every_seen_concept(),
        train=None,
        validation=pictures(labelled(pairs, validation), limit),
        test=pictures(labelled(pairs, test), limit),
    )


def emoji_unseen_styles(styles: tuple[str, ...] = UNSEEN_STYLES, limit: int | None = None) -> Experience:
    """Zero-shot: which of the 1,496 concepts of pre-training is it, in a style that pre-training never sees?

    Half of the pictures have a 3-D look (fluent-emoji), half are black lines (fluent-emoji-high-contrast).
    Concepts of validation (437 pictures) and test (738) differ, and no stream trains on them.

    Args:
        styles: which of the two unseen styles to draw from.
        limit: at most this many images in each split, spread over the concepts; None keeps all.

    Raises:
        UserError: not an unseen style.
    """
    check_known("unseen style", styles, UNSEEN_STYLES)
    mask = load().unseen_style & _in_styles(styles)

    def pick(part: Part) -> ImageData:
        label_of = {slug: k for k, (slug, own) in enumerate(parts().items()) if own == part}
        return pictures(labelled(mask, label_of), limit)

    return Experience("emoji-unseen-styles", _every_seen_concept(), None, pick("validation"), pick("test"))


def emoji_held_out_concepts(limit: int | None = None) -> Experience:
    """Zero-shot: which of 100 concepts is it, none of which pre-training has seen or read about?

    In the seven seen styles. Concepts of validation (166 pictures) and test (412) differ. Shifted:
    `unseen-styles`, 140 pictures of the test concepts in the two unseen styles. Clock faces and
    flags of countries are left out: they are tasks of their own.

    Args:
        limit: at most this many images in each split, spread over the concepts; None keeps all.
    """
    tasks = {concept for concept in load().concepts if concept.clock_face or concept.country_flag}
    concepts = [concept for concept in load().concepts if concept.held_out and concept not in tasks]
    seen_style = ~_in_styles(UNSEEN_STYLES)
    label_of = {concept.slug: label for label, concept in enumerate(concepts)}
    validation, test = ({s: k for s, k in label_of.items() if _is_validation(s) is v} for v in (True, False))
    return Experience(
        "emoji-held-out-concepts",
        LabelSpace("emoji-held-out-concepts", tuple(concept.name for concept in concepts), TEMPLATES),
        train=None,
        validation=pictures(labelled(seen_style, validation), limit),
        test=pictures(labelled(seen_style, test), limit),
        shifted={"unseen-styles": pictures(labelled(~seen_style, test), limit)},
    )


def emoji_groups(limit: int | None = None) -> Experience:
    """Which of eight Unicode groups does an emoji show? With train data, for linear probes.

    In the seven seen styles; concepts of train (1,000 pictures), validation (200) and test (400) differ.
    Shifted: `unseen-styles`, 200 pictures of test concepts in the two unseen styles.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    data, groups, part_of = load(), list(GROUPS), parts()

    def pick(part: Part, split: str) -> ImageData:
        label_of = {
            concept.slug: groups.index(concept.group)
            for concept in data.concepts
            if concept.group in GROUPS and part_of.get(concept.slug) == part
        }
        mask = data.unseen_style if split == "unseen-styles" else data.pretrain
        return pictures(labelled(mask, label_of), limit, GROUPS_PER_CLASS[split])

    return Experience(
        "emoji-groups",
        LabelSpace("emoji-groups", tuple(GROUPS.values()), TEMPLATES),
        train=pick("train", "train"),
        validation=pick("validation", "validation"),
        test=pick("test", "test"),
        shifted={"unseen-styles": pick("test", "unseen-styles")},
    )


def _in_styles(styles: tuple[str, ...]) -> Tensor:
    """(N,) bool, the pictures in any of the styles."""
    return functools.reduce(operator.or_, (load().in_style(style) for style in styles))


def _is_validation(slug: str) -> bool:
    return chance("emoji suites", slug) < VALIDATION_SHARE


def _every_seen_concept() -> LabelSpace:
    """Label k is the k-th slug of `parts()`; the suites that use it share one set of zero-shot weights."""
    name_of = {concept.slug: concept.name for concept in load().concepts}
    return LabelSpace("emoji", tuple(name_of[slug] for slug in parts()), TEMPLATES)
