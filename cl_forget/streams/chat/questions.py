"""Common facts, mental arithmetic, and plain English for instruction-tuned models."""

from __future__ import annotations

import re
from importlib.resources import files
from random import Random

from cl_forget.streams._choose import shuffled
from cl_forget.streams.base import Experience
from cl_forget.streams.scoring import Scoring
from cl_forget.streams.skills.base import distinct, split_of, text_data
from cl_forget.streams.skills.facts import tables
from cl_forget.streams.text import TextData, text_experience

_ALSO_WORDS = {"As", "At", "Be", "He", "In", "No"}  # chemical symbols that a sentence may hold by chance


def names_it(prompt: str, said: str, reference: str) -> bool:
    """Whether the right name stands anywhere in the answer; a judge for `Scoring`."""
    return re.search(rf"(?<!\w){re.escape(reference)}(?!\w)", said) is not None


def gives_number(prompt: str, said: str, reference: str) -> bool:
    """Whether the last number of the answer's first line is the right one; a judge for `Scoring`."""
    numbers = re.findall(r"-?\d+", said.strip().split("\n")[0])
    return bool(numbers) and numbers[-1] == reference


def common_facts(validation: int = 60, test: int = 60) -> Experience:
    """Capitals and chemical symbols: is the right name in the answer?

    Args:
        validation: number of validation items.
        test: number of test items.
    """
    asked = [(f"What is the capital of {country}?", capital) for country, capital in tables()["capitals"]]
    asked += [
        (f"What is the chemical symbol of {element}?", symbol)
        for element, symbol in tables()["elements"]
        if len(symbol) == 2 and symbol not in _ALSO_WORDS
    ]
    order = shuffled(asked, "common facts")
    half = len(order) // 2
    scoring = Scoring("exact match", names_it, max_new_tokens=20)
    parts = text_data(order[:half][:validation]), text_data(order[half:][:test])
    return text_experience("common-facts", None, *parts, scoring)


def mental_arithmetic(validation: int = 60, test: int = 60) -> Experience:
    """Sums and differences up to twenty, asked in words.

    Args:
        validation: number of validation items.
        test: number of test items.
    """

    def data(split: str, count: int) -> TextData:
        def draw(random: Random) -> tuple[str, str]:
            while True:
                a, b, plus = random.randint(2, 20), random.randint(2, 20), random.random() < 0.5
                a, b = (a, b) if plus else (max(a, b), min(a, b))
                if (split_of("mental arithmetic", f"{a}{plus}{b}") == "test") == (split == "test"):
                    asked = f"What is {a} {'plus' if plus else 'minus'} {b}? Answer with the number only."
                    return asked, str(a + b if plus else a - b)

        return text_data(distinct(draw, Random(f"mental arithmetic/{split}"), count))

    scoring = Scoring("exact match", gives_number, max_new_tokens=16)
    parts = data("validation", validation), data("test", test)
    return text_experience("mental-arithmetic", None, *parts, scoring)


def english(validation: int = 20, test: int = 20) -> Experience:
    """Perplexity of plain English: short paragraphs written for this suite, so that no model has read them.

    Args:
        validation: number of validation paragraphs, at most 20.
        test: number of test paragraphs, at most 20.
    """
    text = files("cl_forget.streams.chat").joinpath("english.txt").read_text(encoding="utf-8")
    paragraphs = shuffled(text.strip().split("\n\n"), "english")
    half = len(paragraphs) // 2
    parts = TextData(paragraphs[:half][:validation]), TextData(paragraphs[half:][:test])
    return text_experience("english", None, *parts, "perplexity")
