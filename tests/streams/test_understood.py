"""What is said of the data before a run: classes, sizes, one sample, duplicates."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.run.shared import Setup
from cl_forget.run.simulate import simulate
from cl_forget.streams import Experience, ImageData, LabelSpace, TextData, text_experience
from cl_forget.streams.understood import (
    FILE,
    Seen,
    announce,
    duplicates,
    hush,
    read_understood,
    understand,
    write_understood,
)


def experience(train: np.ndarray, test: np.ndarray, **more: object) -> Experience:
    """A task of two classes on arrays (samples, 3, 8, 8)."""
    labels = LabelSpace("pets", ("cat", "dog"))
    data = [ImageData(np.arange(len(array)) % 2, array=array) for array in (train, test)]
    return Experience("pets", labels, data[0], data[1], data[1], **more)  # type: ignore[arg-type]


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)


def test_the_record_says_classes_sizes_sample_and_notes() -> None:
    task = experience(pictures(6, 1), pictures(4, 2), notes=("numbered folders are sorted as numbers",))
    record = understand(task, "task", lambda _: Seen(["8 x 8 RGB", "x" * 1000], b"png"))
    assert (record.classes, record.class_count) == (("cat", "dog"), 2)
    assert record.splits == {"train": 6, "validation": 4, "test": 4}
    assert record.thumbnail == b"png"
    lines = record.lines()
    assert lines[0] == "task pets: images, top-1 accuracy · train 6, validation 4, test 4"
    assert "  2 classes: cat, dog" in lines
    assert "  8 x 8 RGB" in lines
    assert "  note: numbered folders are sorted as numbers" in lines
    assert "  no sample of validation, test stands in train" in lines
    assert max(map(len, lines)) < 260


def test_samples_that_stand_in_train_are_counted_and_said() -> None:
    train, test = pictures(6, 1), pictures(4, 2)
    test[1], test[3] = train[5], train[0]
    record = understand(experience(train, test), "task", lambda _: Seen())
    assert record.duplicates == {"validation": 2, "test": 2}
    assert "  2 of 4 samples of test stand in train, too" in record.lines()


def test_files_are_compared_by_content_and_only_where_their_sizes_agree() -> None:
    contents = [b"aa", b"bb", b"cccc"]
    asked: list[int] = []

    def data(own: list[bytes], ask: bool = False) -> ImageData:
        def encoded(position: int) -> bytes:
            asked.append(position) if ask else None
            return own[position]

        def opener(position: int) -> Image.Image:
            raise AssertionError("nothing is decoded")

        return ImageData(
            [0] * len(own), opener=opener, fingerprint="x", sizes=[len(one) for one in own], encoded=encoded
        )

    space = LabelSpace("pets", ("cat", "dog"))
    test = data([b"bb", b"zz", b"ccccccc"])
    found = duplicates(Experience("pets", space, data(contents, ask=True), test, test.subset([0, 2])))
    assert found == {"validation": 1, "test": 1}
    assert set(asked) == {0, 1}, "the third file of train has a size that no other split has"


def test_equal_prompts_and_responses_are_duplicates_of_texts() -> None:
    train, test = TextData(["Paris", "Rome"], ["France?", "Italy?"]), TextData(["Rome"], ["Italy?"])
    other = TextData(["Rome"], ["Lazio?"])
    assert duplicates(text_experience("capitals", train, other, test)) == {"validation": 0, "test": 1}
    assert duplicates(text_experience("capitals", None, other, test)) == {}


def test_the_file_holds_everything_and_a_garbled_one_is_one_line(tmp_path: Path) -> None:
    record = understand(
        experience(pictures(6, 1), pictures(4, 2)), "suite", lambda _: Seen(["é"], bytes(range(256)))
    )
    write_understood(tmp_path, [record])
    assert read_understood(tmp_path) == [record]
    assert read_understood(tmp_path / "nowhere") == []
    (tmp_path / FILE).write_text('[{"name": 1}]')
    with pytest.raises(UserError, match=r"understood\.json cannot be read .* delete it"):
        read_understood(tmp_path)


def test_it_is_said_once_per_process_and_not_by_a_hushed_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cl_forget")
    record = understand(experience(pictures(6, 3), pictures(4, 4)), "task", lambda _: Seen(["unlike any"]))
    hush(True)
    announce([record])
    hush(False)
    assert not caplog.messages
    announce([record])
    announce([record])
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("task pets: images")


def test_clip_shows_the_sample_as_it_sees_it_and_a_run_keeps_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_forget.streams.understood._said", set())  # by tests before this one
    caplog.set_level("INFO", "cl_forget")
    run = Run(model="tiny-clip", stream=["squares"], suites=["colours"], train={"epochs": 1})  # type: ignore[arg-type, list-item]
    setup = Setup(run)
    simulate(run, tmp_path, setup=setup)
    records = read_understood(tmp_path)
    assert records == setup.understood
    assert [record.role for record in records].count("suite") == 1
    first = setup.experiences[0]
    assert records[0].name == first.name
    assert records[0].class_count == len(first.labels.classes)  # type: ignore[union-attr]
    assert "16 x 16 pixels, seen as 16 x 16 RGB" in records[0].sample[0]
    assert first.labels.prompts(0)[0] in records[0].sample[1]  # type: ignore[union-attr]
    assert records[0].thumbnail is not None
    seen = np.asarray(Image.open(io.BytesIO(records[0].thumbnail)))
    assert np.array_equal(seen.transpose(2, 0, 1), first.train.array[0])  # type: ignore[union-attr]
    assert any(message.startswith(f"task {first.name}: images") for message in caplog.messages)


def test_a_dry_run_prints_it_before_the_table(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cl_forget.cli.app import app

    file = tmp_path / "x.yaml"
    file.write_text("model: tiny-clip\nstream: [squares]\nsuites: [colours]\ntrain: {epochs: 1}\n")
    shown = CliRunner().invoke(app, ["run", str(file), "--dry-run"], catch_exceptions=False).stdout
    assert shown.index("task squares-1: images, top-1 accuracy · train") < shown.index("(dry run)")
    assert "suite colours: images" in shown
    assert "first image: 16 x 16 pixels" in shown
    assert "no sample of validation, test" in shown
    assert "needs at least" in shown
    assert "of disk per run" in shown


def test_classes_that_only_some_splits_have_are_said() -> None:
    space = LabelSpace("pets", ("cat", "dog", "emu"))
    train, test = ImageData([0, 1], array=pictures(2, 5)), ImageData([1, 2], array=pictures(2, 6))
    record = understand(Experience("pets", space, train, train, test), "task", lambda _: Seen())
    assert record.notes == (
        "test has no sample of 1 of 3 classes (cat) that train has",
        "test has samples of 1 of 3 classes (emu) that train has not",
    )
