"""The embedded streams and suites: sizes, labels, splits that share nothing, the same data every time."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cl_forget.streams import Data, Experience, ImageData, emoji, load_stream, load_suite
from cl_forget.streams.overview import STREAMS, SUITES, picture, table

ROOT = Path(__file__).parents[2]
TASKS = [experience for name in STREAMS for experience in load_stream(name)]
MEASURES = [load_suite(name) for name in SUITES]


def by_name(name: str) -> Experience:
    return next(experience for experience in TASKS + MEASURES if experience.name == name)


def pictures(data: Data | None) -> set[bytes]:
    assert isinstance(data, ImageData)
    assert data.array is not None
    return {picture.tobytes() for picture in data.array}


def sizes(experience: Experience) -> dict[str, int]:
    return {name: len(data) for name, data in experience.splits().items()}


@pytest.fixture(scope="module")
def concept_of() -> dict[bytes, set[str]]:
    """Picture on white -> the concepts it is a drawing of (two, where two are drawn alike)."""
    data = emoji.load()
    found: dict[bytes, set[str]] = {}
    for page, concept in zip(data.on_background().numpy(), data.concept.tolist(), strict=True):
        found.setdefault(page.tobytes(), set()).add(data.concepts[concept].slug)
    return found


@pytest.mark.parametrize("experience", TASKS + MEASURES, ids=lambda experience: experience.name)
def test_every_experience_is_well_formed(experience: Experience) -> None:
    assert experience.labels is not None
    assert len(set(experience.labels.classes)) == len(experience.labels.classes)
    assert all(template.count("{}") == 1 for template in experience.labels.templates)
    for data in experience.splits().values():
        assert isinstance(data, ImageData)
        assert data.array is not None
        assert data.array.shape[1:] == (3, 32, 32)
        assert 0 < data.array.mean() < 250  # neither empty nor blank


@pytest.mark.parametrize("experience", TASKS + MEASURES, ids=lambda experience: experience.name)
def test_no_picture_is_in_two_splits(experience: Experience) -> None:
    sets = {name: pictures(data) for name, data in experience.splits().items()}
    for first, second in itertools.combinations(["train", "validation", "test"], 2):
        assert not sets.get(first, set()) & sets[second], (first, second)
    for name in experience.shifted:
        assert not sets.get("train", set()) & sets[name], name


def test_no_stream_trains_on_a_picture_that_a_zero_shot_suite_measures() -> None:
    trained = set().union(*(pictures(task.train) for task in TASKS))
    for suite in MEASURES:
        for name, data in suite.splits().items():
            assert name == "train" or not trained & pictures(data), (suite.name, name)


def test_sizes() -> None:
    assert sizes(by_name("digits")) == {"train": 1000, "validation": 297, "test": 500}
    assert sizes(by_name("clocks")) == {"train": 720, "validation": 96, "test": 96, "unseen-styles": 192}
    assert sizes(by_name("letters")) == {"train": 1040, "validation": 208, "test": 416, "unseen-fonts": 624}
    for style in ("openmoji", "fluent-emoji-high-contrast", "noto", "fluent-emoji", "twemoji"):
        assert sizes(by_name(f"styles-{style}")) == {"train": 452, "validation": 96, "test": 196}
    categories = [sizes(task) for task in TASKS if task.name.startswith("categories-")]
    assert len(categories) == 6
    assert {split: sum(own[split] for own in categories) for split in categories[0]} == {
        "train": 1952,
        "validation": 398,
        "test": 786,
        "unseen-styles": 356,
    }
    assert sizes(by_name("emoji")) == {"validation": 296, "test": 595}
    assert sizes(by_name("emoji-unseen-styles")) == {"validation": 437, "test": 738}
    assert sizes(by_name("emoji-groups")) == {
        "train": 1000,
        "validation": 200,
        "test": 400,
        "unseen-styles": 200,
    }


def test_digits_are_balanced_and_dark_on_white() -> None:
    digits = by_name("digits")
    assert digits.train is not None
    assert np.bincount(digits.train.labels).tolist() == [100] * 10
    assert np.bincount(digits.test.labels).tolist() == [50] * 10
    assert isinstance(digits.test, ImageData)
    assert digits.test.array is not None
    assert digits.test.array[:, :, :, 0].mean() > 230 > 150 > digits.test.array[:, :, 10:22, 10:22].mean()


def test_clock_styles_are_kept_apart() -> None:
    from cl_forget.streams.clocks import STYLES

    every = [style for styles in STYLES.values() for style in styles]
    assert sorted(every) == sorted(emoji.load().styles)
    assert STYLES["unseen-styles"] == emoji.UNSEEN_STYLES
    clocks = by_name("clocks")
    assert clocks.labels is not None
    assert clocks.labels.prompts(7)[0] == "a clock showing three-thirty"
    assert clocks.train is not None
    assert np.bincount(clocks.train.labels).tolist() == [30] * 24


def test_no_glyph_is_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_forget.streams import letters

    drawn: list[tuple[str, str]] = []

    def draw(letter: str, font: str, copy: int) -> np.ndarray:
        drawn.append((letter, font))
        return np.zeros((3, 32, 32), dtype=np.uint8)

    monkeypatch.setattr(letters, "_draw", draw)
    monkeypatch.setattr(letters, "kept", lambda make, *key, sources: make())
    (experience,) = letters.letters()
    glyphs = []
    for data in experience.splits().values():  # drawn in the order of the splits
        own, drawn = drawn[: len(data)], drawn[len(data) :]
        glyphs.append(set(own))
        assert [letters.ALPHABET.index(letter.upper()) for letter, _ in own] == data.labels.tolist()
        assert len(glyphs[-1]) * letters.COPIES == len(own)
    assert sum(map(len, glyphs)) == len(set().union(*glyphs)) == 52 * 22
    assert {font for _, font in glyphs[3]} == set(letters.UNSEEN_FONTS)
    assert {font for _, font in set().union(*glyphs[:3])} == set(letters.SEEN_FONTS)


def test_styles_show_the_same_new_concepts_in_every_style(concept_of: dict[bytes, set[str]]) -> None:
    tasks = [task for task in TASKS if task.name.startswith("styles-")]
    assert len({task.labels for task in tasks}) == 1

    def concepts(data: Data | None) -> list[set[str]]:
        assert isinstance(data, ImageData)
        assert data.array is not None
        return [concept_of[page.tobytes()] for page in data.array]

    for split in ("train", "validation", "test"):
        in_each = [concepts(task.splits()[split]) for task in tasks]
        for position, alike in enumerate(zip(*in_each, strict=True)):
            assert set.intersection(*alike), (split, position)
        labels = [task.splits()[split].labels.tolist() for task in tasks]
        assert all(own == labels[0] for own in labels)


@pytest.mark.parametrize("prefix", ["styles-", "categories-", "emoji-groups"])
def test_test_concepts_are_new(prefix: str, concept_of: dict[bytes, set[str]]) -> None:
    held_out = {concept.slug for concept in emoji.load().concepts if concept.held_out}
    parts: dict[str, set[str]] = {}
    for task in TASKS + MEASURES:
        if task.name.startswith(prefix):
            for split, data in task.splits().items():
                own = set().union(*(concept_of[page] for page in pictures(data)))
                parts[split] = parts.get(split, set()) | own
    for first, second in itertools.combinations(["train", "validation", "test"], 2):
        assert not parts[first] & parts[second], (first, second)
    assert not set().union(*parts.values()) & held_out
    assert parts.get("unseen-styles", set()) <= {
        concept for concept in emoji_parts() if emoji_parts()[concept] == "test"
    }


def emoji_parts() -> dict[str, str]:
    from cl_forget.streams._emoji import parts

    return dict(parts())


def test_concepts_drawn_alike_are_known(concept_of: dict[bytes, set[str]]) -> None:
    from cl_forget.streams._emoji import DRAWN_ALIKE

    data = emoji.load()
    count: dict[bytes, int] = {}
    for page in data.on_background().numpy():
        count[page.tobytes()] = count.get(page.tobytes(), 0) + 1
    assert set().union(*(concept_of[page] for page in count if count[page] > 1)) == DRAWN_ALIKE


def test_categories_add_classes_and_share_the_label_space() -> None:
    tasks = [task for task in TASKS if task.name.startswith("categories-")]
    assert len({task.labels for task in tasks}) == 1
    assert tasks[0].labels is not None
    own = [set(task.splits()["train"].labels.tolist()) for task in tasks]
    assert sum(map(len, own)) == len(set().union(*own)) == len(tasks[0].labels.classes) == 50
    for task, classes in zip(tasks, own, strict=True):
        assert set(task.validation.labels.tolist()) == set(task.test.labels.tolist()) == classes
        assert set(task.shifted["unseen-styles"].labels.tolist()) <= classes


def test_categories_name_unicode_subgroups_once() -> None:
    from cl_forget.streams.categories import CATEGORIES

    used = [name for theme in CATEGORIES.values() for names in theme.values() for name in names]
    assert len(used) == len(set(used))
    assert set(used) <= {concept.subgroup for concept in emoji.load().concepts}


def test_zero_shot_suites_name_the_right_concept(concept_of: dict[bytes, set[str]]) -> None:
    name_of = {concept.slug: concept.name for concept in emoji.load().concepts}
    for suite in MEASURES[:3]:
        assert suite.labels is not None
        for data in suite.splits().values():
            assert isinstance(data, ImageData)
            assert data.array is not None
            for page, label in zip(data.array, data.labels, strict=True):
                names = {name_of[slug] for slug in concept_of[page.tobytes()]}
                assert suite.labels.classes[label] in names
    assert MEASURES[0].labels == MEASURES[1].labels
    assert not set(MEASURES[2].labels.classes) & set(MEASURES[0].labels.classes)  # type: ignore[union-attr]


def test_options_choose_and_limit() -> None:
    stream = load_stream({"styles": {"order": ["twemoji", "emojione"], "limit": 16}})
    assert [task.name for task in stream] == ["styles-twemoji", "styles-emojione"]
    assert np.bincount(stream[1].splits()["train"].labels).tolist() == [2] * 8
    assert [task.name for task in load_stream({"categories": {"order": ["food"]}})] == ["categories-food"]
    for name in ("digits", "clocks", "letters"):
        limited = load_stream({name: {"limit": 30}})[0]
        assert set(sizes(limited).values()) == {30}
        counts = np.bincount(limited.splits()["train"].labels)
        assert counts.max() - counts[counts > 0].min() <= 1
        assert pictures(limited.train) < pictures(by_name(name).train)
    line_art = load_suite({"emoji-unseen-styles": {"styles": ["fluent-emoji-high-contrast"]}})
    assert pictures(line_art.test) < pictures(by_name("emoji-unseen-styles").test)
    assert len(set(load_suite({"emoji": {"limit": 100}}).test.labels.tolist())) == 100


def test_another_process_makes_the_same_data() -> None:
    code = (
        "from cl_forget.streams import load_stream, load_suite\n"
        "from cl_forget.streams.overview import STREAMS\n"
        "all = [*load_stream(STREAMS[2:]), load_suite('emoji')]\n"
        "print(*(data.fingerprint for e in all for data in e.splits().values()))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    here = [*TASKS[2:], MEASURES[0]]
    assert done.stdout.split() == [data.fingerprint for e in here for data in e.splits().values()]


def test_fingerprints_differ() -> None:
    every = [data.fingerprint for e in TASKS + MEASURES for data in e.splits().values()]
    assert len(set(every)) == len(every)


def test_the_documented_tables_are_true() -> None:
    page = (ROOT / "docs" / "streams.md").read_text()
    for kind in ("streams", "suites"):
        assert f"<!-- {kind} -->\n{table(kind)}\n<!-- end of {kind} -->" in page


def test_the_documented_picture_is_the_present_one() -> None:
    from PIL import Image

    shown = Image.open(ROOT / "docs" / "images" / "streams.png").convert("RGB")
    made = picture()
    assert shown.size == made.size
    difference = np.asarray(shown, dtype=float) - np.asarray(made, dtype=float)
    assert np.abs(difference).mean() < 6  # the shown one has 256 colours


def test_the_documented_options_exist() -> None:
    import inspect
    import re

    import yaml

    from cl_forget.streams import STREAMS as registry

    page = (ROOT / "docs" / "streams.md").read_text()
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        for spec in yaml.safe_load(block).get("stream", []):
            name, options = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
            assert set(options) <= set(inspect.signature(registry.get(name)).parameters), spec
