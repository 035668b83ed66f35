"""The language world: right answers, splits that do not leak, the same data every time."""

import json
import re
from random import Random

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import TextData, load_stream, load_suite
from cl_forget.streams.skills import facts, formats, known, new, prose, suites, words
from cl_forget.streams.skills.base import SPLITS, mixture, split_of

SKILLS = [*known.SKILLS, *new.NEW_SKILLS.values()]
BY_NAME = {skill.name: skill for skill in SKILLS}


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_splits_share_no_prompt_and_repeat(skill) -> None:
    drawn = {split: skill.samples(split, 150) for split in SPLITS}
    assert drawn == {split: skill.samples(split, 150) for split in SPLITS}
    assert all(len(pairs) >= 50 for pairs in drawn.values())
    prompts = {split: {prompt for prompt, _ in pairs} for split, pairs in drawn.items()}
    assert not prompts["train"] & prompts["test"]
    assert not prompts["train"] & prompts["validation"]
    assert not prompts["validation"] & prompts["test"]


@pytest.mark.parametrize("skill", [s for s in SKILLS if not s.facts], ids=lambda skill: skill.name)
def test_items_are_held_out_whatever_the_phrasing(skill) -> None:
    """What fills the slots lies in one split only: another phrasing is not another item."""
    random, seen = Random(0), {}
    for form in skill.forms:
        for _ in range(600):
            key, slots, _ = form.draw(random)
            assert seen.setdefault((form.phrasings, slots), split_of(skill.name, key)) == split_of(
                skill.name, key
            )
    assert set(seen.values()) == set(SPLITS)


def test_facts_are_the_same_in_all_splits_and_phrasings_differ() -> None:
    for name in known._FACTS:
        skill = BY_NAME[name]
        answers = {split: {answer for _, answer in skill.samples(split, 400)} for split in SPLITS}
        assert len(answers["test"] - answers["train"]) <= len(answers["test"]) / 10
        for form in skill.forms:
            assert len(set(form.phrasings)) == len(form.phrasings) >= 5


def test_commuted_sums_are_one_item() -> None:
    random = Random(1)
    for _ in range(200):
        key, (a, b), _ = known._sum(random)
        assert key == f"{min(int(a), int(b))}+{max(int(a), int(b))}"


# -- answers, by rules written again ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("addition", lambda p, a: sum(map(int, re.findall(r"\d+", p))) == int(a)),
        ("subtraction", lambda p, a: int(a) in (lambda x, y: (x - y, y - x))(*map(int, re.findall(r"\d+", p)))),
        ("sorting", lambda p, a: sorted(re.findall(r"\d", p)) == list(a)),
        ("reversing", lambda p, a: a[::-1] in re.findall(r"[a-z]+", p)),
        ("copying", lambda p, a: a in re.findall(r"[a-z]+", p)),
        ("capital-letters", lambda p, a: a.lower() in re.findall(r"[a-z]+", p)),
        ("length", lambda p, a: int(a) in map(len, re.findall(r"[a-z]+", p))),
        ("counting", lambda p, a: 1 <= int(a) <= 8),
        ("letter-position", lambda p, a: len(a) == 1 and a in p),
        ("largest", lambda p, a: int(a) in (lambda n: (max(n), min(n)))(list(map(int, re.findall(r"\d+", p))))),
        ("operator", lambda p, a: (lambda x, y: 2 * x + y)(*map(int, re.findall(r"\d+", p))) == int(a)),
        ("binary", lambda p, a: int(a, 2) == int(re.findall(r"\d+", p)[0])),
        ("iso-dates", lambda p, a: re.findall(r"\d{4}", p)[0] == a[:4] and words.MONTHS[int(a[5:7]) - 1] in p),
        ("vowel-free", lambda p, a: not set(a) & set("aeiou")),
    ],
)  # fmt: skip
def test_answers_are_right(name: str, check) -> None:
    for prompt, answer in BY_NAME[name].samples("test", 60):
        assert check(prompt, answer), (prompt, answer)


def test_hand_worked_answers() -> None:
    assert [words.roman(n) for n in (4, 9, 40, 90, 399, 1994)] == [
        "IV",
        "IX",
        "XL",
        "XC",
        "CCCXCIX",
        "MCMXCIV",
    ]
    assert words.in_words(0) == "zero" and words.in_words(342) == "three hundred and forty-two"
    assert [words.in_words(n) for n in (13, 20, 99, 100)] == [
        "thirteen",
        "twenty",
        "ninety-nine",
        "one hundred",
    ]
    plurals = [words.plural(noun) for noun in ("box", "city", "day", "mouse", "church", "apple")]
    assert plurals == ["boxes", "cities", "days", "mice", "churches", "apples"]
    assert new.pig_latin_of("planet") == "anetplay" and new.pig_latin_of("apple") == "appleway"
    assert new.cipher_of("planetz") == "qmbofua" and new.without_vowels("planet") == "plnt"
    assert (
        known._date(0) == "1 January" and known._date(59) == "1 March" and known._date(364) == "31 December"
    )


