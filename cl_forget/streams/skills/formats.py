"""Instructions about the form of an answer, on top of any question: "in brackets", "twice", "as JSON"."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from cl_forget.streams._choose import shuffled
from cl_forget.streams.base import Experience
from cl_forget.streams.skills.base import Skill, distinct, text_data
from cl_forget.streams.skills.known import BY_NAME
from cl_forget.streams.text import text_experience

Format = tuple[tuple[str, ...], Callable[[str], str]]

FORMATS: dict[str, Format] = {
    "brackets": (("{} Answer in brackets.", "In brackets: {}", "{} Use brackets."), "[{}]".format),
    "quotes": (("{} Answer in quotes.", "In quotes: {}", "{} Use quotes."), '"{}"'.format),
    "upper": (("{} Answer in upper case.", "In upper case: {}", "{} Use upper case."), str.upper),
    "twice": (("{} Answer twice.", "Twice: {}", "{} Say it twice."), lambda answer: f"{answer} {answer}"),
    "full stop": (("{} Answer with a full stop.", "With a full stop: {}", "{} End with a full stop."), "{}.".format),
    "JSON": (
        ("{} Answer as JSON.", "As JSON: {}", "{} Use JSON."),
        lambda answer: json.dumps({"answer": answer}, ensure_ascii=False),
    ),
    "label": (('{} Begin with "Answer".', "With a label: {}", "{} Use a label."), "Answer: {}".format),
    "stars": (("{} Answer between stars.", "Between stars: {}", "{} Use stars."), "*{}*".format),
}  # fmt: skip

_ASKED_SKILLS = (
    "addition comparing reversing copying length plurals capitals opposites elements units calendar"
)
_ASKED = _ASKED_SKILLS.split()


def formatted(skill: Skill, split: str, random: Random) -> tuple[str, str]:
    """A question of `skill` with an instruction, and the answer in that form."""
    prompt, answer = skill.draw(split, random)
    phrasings, shape = random.choice(list(FORMATS.values()))
    return random.choice(phrasings).format(prompt), shape(answer)


def instructions(held_out: int = 240) -> Experience:
    """The suite "does it still follow instructions": questions of eleven skills, each in one of eight forms.

    Args:
        held_out: number of validation items, and of test items.
    """

    def data(split: str) -> list[tuple[str, str]]:
        def draw(random: Random) -> tuple[str, str]:
            return formatted(BY_NAME[random.choice(_ASKED)], split, random)

        return shuffled(distinct(draw, Random(f"instructions/{split}"), held_out), "instructions")

    return text_experience("instructions", None, text_data(data("validation")), text_data(data("test")))
