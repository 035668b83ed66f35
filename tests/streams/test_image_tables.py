"""Image data sets and image-caption tables as people have them, written to disk by the test."""

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, ImageData, load_stream, load_suite
from cl_forget.streams.understood import duplicates

PETS = ["cat", "dog", "emu"]


@pytest.fixture(autouse=True)
def _own_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def picture(number: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def dataset(start: int, count: int, **more: Any) -> datasets.Dataset:
    """`count` pictures of three classes as the hub has them."""
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=PETS)}
    rows = {"image": [picture(start + i) for i in range(count)], "label": [i % 3 for i in range(count)]}
    for name, values in more.items():
        features[name] = datasets.Value("string")
        rows[name] = values
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def load(path: Path, source: str = "images", **options: object) -> Experience:
    (experience,) = load_stream({source: {"path": str(path), **options}})
    return experience


def refused(path: Path, source: str = "images", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        load(path, source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def classes(experience: Experience) -> tuple[str, ...]:
    assert experience.labels is not None
    return experience.labels.classes


def sizes(experience: Experience) -> dict[str, int]:
    return {split: len(data) for split, data in experience.splits().items()}


def pixels(data: object, position: int) -> np.ndarray:
    assert isinstance(data, ImageData)
    return np.asarray(data.image(position))


def noted(experience: Experience, text: str) -> bool:
    return any(text in note for note in experience.notes)


# -- data sets of the library --------------------------------------------------------------------------


def test_a_saved_data_set_with_splits(tmp_path: Path) -> None:
    parts = {"train": dataset(0, 30), "validation": dataset(100, 6), "test": dataset(200, 9)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "pets"))
    experience = load(tmp_path / "pets", templates=["a photo of a {}, a pet."])
    assert experience.name == "pets"
    assert classes(experience) == tuple(PETS)
    assert sizes(experience) == {"train": 30, "validation": 6, "test": 9}
    for position in range(9):
        assert np.array_equal(pixels(experience.test, position), np.asarray(picture(200 + position)))
        assert experience.test.labels[position] == position % 3
    assert noted(experience, "read as datasets: images from column 'image', the class from 'label'")
    assert duplicates(experience) == {"validation": 0, "test": 0}


def test_a_saved_table_is_split_the_same_way_every_time(tmp_path: Path) -> None:
    dataset(0, 30).save_to_disk(str(tmp_path / "pets"))
    first, again = load(tmp_path / "pets"), load(tmp_path / "pets")
    assert sizes(first) == {"train": 21, "validation": 3, "test": 6}
    for split, data in first.splits().items():
        assert again.splits()[split].fingerprint == data.fingerprint
    other = dataset(1, 30)
    other.save_to_disk(str(tmp_path / "other"))
    assert load(tmp_path / "other").test.fingerprint != first.test.fingerprint


def test_a_picture_that_is_in_train_and_test_is_found(tmp_path: Path) -> None:
    parts = {"train": dataset(0, 30), "test": dataset(27, 6)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "pets"))
    assert duplicates(load(tmp_path / "pets", validation=0.1))["test"] >= 2


def test_parquet_with_and_without_types(tmp_path: Path) -> None:
    dataset(0, 30).to_parquet(str(tmp_path / "typed.parquet"))
    typed = load(tmp_path / "typed.parquet")
    assert classes(typed) == tuple(PETS)
    images = [png(picture(i)) for i in range(30)]
    names = [PETS[i % 3] for i in range(30)]
    plain = {"img": images, "category": names}
    pyarrow.parquet.write_table(pyarrow.table(plain), tmp_path / "bytes.parquet")
    record = {"image": [{"bytes": own, "path": None} for own in images], "label": [i % 3 for i in range(30)]}
    pyarrow.parquet.write_table(pyarrow.table(record), tmp_path / "record.parquet")
    by_name, by_number = load(tmp_path / "bytes.parquet"), load(tmp_path / "record.parquet", classes=PETS)
    for other in (by_name, by_number):
        assert classes(other) == tuple(PETS)
        assert [
            sorted(map(bytes, (pixels(d, i) for i in range(len(d))))) for d in other.splits().values()
        ] == [sorted(map(bytes, (pixels(d, i) for i in range(len(d))))) for d in typed.splits().values()]
    assert noted(load(tmp_path / "record.parquet"), "the class names are numbers")


