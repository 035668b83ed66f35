"""The tasks that are drawn: every glyph says what its label says, and no drawing is in two splits."""

import collections
import itertools
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from cl_forget.streams import ImageData, _drawn, alphabets, emoji, load_stream, pictures, symbols
from cl_forget.streams._drawn import Drawing, Task
from cl_forget.streams._emoji import parts, position_of
from cl_forget.streams.base import Experience

GLYPHS = ("greek", "cyrillic", "georgian", "arrows", "dice", "dominoes", "cards")
DRAWN = (*GLYPHS, "braille", "flags", "counting", "colours")
REPORT, TUNE, SPARE = (
    ("digits", "clocks", "letters"),
    ("greek", "flags", "dominoes"),
    ("cyrillic", "arrows", "counting"),
)


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    """The tasks before they are drawn."""
    from cl_forget.streams import STREAMS

    found: dict[str, Task] = {}

    class Noted(Exception):
        pass

    def note(self: Task, limit: int | None) -> Experience:
        found[self.name] = self
        raise Noted

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Task, "experience", note)
        for name in DRAWN:
            with pytest.raises(Noted):
                STREAMS.get(name)()
    return found


def every(task: Task) -> dict[str, list[tuple[int, Drawing]]]:
    """Split -> (label, drawing)."""
    splits = {**task.splits, **task.shifted}
    return {
        split: [(label, drawing) for label, own in drawings.items() for drawing in own]
        for split, drawings in splits.items()
    }


@pytest.mark.parametrize("name", DRAWN)
def test_splits_share_no_drawing_and_every_class_is_in_each(name: str, tasks: dict[str, Task]) -> None:
    task = tasks[name]
    splits = every(task)
    # What is drawn, without the label that two tasks put into it.
    of = {
        split: {drawing[-2:] if name in GLYPHS else drawing[-1:] for _, drawing in own}
        for split, own in splits.items()
    }
    if name == "flags":
        of = {split: {drawing for _, drawing in own} for split, own in splits.items()}
    for first, second in itertools.combinations(("train", "validation", "test"), 2):
        assert not of[first] & of[second], (first, second)
    for split in task.shifted:
        assert not of["train"] & of[split] and not of["validation"] & of[split], split
        assert (split in task.rough) == (of[split] == of["test"])
    for split, own in splits.items():
        assert {label for label, _ in own} == set(range(len(task.classes))), split
        assert len(own) == len(set(own)), split


@pytest.mark.parametrize("name", DRAWN)
def test_sets_are_balanced_and_large_enough(name: str) -> None:
    (experience,) = load_stream(name)
    assert experience.labels is not None and len(experience.shifted) == 1
    for split, data in experience.splits().items():
        counts = np.bincount(data.labels, minlength=len(experience.labels.classes))
        assert counts.min() == counts.max() > 0, split
        assert isinstance(data, ImageData) and data.array is not None
        assert len({page.tobytes() for page in data.array}) == len(data), split
    assert len(experience.test) >= 200 and len(experience.validation) >= 100
    assert experience.train is not None and len(experience.train) >= 450
    assert min(map(len, experience.shifted.values())) >= 200


def test_streams_to_tune_and_to_report_on_share_nothing() -> None:
    assert not set(REPORT) & set(TUNE) and not set(SPARE) & {*REPORT, *TUNE}
    loaded = {stream: load_stream(stream) for stream in (REPORT, TUNE, SPARE)}
    pages, heads = [], []
    for stream in loaded.values():
        data = [data for task in stream for data in task.splits().values()]
        pages.append({page.tobytes() for one in data for page in one.array})  # type: ignore[attr-defined]
        heads.append({task.labels.head for task in stream if task.labels})
    for (a, b), (c, d) in zip(
        itertools.combinations(pages, 2), itertools.combinations(heads, 2), strict=True
    ):
        assert not a & b and not c & d
    page = (Path(__file__).parents[2] / "docs" / "streams.md").read_text()
    for stream in loaded:
        assert f"stream: [{', '.join(stream)}]" in page


@pytest.mark.parametrize("name", [*GLYPHS, "braille"])
def test_fonts_have_every_glyph(name: str, tasks: dict[str, Task]) -> None:
    """A font draws an empty box for what it lacks, and nothing would tell."""
    used: dict[str, set[int]] = collections.defaultdict(set)
    for own in every(tasks[name]).values():
        for _, drawing in own:
            fonts = drawing[1:] or (*_drawn.DEJAVU_SANS, *_drawn.DEJAVU_SERIF)
            for font in fonts:
                used[str(font)].add(ord(str(drawing[0])))
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for font, codes in used.items():
        assert codes <= set(FT2Font(str(folder / f"{font}.ttf")).get_charmap()), font


def meaning(name: str, glyph: str) -> object:
    """What Unicode says that a glyph is."""
    words = unicodedata.name(glyph)
    if name == "dice":
        return int(words.removeprefix("DIE FACE-"))
    if name == "dominoes":
        return sum(map(int, words.split("-")[1:]))
    if name == "cards":
        return words.split(" OF ")[1].lower()
    if name == "braille":
        return len(words.removeprefix("BRAILLE PATTERN DOTS-"))
    if name == "arrows":
        compass = {
            "NORTH WEST": "up left",
            "NORTH EAST": "up right",
            "SOUTH EAST": "down right",
            "SOUTH WEST": "down left",
        }
        plain = {"LEFTWARDS": "left", "UPWARDS": "up", "RIGHTWARDS": "right", "DOWNWARDS": "down"}
        return next(ours for theirs, ours in {**compass, **plain}.items() if theirs in words)
    return words.split(" LETTER ")[1].lower().replace("lamda", "lambda")


