"""Real folders of images, written to disk by the test."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, ImageData, load_stream, load_suite

COLOURS = {"blue_sky": (0, 0, 255), "grass": (0, 160, 0), "rust": (160, 60, 0)}


def plant(tree: Path, images: int = 10, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Path:
    """A tree of noisy one-colour pictures: class folders, mixed formats, one nested folder."""
    for name, colour in colours.items():
        (tree / name / "nested").mkdir(parents=True)
        for number in range(images):
            noise = np.random.default_rng(number).integers(-20, 20, (12, 16, 3))
            picture = Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))
            folder = tree / name / "nested" if number == 0 else tree / name
            picture.save(folder / f"{number}.{'JPG' if number % 2 else 'png'}")
        (tree / name / "notes.txt").write_text("not an image")
    (tree / ".hidden").mkdir(exist_ok=True)
    return tree


def load(**options: object) -> Experience:
    (experience,) = load_stream({"folder": options})
    return experience


def message(**options: object) -> str:
    with pytest.raises(UserError) as caught:
        load(**options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(data: ImageData) -> list[bytes]:
    return [data.image(position).tobytes() for position in range(len(data))]


def test_one_tree_is_split_class_by_class_and_stays_on_disk(tmp_path: Path) -> None:
    experience = load(path=str(plant(tmp_path / "scenes")))
    assert experience.name == "scenes"
    assert experience.labels is not None
    assert experience.labels.classes == ("blue sky", "grass", "rust")
    assert experience.labels.prompts(0) == ["a photo of a blue sky.", "an image of a blue sky."]
    splits = experience.splits()
    assert {name: np.bincount(data.labels).tolist() for name, data in splits.items()} == {
        "train": [7, 7, 7],
        "validation": [1, 1, 1],
        "test": [2, 2, 2],
    }
    assert all(data.array is None for data in splits.values())
    every = [image for data in splits.values() for image in pixels(data)]
    assert len(set(every)) == 30
    red, green, blue = np.asarray(splits["train"].image(0)).mean((0, 1))
    assert splits["train"].labels[0] == 0
    assert blue > 200 > 60 > max(red, green)


def test_the_same_split_every_time_and_wherever_the_tree_lies(tmp_path: Path) -> None:
    first = load(path=str(plant(tmp_path / "scenes")))
    again = load(path=str(plant(tmp_path / "elsewhere" / "scenes")))
    for name, data in first.splits().items():
        assert again.splits()[name].fingerprint == data.fingerprint
        assert pixels(again.splits()[name]) == pixels(data)


def test_a_changed_image_changes_the_fingerprint(tmp_path: Path) -> None:
    tree = plant(tmp_path / "scenes")
    before = {name: data.fingerprint for name, data in load(path=str(tree)).splits().items()}
    for image in (tree / "grass").glob("*.png"):
        Image.new("RGB", (12, 12)).save(image)
    after = {name: data.fingerprint for name, data in load(path=str(tree)).splits().items()}
    assert before["train"] != after["train"]


def test_large_trees_are_fingerprinted_by_name_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_forget.streams.folder.READ_WHOLE", 0)
    tree = plant(tmp_path / "scenes")
    before = load(path=str(tree)).test.fingerprint
    assert load(path=str(tree)).test.fingerprint == before
    for image in tree.rglob("*.png"):
        image.touch()
    assert load(path=str(tree)).test.fingerprint != before


def test_given_splits_are_kept_and_missing_ones_set_aside_from_train(tmp_path: Path) -> None:
    plant(tmp_path / "train", images=10)
    plant(tmp_path / "test", images=4, colours={"grass": (1, 2, 3), "rust": (4, 5, 6)})
    experience = load(path=str(tmp_path), validation=0.3)
    sizes = {name: np.bincount(data.labels).tolist() for name, data in experience.splits().items()}
    assert sizes == {"train": [7, 7, 7], "validation": [3, 3, 3], "test": [0, 4, 4]}
    plant(tmp_path / "Val", images=2)
    sizes = {name: len(data) for name, data in load(path=str(tmp_path)).splits().items()}
    assert sizes == {"train": 30, "validation": 6, "test": 8}


def test_shifted_sets_names_head_templates_and_limit(tmp_path: Path) -> None:
    plant(tmp_path / "photos")
    plant(tmp_path / "sketches", images=3, colours={"rust": (0, 0, 0)})
    experience = load(
        path=str(tmp_path / "photos"),
        name="photo",
        head="scenes",
        classes={"rust": "rusty iron"},
        templates=["{} here"],
        shifted={"sketch": str(tmp_path / "sketches")},
        limit=6,
    )
    assert experience.name == "photo"
    assert experience.labels is not None
    assert experience.labels.head == "scenes"
    assert experience.labels.classes == ("blue sky", "grass", "rusty iron")
    assert experience.labels.prompts(2) == ["rusty iron here"]
    assert experience.shifted["sketch"].labels.tolist() == [2, 2, 2]
    assert np.bincount(experience.splits()["train"].labels).tolist() == [2, 2, 2]
    named = load(path=str(tmp_path / "photos"), classes=["a", "b", "c"])
    assert named.labels is not None
    assert named.labels.classes == ("a", "b", "c")


def test_two_folders_make_a_stream_and_one_makes_a_suite(tmp_path: Path) -> None:
    first, second = str(plant(tmp_path / "first")), str(plant(tmp_path / "second"))
    stream = load_stream([{"folder": {"path": first}}, {"folder": {"path": second}}])
    assert [experience.name for experience in stream] == ["first", "second"]
    assert load_suite({"folder": {"path": first}}).name == "first"
    with pytest.raises(UserError, match="two experiences of the stream are called 'first'"):
        load_stream([{"folder": {"path": first}}, {"folder": {"path": first}}])


def test_edits_between_two_loads_are_seen(tmp_path: Path) -> None:
    tree = plant(tmp_path / "scenes")
    assert len(load(path=str(tree)).test.labels) == 6
    plant(tree, colours={"sand": (200, 180, 100)})
    assert len(load(path=str(tree)).test.labels) == 8


def test_what_is_wrong_with_the_tree_is_said_in_one_line(tmp_path: Path) -> None:
    assert "needs the option 'path'" in message()
    assert "'/no/such/place' does not exist: correct the path" in message(path="/no/such/place")
    (tmp_path / "file").write_text("")
    assert "cannot be read" in message(path=str(tmp_path / "file"))
    (tmp_path / "flat").mkdir()
    assert "has no class folders" in message(path=str(tmp_path / "flat"))
    one = plant(tmp_path / "one", colours={"grass": (0, 0, 0)})
    assert "has 1 class" in message(path=str(one))
    few = plant(tmp_path / "few", images=2)
    assert "class 'blue_sky' has 2 images, too few for train, validation, test" in message(path=str(few))
    (few / "mud").mkdir()
    assert "mud' holds no images" in message(path=str(few))


def test_unreadable_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = plant(tmp_path / "scenes")
    broken = tree / "rust" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    assert f"image '{broken}' cannot be read" in message(path=str(tree))
    monkeypatch.setattr("cl_forget.streams.folder.READ_WHOLE", 0)
    monkeypatch.setattr("cl_forget.streams.images.SURVEYED", 1)  # a large tree is not read whole at the start
    splits = load(path=str(tree)).splits()
    with pytest.raises(UserError, match=r"2\.png' cannot be read .*: replace or remove it\."):
        [pixels(data) for data in splits.values()]


def test_splits_that_do_not_fit_together(tmp_path: Path) -> None:
    plant(tmp_path / "test")
    assert "has no train folder beside test" in message(path=str(tmp_path))
    plant(tmp_path / "train", colours={"blue_sky": (0, 0, 0), "gras": (1, 1, 1)})
    assert "class folder 'grass' is not among the classes of train. Did you mean 'gras'?" in message(
        path=str(tmp_path)
    )
    plant(tmp_path / "val")
    plant(tmp_path / "valid")
    assert "holds both val and valid: keep one" in message(path=str(tmp_path))


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    path = str(plant(tmp_path / "scenes"))
    assert "has 3 classes (blue_sky, grass, rust) but 2 class names are given" in message(
        path=path, classes=["a", "b"]
    )
    assert "has no class 'rusty'. Did you mean 'rust'?" in message(path=path, classes={"rusty": "x"})
    assert "two classes are called 'x'" in message(path=path, classes={"rust": "x", "grass": "x"})
    assert "template 'a photo' must hold {} once" in message(path=path, templates=["a photo"])
    assert "at least one template" in message(path=path, templates=[])
    assert "validation is the fraction to set aside" in message(path=path, validation=1.5)
    assert "leave nothing to train on" in message(path=path, validation=0.5, test=0.5)
    assert "has no option 'vaildation'. Did you mean 'validation'?" in message(path=path, vaildation=0.1)
    assert "option 'validation' should be a valid number" in message(path=path, validation="some")
    assert "limit is a number of samples, at least 1, not 0" in message(path=path, limit=0)


def test_copies_in_a_class_stay_in_one_split(tmp_path: Path) -> None:
    plain = load(path=str(plant(tmp_path / "scenes")))
    for name in COLOURS:
        for file in list((tmp_path / "scenes" / name).glob("*.*[gG]")):
            file.with_name(f"again {file.name}").write_bytes(file.read_bytes())
    experience = load(path=str(tmp_path / "scenes"))
    splits = {split: set(pixels(data)) for split, data in experience.splits().items()}  # type: ignore[arg-type]
    assert sum(map(len, splits.values())) == len(set().union(*splits.values())) == 30
    assert any("27 of 57 images read as train are copies of another" in note for note in experience.notes)
    assert not any("copies" in note for note in plain.notes)


def test_copies_in_several_classes_are_said_and_too_few_pictures_refused(tmp_path: Path) -> None:
    plant(tmp_path / "scenes")
    (tmp_path / "scenes/rust/copy.png").write_bytes((tmp_path / "scenes/grass/2.png").read_bytes())
    notes = load(path=str(tmp_path / "scenes")).notes
    assert "1 of the images read as train have copies in another class" in notes
    for number in range(8):
        (tmp_path / f"scenes/blank/{number}.png").parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"scenes/blank/{number}.png")
    assert "class 'blank' has 8 images, 1 of them different, too few" in message(
        path=str(tmp_path / "scenes")
    )
