"""Common facts, mental arithmetic, and plain English for instruction-tuned models."""

from __future__ import annotations

import re
from importlib.resources import files
from random import Random

from cl_forget.streams._choose import shuffled
from cl_forget.streams.base import Experience
from cl_forget.streams.skills.base import distinct, split_of, text_data
from cl_forget.streams.skills.facts import tables
from cl_forget.streams.text import Scoring, TextData, text_experience

_ALSO_WORDS = {"As", "At", "Be", "He", "In", "No"}  # chemical symbols that a sentence may hold by chance


def names_it(prompt: str, said: str, reference: str) -> bool:
    """Whether the right name stands anywhere in the answer; a judge for `Scoring`."""
    return re.search(rf"(?<!\w){re.escape(reference)}(?!\w)", said) is not None


def gives_number(prompt: str, said: str, reference: str) -> bool:
    """Whether the last number of the answer's first line is the right one; a judge for `Scoring`."""
    numbers = re.findall(r"-?\d+", said.strip().split("\n")[0])
    return bool(numbers) and numbers[-1] == reference


def common_facts(held_out: int = 60) -> Experience:
    """Capitals and chemical symbols: is the right name in the answer?

    Args:
        held_out: number of validation items, and of test items.
    """
    asked = [(f"What is the capital of {country}?", capital) for country, capital in tables()["capitals"]]
    asked += [
        (f"What is the chemical symbol of {element}?", symbol)
        for element, symbol in tables()["elements"]
        if len(symbol) == 2 and symbol not in _ALSO_WORDS
    ]
    order = shuffled(asked, "common facts")
    half = len(order) // 2
    parts = [text_data(part[:held_out]) for part in (order[:half], order[half:])]
    return text_experience(
        "common-facts", None, parts[0], parts[1], Scoring("exact match", names_it, max_new_tokens=20)
    )


def mental_arithmetic(held_out: int = 60) -> Experience:
    """Sums and differences up to twenty, asked in words.

    Args:
        held_out: number of validation items, and of test items.
    """

    def data(split: str) -> TextData:
        def draw(random: Random) -> tuple[str, str]:
            while True:
                a, b, plus = random.randint(2, 20), random.randint(2, 20), random.random() < 0.5
                a, b = (a, b) if plus else (max(a, b), min(a, b))
                if (split_of("mental arithmetic", f"{a}{plus}{b}") == "test") == (split == "test"):
                    asked = f"What is {a} {'plus' if plus else 'minus'} {b}? Answer with the number only."
                    return asked, str(a + b if plus else a - b)

        return text_data(distinct(draw, Random(f"mental arithmetic/{split}"), held_out))

    scoring = Scoring("exact match", gives_number, max_new_tokens=16)
    return text_experience("mental-arithmetic", None, data("validation"), data("test"), scoring)


def english(held_out: int = 20) -> Experience:
    """Perplexity of plain English: short paragraphs written for this suite, so that no model has read them.

    Args:
        held_out: number of validation paragraphs, and of test paragraphs, at most 20.
    """
    text = files("cl_forget.streams.chat").joinpath("english.txt").read_text(encoding="utf-8")
    paragraphs = shuffled(text.strip().split("\n\n"), "english")
    half = len(paragraphs) // 2
    validation, test = (TextData(part[:held_out]) for part in (paragraphs[:half], paragraphs[half:]))
    return text_experience("english", None, validation, test, "perplexity")
