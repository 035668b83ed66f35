"""Trees of images as people have them: read in one way, or refused with the option that settles it."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, ImageData, LabelSpace, load_stream

COUNT = 0


def picture(path: Path | bytes) -> None:
    """A picture unlike all others."""
    global COUNT
    COUNT += 1
    path = Path(os.fsdecode(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(COUNT).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, "PNG")


def plant(tree: Path, *classes: str, images: int = 5) -> Path:
    """Class folders with pictures in them."""
    for name in classes:
        for number in range(images):
            picture(tree / name / f"{number}.png")
    return tree


def load(path: Path, **options: object) -> Experience:
    (experience,) = load_stream({"folder": {"path": str(path), **options}})
    return experience


def classes(experience: Experience) -> tuple[str, ...]:
    assert experience.labels is not None
    return experience.labels.classes


def sizes(experience: Experience) -> dict[str, int]:
    return {split: len(data) for split, data in experience.splits().items()}


def refused(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def noted(experience: Experience, text: str) -> bool:
    return any(text in note for note in experience.notes)


# -- splits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["unlabelled", "annotations", "extra", "test_hard"])
def test_a_folder_beside_the_splits_makes_no_classes_of_them(tmp_path: Path, more: str) -> None:
    for split in ("train", "val", "test"):
        plant(tmp_path / split, "cat", "dog")
    picture(tmp_path / more / "1.png") if more == "unlabelled" else plant(tmp_path / more, "cat", "dog")
    experience = load(tmp_path)
    assert classes(experience) == ("cat", "dog")
    assert sizes(experience) == {"train": 10, "validation": 10, "test": 10}
    assert noted(experience, f"{more} beside the splits train, test, val is not read") or noted(
        experience, f"{more} beside the splits test, train, val is not read"
    )


def test_a_folder_without_images_beside_the_splits_is_nothing_to_speak_of(tmp_path: Path) -> None:
    plant(tmp_path / "Train", "cat", "dog")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "all.csv").write_text("x")
    experience = load(tmp_path)
    assert classes(experience) == ("cat", "dog")
    assert noted(experience, "1 files are not images that can be read (.csv 1)")


def test_one_split_and_another_folder_of_the_same_classes(tmp_path: Path) -> None:
    plant(tmp_path / "train", "cat", "dog")
    plant(tmp_path / "holdout", "cat", "dog")
    experience = load(tmp_path)
    assert classes(experience) == ("cat", "dog")
    assert noted(experience, "holdout beside the splits train is not read")
    told = load(tmp_path, splits={"train": "train", "test": "holdout"})
    assert sizes(told) == {"train": 8, "validation": 2, "test": 10}
    assert not noted(told, "holdout")


def test_a_class_called_train_is_a_class_where_it_holds_images(tmp_path: Path) -> None:
    plant(tmp_path, "bus", "car", "train")
    experience = load(tmp_path)
    assert classes(experience) == ("bus", "car", "train")
    assert noted(experience, "'train' holds images itself, so it is taken for a class")
    picture(tmp_path / "train" / "fast" / "1.png")  # images and a folder of images: both could be meant
    assert "`splits: {}` that all are classes" in refused(tmp_path)
    assert classes(load(tmp_path, splits={})) == ("bus", "car", "train")


def test_what_could_be_a_split_or_a_class_has_to_be_said(tmp_path: Path) -> None:
    plant(tmp_path, "bus", "car")
    plant(tmp_path / "train", "fast", "slow")
    assert "`splits: {train: train}`" in refused(tmp_path)
    assert "`splits: {}` that all are classes" in refused(tmp_path)
    assert classes(load(tmp_path, splits={})) == ("bus", "car", "train")
    assert classes(load(tmp_path, splits={"train": "train"})) == ("fast", "slow")


def test_a_test_folder_without_class_folders_is_left_out_only_when_told(tmp_path: Path) -> None:
    plant(tmp_path / "train", "cat", "dog", images=10)
    picture(tmp_path / "test" / "1.png")
    assert "test holds images but no class folders" in refused(tmp_path)
    experience = load(tmp_path, splits={"train": "train"})
    assert sizes(experience) == {"train": 14, "validation": 2, "test": 4}
    assert noted(experience, "test is not read")
    for split in ("val", "train"):
        for number in range(3):
            picture(tmp_path / "flat" / split / f"{number}.png")
    assert "no class folders" in refused(tmp_path / "flat")


def test_splits_that_are_told_wrong(tmp_path: Path) -> None:
    plant(tmp_path / "train", "cat", "dog")
    assert "holds no 'tran'. Did you mean 'train'?" in refused(tmp_path, splits={"train": "tran"})
    assert "splits are train, validation and test, not 'val'" in refused(
        tmp_path, splits={"train": "train", "val": "x"}
    )
    assert "must name the folder of train" in refused(tmp_path, splits={"test": "train"})
    assert "holds no '../x'" in refused(tmp_path, splits={"train": "../x"})


# -- levels --------------------------------------------------------------------------------------------


def test_one_level_too_high_is_refused_and_the_right_folder_named(tmp_path: Path) -> None:
    for task in ("pets", "birds"):
        plant(tmp_path / task, f"{task} one", f"{task} two")
    message = refused(tmp_path)
    assert "is a level too high: birds holds no images but the folders birds one, birds two" in message
    assert f"give '{tmp_path}/birds'" in message
    assert classes(load(tmp_path, nested=True)) == ("birds", "pets")


@pytest.mark.parametrize("domains", [("art", "photo"), ("pets",)])
def test_domains_and_wrapping_folders_are_a_level_too_high(tmp_path: Path, domains: tuple[str, ...]) -> None:
    for domain in domains:
        plant(tmp_path / domain, "cat", "dog")
    assert "is a level too high" in refused(tmp_path)


def test_data_sets_with_splits_are_a_level_too_high(tmp_path: Path) -> None:
    for task in ("pets", "birds"):
        plant(tmp_path / task / "train", "a", "b")
    assert "is a level too high" in refused(tmp_path)
    plant(tmp_path / "wrapped" / "train" / "train", "a", "b")
    assert "is a level too high" in refused(tmp_path / "wrapped")
    assert classes(load(tmp_path / "wrapped", splits={"train": "train/train"})) == ("a", "b")


def test_two_levels_too_high(tmp_path: Path) -> None:
    for task in ("pets", "birds"):
        plant(tmp_path / "all" / task, "a", "b")
    assert "is a level too high" in refused(tmp_path)


def test_one_level_too_low_names_the_folder_above(tmp_path: Path) -> None:
    plant(tmp_path, "cat", "dog")
    assert f"has no class folders: put each class into a folder of its own, or give the folder of the classes, such as '{tmp_path}'" in refused(tmp_path / "cat")  # fmt: skip  # noqa: E501


def test_one_split_of_several_is_read_and_the_rest_is_said(tmp_path: Path) -> None:
    plant(tmp_path / "train", "cat", "dog")
    plant(tmp_path / "test", "cat", "dog")
    assert noted(load(tmp_path / "train"), f"test beside train is not read; give '{tmp_path}' as path")


def test_classes_that_keep_their_images_in_one_folder_each(tmp_path: Path) -> None:
    for name in ("n1", "n2"):
        for number in range(5):
            picture(tmp_path / name / "images" / f"{number}.png")
    assert classes(load(tmp_path)) == ("n1", "n2")


def test_images_outside_class_folders_are_counted(tmp_path: Path) -> None:
    plant(tmp_path, "cat", "dog")
    picture(tmp_path / "cover.png")
    assert noted(load(tmp_path), f"1 images lie in '{tmp_path}' outside the class folders")


# -- names ---------------------------------------------------------------------------------------------


def test_numbers_in_names_sort_as_numbers(tmp_path: Path) -> None:
    plant(tmp_path / "plain", *map(str, range(12)))
    experience = load(tmp_path / "plain", classes=[f"digit {number}" for number in range(12)])
    assert classes(experience)[10] == "digit 10"
    source = (tmp_path / "plain" / "10" / "0.png").read_bytes()
    train = experience.train
    assert isinstance(train, ImageData) and train.encoded is not None
    owners = {train.encoded(position): int(label) for position, label in enumerate(train.labels)} | {
        experience.test.encoded(p): int(label) for p, label in enumerate(experience.test.labels)
    }  # type: ignore[attr-defined]
    assert owners.get(source, 10) == 10
    assert noted(experience, "sorted by the numbers in their names: 0, 1, 2")
    plant(tmp_path / "named", "class_2", "class_10", "class_1")
    assert classes(load(tmp_path / "named")) == ("class 1", "class 2", "class 10")
    assert noted(load(tmp_path / "plain"), "the class names are numbers")


def test_wordnet_numbers_become_names(tmp_path: Path) -> None:
    plant(tmp_path / "some", "n01440764", "n02012849", "n03126707")
    experience = load(tmp_path / "some")
    assert classes(experience) == (
        "tench",
        "crane, large long-necked wading bird of marshes and plains in many parts of the world",
        "crane, lifts and moves heavy objects",
    )
    assert noted(experience, "n01440764 is tench")
    named = load(tmp_path / "some", classes={"n02012849": "a bird", "n03126707": "a machine"})
    assert classes(named) == ("tench", "a bird", "a machine")
    plant(tmp_path / "other", "n01440764", "n99999999")
    assert "'n99999999' looks like a WordNet number" in refused(tmp_path / "other")
    assert classes(load(tmp_path / "other", classes={"n99999999": "x"})) == ("tench", "x")


def test_class_names_that_yaml_reads_as_something_else(tmp_path: Path) -> None:
    from cl_forget.config.experiment import load_experiment
    from cl_forget.streams import load_stream as build

    plant(tmp_path / "data", "yes", "no", "1", "01", "null", "2024-01-01", "1e3")
    file = tmp_path / "x.yaml"
    keys = "yes: good, no: bad, 1: one, 01: padded, null: nothing, 2024-01-01: a day, 1e3: many"
    file.write_text(
        f"model: tiny-clip\nstream:\n  - folder: {{path: {tmp_path}/data, classes: {{{keys}}}}}\n"
    )
    (experience,) = build(load_experiment(file).stream)
    # sorted with numbers as numbers: "01" and "1" first, then 1e3 and the date, then words
    assert classes(experience) == ("padded", "one", "many", "a day", "bad", "nothing", "good")


def test_class_names_that_are_no_texts(tmp_path: Path) -> None:
    path = plant(tmp_path, "yes", "no", "7")
    assert "the class True is no text: put its name in quotes" in refused(path, classes={True: "good"})
    assert "a class name is read as False, which is no text" in refused(path, classes={"no": False})
    assert "a class name is read as 1" in refused(path, classes=[1, 2, 3])
    assert "a class name is empty" in refused(path, classes={"no": " "})
    assert classes(load(path, classes={7: "seven", "no": "bad"})) == ("seven", "bad", "yes")


def test_accents_are_the_same_in_both_forms(tmp_path: Path) -> None:
    one, two = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert one != two
    plant(tmp_path / "train", one, "bar")
    plant(tmp_path / "test", two, "bar")
    experience = load(tmp_path, classes={two: "a coffee house"})
    assert classes(experience) == ("bar", "a coffee house")
    assert len(experience.test) == 10


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    plant(tmp_path / "files", "cat", "dog")
    for name in (b"caf\xe9.png", b"\xff\xfe.PNG"):
        picture(os.path.join(os.fsencode(tmp_path / "files" / "cat"), name))
    experience = load(tmp_path / "files")
    assert sum(sizes(experience).values()) == 12
    (tmp_path / "files" / "cat" / os.fsdecode(b"bad\xe9.png")).write_bytes(b"no image")
    refused(tmp_path / "files").encode()

    plant(tmp_path / "folders", "dog")
    picture(os.path.join(os.fsencode(tmp_path / "folders"), b"caf\xe9", b"1.png"))
    for number in range(4):
        picture(os.path.join(os.fsencode(tmp_path / "folders"), b"caf\xe9", b"%d.png" % number))
    message = refused(tmp_path / "folders")
    assert "name that is not UTF-8: rename it, or give `classes:` as a list of 2 names in this order: caf?, dog" in message  # fmt: skip  # noqa: E501
    assert classes(load(tmp_path / "folders", classes=["coffee", "dog"])) == ("coffee", "dog")


def test_names_in_capitals_and_unusual_endings_are_read(tmp_path: Path) -> None:
    plant(tmp_path, "cat", "dog")
    picture(tmp_path / "cat" / "A.PNG")
    for suffix in (".JPEG", ".Jpg", ".gif", ".jfif", ".TIFF"):
        (tmp_path / "cat" / f"B{suffix}").write_bytes((tmp_path / "cat" / "A.PNG").read_bytes())
    assert sum(sizes(load(tmp_path)).values()) == 16


# -- litter --------------------------------------------------------------------------------------------


def test_what_systems_leave_behind_is_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "cat", "dog")
    before = load(tmp_path)
    for litter in ("._0.png", "Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / "cat" / litter).write_bytes(b"litter")
    for folder in (
        ".ipynb_checkpoints",
        "__MACOSX",
        "@eaDir",
        ".git",
        "cat/__MACOSX",
        "dog/.ipynb_checkpoints",
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "0-checkpoint.png").write_bytes(b"litter")
    after = load(tmp_path)
    assert classes(after) == ("cat", "dog")
    assert {s: d.fingerprint for s, d in after.splits().items()} == {
        s: d.fingerprint for s, d in before.splits().items()
    }
    assert after.notes == before.notes == ()


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    plant(tmp_path / "store", "cat", "dog")
    data = tmp_path / "data"
    data.mkdir()
    (data / "cat").symlink_to(tmp_path / "store" / "cat")
    (data / "dog").mkdir()
    for number in range(5):
        (data / "dog" / f"{number}.png").symlink_to(tmp_path / "store" / "dog" / f"{number}.png")
    (data / "dog" / "round").symlink_to(data / "dog")
    (data / "dog" / "up").symlink_to(data)
    (data / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (data / "dog" / "self.png").symlink_to(data / "dog" / "self.png")
    experience = load(data)
    assert sum(sizes(experience).values()) == 10
    assert noted(experience, "4 links lead nowhere or in a circle")


def test_empty_class_folders(tmp_path: Path) -> None:
    plant(tmp_path / "train", "cat", "dog")
    plant(tmp_path / "test", "cat")
    (tmp_path / "test" / "dog").mkdir()
    assert sizes(load(tmp_path))["test"] == 5
    (tmp_path / "train" / "emu").mkdir()
    assert "train/emu' holds no images" in refused(tmp_path)
    (tmp_path / "train" / "emu" / "1.heic").write_bytes(b"x")
    assert "train/emu' holds no images" in refused(tmp_path)


def test_a_shifted_set_never_takes_the_place_of_a_split(tmp_path: Path) -> None:
    photos, sketches = plant(tmp_path / "photos", "cat", "dog"), plant(tmp_path / "sketches", "cat", "dog")
    for split in ("train", "validation", "test"):
        assert f"a shifted test set cannot be called '{split}'" in refused(
            photos, shifted={split: str(sketches)}
        )
    data = load(photos).test
    with pytest.raises(UserError, match="cannot be called 'test'"):
        Experience("x", LabelSpace("x", ("a", "b")), None, data, data, {"test": data})
    assert sizes(load(photos, shifted={"sketch": str(sketches)}))["sketch"] == 10
    plant(tmp_path / "split" / "train", "cat", "dog")
    plant(tmp_path / "split" / "test", "cat", "dog")
    message = refused(photos, shifted={"other": str(tmp_path / "split")})
    assert f"give the one to test on, such as '{tmp_path}/split/test'" in message


def test_deep_images_of_a_folder_are_scaled_or_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 4090, 36).reshape(6, 6).astype(np.uint16)
    for name in ("a", "b"):
        for number in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(ramp + number).save(tmp_path / name / f"{number}.png")
    assert "value_range" in refused(tmp_path)
    experience = load(tmp_path, value_range=[0, 4100])
    assert isinstance(experience.test, ImageData)
    assert np.asarray(experience.test.image(0)).mean() == pytest.approx(127.5, abs=2)
    assert noted(experience, "have more than 8 bits per channel: 0 to 4100 are read as black to white")
    assert "value_range is the value of black" in refused(tmp_path, value_range=[3, 3])


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(plant(tmp_path, "cat", "dog"))
    with pytest.raises(UserError, match="option 'path' is empty: name a file or folder"):
        load_stream({"folder": {"path": path}})
    assert classes(load(Path("."), name="here")) == ("cat", "dog")


# -- names like those of splits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        ("seg_train/seg_train", "seg_test/seg_test", "train: seg_train/seg_train, test: seg_test/seg_test"),
        ("train2017", "val2017", "train: train2017, validation: val2017"),
        ("training_set", "test_set", "train: training_set, test: test_set"),
        ("trainset", "testset", "train: trainset, test: testset"),
        ("Train-Data", "Evaluation-Data", "train: Train-Data, validation: Evaluation-Data"),
    ],
)
def test_splits_by_other_names_are_not_classes(tmp_path: Path, train: str, test: str, told: str) -> None:
    plant(tmp_path / "set" / train, "a", "b")
    plant(tmp_path / "set" / test, "a", "b", images=2)
    message = refused(tmp_path / "set")
    assert f"{{{told}}}" in message
    given = dict(part.split(": ") for part in told.split(", "))
    loaded = load(tmp_path / "set", splits=given)
    assert classes(loaded) == ("a", "b") and sizes(loaded)[next(s for s in given if s != "train")] == 4


def test_images_of_splits_without_classes_are_not_classes(tmp_path: Path) -> None:
    plant(tmp_path / "set", "train_images", "test_images")
    assert "look like splits" in refused(tmp_path / "set")
    assert classes(load(tmp_path / "set", splits={})) == ("test images", "train images")
    plant(tmp_path / "toys", "bullet_train", "bus")
    assert classes(load(tmp_path / "toys")) == ("bullet train", "bus")


def test_eval_is_validation(tmp_path: Path) -> None:
    plant(tmp_path / "set" / "train", "a", "b")
    plant(tmp_path / "set" / "eval", "a", "b", images=2)
    assert sizes(load(tmp_path / "set"))["validation"] == 4


def test_class_folders_that_wrap_class_folders(tmp_path: Path) -> None:
    plant(tmp_path / "set" / "photos" / "inner", "a", "b")
    plant(tmp_path / "set" / "drawings" / "inner", "a", "b")
    assert "a level too high" in refused(tmp_path / "set")