def test_a_folder_of_images_with_metadata(tmp_path: Path) -> None:
    with (tmp_path / "metadata.jsonl").open("w") as file:
        for number in range(12):
            picture(number).save(tmp_path / f"{number}.png")
            file.write(json.dumps({"file_name": f"{number}.png", "text": f"pet number {number}"}) + "\n")
    experience = load(tmp_path, "captions", validation=0.3, test=0.3)
    assert len(classes(experience)) == 12
    assert sum(sizes(experience).values()) == 12
    for data in experience.splits().values():
        for position, label in enumerate(data.labels):
            number = int(classes(experience)[label].split()[-1])
            assert np.array_equal(pixels(data, position), np.asarray(picture(number)))


def test_columns_that_could_be_several_are_asked_for(tmp_path: Path) -> None:
    rows = {"left": [picture(i) for i in range(12)], "right": [picture(i + 50) for i in range(12)]}
    features = {"left": datasets.Image(), "right": datasets.Image()}
    for name in ("fine", "coarse"):
        rows[name] = [i % 3 for i in range(12)]  # type: ignore[misc]
        features[name] = datasets.ClassLabel(names=PETS)  # type: ignore[assignment]
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).save_to_disk(str(tmp_path / "d"))  # type: ignore[arg-type]
    assert "name one of fine, coarse as `label:`" in refused(tmp_path / "d")
    assert "name one of left, right as `image:`" in refused(tmp_path / "d", label="fine")
    experience = load(tmp_path / "d", label="fine", image="right", validation=0.25, test=0.25)
    assert np.array_equal(pixels(experience.train, 0), np.asarray(picture(50))) or len(experience.test)
    assert "has no column 'fin'. Did you mean 'fine'?" in refused(tmp_path / "d", label="fin")


def test_a_split_without_classes_is_left_out_and_a_row_without_one_refused(tmp_path: Path) -> None:
    hidden = dataset(100, 6).map(lambda row: {"label": -1})
    datasets.DatasetDict({"train": dataset(0, 30), "test": hidden}).save_to_disk(str(tmp_path / "d"))
    experience = load(tmp_path / "d")
    assert noted(experience, "test has no classes and is not read")
    assert sizes(experience) == {"train": 21, "validation": 3, "test": 6}
    some = dataset(0, 30).map(lambda row, i: {"label": -1 if i == 4 else row["label"]}, with_indices=True)
    some.save_to_disk(str(tmp_path / "e"))
    assert "1 of 30 rows have no class in column 'label' (the first is row 5)" in refused(tmp_path / "e")


