"""The skills that pico-lm is pre-trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from random import Random

from cl_forget.streams.skills import facts
from cl_forget.streams.skills.base import Draw, Form, Skill
from cl_forget.streams.skills.words import (
    DAYS_IN_MONTH,
    MONTHS,
    in_words,
    letters,
    nouns,
    plural,
    roman,
    word,
)

_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth"]
_UNITS = (
    ("km", "m", 1000), ("m", "cm", 100), ("cm", "mm", 10), ("kg", "g", 1000), ("l", "ml", 1000), ("t", "kg", 1000)
)  # fmt: skip


# -- numbers -----------------------------------------------------------------------------------------------
def _sum(random: Random) -> tuple[str, tuple[str, ...], str]:
    a, b = random.randrange(100), random.randrange(100)
    return f"{min(a, b)}+{max(a, b)}", (str(a), str(b)), str(a + b)


def _difference(random: Random) -> tuple[str, tuple[str, ...], str]:
    b, a = sorted((random.randrange(100), random.randrange(100)))
    return f"{a}-{b}", (str(a), str(b)), str(a - b)


def _comparison(larger: bool) -> Draw:
    def draw(random: Random) -> tuple[str, tuple[str, ...], str]:
        a, b = random.sample(range(1000 if random.random() < 0.5 else 100), 2)
        return f"{min(a, b)},{max(a, b)}", (str(a), str(b)), str(max(a, b) if larger else min(a, b))

    return draw


def _extreme(largest: bool) -> Draw:
    def draw(random: Random) -> tuple[str, tuple[str, ...], str]:
        numbers = random.sample(range(100), random.randint(3, 5))
        listed = " ".join(map(str, numbers))
        return listed, (listed,), str(max(numbers) if largest else min(numbers))

    return draw


def _sorting(random: Random) -> tuple[str, tuple[str, ...], str]:
    text = letters(random, random.randint(3, 7), "0123456789")
    return text, (text,), "".join(sorted(text))


def _to_roman(random: Random) -> tuple[str, tuple[str, ...], str]:
    number = random.randrange(1, 400)
    return str(number), (str(number),), roman(number)


def _from_roman(random: Random) -> tuple[str, tuple[str, ...], str]:
    number = random.randrange(1, 400)
    return str(number), (roman(number),), str(number)


def _to_words(random: Random) -> tuple[str, tuple[str, ...], str]:
    number = random.randrange(1000)
    return str(number), (str(number),), in_words(number)


def _from_words(random: Random) -> tuple[str, tuple[str, ...], str]:
    number = random.randrange(1000)
    return str(number), (in_words(number),), str(number)


def _unit(down: bool) -> Draw:
    def draw(random: Random) -> tuple[str, tuple[str, ...], str]:
        large, small, factor = random.choice(_UNITS)
        number = random.randrange(1, 100)
        key, many = f"{number} {large}/{small}", number * factor
        return (
            (key, (str(number), large, small), str(many))
            if down
            else (key, (str(many), small, large), str(number))
        )

    return draw


# -- calendar ----------------------------------------------------------------------------------------------
def _day(forward: bool) -> Draw:
    def draw(random: Random) -> tuple[str, tuple[str, ...], str]:
        place = random.randrange(365)
        day, after = _date(place), _date((place + 1) % 365)
        return f"{place} {forward}", (day if forward else after,), after if forward else day

    return draw


def _date(place: int) -> str:
    for month, days in zip(MONTHS, DAYS_IN_MONTH, strict=True):
        if place < days:
            return f"{place + 1} {month}"
        place -= days
    raise ValueError("a year has 365 days here")


# -- letters -----------------------------------------------------------------------------------------------
def _on_word(answer: str) -> Draw:
    def draw(random: Random) -> tuple[str, tuple[str, ...], str]:
        text = word(random)
        return text, (text,), _ON_WORDS[answer](text)

    return draw


_ON_WORDS = {
    "reverse": lambda text: text[::-1],
    "copy": lambda text: text,
    "upper": lambda text: text.upper(),
    "length": lambda text: str(len(text)),
}


def _counting(random: Random) -> tuple[str, tuple[str, ...], str]:
    alphabet = "".join(random.sample("abcdefghijklmnopqrstuvwxyz", 3))
    text = letters(random, random.randint(3, 8), alphabet)
    letter = random.choice(text)
    return f"{letter} {text}", (letter, text), str(text.count(letter))


def _position(random: Random) -> tuple[str, tuple[str, ...], str]:
    text = word(random)
    place = random.randrange(min(len(text), len(_ORDINALS)))
    return f"{place} {text}", (_ORDINALS[place], text), text[place]


def _plural(random: Random) -> tuple[str, tuple[str, ...], str]:
    noun = random.choice(nouns())
    return noun, (noun,), plural(noun)


# -- facts -------------------------------------------------------------------------------------------------
def _fact(table: str, backwards: bool = False) -> Draw:
    def draw(random: Random) -> tuple[str, tuple[str, ...], str]:
        left, right = random.choice(facts.tables()[table])
        return (left, (right,), left) if backwards else (left, (left,), right)

    return draw


def _opposite(random: Random) -> tuple[str, tuple[str, ...], str]:
    left, right = random.sample(random.choice(facts.tables()["opposites"]), 2)
    return left, (left,), right


def _emoji_name(random: Random) -> tuple[str, tuple[str, ...], str]:
    sign, name = random.choice(facts.emoji())
    return name, (sign,), name


# The kinds of question of each skill, in the order of `phrasings.json`, and its weight in the mixture.
_DRAWS: dict[str, tuple[float, tuple[Draw, ...]]] = {
    "addition": (1.6, (_sum,)),
    "subtraction": (1.6, (_difference,)),
    "comparing": (0.7, (_comparison(True), _comparison(False))),
    "largest": (1.2, (_extreme(True), _extreme(False))),
    "sorting": (1.3, (_sorting,)),
    "roman": (1.5, (_to_roman, _from_roman)),
    "number-words": (1.0, (_to_words, _from_words)),
    "units": (0.8, (_unit(True), _unit(False))),
    "calendar": (0.8, (_day(True), _day(False))),
    "reversing": (1.4, (_on_word("reverse"),)),
    "copying": (0.6, (_on_word("copy"),)),
    "capital-letters": (0.6, (_on_word("upper"),)),
    "length": (0.9, (_on_word("length"),)),
    "counting": (1.2, (_counting,)),
    "letter-position": (1.2, (_position,)),
    "plurals": (0.8, (_plural,)),
    "capitals": (1.0, (_fact("capitals"),)),
    "elements": (1.5, (_fact("elements"), _fact("elements", backwards=True))),
    "opposites": (0.8, (_opposite,)),
    "emoji-names": (0.9, (_emoji_name,)),
}
_FACTS = {"capitals", "elements", "opposites", "emoji-names"}


def _skills() -> Iterator[Skill]:
    text = files("cl_forget.streams.skills").joinpath("phrasings.json").read_text(encoding="utf-8")
    phrasings = json.loads(text)
    for name, (weight, draws) in _DRAWS.items():
        forms = tuple(Form(tuple(own), draw) for own, draw in zip(phrasings[name], draws, strict=True))
        yield Skill(name, forms, name in _FACTS, weight)


SKILLS = tuple(_skills())
"""20 skills; four of them are facts."""

BY_NAME = {skill.name: skill for skill in SKILLS}
