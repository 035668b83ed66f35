"""Instructions whose fulfilment code can check, after IFEval (Zhou et al. 2023, arXiv:2311.07911)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cl_forget.streams._choose import shuffled
from cl_forget.streams.base import Experience
from cl_forget.streams.scoring import Scoring
from cl_forget.streams.skills.base import split_of, text_data
from cl_forget.streams.text import text_experience

_TOPICS = (
    "rain", "dogs", "bread", "trains", "music", "winter", "coffee", "friends", "books", "gardens", "horses", "snow",
    "cities", "rivers", "birds", "sleep", "school", "cheese", "bridges", "mountains", "soup", "stars", "boats", "tea",
    "forests", "clocks", "apples", "football", "letters", "islands", "cats", "painting", "money", "summer", "doctors",
    "wind", "farms", "windows", "fish", "roses",
)  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """A request about the form of an answer.

    Attributes:
        text: how it is put.
        holds: whether an answer fulfils it.
        example: a sentence turned into one that does.
    """

    text: str
    holds: Callable[[str], bool]
    example: Callable[[str], str]


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z']+", text)


INSTRUCTIONS = (
    Instruction("Use no commas.", lambda said: "," not in said, str),
    Instruction("Use at most eight words.", lambda said: len(_words(said)) <= 8, str),
    Instruction(
        "Use at least twenty words.",
        lambda said: len(_words(said)) >= 20,
        lambda text: (
            f"{text[:-1]}, and once they have begun to do so, they can go on for quite a long time indeed."
        ),
    ),
    Instruction("Write in lower case only.", lambda said: said == said.lower(), str.lower),
    Instruction("Write in capital letters only.", lambda said: said == said.upper(), str.upper),
    Instruction(
        "End with an exclamation mark.", lambda said: said.endswith("!"), lambda text: text[:-1] + "!"
    ),
    Instruction(
        "End with a question mark.",
        lambda said: said.endswith("?"),
        lambda text: text[:-1] + ", do they not?",
    ),
    Instruction(
        'Begin with the word "Today".',
        lambda said: _words(said)[:1] == ["Today"],
        lambda text: "Today " + text[0].lower() + text[1:],
    ),
    Instruction(
        'Use the word "old".',
        lambda said: "old" in _words(said.lower()),
        lambda text: text.replace("people", "old people"),
    ),
    Instruction(
        "Put it in double quotes.",
        lambda said: len(said) > 2 and said[0] == said[-1] == '"',
        lambda text: f'"{text}"',
    ),
)
_ASK = "Write one sentence about {}. {}"


def follows(prompt: str, said: str, reference: str) -> bool:
    """Whether an answer is about its topic and does what was asked; a judge for `Scoring`."""
    (topic,) = re.findall(r"about (\w+)\.", prompt)
    (instruction,) = (one for one in INSTRUCTIONS if prompt.endswith(one.text))
    said = said.strip()
    about = topic.removesuffix("s").lower() in said.lower()
    return about and len(_words(said)) >= 3 and instruction.holds(said)


def following(validation: int = 60, test: int = 60) -> Experience:
    """Sentences about everyday things under ten checkable instructions: no commas, in quotes, ...

    Args:
        validation: number of validation items.
        test: number of test items.
    """
    sizes = {"validation": validation, "test": test}
    pairs: dict[str, list[tuple[str, str]]] = {"validation": [], "test": []}
    for topic in _TOPICS:
        sentence = f"Most people talk about {topic}."
        for instruction in INSTRUCTIONS:
            prompt = _ASK.format(topic, instruction.text)
            # Nothing is trained on these, so the training share goes to validation.
            split = "test" if split_of("following", prompt) != "train" else "validation"
            pairs[split].append((prompt, instruction.example(sentence)))
    chosen = {split: text_data(shuffled(own, "following")[: sizes[split]]) for split, own in pairs.items()}
    scoring = Scoring("exact match", follows, max_new_tokens=40)
    return text_experience("following", None, chosen["validation"], chosen["test"], scoring)