def test_splits_of_other_names_and_a_table_for_a_suite(tmp_path: Path) -> None:
    parts = {"training": dataset(0, 30), "holdout": dataset(100, 9)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    assert noted(load(tmp_path / "d"), "the splits holdout are not read")
    told = load(tmp_path / "d", splits={"train": "training", "test": "holdout"})
    assert sizes(told) == {"train": 27, "validation": 3, "test": 9}
    assert "has no split 'hold'" in refused(tmp_path / "d", splits={"train": "hold"})
    suite = load_suite(
        {"images": {"path": str(tmp_path / "d"), "splits": {"test": "holdout"}, "validation": 0.3}}
    )
    assert suite.train is None
    assert {split: len(data) for split, data in suite.splits().items()} == {"validation": 3, "test": 6}


def test_images_that_cannot_be_read_are_named_by_row(tmp_path: Path) -> None:
    images = [png(picture(i)) for i in range(12)]
    table = {"image": [*images[:4], b"broken", *images[5:]], "label": [i % 3 for i in range(12)]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
    assert "row 5 cannot be read" in refused(tmp_path / "x.parquet", validation=0.25, test=0.25)
    table["image"][4] = None  # type: ignore[call-overload]
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "y.parquet")
    assert "row 5 holds nothing in place of an image" in refused(
        tmp_path / "y.parquet", validation=0.25, test=0.25
    )
    assert "cannot be loaded" in refused(tmp_path)


# -- files of rows -------------------------------------------------------------------------------------


def files(folder: Path, count: int = 12) -> list[str]:
    (folder / "pictures").mkdir(parents=True)
    for number in range(count):
        picture(number).save(folder / "pictures" / f"{number}.png")
    return [f"pictures/{number}.png" for number in range(count)]


def write(path: Path, rows: list[dict[str, object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t"), ("csv", ";")])
def test_paths_and_classes_in_a_table(tmp_path: Path, suffix: str, delimiter: str) -> None:
    names = files(tmp_path)
    rows = [{"filepath": name, "label": PETS[i % 3]} for i, name in enumerate(names)]
    table = write(tmp_path / f"pets.{suffix}", rows, delimiter)  # type: ignore[arg-type]
    experience = load(table, validation=0.25, test=0.25)
    assert classes(experience) == tuple(PETS)
    assert sizes(experience) == {"train": 6, "validation": 3, "test": 3}
    assert noted(experience, "images from column 'filepath', the class from 'label'")
    for data in experience.splits().values():
        for position, label in enumerate(data.labels):
            found = next(
                i for i in range(12) if np.array_equal(pixels(data, position), np.asarray(picture(i)))
            )
            assert found % 3 == label


def test_paths_and_captions_as_open_clip_s_tables_have_them(tmp_path: Path) -> None:
    names = files(tmp_path)
    rows = [{"filepath": name, "title": f"pet {{number}} {i}"} for i, name in enumerate(names)]
    table = write(tmp_path / "pets.tsv", rows, "\t")  # type: ignore[arg-type]
    experience = load(table, "captions", validation=0.3, test=0.3)
    assert experience.metric == "image-to-text recall at 1"
    assert experience.labels is not None
    assert experience.labels.prompts(0) == [classes(experience)[0]], "braces in captions are only text"
    suite = load_suite({"captions": {"path": str(table), "validation": 0.4}})
    assert suite.train is None
    assert sum(len(data) for data in suite.splits().values()) == 12


def test_json_lines_with_several_captions_and_images_in_base64(tmp_path: Path) -> None:
    with (tmp_path / "pets.jsonl").open("w") as file:
        for number in range(12):
            content = base64.b64encode(png(picture(number))).decode()
            row = {"image": content, "captions": [f"first {number}", f"second {number}"]}
            file.write(json.dumps(row) + "\n")
    experience = load(tmp_path / "pets.jsonl", "captions", validation=0.3, test=0.3)
    assert all(name.startswith("first ") for name in classes(experience))
    assert noted(experience, "the first of each image is taken")
    assert any(np.array_equal(pixels(experience.train, 0), np.asarray(picture(i))) for i in range(12))


def test_one_image_on_several_rows_counts_once(tmp_path: Path) -> None:
    names = files(tmp_path)
    rows = [{"image": name, "caption": f"{i} {n}"} for i, name in enumerate(names) for n in ("a", "b")]
    experience = load(write(tmp_path / "x.csv", rows), "captions", validation=0.3, test=0.3)  # type: ignore[arg-type]
    assert sum(sizes(experience).values()) == 12
    assert all(name.endswith(" a") for name in classes(experience))


def test_no_path_leaves_the_root_and_addresses_are_not_fetched(tmp_path: Path) -> None:
    names = files(tmp_path / "data")
    (tmp_path / "secret.png").write_bytes(png(picture(99)))
    rows = [{"image": name, "label": PETS[i % 3]} for i, name in enumerate(names)]
    shares = {"validation": 0.25, "test": 0.25}
    for outside in ("../secret.png", str(tmp_path / "secret.png"), "pictures/../../secret.png"):
        table = write(tmp_path / "data" / "x.csv", [{**rows[0], "image": outside}, *rows[1:]])  # type: ignore[list-item]
        message = refused(table, **shares)
        assert "lies outside" in message
        assert "`root:`" in message
    absolute = [{**row, "image": str(tmp_path / "data" / str(row["image"]))} for row in rows]
    assert sizes(load(write(tmp_path / "a.csv", absolute), **shares))["train"] == 6  # type: ignore[arg-type]
    table = write(tmp_path / "data" / "y.csv", [{**rows[0], "image": "https://x.org/a.png"}, *rows[1:]])  # type: ignore[list-item]
    assert "is an address; download the images" in refused(table, **shares)
    table = write(tmp_path / "data" / "z.csv", [{**rows[0], "image": "gone.png"}, *rows[1:]])  # type: ignore[list-item]
    assert "cannot be read (No such file or directory); say with `root:`" in refused(table, **shares)


def test_rows_that_are_not_whole(tmp_path: Path) -> None:
    names = files(tmp_path)
    rows = [{"image": name, "caption": f"pet {i}", "label": PETS[i % 3]} for i, name in enumerate(names)]
    rows[3]["caption"] = rows[3]["label"] = " "
    table = write(tmp_path / "x.csv", rows)  # type: ignore[arg-type]
    assert "row 5 holds ' ' in place of a caption" in refused(table, "captions")
    assert "1 of 12 rows have no class in column 'label' (the first is row 5)" in refused(table)
    assert (
        "has no column that is known to hold the label: name it as `label:`. Its columns: image, x."
        in refused(write(tmp_path / "y.csv", [{"image": name, "x": "1"} for name in names]))
    )
    several = tmp_path / "z.jsonl"
    several.write_text("\n".join(json.dumps({"image": name, "label": ["a", "b"]}) for name in names))
    assert "holds a list in place of a class: an image has one class" in refused(several)


def test_a_folder_with_a_file_for_each_split(tmp_path: Path) -> None:
    names = files(tmp_path, 15)
    rows = [{"image": name, "label": PETS[i % 3]} for i, name in enumerate(names)]
    write(tmp_path / "train.csv", rows[:12])  # type: ignore[arg-type]
    write(tmp_path / "test.csv", rows[12:])  # type: ignore[arg-type]
    assert sizes(load(tmp_path, validation=0.25)) == {"train": 9, "validation": 3, "test": 3}
    write(tmp_path / "test.csv", [{"image": names[14], "label": "cta"}])
    assert "test: class 'cta' is not among the classes of train. Did you mean 'cat'?" in refused(tmp_path)


def test_a_model_is_measured_on_captions(tmp_path: Path) -> None:
    from cl_forget.config.run import Run
    from cl_forget.run.simulate import simulate

    names = files(tmp_path)
    rows = [{"filepath": name, "title": f"pet number {i}"} for i, name in enumerate(names)]
    table = str(write(tmp_path / "pets.tsv", rows, "\t"))  # type: ignore[arg-type]
    run = Run(
        model="tiny-clip",
        stream=[{"captions": {"path": table, "validation": 0.3, "test": 0.3}}],
        suites=[{"captions": {"path": table, "name": "retrieval", "validation": 0.4}}],
        train={"epochs": 1},  # type: ignore[arg-type]
    )
    result = simulate(run)
    assert result.suites == ["retrieval"]
    assert 0 <= (result.rows[-1].suites["retrieval"].test.accuracy or 0) <= 1
    assert result.rows[-1].tasks["pets"].test.accuracy is not None


def listed(tmp_path: Path, rows: list[str], header: str = "file,label") -> Path:
    """A table of twenty pictures on disk."""
    for number in range(20):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "table.csv").write_text("\n".join([header, *rows]))
    return tmp_path / "table.csv"


def test_an_image_in_two_classes(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(20)]
    load(listed(tmp_path, rows))
    load(listed(tmp_path, [*rows, rows[3]]))
    assert "image '3.png' is in the classes 'b' and 'a'" in refused(listed(tmp_path, [*rows, "3.png,a"]))


def test_a_table_that_names_the_splits(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]},{'train' if i < 14 else 'test'}" for i in range(20)]
    path = listed(tmp_path, rows, "file,label,split")
    assert sizes(load(path))["test"] == 6
    rows[16] = "16.png,,test"
    assert "the first is row 18" in refused(listed(tmp_path, rows, "file,label,split"))
    (tmp_path / "train.csv").write_text(path.read_text())
    path.unlink()
    assert "holds several splits" in refused(tmp_path), "a file that stands for one split"


# -- copies --------------------------------------------------------------------------------------------


def shown(experience: Experience) -> dict[str, set[bytes]]:
    return {
        split: {pixels(data, position).tobytes() for position in range(len(data))}
        for split, data in experience.splits().items()
    }


def apart(experience: Experience) -> bool:
    """Whether no picture stands in two splits."""
    every = shown(experience)
    return sum(map(len, every.values())) == len(set().union(*every.values()))


@pytest.mark.parametrize("kind", ["paths", "other paths", "other files", "bytes", "base64"])
def test_rows_of_one_picture_stay_in_one_split(tmp_path: Path, kind: str) -> None:
    listed(tmp_path, [])
    contents = [(tmp_path / f"{i}.png").read_bytes() for i in range(20)]
    for i in range(20):
        (tmp_path / f"copy {i}.png").write_bytes(contents[i])
    again: dict[str, list[Any]] = {
        "paths": [f"{i}.png" for i in range(20)],
        "other paths": [f"./{i}.png" for i in range(20)],
        "other files": [f"copy {i}.png" for i in range(20)],
        "bytes": contents,
        "base64": [base64.b64encode(own).decode() for own in contents],
    }
    first = again[kind] if kind in ("bytes", "base64") else again["paths"]
    columns = {"image": [*first, *again[kind]], "label": ["ab"[i % 2] for i in range(20)] * 2}
    if kind == "bytes":
        pyarrow.parquet.write_table(pyarrow.table(columns), path := tmp_path / "table.parquet")
    else:
        path = tmp_path / "table.jsonl"
        rows = [{"image": image, "label": label} for image, label in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(map(json.dumps, rows)))
    experience = load(path)
    assert sizes(experience) == {"train": 28, "validation": 4, "test": 8}
    assert apart(experience)
    assert duplicates(experience) == {"validation": 0, "test": 0}
    assert noted(experience, "20 of 40 images read as train are copies of another")


def test_without_copies_the_splits_are_those_of_the_rows_numbers(tmp_path: Path) -> None:
    experience = load(listed(tmp_path, [f"{i}.png,{'ab'[i % 2]}" for i in range(20)]))
    found = {
        split: {next(i for i in range(20) if picture(i).tobytes() == own) for own in pictures}
        for split, pictures in shown(experience).items()
    }
    assert found["validation"] == {0, 7}
    assert found["test"] == {2, 3, 6, 15}


@pytest.mark.parametrize("form", ["column", "files"])
def test_files_that_stand_in_train_and_test_are_counted(tmp_path: Path, form: str) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(20)]
    if form == "column":
        path = listed(
            tmp_path, [f"{row},{split}" for split in ("train", "test") for row in rows], "file,label,split"
        )
    else:
        listed(tmp_path, rows).rename(tmp_path / "train.csv")
        (tmp_path / "test.csv").write_text((tmp_path / "train.csv").read_text())
        path = tmp_path
    assert duplicates(load(path)) == {"validation": 0, "test": 18}


def test_an_image_in_two_classes_by_two_paths(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(20)]
    message = refused(listed(tmp_path, [*rows, "./3.png,a"]))
    assert "image './3.png' is in the classes 'b' and 'a'" in message
    assert "is in the classes" in refused(listed(tmp_path, [*rows, f"{tmp_path}/3.png,a"]))
    (tmp_path / "copy.png").write_bytes((tmp_path / "3.png").read_bytes())
    experience = load(listed(tmp_path, [*rows, "copy.png,a"]))
    assert noted(experience, "1 of the images read as train have copies in another class")


def test_too_few_different_images_are_refused(tmp_path: Path) -> None:
    rows = [*(f"{i}.png,a" for i in range(10)), *["10.png,b", "11.png,b"] * 5]
    assert "class 'b' has 10 images, 2 of them different, too few for" in refused(listed(tmp_path, rows))


def test_captions_of_one_picture_in_bytes(tmp_path: Path) -> None:
    images = [png(picture(i % 12)) for i in range(24)]
    table = {"image": images, "caption": [f"{'ab'[i // 12]} {i % 12}" for i in range(24)]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
    experience = load(tmp_path / "x.parquet", "captions", validation=0.3, test=0.3)
    assert sum(sizes(experience).values()) == 12
    assert all(name.startswith("a ") for name in classes(experience))
    assert noted(experience, "12 of 24 rows of train repeat an image: its first row is taken")


# -- cells that say less than they seem to -------------------------------------------------------------


def test_a_split_column_that_is_not_whole(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]},{'train' if i < 14 else 'test'}" for i in range(20)]
    for odd, told in (("", "nothing"), ("holdout", "'holdout'")):
        path = listed(tmp_path, [*rows[:16], f"16.png,a,{odd}", *rows[17:]], "file,label,Split")
        message = refused(path)
        assert (
            f"row 18: column 'Split' holds {told}, which names no split, as others do (1 of 20 rows so)"
            in message
        )
        assert "Known are train, training, validation," in message
    path = listed(tmp_path, [f"{row[:-1]}x" for row in rows], "file,label,split")
    assert noted(load(path), "column 'split' is not used: it names no split")
    path = listed(tmp_path, [f"{i}.png,{('train', 'bus')[i % 2]}" for i in range(20)], "file,set")
    assert classes(load(path, label="set")) == ("bus", "train"), "a column of classes names no splits"


def test_a_split_column_of_a_data_set(tmp_path: Path) -> None:
    own = dataset(0, 30, split=["train"] * 20 + ["val"] * 4 + ["test"] * 6)
    own.to_parquet(str(tmp_path / "d.parquet"))
    experience = load(tmp_path / "d.parquet")
    assert sizes(experience) == {"train": 20, "validation": 4, "test": 6}
    assert np.array_equal(pixels(experience.test, 0), np.asarray(picture(24)))
    assert noted(experience, "splits by column 'split'")
    assert duplicates(experience) == {"validation": 0, "test": 0}
    dataset(0, 30, split=["train"] * 29 + ["?"]).to_parquet(str(tmp_path / "e.parquet"))
    assert "row 30: column 'split' holds '?', which names no split" in refused(tmp_path / "e.parquet")


@pytest.mark.parametrize("none", ["-1", " -1", "-1.0"])
def test_minus_one_is_no_class(tmp_path: Path, none: str) -> None:
    rows = [f"{i}.png,{i % 2}" for i in range(20)]
    message = refused(listed(tmp_path, [*rows[:10], *(f"{i}.png,{none}" for i in range(10, 20))]))
    assert "10 of 20 rows have no class in column 'label' (the first is row 12; -1 stands for no" in message
    hidden = [f"{i}.png,{none},test" for i in range(16, 20)]
    path = listed(tmp_path, [*(f"{row},train" for row in rows[:16]), *hidden], "file,label,split")
    experience = load(path)
    assert noted(experience, "test has no classes and is not read")
    assert sum(sizes(experience).values()) == 16


def test_minus_one_in_parquet_and_among_names(tmp_path: Path) -> None:
    images = [png(picture(i)) for i in range(30)]
    table = {"image": images, "label": [i % 3 - 1 for i in range(30)]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
    assert "10 of 30 rows have no class in column 'label' (the first is row 1;" in refused(
        tmp_path / "x.parquet"
    )
    path = listed(tmp_path, [f"{i}.png,{('-1', '+1')[i % 2]}" for i in range(20)])
    assert set(classes(load(path))) == {"-1", "+1"}, "among names it is one"


@pytest.mark.parametrize("source", ["images", "captions"])
def test_a_split_that_lacks_the_column_of_train(tmp_path: Path, source: str) -> None:
    column = {"images": "label", "captions": "caption"}[source]
    rows = [f"{i}.png,{'ab'[i % 2]}{i if source == 'captions' else ''}" for i in range(20)]
    listed(tmp_path, rows, f"file,{column}").rename(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_text("file,kind\n0.png,a\n1.png,b\n")
    message = refused(tmp_path, source)
    assert f"test has no column '{column}', which train has: add it, or leave test out" in message
    assert "Its columns: file, kind." in message
    alone = load(tmp_path, source, splits={"train": "train"}, validation=0.2, test=0.3)
    assert sum(sizes(alone).values()) == 20


def test_a_name_without_its_ending(tmp_path: Path) -> None:
    message = refused(listed(tmp_path, [f"{i},{'ab'[i % 2]}" for i in range(20)]))
    assert "cannot be read (No such file or directory); '1.png' is there: write the names" in message
    assert "with their endings" in message
    assert "`root:`" not in message
