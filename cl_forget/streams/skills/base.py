"""What a skill is: phrasings with slots, a way to draw what fills them, and a split that nothing can leak through.

The split of an item is a hash of its key, so that it depends on the item alone: the same one for every seed,
every sample size and every phrasing. A fact cannot be held out (nobody can guess the capital of Chad), so skills of
facts hold out phrasings instead: validation and test ask for the same facts in words that training never used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from cl_forget.streams._choose import chance, check_count
from cl_forget.streams.base import Experience
from cl_forget.streams.text import TextData, text_experience

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of the items in validation, and as much in test

Draw = Callable[[Random], tuple[str, tuple[str, ...], str]]
"""One question: its key, what fills the slots of a phrasing, and the answer."""


@dataclass(frozen=True)
class Form:
    """One kind of question.

    Attributes:
        phrasings: prompts with slots {0}, {1}, ...
        draw: gives one question.
    """

    phrasings: tuple[str, ...]
    draw: Draw


@dataclass(frozen=True)
class Skill:
    """Questions with exact answers.

    Attributes:
        name: how streams and suites call it.
        forms: the kinds of question, all equally frequent.
        facts: whether phrasings are held out instead of items: the last phrasing of every form is for test,
            the last but one for validation, the others for training.
        weight: its share of a mixture, relative to the other skills.
    """

    name: str
    forms: tuple[Form, ...]
    facts: bool = False
    weight: float = 1.0

    def draw(self, split: str, random: Random) -> tuple[str, str]:
        """One (prompt, answer) of a split."""
        while True:
            form = random.choice(self.forms)
            key, slots, answer = form.draw(random)
            if self.facts or split_of(self.name, key) == split:
                phrasing = random.choice(self._phrasings(form, split))
                return phrasing.format(*slots), answer

    def _phrasings(self, form: Form, split: str) -> tuple[str, ...]:
        if not self.facts:
            return form.phrasings
        return {"train": form.phrasings[:-2], "validation": form.phrasings[-2:-1]}.get(
            split, form.phrasings[-1:]
        )

    def samples(self, split: str, count: int) -> list[tuple[str, str]]:
        """`count` different (prompt, answer) pairs of a split, or fewer where the skill has no more.

        Raises:
            UserError: a count below 1.
        """
        return distinct(lambda random: self.draw(split, random), Random(f"{self.name}/{split}"), count)


def split_of(name: str, key: str) -> str:
    """The split in which an item lies."""
    place = chance("split", name, key)
    return "test" if place < HELD_OUT else "validation" if place < 2 * HELD_OUT else "train"


def distinct(draw: Callable[[Random], tuple[str, str]], random: Random, count: int) -> list[tuple[str, str]]:
    """`count` pairs with different prompts, or fewer where drawing finds no new ones."""
    check_count("count", count)
    found: dict[str, str] = {}
    for _ in range(20 * count):
        prompt, answer = draw(random)
        found.setdefault(prompt, answer)
        if len(found) == count:
            break
    return list(found.items())


def text_data(pairs: list[tuple[str, str]]) -> TextData:
    """(prompt, answer) pairs as a model reads them; a space between the two where it has no chat template."""
    prompts, answers = zip(*pairs, strict=True)
    return TextData(list(answers), list(prompts), separator=None)


def experience(skill: Skill, train: int | None, held_out: int) -> Experience:
    """A skill as a task, or as a suite where `train` is None.

    Args:
        skill: what is asked.
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return text_experience(
        skill.name,
        None if train is None else text_data(skill.samples("train", train)),
        text_data(skill.samples("validation", held_out)),
        text_data(skill.samples("test", held_out)),
    )


def mixture(skills: tuple[Skill, ...], random: Random) -> Iterator[Skill]:
    """Skills drawn for ever, each as often as its weight says."""
    weights = [skill.weight for skill in skills]
    while True:
        yield from random.choices(skills, weights, k=64)
