"""Suites on what pico-lm was pre-trained on: what can be forgotten."""

from __future__ import annotations

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import shuffled
from cl_forget.streams.base import Experience
from cl_forget.streams.skills.base import Skill, experience, text_data
from cl_forget.streams.skills.known import BY_NAME
from cl_forget.streams.text import text_experience

GROUPS = {
    "numbers": (
        "addition", "subtraction", "comparing", "largest", "sorting", "roman", "number-words", "units", "calendar"
    ),
    "spelling": (
        "reversing", "copying", "capital-letters", "length", "counting", "letter-position", "plurals"
    ),
    "facts": ("capitals", "elements", "opposites", "emoji-names"),
}  # fmt: skip


def skill(name: str, held_out: int = 200) -> Experience:
    """One skill of pico-lm's pre-training, by its name.

    Args:
        name: addition, reversing, capitals, ...
        held_out: number of validation items, and of test items.
    """
    return experience(_known(name), None, held_out)


def practice(name: str, train: int = 2000, held_out: int = 200) -> list[Experience]:
    """One skill of pico-lm's pre-training as a task: what it half knows is learned better.

    Args:
        name: counting, subtraction, plurals, ...
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return [experience(_known(name), train, held_out)]


def _known(name: str) -> Skill:
    if name not in BY_NAME:
        raise UserError(
            f"there is no skill '{name}'.{closest(name, list(BY_NAME))} Known: {', '.join(BY_NAME)}."
        )
    return BY_NAME[name]


def numbers(held_out: int = 225) -> Experience:
    """Sums, comparisons, order, Roman numerals, number words, units, dates: nine skills, mixed.

    Args:
        held_out: number of validation items, and of test items, over all skills.
    """
    return _mixed("numbers", held_out)


def spelling(held_out: int = 224) -> Experience:
    """Reversing, copying, capitals, counting, positions, plurals: seven skills, mixed.

    Args:
        held_out: number of validation items, and of test items, over all skills.
    """
    return _mixed("spelling", held_out)


def facts(held_out: int = 200) -> Experience:
    """Capitals, elements, opposites, emoji: four skills, mixed, in phrasings that no training used.

    Args:
        held_out: number of validation items, and of test items, over all skills.
    """
    return _mixed("facts", held_out)


def _mixed(group: str, held_out: int) -> Experience:
    """The skills of a group in equal shares.

    Args:
        group: its name.
        held_out: number of validation items, and of test items, over all skills.
    """
    share = -(-held_out // len(GROUPS[group]))

    def data(split: str) -> list[tuple[str, str]]:
        pairs = [pair for name in GROUPS[group] for pair in BY_NAME[name].samples(split, share)]
        return shuffled(pairs, group, split)[:held_out]

    return text_experience(group, None, text_data(data("validation")), text_data(data("test")))
