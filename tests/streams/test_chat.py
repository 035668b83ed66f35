"""Suites for chat models: the checks accept what fulfils a request and refuse what does not."""

import pytest

from cl_forget.streams import load_stream, load_suite
from cl_forget.streams.chat.following import INSTRUCTIONS, follows
from cl_forget.streams.chat.questions import gives_number, names_it

SUITES = ("following", "common-facts", "mental-arithmetic", "english")


@pytest.mark.parametrize("name", SUITES)
def test_validation_and_test_share_nothing_and_repeat(name: str) -> None:
    suite = load_suite(name)
    validation, test = (
        set(zip(data.prompts, data.responses, strict=True)) for data in (suite.validation, suite.test)
    )
    assert not validation & test and suite.train is None
    assert len(suite.test) == len(test) == (20 if name == "english" else 60)


def test_every_example_fulfils_its_instruction() -> None:
    suite = load_suite({"following": {"validation": 200, "test": 70}})
    for data in (suite.validation, suite.test):
        for prompt, example in zip(data.prompts, data.responses, strict=True):
            assert follows(prompt, example, example), (prompt, example)


@pytest.mark.parametrize(
    ("instruction", "good", "bad"),
    [
        ("Use no commas.", "Rain falls from clouds.", "Rain, they say, falls."),
        ("Use at most eight words.", "Rain falls on us all.", "The rain falls on us all day and all night."),
        ("Use at least twenty words.", "Rain " + "and rain " * 10, "Rain falls on us."),
        ("Write in lower case only.", "the rain falls.", "The rain falls."),
        ("Write in capital letters only.", "THE RAIN FALLS.", "The RAIN FALLS."),
        ("End with an exclamation mark.", "The rain falls!", "The rain falls."),
        ("End with a question mark.", "Does the rain fall?", "The rain falls."),
        ('Begin with the word "Today".', "Today rain falls.", "Rain falls today."),
        ('Use the word "old".', "Old rain is rain.", "The rain is cold."),
        ("Put it in double quotes.", '"The rain falls."', "The rain falls."),
    ],
)
def test_instructions_are_checked(instruction: str, good: str, bad: str) -> None:
    prompt = f"Write one sentence about rain. {instruction}"
    assert follows(prompt, good, "") and not follows(prompt, bad, "")
    assert not follows(prompt, "", "") and not follows(prompt, "rain", "")
    assert not follows(prompt, good.lower().replace("rain", "snow"), "")


def test_the_table_above_is_complete() -> None:
    assert len(INSTRUCTIONS) == len({one.text for one in INSTRUCTIONS}) == 10


def test_facts_and_numbers_are_found_in_sentences() -> None:
    assert names_it("", "The capital of France is Paris.", "Paris")
    assert not names_it("", "It is Parisian.", "Paris") and not names_it("", "paris", "Paris")
    assert gives_number("", "7 + 5 = 12\n\nThis is 3", "12") and gives_number("", "The answer is -4.", "-4")
    assert not gives_number("", "12 is 7 plus 5", "12") and not gives_number("", "twelve", "12")


def test_records_hold_what_their_sentences_say() -> None:
    (task,) = load_stream("records")
    splits = task.splits()
    prompts = {split: set(data.prompts) for split, data in splits.items()}
    assert not prompts["train"] & prompts["test"] and not prompts["train"] & prompts["validation"]
    assert len(prompts["train"]) == 800 and len(prompts["test"]) == 60
    for data in splits.values():
        for prompt, record in zip(data.prompts, data.responses, strict=True):
            *fields, words = record.split(" | ")
            assert len(fields) == 3 and all(part in prompt for part in [*fields, *words.split("; ")])
