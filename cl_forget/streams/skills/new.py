"""Skills that pico-lm has never met: what its streams teach, and what makes it forget."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from string import ascii_lowercase

from cl_forget.streams.base import Experience
from cl_forget.streams.skills.base import Draw, Form, Skill, experience
from cl_forget.streams.skills.words import DAYS_IN_MONTH, MONTHS, word

_NEXT_LETTER = str.maketrans(ascii_lowercase, ascii_lowercase[1:] + "a")


def pig_latin_of(text: str) -> str:
    """Consonants before the first vowel go to the end, then "ay"; a first vowel takes "way"."""
    head, tail = re.fullmatch(r"([^aeiou]*)(.*)", text).groups()  # type: ignore[union-attr]
    return f"{tail}{head}ay" if head else f"{text}way"


def cipher_of(text: str) -> str:
    """Every letter becomes the next one of the alphabet, z becomes a."""
    return text.translate(_NEXT_LETTER)


def without_vowels(text: str) -> str:
    """The text without a, e, i, o and u."""
    return re.sub("[aeiou]", "", text)


def _of_word(change: Callable[[str], str]) -> Draw:
    def draw(random: Random) -> tuple[str, tuple[str, ...], str]:
        while True:
            text = word(random)
            if change(text):  # "aue" has nothing but vowels
                return text, (text,), change(text)

    return draw


def _operator(random: Random) -> tuple[str, tuple[str, ...], str]:
    """a # b = 2a + b."""
    a, b = random.randrange(50), random.randrange(50)
    return f"{a}#{b}", (str(a), str(b)), str(2 * a + b)


def _iso_date(random: Random) -> tuple[str, tuple[str, ...], str]:
    month = random.randrange(12)
    day, year = random.randint(1, DAYS_IN_MONTH[month]), random.randrange(1900, 2100)
    written = f"{day} {MONTHS[month]} {year}"
    return written, (written,), f"{year}-{month + 1:02}-{day:02}"


def _binary(random: Random) -> tuple[str, tuple[str, ...], str]:
    number = random.randrange(1024)
    return str(number), (str(number),), f"{number:b}"


NEW_SKILLS = {
    skill.name: skill
    for skill in (
        Skill("pig-latin", (Form(("Pig Latin: {0}", "Say {0} in Pig Latin."), _of_word(pig_latin_of)),)),
        Skill("cipher", (Form(("Encode {0}.", "Write {0} in code."), _of_word(cipher_of)),)),
        Skill("operator", (Form(("{0}#{1}", "What is {0}#{1}?"), _operator),)),
        Skill("iso-dates", (Form(("ISO date: {0}", "Write {0} as an ISO date."), _iso_date),)),
        Skill("vowel-free", (Form(("Drop the vowels: {0}", "Write {0} without vowels."), _of_word(without_vowels)),)),
        Skill("binary", (Form(("Write {0} in binary.", "{0} in binary"), _binary),)),
    )
}  # fmt: skip


def pig_latin(train: int = 2000, held_out: int = 200) -> list[Experience]:
    """Words in Pig Latin: planet is anetplay, apple is appleway.

    Args:
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return [experience(NEW_SKILLS["pig-latin"], train, held_out)]


def cipher(train: int = 2000, held_out: int = 200) -> list[Experience]:
    """Words with every letter replaced by the next one: planet is qmbofu.

    Args:
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return [experience(NEW_SKILLS["cipher"], train, held_out)]


def operator(train: int = 2000, held_out: int = 200) -> list[Experience]:
    """A made-up sum: a # b is 2a + b.

    Args:
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return [experience(NEW_SKILLS["operator"], train, held_out)]


def iso_dates(train: int = 2000, held_out: int = 200) -> list[Experience]:
    """Dates in another format: 14 March 2026 is 2026-03-14.

    Args:
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return [experience(NEW_SKILLS["iso-dates"], train, held_out)]


def vowel_free(train: int = 2000, held_out: int = 200) -> list[Experience]:
    """Words without their vowels: planet is plnt.

    Args:
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return [experience(NEW_SKILLS["vowel-free"], train, held_out)]


def binary(train: int = 2000, held_out: int = 200) -> list[Experience]:
    """Numbers from 0 to 1,023 in base two: 47 is 101111.

    Args:
        train: number of training items.
        held_out: number of validation items, and of test items.
    """
    return [experience(NEW_SKILLS["binary"], train, held_out)]


def new_skills(train: int = 2000, held_out: int = 200) -> list[Experience]:
    """All six new skills, one after the other.

    Args:
        train: number of training items of each.
        held_out: number of validation items, and of test items of each.
    """
    return [experience(skill, train, held_out) for skill in NEW_SKILLS.values()]