def test_tables_are_one_to_one() -> None:
    assert {name: len(pairs) for name, pairs in facts.tables().items()} == {
        "capitals": 118, "elements": 94, "opposites": 59
    }  # fmt: skip
    for pairs in facts.tables().values():
        assert len(dict(pairs)) == len({right for _, right in pairs}) == len(pairs)
    assert len(dict(facts.emoji())) == facts.EMOJI
    assert (
        dict(facts.tables()["elements"])["gold"] == "Au" and ("🍎", "apple") not in facts.tables()["capitals"]
    )


# -- instructions, stories, mixtures ---------------------------------------------------------------------
def test_formats_shape_the_answer() -> None:
    shaped = {name: shape("Paris") for name, (_, shape) in formats.FORMATS.items()}
    assert shaped == {
        "brackets": "[Paris]", "quotes": '"Paris"', "upper": "PARIS", "twice": "Paris Paris", "full stop": "Paris.",
        "JSON": '{"answer": "Paris"}', "label": "Answer: Paris", "stars": "*Paris*",
    }  # fmt: skip
    assert json.loads(shaped["JSON"]) == {"answer": "Paris"}


def test_instructions_ask_for_every_form_and_hold_out_their_items() -> None:
    suite = load_suite("instructions")
    prompts = suite.test.prompts
    assert len(set(prompts)) == len(prompts) == 240
    for phrasings, _ in formats.FORMATS.values():
        patterns = [re.escape(phrasing).replace(r"\{\}", ".*") for phrasing in phrasings]
        assert sum(any(re.fullmatch(pattern, prompt) for pattern in patterns) for prompt in prompts) >= 10
    assert not set(prompts) & set(suite.validation.prompts)


def test_stories_are_plain_text_that_keeps_its_promises() -> None:
    suite = load_suite({"stories": {"held_out": 50}})
    assert suite.metric == "perplexity" and set(suite.test.prompts) == {""}
    assert not set(suite.test.responses) & set(suite.validation.responses)
    for text in suite.test.responses:
        assert split_of("prose", text) == "test"
        name = text.split()[2]
        assert (" she wanted " in text) == (name in prose._SHE)
        animals = {animal for animal in prose._ANIMALS if f" {animal} " in text}
        assert len(animals) <= 1


def test_a_mixture_follows_its_weights() -> None:
    source = mixture(known.SKILLS, Random(0))
    drawn = [next(source).name for _ in range(6400)]
    total = sum(skill.weight for skill in known.SKILLS)
    for skill in known.SKILLS:
        assert abs(drawn.count(skill.name) / 6400 - skill.weight / total) < 0.015


# -- streams and suites by name --------------------------------------------------------------------------
def test_streams_by_name() -> None:
    for experience in load_stream(["pig-latin", {"operator": {"train": 50, "held_out": 20}}]):
        assert isinstance(experience.train, TextData) and experience.metric == "exact match"
        train, validation, test = (set(data.prompts) for data in experience.splits().values())
        assert not train & test and not train & validation and not validation & test
    assert len(load_stream({"operator": {"train": 50, "held_out": 20}})[0].train) == 50
    assert [e.name for e in load_stream({"new-skills": {"train": 5, "held_out": 5}})] == list(new.NEW_SKILLS)
    (practised,) = load_stream({"practice": {"name": "counting", "train": 30, "held_out": 20}})
    assert (len(practised.train), len(practised.test)) == (30, 20)
    assert practised.test.prompts == load_suite({"skill": {"name": "counting", "held_out": 20}}).test.prompts


def test_suites_by_name() -> None:
    covered = {name for group in suites.GROUPS.values() for name in group}
    assert covered == {skill.name for skill in known.SKILLS}
    for group in suites.GROUPS:
        suite = load_suite({group: {"held_out": 40}})
        assert suite.train is None and len(suite.test) == len(suite.validation) == 40
    assert load_suite({"skill": {"name": "addition", "held_out": 30}}).name == "addition"


def test_wrong_names_and_sizes_are_refused() -> None:
    with pytest.raises(UserError, match=r"there is no skill .aditon.\. Did you mean .addition."):
        load_suite({"skill": {"name": "aditon"}})
    with pytest.raises(UserError, match="at least 1, not 0"):
        load_stream({"cipher": {"train": 0}})
