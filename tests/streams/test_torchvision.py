"""Data sets of torchvision, written to disk in their own formats by the test."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, ImageData, load_stream

CLASSES = [f"kind {number}" for number in range(3)]


def load(**options: object) -> Experience:
    (experience,) = load_stream({"torchvision": options})
    return experience


def message(**options: object) -> str:
    with pytest.raises(UserError) as caught:
        load(**options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fake(**options: object) -> Experience:
    size = {"size": 60, "image_size": [3, 8, 8], "num_classes": 3}
    return load(**{"dataset": "FakeData", "options": size, "classes": CLASSES, **options})


def write_idx(folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray) -> None:
    """The format of MNIST's files: big-endian magic number and sizes, then bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">iiii", 0x803, *images.shape)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = struct.pack(">ii", 0x801, len(labels))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def write_mnist(root: Path) -> None:
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 100), ("t10k", 40)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(root / "MNIST" / "raw", prefix, images, np.arange(count, dtype=np.uint8) % 10)


def write_dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        lines = []
        for texture in ("banded", "dotted"):
            (base / "images" / texture).mkdir(parents=True, exist_ok=True)
            for index in range(3 + number):
                path = f"{texture}/{split}_{index}.jpg"
                Image.new("RGB", (20, 10), (50 * number, 20 * index, 0)).save(base / "images" / path)
                lines.append(path)
        (base / "labels" / f"{split}1.txt").write_text("\n".join(lines))


def test_a_data_set_without_splits_is_split_class_by_class() -> None:
    experience = fake()
    sizes = {name: len(data) for name, data in experience.splits().items()}
    assert sum(sizes.values()) == 60
    assert sizes["test"] == pytest.approx(12, abs=2)
    assert sizes["validation"] == pytest.approx(6, abs=2)
    assert experience.name == "fakedata"
    assert experience.labels is not None
    assert experience.labels.classes == tuple(CLASSES)
    every = [data.image(i).tobytes() for data in experience.splits().values() for i in range(len(data))]
    assert len(set(every)) == 60
    again = fake()
    for name, data in experience.splits().items():
        assert again.splits()[name].fingerprint == data.fingerprint
    limited = {name: len(data) for name, data in fake(limit=5).splits().items()}
    assert limited == {"train": 5, "validation": 5, "test": 5}


def test_a_data_set_with_a_train_argument(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    experience = load(dataset="MNIST", root=str(tmp_path), classes={"4 - four": "four"}, name="written")
    assert experience.name == "written"
    assert experience.labels is not None
    assert experience.labels.classes[3:5] == ("3 - three", "four")
    splits = experience.splits()
    assert {name: np.bincount(data.labels).tolist() for name, data in splits.items()} == {
        "train": [9] * 10,
        "validation": [1] * 10,
        "test": [4] * 10,
    }
    raw = (tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()[16:]
    picture = splits["test"].image(7)
    assert picture.mode == "RGB"
    assert np.asarray(picture)[..., 0].tobytes() == raw[7 * 784 : 8 * 784]
    assert splits["test"].labels[7] == 7


def test_changed_pixels_change_the_fingerprint(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    before = load(dataset="MNIST", root=str(tmp_path)).test.fingerprint
    assert load(dataset="MNIST", root=str(tmp_path)).test.fingerprint == before
    labels = np.arange(40, dtype=np.uint8) % 10
    write_idx(tmp_path / "MNIST" / "raw", "t10k", np.zeros((40, 28, 28), dtype=np.uint8), labels)
    assert load(dataset="MNIST", root=str(tmp_path)).test.fingerprint != before


def test_a_data_set_that_takes_a_split_as_an_option(tmp_path: Path) -> None:
    for part, count in (("train", 130), ("test", 52)):
        images = np.zeros((count, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = np.arange(count) % 256
        labels = np.arange(count, dtype=np.uint8) % 26 + 1
        write_idx(tmp_path / "EMNIST" / "raw", f"emnist-letters-{part}", images, labels)
    experience = load(dataset="EMNIST", root=str(tmp_path), options={"split": "letters"}, templates=["{}"])
    assert experience.labels is not None
    assert experience.labels.classes[1] == "a"
    assert {name: len(data) for name, data in experience.splits().items()} == {
        "train": 104,
        "validation": 26,
        "test": 52,
    }


def test_a_data_set_with_a_split_argument(tmp_path: Path) -> None:
    write_dtd(tmp_path)
    experience = load(dataset="DTD", root=str(tmp_path))
    assert experience.labels is not None
    assert experience.labels.classes == ("banded", "dotted")
    assert {name: len(data) for name, data in experience.splits().items()} == {
        "train": 6,
        "validation": 8,
        "test": 10,
    }
    test = experience.test
    assert isinstance(test, ImageData)
    assert test.image(0).size == (20, 10)
    assert test.image(0).getpixel((5, 5))[0] == pytest.approx(100, abs=4)  # type: ignore[index]
    swapped = load(dataset="DTD", root=str(tmp_path), splits={"validation": "test", "test": "val"})
    assert (len(swapped.validation), len(swapped.test)) == (10, 8)
    only_test = load(dataset="DTD", root=str(tmp_path), splits={"test": "val"}, validation=0.4)
    assert {name: len(data) for name, data in only_test.splits().items()} == {
        "train": 4,
        "validation": 2,
        "test": 8,
    }
    assert "unknown split 'vlidation'. Did you mean 'validation'?" in message(
        dataset="DTD", root=str(tmp_path), splits={"vlidation": "test"}
    )
    wrong = message(dataset="DTD", root=str(tmp_path), splits={"test": "testing"})
    assert "'testing'" in wrong
    assert "'val'" in wrong


def test_missing_data_names_the_cure(tmp_path: Path) -> None:
    text = message(dataset="CIFAR10", root=str(tmp_path))
    assert f"cannot be read under '{tmp_path}'" in text
    assert text.endswith("set its root, or download: true.")
    text = message(dataset="FER2013", root=str(tmp_path), download=True)
    assert "cannot be downloaded by torchvision: put its files under" in text


def test_a_failed_download_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", [])
    text = message(dataset="MNIST", root=str(tmp_path), download=True)
    assert "check the network, or put the files under" in text


def test_wrong_options_are_said_in_one_line() -> None:
    assert "has no data set 'cifar10'. Did you mean 'CIFAR10'?" in message(dataset="cifar10")
    assert "has no data set 'Flowers'. Did you mean 'Flowers102'?" in message(dataset="Flowers")
    assert "has no option 'sise'. Did you mean 'size'?" in message(dataset="FakeData", options={"sise": 3})
    assert "does not name its classes: set classes, a name for each of 3 labels" in fake_message(classes=None)
    assert "has 3 classes (0, 1, 2) but 2 class names are given" in fake_message(classes=["a", "b"])
    assert "does not name its splits" in fake_message(splits={"test": "val"})
    assert "template 'x' must hold {}" in fake_message(templates=["x"])


def fake_message(**options: object) -> str:
    with pytest.raises(UserError) as caught:
        fake(**options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_data_set_that_is_not_classification(tmp_path: Path) -> None:
    folder = tmp_path / "MovingMNIST"
    folder.mkdir()
    np.save(folder / "mnist_test_seq.npy", np.zeros((20, 10, 64, 64), dtype=np.uint8))
    assert "does not have one class per image" in message(dataset="MovingMNIST", root=str(tmp_path))


def test_a_sources_own_names_may_be_alike() -> None:
    from cl_forget.streams.own import label_space

    found = ["crane", "great_tit", "crane"]
    assert label_space("x", "x", found, None, ["{}"]).classes == ("crane", "great tit", "crane")
