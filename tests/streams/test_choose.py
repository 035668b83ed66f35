"""Choices by hashing are the same with every version of Python."""

from __future__ import annotations

import hashlib

from cl_forget.streams._choose import chance
from cl_forget.streams.skills.facts import emoji


def test_choices_do_not_depend_on_how_python_shows_a_newer_emoji():
    # Python 3.11 shows this goose as an escape, 3.12 as it is.
    shown = "facts/('\\U0001fabf', 'goose')"
    assert chance("facts", ("\U0001fabf", "goose")) == chance(shown)
    assert chance("facts", "\U0001fabf") != chance(
        "facts", "\\U0001fabf"
    )  # texts by themselves are never shown


def test_the_emoji_that_pico_lm_was_taught():
    names = str([name for _, name in emoji()])
    assert hashlib.md5(names.encode(), usedforsecurity=False).hexdigest().startswith("5fefdee3")