@pytest.mark.parametrize("name", ["dice", "dominoes", "cards", "braille", "arrows", "greek"])
def test_labels_say_what_unicode_says(name: str, tasks: dict[str, Task]) -> None:
    for own in every(tasks[name]).values():
        for label, drawing in own:
            said = meaning(name, str(drawing[0]))
            if isinstance(said, int):
                said = (*symbols.NUMBERS, "eleven")[said]
            assert said == tasks[name].classes[label]


def test_alphabets_are_whole_and_in_order() -> None:
    assert "".join(capital for capital, _ in alphabets.GREEK.values()) == "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ"
    assert all(capital.lower() == small for capital, small in alphabets.GREEK.values())
    assert all(capital.lower() == small for capital, small in alphabets.CYRILLIC.values())
    cyrillic = {
        name: unicodedata.name(cases[0]).split(" LETTER ")[1].lower()
        for name, cases in alphabets.CYRILLIC.items()
    }
    said_otherwise = {ours: theirs for ours, theirs in cyrillic.items() if ours != theirs}
    assert said_otherwise == {"ge": "ghe", "ye": "ie", "kha": "ha", "yery": "yeru"}
    assert len(alphabets.GEORGIAN) == 33
    assert unicodedata.name(alphabets.GEORGIAN["shin"]) == "GEORGIAN LETTER SHIN"
    assert unicodedata.name(alphabets.GEORGIAN["hae"]) == "GEORGIAN LETTER HAE"


def test_flags_are_unknown_to_pretraining_and_named_by_their_country(tasks: dict[str, Task]) -> None:
    data = emoji.load()
    for own in every(tasks["flags"]).values():
        for label, (slug, style) in own:
            position = position_of()[str(slug), str(style)]
            assert data.held_out_concept[position]
            concept = data.concepts[int(data.concept[position])]
            assert concept.country_flag and concept.name == f"flag of {tasks['flags'].classes[label]}"


@pytest.mark.parametrize("name", ["counting", "colours"])
def test_pictures_of_emoji_keep_concepts_apart(name: str, tasks: dict[str, Task]) -> None:
    data = emoji.load()
    for split, own in every(tasks[name]).items():
        for _, (_, position) in own:
            slug = data.concepts[int(data.concept[int(position)])].slug
            assert parts()[slug] == ("test" if split == "unseen-styles" else split)
            assert bool(data.unseen_style[int(position)]) == (split == "unseen-styles")
            assert split == "unseen-styles" or data.pretrain[int(position)]


def ink(page: np.ndarray) -> int:
    """Pixels that are no light background."""
    return int((page.min(0) < 150).sum())


def test_nine_things_cover_nine_times_what_one_does() -> None:
    position = position_of()["red-circle", "twemoji"]
    area = [
        np.mean([ink(pictures._count((n, position), copy, False)) for copy in range(8)]) for n in range(9)
    ]
    for number, own in enumerate(area, start=1):
        assert own == pytest.approx(number * area[0], rel=0.15)


def test_a_painted_emoji_has_the_hue_of_its_class() -> None:
    (task,) = load_stream("colours")
    base = np.array(list(pictures.COLOURS.values()), dtype=float)
    assert isinstance(task.test, ImageData) and task.test.array is not None
    right = []
    for page, label in zip(task.test.array, task.test.labels, strict=True):
        painted = page[:, page.min(0) < 190].astype(float).mean(1)
        right.append(
            abs(base / base.max(1, keepdims=True) - painted / painted.max()).sum(1).argmin() == label
        )
    assert np.mean(right) > 0.85


def test_rough_pictures_are_noisy_pale_and_repeat() -> None:
    (task,) = load_stream("cards")
    plain, rough = task.test, task.shifted["rough"]
    assert isinstance(plain, ImageData) and isinstance(rough, ImageData)
    assert plain.array is not None and rough.array is not None
    assert plain.labels.tolist() == rough.labels.tolist()
    spread = [np.median([page.max() - float(page.min()) for page in data.array]) for data in (plain, rough)]
    colours = [np.mean([len(np.unique(page)) for page in data.array]) for data in (plain, rough)]
    assert rough.array.mean() < plain.array.mean() and colours[1] > colours[0] and spread[0] > 0
    again = _drawn.draw_glyph("cards", "🂡", "DejaVuSans", 0, rough=True, fit=True)
    assert np.array_equal(again, _drawn.draw_glyph("cards", "🂡", "DejaVuSans", 0, rough=True, fit=True))


def test_every_class_needs_drawings_for_three_splits_and_gets_them() -> None:
    divided = _drawn.divide("x", {0: [("a",), ("b",), ("c",)], 1: [(str(n),) for n in range(40)]})
    assert {split: [len(own) for own in labels.values()] for split, labels in divided.items()} == {
        "train": [1, 25],
        "validation": [1, 5],
        "test": [1, 10],
    }
    assert divided == _drawn.divide(
        "x", {0: [("c",), ("b",), ("a",)], 1: [(str(n),) for n in range(40)][::-1]}
    )
    assert divided != _drawn.divide("y", {0: [("a",), ("b",), ("c",)], 1: [(str(n),) for n in range(40)]})
