"""Fashion-MNIST: Debian's files where they are installed, and files of the same format written by the test."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, load_stream
from cl_forget.streams.fashion import DEBIAN

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)


def write(folder: Path, packed: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    for prefix, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, values in (("images-idx3", PIXELS[:count]), ("labels-idx1", labels)):
            magic = 0x800 | values.ndim
            content = struct.pack(f">{1 + values.ndim}i", magic, *values.shape) + values.tobytes()
            file = folder / f"{prefix}-{kind}-ubyte"
            file.with_name(file.name + ".gz" * packed).write_bytes(
                gzip.compress(content) if packed else content
            )
    return folder


def load(root: Path, **options: object) -> Experience:
    (experience,) = load_stream({"fashion-mnist": {"root": str(root), **options}})
    return experience


@pytest.mark.parametrize("packed", [True, False])
def test_every_picture_is_in_one_split_as_it_is_in_the_files(tmp_path: Path, packed: bool) -> None:
    splits = load(write(tmp_path, packed)).splits()
    counts = {name: np.bincount(data.labels).tolist() for name, data in splits.items()}
    assert counts == {"train": [5] * 10, "validation": [1] * 10, "test": [2] * 10}
    seen = [
        splits[name].image(i).tobytes() for name in ("train", "validation") for i in range(len(splits[name]))
    ]
    assert sorted(seen) == sorted(page[..., None].repeat(3, axis=2).tobytes() for page in PIXELS)
    assert np.array_equal(splits["test"].array[:, 1], PIXELS[:20])
    assert {name: len(data) for name, data in load(tmp_path, limit=10).splits().items()} == {
        "train": 10, "validation": 10, "test": 10,
    }  # fmt: skip


def test_missing_and_damaged_files_name_the_cure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="apt install dataset-fashion-mnist, or say with `root:`"):
        load(tmp_path / "none")
    file = write(tmp_path) / "train-images-idx3-ubyte.gz"
    content = gzip.decompress(file.read_bytes())
    for damaged in (
        gzip.compress(content[:-1]),
        gzip.compress(b"\0\0\x0d" + content[3:]),
        b"x",
        file.read_bytes()[:99],
    ):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz' cannot be read") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">ii", 0x801, 1) + b"\0"))
    with pytest.raises(UserError, match="20 images of t10k and 1 labels"):
        load(tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="`apt install dataset-fashion-mnist` brings the real files")
def test_the_real_files() -> None:
    experience = load(DEBIAN)
    assert {name: len(data) for name, data in experience.splits().items()} == {
        "train": 54_000, "validation": 6_000, "test": 10_000,
    }  # fmt: skip
    assert experience.labels is not None and experience.labels.classes[9] == "ankle boot"
    assert experience.test.labels[:3].tolist() == [9, 2, 1]  # as its authors list them
