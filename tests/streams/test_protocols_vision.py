"""MTIL, X-TAIL and TA8: task lists, prompts, where the sets are looked for, and their stand-ins."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, ImageData, LabelSpace, load_stream
from cl_forget.streams.base import PooledSpace, pooled
from cl_forget.streams.protocols import vision
from cl_forget.streams.protocols.image_sets import SETS

CLIPS_COUNTS = {
    "caltech101": 34,
    "cifar100": 18,
    "dtd": 8,
    "eurosat": 3,
    "resisc45": 18,
    "gtsrb": 3,
    "sun397": 2,
}
"""How many prompts CLIP's evaluation has for a set; MTIL adds one to the eight of the cars."""


def message(spec: object) -> str:
    with pytest.raises(UserError) as caught:
        load_stream(spec)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_classes(folder: Path, classes: tuple[str, ...], images: int = 6) -> None:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for k in range(images):
            Image.new("RGB", (8, 8), (40 * number, 20 * k, 90)).save(folder / name / f"{k}.png")


def test_the_orders_are_those_of_the_papers() -> None:
    assert sorted(vision.MTIL[1]) == list(vision.MTIL[1]) and len(vision.MTIL[1]) == 11
    assert sorted(vision.MTIL[2]) == sorted(vision.MTIL[1])
    assert set(vision.X_TAIL[1]) == set(vision.X_TAIL[2]) == set(vision.MTIL[1]) - {"cifar100"}
    # The published code numbers the sets in alphabetical order, and order 2 by these numbers.
    assert vision.MTIL[2] == tuple(vision.MTIL[1][k] for k in (9, 6, 7, 8, 5, 10, 0, 1, 3, 4, 2))
    assert {name: len(SETS[name].templates) for name in CLIPS_COUNTS} == CLIPS_COUNTS
    assert len(SETS["stanford-cars"].templates) == 9 and len(vision.TA8_SETS["stanford-cars"].templates) == 8
    for own in SETS.values():
        assert all(template.count("{}") == 1 for template in own.templates), own.name


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # torchvision leaves files open
def test_a_set_is_read_from_torchvision_or_from_a_folder_and_renamed(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 60), ("t10k", 20)):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">iiii", 2051, count, 28, 28) + pixels.tobytes()
        )
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, count) + labels.tobytes())
    digits = vision.TA8_SETS["mnist"].load("stream 'ta8'", tmp_path, False, None)
    assert digits.labels == LabelSpace("mnist", tuple("0123456789"), ('a photo of the number: "{}".',))
    assert (len(digits.train) + len(digits.validation), len(digits.test)) == (60, 20)
    assert SETS["mnist"].load("stream 'mtil'", tmp_path, False, None).labels.classes[0] == "0 - zero"

    write_classes(tmp_path / "eurosat", ("AnnualCrop", "Forest", "SeaLake"))
    land = SETS["eurosat"].load("stream 'mtil'", tmp_path, False, 4)
    assert land.labels.classes == ("annual crop land", "forest", "lake or sea")
    assert land.labels.prompts(2)[1] == "a centered satellite photo of a lake or sea."
    assert land.name == land.labels.head == "eurosat" and len(land.train) == 4
    # Caltech names its classes elsewhere than other sets of torchvision do.
    caltech = tmp_path / "caltech101" / "101_ObjectCategories"
    write_classes(caltech, ("BACKGROUND_Google", "Faces_easy", "car_side"))
    for file in caltech.rglob("*.png"):
        Image.open(file).save(file.with_name(f"image_{int(file.stem) + 1:04d}.jpg"))
        file.unlink()
    (tmp_path / "caltech101" / "Annotations").mkdir()
    things = SETS["caltech101"].load("stream 'mtil'", tmp_path, False, None)
    assert things.labels.classes == ("centered face", "side of a car")
    assert things.test.image(0).size == (8, 8)


def test_a_missing_set_is_one_line_that_says_where_to_put_it(tmp_path: Path) -> None:
    said = message({"mtil": {"root": str(tmp_path)}})
    assert said == (
        "stream 'mtil' needs the set 'aircraft', which is not there: put torchvision's FGVCAircraft in "
        f"'{tmp_path}', or its pictures in '{tmp_path / 'aircraft'}' (one sub-folder per class, or as "
        "`datasets` saves it), or set `download: true`; `root: embedded` runs a stand-in."
    )
    with pytest.raises(UserError, match="needs the set 'resisc45', which is not there: put its pictures in"):
        SETS["resisc45"].load("stream 'ta8'", tmp_path, True, None)
    assert "option 'order'" in message({"mtil": {"order": 3}})
    assert "1 or more, not 0" in message({"x-tail": {"root": "embedded", "shots": 0}})


def test_a_pooled_space_asks_for_each_class_in_the_words_of_its_own_set() -> None:
    spaces = [
        LabelSpace("a", ("lotus", "fox"), ("one {}", "two {}")),
        LabelSpace("b", ("lotus",), ("three {}",)),
    ]
    space = pooled("all", spaces)
    assert space.classes == ("lotus", "fox", "lotus") and space.head == "all"
    assert [space.prompts(k) for k in range(3)] == [["one lotus"], ["one fox"], ["three lotus"]]
    assert space.wording != replace(space, own=(("x {}",),) * 3).wording
    data = ImageData([0, 1], array=np.zeros((2, 3, 2, 2), np.uint8))
    moved = data.relabelled(5)
    assert moved.labels.tolist() == [5, 6] and moved.fingerprint != data.fingerprint
    assert (moved.array == data.array).all()


@pytest.mark.parametrize(("name", "count"), [("mtil", 11), ("x-tail", 10), ("ta8", 8)])
def test_a_stand_in_has_the_shape_of_its_protocol(name: str, count: int) -> None:
    tasks: list[Experience] = load_stream({name: {"root": "embedded", "limit": 12}})
    assert len(tasks) == count and len({task.name for task in tasks}) == count
    assert "published numbers are of other data" in tasks[0].notes[-1]
    spaces = {task.labels for task in tasks}
    assert len(spaces) == (1 if name == "x-tail" else count)
    if name == "x-tail":
        [space] = spaces
        assert isinstance(space, PooledSpace) and len(space.classes) == len(space.own)
        seen = [set(task.test.labels.tolist()) for task in tasks]
        assert not set.intersection(*seen) and max(map(max, seen)) < len(space.classes)
        few = load_stream({name: {"root": "embedded", "limit": 12, "shots": 1}})
        assert [len(task.train) for task in few] == [len(set(task.train.labels.tolist())) for task in tasks]
    if name == "mtil":
        second = load_stream({name: {"root": "embedded", "limit": 12, "order": 2}})
        assert [task.name for task in second] != [task.name for task in tasks]
        assert {task.name for task in second} == {task.name for task in tasks}
