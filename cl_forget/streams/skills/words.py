"""Words and letter strings for questions about spelling."""

from __future__ import annotations

import json
import re
import string
from functools import cache
from importlib.resources import files
from random import Random

_UNITS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
_MONTHS = "January February March April May June July August September October November December"
UNITS, TENS, MONTHS = _UNITS.split(), _TENS.split(), _MONTHS.split()
DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_UNFIT = {"ass", "drunk", "gun", "poo", "poop", "rifle", "sex", "sexy", "shit", "smut", "stupid", "weapon"}
_PLURALS = """
child/children foot/feet tooth/teeth goose/geese mouse/mice man/men woman/women ox/oxen person/people sheep/sheep
deer/deer fish/fish wolf/wolves leaf/leaves knife/knives wife/wives life/lives loaf/loaves
"""
_IRREGULAR: dict[str, str] = dict(pair.split("/") for pair in _PLURALS.split())  # type: ignore[misc]
_NOT_COUNTED = re.compile(".*(s|ed|ing|ly|ful|ous|ic|al|ish|est)$")


@cache
def words() -> tuple[str, ...]:
    """About 2,900 English words of three to eight letters: names and keywords of emoji."""
    text = files("cl_forget.streams.emoji").joinpath("data", "concepts.json").read_text(encoding="utf-8")
    found = {
        word
        for concept in json.loads(text)
        for phrase in [concept["name"], *concept["keywords"]]
        for word in re.findall(r"\b[a-z]{3,8}\b", phrase)
    }
    return tuple(sorted(found - _UNFIT))


@cache
def nouns() -> tuple[str, ...]:
    """Words that take a plural, as far as endings tell."""
    return tuple(word for word in words() if not _NOT_COUNTED.match(word)) + tuple(_IRREGULAR)


def plural(noun: str) -> str:
    """The plural by the rules of spelling and a list of irregular nouns."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def word(random: Random) -> str:
    """A word, or as often a string of letters that is none."""
    if random.random() < 0.5:
        return random.choice(words())
    return letters(random, random.randint(3, 7))


def letters(random: Random, length: int, alphabet: str = string.ascii_lowercase) -> str:
    """A random string."""
    return "".join(random.choice(alphabet) for _ in range(length))


def in_words(number: int) -> str:
    """0 to 999 in English: 342 is "three hundred and forty-two"."""
    if number >= 100:
        rest = f" and {in_words(number % 100)}" if number % 100 else ""
        return f"{UNITS[number // 100]} hundred{rest}"
    if number < 20:
        return UNITS[number]
    return TENS[number // 10] + (f"-{UNITS[number % 10]}" if number % 10 else "")


def roman(number: int) -> str:
    """1 to 3,999 as a Roman numeral."""
    values = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
    signs = ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"]
    written = ""
    for value, sign in zip(values, signs, strict=True):
        written += sign * (number // value)
        number %= value
    return written
